//! The outside world: where framed records come from and go to. A connector is a folder or file here and a line in the
//! catalogue; it knows nothing of formats, jobs or operators.
mod api;
pub mod catalogue;

pub use api::{BatchLimits, ConnectorError, ReadStatus, Sink, SinkWriter, Source, SourceReader};
