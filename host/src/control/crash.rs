//! The crash that tests ask for: between a checkpoint's manifest, which is durable, and what that has sinks do. Must not know sinks.
use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt, ready};

use super::{Changed, CheckpointDone, JobObserver, RolledBack, RunError};
use crate::model::SnapshotKind;

/// Ends the process as if it were killed, once so many checkpoints of a job are complete and before anyone in the job hears of the last.
pub struct CrashAtCheckpoint {
    left: AtomicU64,
    /// Who hears of all else.
    next: Option<Arc<dyn JobObserver>>,
}

impl CrashAtCheckpoint {
    /// At the `number`th; until then another hears what happens too, if there is one.
    pub fn new(number: NonZeroU64, next: Option<Arc<dyn JobObserver>>) -> CrashAtCheckpoint {
        CrashAtCheckpoint { left: AtomicU64::new(number.get()), next }
    }
}

impl JobObserver for CrashAtCheckpoint {
    fn started(&self, unknown: Vec<(String, Changed)>) {
        if let Some(next) = &self.next {
            next.started(unknown);
        }
    }

    fn restarting(&self, error: &RunError, pause: Duration) {
        self.next.iter().for_each(|next| next.restarting(error, pause));
    }

    fn rolled_back(&self, rolled_back: RolledBack, error: &RunError) -> BoxFuture<'_, ()> {
        match &self.next {
            Some(next) => next.rolled_back(rolled_back, error),
            None => ready(()).boxed(),
        }
    }

    fn checkpoint_completed(&self, done: CheckpointDone) {
        if done.kind == SnapshotKind::Checkpoint && self.left.fetch_sub(1, Relaxed) == 1 {
            std::process::abort();
        }
        self.next.iter().for_each(|next| next.checkpoint_completed(done));
    }

    fn checkpoint_failed(&self, checkpoint: u64, why: &str) {
        self.next.iter().for_each(|next| next.checkpoint_failed(checkpoint, why));
    }
}
