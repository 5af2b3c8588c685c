//! wasmill: a stream processor whose operators are WebAssembly components.
#![warn(missing_docs)]
pub mod bench;
pub mod cli;
pub mod codec;
pub mod connector;
pub mod control;
pub mod dataflow;
mod digits;
pub mod job;
pub mod model;
pub mod plugin;
pub mod state;
pub mod window;
