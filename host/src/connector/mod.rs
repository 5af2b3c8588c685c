//! The outside world: where framed records come from and go to. A connector is a folder or file here and a line in the
//! catalogue; it knows nothing of formats, jobs or operators.
mod api;
mod catalogue;
pub(crate) mod discard;
mod encoding;
mod file;
pub(crate) mod generator;
mod kafka;
mod lines;
mod print;
mod settings;
mod socket;
mod stdin;
#[cfg(test)]
mod testing;

pub use api::{
    BatchLimits, CONNECTOR_FAILED, ConnectorError, Delivery, MetadataField, Opening, ReadStatus, Recovery, Sink,
    SinkWriter, Source, SourceReader,
};
pub use catalogue::{SINKS, SOURCES, next_sink, next_source};
pub use kafka::limit as kafka_limit;
pub use lines::LINE_BYTES_MAX;
