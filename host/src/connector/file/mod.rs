//! Files as source and sink.
mod bounded;
mod chunks;
mod follow;
mod sink;
mod source;

pub use sink::FileSink;
pub use source::FileSource;
