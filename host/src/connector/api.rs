//! What the engine asks of a connector. A connector moves framed records (bytes) in and out; it knows nothing of their format,
//! of jobs or of operators. Formats are [`codec`](crate::codec)'s, in between.
use std::{fmt::Debug, path::Path, sync::Arc};

use async_trait::async_trait;

use crate::model::{Batch, Clock, Encoded, RawBatch};

/// How much a source may put in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Records.
    pub records: usize,
    /// Bytes of records; a batch with one record may be larger.
    pub bytes: usize,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// Records were added, or the read stopped at a natural boundary; there may be more at once.
    More,
    /// The source has ended: nothing was added, nothing will come.
    End,
}

/// Something went wrong outside.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConnectorError {
    /// File, address or topic.
    pub place: String,
    /// What failed, and what to do about it.
    pub what: String,
    /// Whether trying again may help.
    pub retry: bool,
}

/// A parallel part of a source, owned by one task.
#[async_trait]
pub trait SourceReader: Send {
    /// Appends records to `into`, which may hold some already, until it is full by `limits` or nothing more is there without
    /// waiting; waits if it would add none at all. All records of a batch come from one place in sequence: if the next one does
    /// not continue `into`, returns [`ReadStatus::More`] without adding. Dropping the future loses nothing.
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError>;
}

/// A configured source, before it runs.
pub trait Source: Send + Sync + Debug {
    /// The most parts it can be read in; tasks beyond it get nothing to read. `None` if any number will do.
    fn parallelism_max(&self) -> Option<usize>;
    /// Whether its records can be read again after a failure.
    fn can_replay(&self) -> bool;
    /// Makes relative paths in its settings relative to `base`.
    fn resolve_paths(&mut self, _base: &Path) {}
    /// Opens part `subtask` of `parallelism`.
    fn open(
        &self,
        subtask: usize,
        parallelism: usize,
        clock: &Arc<dyn Clock>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError>;
}

/// A parallel part of a sink, owned by one task.
#[async_trait]
pub trait SinkWriter: Send {
    /// Writes records; may keep them in a buffer of its own until [`flush`](SinkWriter::flush). `rows` are the same records
    /// before encoding.
    async fn write(&mut self, rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError>;
    /// Makes what was written visible outside; called when the stream pauses and at its end.
    async fn flush(&mut self) -> Result<(), ConnectorError>;
    /// The end of the stream: nothing is written after.
    async fn close(&mut self) -> Result<(), ConnectorError>;
}

/// A configured sink, before it runs.
pub trait Sink: Send + Sync + Debug {
    /// Makes relative paths in its settings relative to `base`.
    fn resolve_paths(&mut self, _base: &Path) {}
    /// Opens part `subtask` of `parallelism`.
    fn open(
        &self,
        subtask: usize,
        parallelism: usize,
        clock: &Arc<dyn Clock>,
    ) -> Result<Box<dyn SinkWriter>, ConnectorError>;
    /// Once all its parts are closed: what there is to say about the whole, as JSON.
    fn summary(&self) -> Option<serde_json::Value> {
        None
    }
}
