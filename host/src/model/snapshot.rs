//! What a subtask leaves behind at a barrier, and gets back when it starts: positions, state, and what its sink has prepared. Pure
//! data; starting anew is starting from [`SubtaskState::default`].
use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{EventTime, KeyGroups, NO_WATERMARK};

/// Content to be made durable, or read back.
#[derive(Clone, Debug)]
pub enum Blob {
    /// In memory.
    Bytes(Bytes),
    /// A file that stays unchanged for as long as it is referred to.
    File(PathBuf),
}

/// How far a part of a source was read. What the position says is the connector's matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitPosition {
    /// The part, by a name that is the same after a restart.
    pub split: String,
    /// The connector's own encoding.
    pub position: Vec<u8>,
}

/// How a store's parts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFormat {
    /// Sorted runs, which any backend reads.
    Runs,
    /// Files of a RocksDB database.
    RocksDb,
}

/// A file of a store's snapshot.
#[derive(Clone, Debug)]
pub struct Part {
    /// Unique among all parts ever written below a checkpoint directory; letters, digits, `-`, `_`, `.` and `/`.
    pub name: String,
    /// The key groups it speaks of.
    pub groups: KeyGroups,
    /// Order in which parts take effect, and what else the store has to know of this one; its own encoding.
    pub note: Vec<u8>,
    /// What is in it; `None` if an earlier completed checkpoint has made it durable already.
    pub content: Option<Blob>,
}

/// Parts that are being made on a thread of their own.
#[derive(Clone)]
pub struct LaterParts(Arc<dyn Fn() -> Result<Vec<Part>, String> + Send + Sync>);

impl LaterParts {
    /// `wait` blocks until they are made, or says why they cannot be; it may be asked several times.
    pub fn new(wait: impl Fn() -> Result<Vec<Part>, String> + Send + Sync + 'static) -> LaterParts {
        LaterParts(Arc::new(wait))
    }

    /// Blocks until they are made.
    pub fn wait(&self) -> Result<Vec<Part>, String> {
        (self.0)()
    }
}

impl std::fmt::Debug for LaterParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaterParts")
    }
}

/// A keyed store at a barrier.
#[derive(Clone, Debug)]
pub struct StoreSnapshot {
    /// Which of the operator's stores.
    pub store: String,
    /// How its parts are written.
    pub format: StoreFormat,
    /// The key groups of the subtask.
    pub groups: KeyGroups,
    /// Which states there are and what else the store has to know; its own encoding.
    pub note: Vec<u8>,
    /// Its files.
    pub parts: Vec<Part>,
    /// More of them, which are still being made while the task goes on.
    pub later: Option<LaterParts>,
    /// Of one to be restored: whether its parts are durable where the job's checkpoints go, so that the next may be built on them.
    pub durable: bool,
}

impl StoreSnapshot {
    /// Blocks until all parts are made, and has them among [`parts`](StoreSnapshot::parts).
    pub fn finish(&mut self) -> Result<(), String> {
        if let Some(later) = self.later.take() {
            self.parts.extend(later.wait()?);
        }
        Ok(())
    }
}

/// State that belongs to a task, not to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorState {
    /// Name of the declared state.
    pub name: String,
    /// How it is dealt out when parallelism changes.
    pub redistribution: Redistribution,
    /// Encoded elements.
    pub elements: Vec<Vec<u8>>,
}

/// How operator state is dealt out when parallelism changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redistribution {
    /// In parts, evenly.
    Split,
    /// Whole, to each: the elements of all subtasks.
    Union,
    /// All subtasks have the same: each gets those of one.
    Broadcast,
}

/// One operator's, source's or sink's part of a subtask, at a barrier.
#[derive(Clone, Debug)]
pub struct SubtaskState {
    /// How far event time had come.
    pub watermark: EventTime,
    /// Of a source.
    pub splits: Vec<SplitPosition>,
    /// Of a keyed operator.
    pub stores: Vec<StoreSnapshot>,
    /// Of any.
    pub operator_states: Vec<OperatorState>,
    /// What a sink has prepared and must be committed once the checkpoint is complete; the connector's own encoding.
    pub committables: Vec<Vec<u8>>,
}

impl Default for SubtaskState {
    fn default() -> SubtaskState {
        SubtaskState {
            watermark: NO_WATERMARK,
            splits: Vec::new(),
            stores: Vec::new(),
            operator_states: Vec::new(),
            committables: Vec::new(),
        }
    }
}

/// Why a snapshot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// To recover from; may build on earlier ones.
    Checkpoint,
    /// To start from later, elsewhere: complete in itself, in the format any backend reads.
    Savepoint,
}

/// Which snapshot a store is asked for.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// Counts up over all starts of a job.
    pub checkpoint: u64,
    /// Why.
    pub kind: SnapshotKind,
    /// Whether anyone keeps it. If not, a store need not say what it holds.
    pub kept: bool,
    /// Whether it is for a store of this process, to be opened at once: complete in itself, in the form that is made fastest. No later snapshot
    /// builds on it.
    pub beside: bool,
    /// What names of new parts begin with: unique to job start, operator, subtask and checkpoint.
    pub prefix: String,
}

impl SnapshotRequest {
    /// One that is kept.
    pub fn new(checkpoint: u64, kind: SnapshotKind, prefix: impl Into<String>) -> SnapshotRequest {
        SnapshotRequest { checkpoint, kind, kept: true, beside: false, prefix: prefix.into() }
    }
}
