//! wasmill: a stream processor whose operators are WebAssembly components.
//!
//! Layers, each importing only from those above it: [`model`] (what flows), [`job`] and [`window`] (what was asked for, pure),
//! [`checkpoint`] (what is durable), [`state`], [`codec`], [`connector`], [`schema_registry`] and [`plugin`] (the rim, each behind an interface), [`dataflow`] (the data path),
//! [`control`] (from a job file to a running job), [`service`] (the jobs of a server), [`registry`] and [`audit`] (what else a server keeps), [`web`]
//! (how it is asked), [`client`] (who asks it), and [`cli`] and [`bench`] on top. `docs/ARCHITECTURE.md` is the map.
#![warn(missing_docs)]
pub mod audit;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod client;
pub mod codec;
pub mod connector;
pub mod control;
pub mod dataflow;
pub mod job;
pub mod model;
pub mod plugin;
pub mod registry;
pub mod schema_registry;
pub mod service;
pub mod state;
pub mod web;
pub mod window;
mod writer;
