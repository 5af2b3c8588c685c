//! What happens to a running job, told to whoever wants to know as it happens. Must not know what they make of it.
use std::time::Duration;

use super::RunError;
use crate::model::SnapshotKind;

/// A checkpoint or savepoint that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointDone {
    /// Its number.
    pub checkpoint: u64,
    /// Which of the two.
    pub kind: SnapshotKind,
    /// From its barrier to its manifest.
    pub took: Duration,
    /// Bytes written.
    pub bytes: u64,
}

/// Hears what happens to a job. Called by the job's own task, which goes on when the call returns: nothing here may block.
pub trait JobObserver: Send + Sync {
    /// All subtasks run.
    fn started(&self);
    /// The job has failed and starts again after this pause.
    fn restarting(&self, error: &RunError, pause: Duration);
    /// A checkpoint or savepoint is durable.
    fn checkpoint_completed(&self, done: CheckpointDone);
    /// A checkpoint or savepoint was given up.
    fn checkpoint_failed(&self, checkpoint: u64, why: &str);
}
