//! What flows between stages, in order.
use crate::model::{Batch, EventTime, SnapshotKind};

/// One thing on a stream. Its order on a channel is its meaning: a watermark speaks of all batches after it, a barrier of all before.
#[derive(Clone, Debug)]
pub enum Message {
    /// Rows.
    Batch(Batch),
    /// No row after this one has an earlier event time, or it is late.
    Watermark(EventTime),
    /// This input has nothing to say for now and holds back nobody's event time; ends with the next batch or watermark.
    Idle,
    /// Everything before belongs to the checkpoint, nothing after does.
    Barrier(Barrier),
    /// Nothing comes after this.
    End,
}

/// Divides a stream into what a checkpoint holds and what comes after, or into what the version before a change sees and what that after
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Counts up over all starts of a job.
    pub checkpoint: u64,
    /// What is taken.
    pub kind: SnapshotKind,
    /// Whether it is made durable anywhere. The last barrier of a job without checkpoints is not, and still has sinks commit.
    pub kept: bool,
    /// Whether the stream ends with it.
    pub last: Last,
    /// Whether a task waits with what came after it on one input until it has come on all.
    pub aligned: bool,
    /// Whether it is that of a change: stages take their replacements, and nothing is saved.
    pub change: Option<u64>,
}

/// Whether a barrier is the last of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// More comes.
    No,
    /// The job stops, to go on later from here: windows stay open.
    Stop,
    /// The input has ended, or is declared to have: nothing is held back.
    Drain,
}
