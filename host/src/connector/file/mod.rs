//! Files as source and sink.
mod bounded;
mod chunks;
mod committable;
mod follow;
mod part;
mod position;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod restart;
mod sink;
mod source;

pub use sink::FileSink;
pub use source::FileSource;
