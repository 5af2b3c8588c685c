//! What the engine asks of a connector. A connector moves framed records (bytes) in and out; it knows nothing of their format,
//! of jobs or of operators. Formats are [`codec`](crate::codec)'s, in between.
use std::{fmt::Debug, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;

use crate::model::{Batch, Clock, Encoded, Kind, RawBatch, SplitPosition};

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
    /// Its stable code: `docs/errors/CODE.md` says what to do.
    pub code: &'static str,
}

/// The code of what is specific to no connector.
pub const CONNECTOR_FAILED: &str = "C0401";

/// Where a source or sink is opened.
#[derive(Clone)]
pub struct Opening {
    /// The job's name.
    pub job: Arc<str>,
    /// Stable identity of the node in the job, part of the names of whatever it leaves outside.
    pub uid: String,
    /// Which part, from 0.
    pub subtask: usize,
    /// Of how many.
    pub parallelism: usize,
    /// Which start of the job this is: larger than that of every start before, as far as checkpoints tell.
    pub start: u64,
    /// Which of [`Source::metadata`] a source's records are to have in [`RawBatch::metadata`], in this order.
    pub metadata: Vec<usize>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A node as its sink recovers.
#[derive(Clone)]
pub struct Recovery {
    /// The job's name.
    pub job: Arc<str>,
    /// The node's uid, as in [`Opening`].
    pub uid: String,
    /// That of the parts opened next.
    pub start: u64,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Something a source knows of a record beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataField {
    /// As job files call it.
    pub name: &'static str,
    /// Its values.
    pub kind: Kind,
    /// Whether records may have none.
    pub nullable: bool,
}

/// A parallel part of a source, owned by one task.
#[async_trait]
pub trait SourceReader: Send {
    /// Before anything is read or its positions are asked for: finds out what has to be known of the outside. No checkpoint is taken
    /// meanwhile.
    async fn start(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Of how many splits its records come; [`RawBatch::split`] says of which. Each has its own event time. May grow.
    fn splits(&self) -> usize {
        1
    }

    /// Has a split wait, or go on: it is far ahead of others in event time. Records may still come of one that waits. Readers of one
    /// split need not: nothing is read of them meanwhile.
    fn hold(&mut self, _split: usize, _wait: bool) {}

    /// The checkpoint with these positions is complete: whoever watches from outside may be told. Must not wait.
    fn completed(&mut self, _positions: &[SplitPosition]) {}

    /// Appends records to `into`, which may hold some already, until it is full by `limits` or nothing more is there without
    /// waiting; waits if it would add none at all. All records of a batch come from one place in sequence: if the next one does
    /// not continue `into`, returns [`ReadStatus::More`] without adding. Dropping the future loses nothing.
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError>;

    /// How far it has read, over all records handed out: reading on from there hands out those after them. Nothing for a source
    /// that cannot replay.
    fn positions(&self) -> Vec<SplitPosition>;
}

/// A configured source, before it runs.
pub trait Source: Send + Sync + Debug {
    /// The most parts it can be read in; tasks beyond it get nothing to read. `None` if any number will do.
    fn parallelism_max(&self) -> Option<usize>;
    /// Whether its records can be read again after a failure.
    fn can_replay(&self) -> bool;
    /// What it knows of records beside their bytes.
    fn metadata(&self) -> &'static [MetadataField] {
        &[]
    }
    /// Makes relative paths in its settings relative to `base`.
    fn resolve_paths(&mut self, _base: &Path) {}
    /// Opens a part. `restored` are the positions of all parts of an earlier run, which may have been more or fewer: the parts
    /// opened now divide among themselves what is left, each split going to exactly one. `None` for the first start.
    fn open(
        &self,
        opening: &Opening,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError>;
}

/// A parallel part of a sink, owned by one task.
#[async_trait]
pub trait SinkWriter: Send {
    /// Writes records; may keep them in a buffer of its own until [`flush`](SinkWriter::flush). `rows` are the same records before
    /// encoding, with all columns there are, also those that are not written.
    async fn write(&mut self, rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError>;
    /// Makes what was written visible outside; called when the stream pauses and at its end.
    async fn flush(&mut self) -> Result<(), ConnectorError>;
    /// A barrier: everything written so far is durable outside, but not visible yet if the sink is exactly-once. What it takes to
    /// make it visible is the result, in the connector's own encoding; nothing if nothing is left to be done.
    async fn prepare(&mut self, checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError>;
    /// The checkpoint with these committables is complete: makes them visible. Called in their order, at most once for each, by
    /// the writer that prepared them.
    async fn commit(&mut self, committables: &[Vec<u8>]) -> Result<(), ConnectorError>;
    /// The end of the stream: nothing is written after. Everything was prepared and committed before.
    async fn close(&mut self) -> Result<(), ConnectorError>;
}

/// What a sink promises about a record after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It is there exactly once.
    ExactlyOnce,
    /// It is there, perhaps more than once.
    AtLeastOnce,
    /// It may be lost.
    AtMostOnce,
}

/// A configured sink, before it runs.
#[async_trait]
pub trait Sink: Send + Sync + Debug {
    /// Makes relative paths in its settings relative to `base`.
    fn resolve_paths(&mut self, _base: &Path) {}
    /// The folder of this machine that it writes, if it does.
    fn folder(&self) -> Option<&Path> {
        None
    }
    /// Columns it reads of rows beside the encoded records, each with the kinds it may have.
    fn reads(&self) -> Vec<(String, &'static [Kind])> {
        Vec::new()
    }
    /// The most it can promise as configured.
    fn delivery(&self) -> Delivery;
    /// For how long it can keep what is written and not committed, if there is an end to that.
    fn uncommitted_max(&self) -> Option<Duration> {
        None
    }
    /// Before any part is opened: resolves what an earlier run left. `committables` were prepared, and their checkpoint is
    /// complete: they are made visible unless they are already. Whatever else the node has prepared or begun outside is undone.
    async fn recover(&self, recovery: &Recovery, committables: &[Vec<u8>]) -> Result<(), ConnectorError>;
    /// Opens a part.
    fn open(&self, opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError>;
    /// Once all its parts are closed: what there is to say about the whole, as JSON.
    fn summary(&self) -> Option<serde_json::Value> {
        None
    }
}
