//! wasmill: a stream processor whose operators are WebAssembly components.
#![warn(missing_docs)]
pub mod codec;
pub mod connector;
pub mod model;
mod writer;
