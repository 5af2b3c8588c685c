//! The crash that tests ask for: between a checkpoint's manifest, which is durable, and what that has sinks do. Must not know sinks.
use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt, ready};

use crate::{
    control::{CheckpointDone, JobObserver, RolledBack, RunError},
    model::SnapshotKind,
};

/// Ends the process as if it were killed, once so many checkpoints of its own are complete and before anyone in the job hears of the last.
pub(super) struct CrashAtCheckpoint {
    left: AtomicU64,
}

impl CrashAtCheckpoint {
    /// At the `number`th.
    pub(super) fn new(number: NonZeroU64) -> CrashAtCheckpoint {
        CrashAtCheckpoint { left: AtomicU64::new(number.get()) }
    }
}

impl JobObserver for CrashAtCheckpoint {
    fn started(&self) {}

    fn restarting(&self, _: &RunError, _: Duration) {}

    fn rolled_back(&self, _: RolledBack, _: &RunError) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn checkpoint_completed(&self, done: CheckpointDone) {
        if done.kind == SnapshotKind::Checkpoint && self.left.fetch_sub(1, Relaxed) == 1 {
            std::process::abort();
        }
    }

    fn checkpoint_failed(&self, _: u64, _: &str) {}
}
