//! What happens to a running job, told to whoever wants to know as it happens. Must not know what they make of it.
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Changed, RunError};
use crate::model::{OperatorVersion, SnapshotKind};

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

/// A version on trial that has failed, and what was put back; or a canary that has failed, and what has all keys.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The operator or sink, by name.
    pub operator: String,
    /// What was in force.
    pub from: OperatorVersion,
    /// What is from now on, with a new number.
    pub to: OperatorVersion,
    /// Whether it was the canary that has failed: what was beside it stays in force.
    pub of_canary: bool,
}

/// Hears what happens to a job. Called by the job's own task, which goes on when the call returns: nothing here may block.
pub trait JobObserver: Send + Sync {
    /// All subtasks run. `unknown` has come into force by the checkpoint they began with, and was not among the versions the job was run with: by
    /// operator, rule or sink.
    fn started(&self, unknown: Vec<(String, Changed)>);
    /// The job has failed and starts again after this pause.
    fn restarting(&self, error: &RunError, pause: Duration);
    /// A version on trial, or a canary, has failed with this error, or was taken back: it is not in force from the next start on, which comes once this future
    /// is done.
    fn rolled_back(&self, rolled_back: RolledBack, error: &RunError) -> BoxFuture<'_, ()>;
    /// A checkpoint or savepoint is durable.
    fn checkpoint_completed(&self, done: CheckpointDone);
    /// A checkpoint or savepoint was given up.
    fn checkpoint_failed(&self, checkpoint: u64, why: &str);
}
