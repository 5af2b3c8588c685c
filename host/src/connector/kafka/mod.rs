//! Apache Kafka as source and sink.
mod client;
mod discovery;
mod error;
pub mod limit;
mod partitions;
mod reader;
mod record;
mod settings;
mod sink;
mod sink_producer;
mod sink_record;
mod sink_settings;
mod sink_writer;
mod source;
mod source_context;
mod source_settings;
mod transaction;
mod wire;

pub use sink::KafkaSink;
pub use source::KafkaSource;
