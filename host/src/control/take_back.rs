//! Versions on trial with their state that are taken back by request, in the way of one that fails. Must not know what a trial has to stand.
use tokio::sync::oneshot;

use super::{ChangeError, Changed, JobView, run::Command};
use crate::model::{OperatorKind, OperatorVersion};

/// A version that is to be taken back.
#[derive(Debug)]
pub struct TakenBack {
    /// Of which operator or sink, by name.
    pub(super) operator: String,
    /// Its kind.
    pub(super) kind: OperatorKind,
    /// Who has asked for that.
    pub by: String,
    /// Told once it was.
    pub(super) done: oneshot::Sender<Changed>,
}

impl JobView {
    /// Whether what an operator or sink, by name, runs as this kind is on trial with its state, so that all it has done can be undone.
    pub fn can_be_taken_back(&self, operator: &str, kind: OperatorKind) -> bool {
        let now = self.shared.environment.clock.monotonic();
        self.shared.in_force.trials().can_be_taken_back(operator, kind, now)
    }

    /// Ends this run of the job and has it start again at once from the checkpoint before such a version, with what was in force before it. `by` is
    /// who asks. When this returns the observer has heard of it. Fails if the job, or the trial, ends before.
    /// Fails too if another change than this one is in force there by now.
    pub async fn take_back(
        &self,
        operator: &str,
        (kind, change): (OperatorKind, u64),
        by: &str,
    ) -> Result<Changed, ChangeError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let is_it = |(name, version): &(String, OperatorVersion)| {
            (name.as_str(), version.kind, version.change) == (operator, kind, change)
        };
        if !self.versions().iter().any(is_it) {
            return Err(ChangeError::Overtaken);
        }
        if self.prepared().canary(operator).is_some() {
            return Err(ChangeError::HasCanary(operator.to_owned()));
        }
        let (done, wait) = oneshot::channel();
        let taken = TakenBack { operator: operator.to_owned(), kind, by: by.to_owned(), done };
        let taken = self.while_running(async {
            self.commands.send(Command::TakeBack(taken)).await.ok()?;
            wait.await.ok()
        });
        taken.await.ok_or(ChangeError::Ended)
    }
}
