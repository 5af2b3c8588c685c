//! Files as source and sink.
mod bounded;
mod chunks;
mod committable;
mod follow;
mod part;
#[cfg(test)]
mod recovery;
mod sink;
mod source;

pub use sink::FileSink;
pub use source::FileSource;
