//! Apache Kafka as source and sink.
mod client;
mod error;
mod settings;
mod sink;
mod sink_producer;
mod sink_record;
mod sink_settings;
mod sink_writer;
mod transaction;
mod wire;

pub use sink::KafkaSink;
