//! Changes of plugins on their way: barriers that have stages take their replacements, and versions on trial. Must not know how a change was
//! made ready.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    super::{
        Prepared, RunError, TakenBack,
        pace::Sample,
        run::{NewVersion, Purpose},
        trials::{Counts, Done, Trial, TrialLeft},
    },
    Coordinator,
};
use crate::{
    checkpoint::Pending,
    dataflow::{Barrier, Last, NodeMetrics},
    model::{OperatorVersion, SnapshotKind, latest_versions},
};

/// A change whose barrier is out.
pub(super) struct Changing {
    pub(super) checkpoint: u64,
    pending: Pending,
    purpose: Purpose,
    done: oneshot::Sender<u64>,
}

impl Purpose {
    /// Whether all of it is to be undone if it fails on trial.
    fn is_trial_with_state(&self) -> bool {
        matches!(self, Purpose::PutInForce(new) if new.trial.is_some_and(|trial| trial.with_state))
    }
}

impl Coordinator<'_> {
    /// Lets the barrier of a change out, which saves nothing: checkpoints after it have the change. Not if the job has started again since it
    /// was made ready for what ran then.
    pub(super) fn change(
        &mut self,
        base: &Arc<Prepared>,
        offer: u64,
        purpose: Purpose,
        done: oneshot::Sender<u64>,
    ) -> Result<(), RunError> {
        if !Arc::ptr_eq(base, &self.shared.in_force.prepared()) {
            return Ok(());
        }
        if purpose.is_trial_with_state() && self.target.is_some() && !self.holds_checkpoints() {
            // What is gone back to, should it fail. Where another is on trial with its state, that is the one before both.
            self.trigger(SnapshotKind::Checkpoint, Last::No, None)?;
        }
        let (checkpoint, change) = (self.next_checkpoint, Some(offer));
        self.next_checkpoint += 1;
        match &purpose {
            Purpose::Watch => {}
            Purpose::Replay(operator, in_force) => self.shared.in_force.changing(operator, in_force),
            Purpose::PutInForce(new) => {
                self.versions = latest_versions(self.versions.iter().chain([&new.version]));
                self.shared.in_force.changing(&new.operator, &new.from);
            }
        }
        let pending = Pending::new(checkpoint, 0..self.tasks.len());
        let kind = SnapshotKind::Checkpoint;
        tracing::debug!(change, "the barrier of a change goes out");
        self.changing = Some(Changing { checkpoint, pending, purpose, done });
        self.send(Barrier { checkpoint, kind, kept: false, last: Last::No, aligned: true, change })
    }

    /// Fails with what is to be taken back, unless its trial is over.
    pub(super) fn take_back(&self, taken: TakenBack) -> Result<(), RunError> {
        let now = self.environment.clock.monotonic();
        match self.shared.in_force.trials().can_be_taken_back(&taken.operator, taken.kind, now) {
            true => Err(RunError::TakenBack(taken)),
            false => Ok(()),
        }
    }

    /// The barrier of a change has passed a task.
    pub(super) fn changed(&mut self, task: usize) {
        let Some(mut changing) = self.changing.take() else { return };
        changing.pending.acknowledge(task, std::iter::empty());
        if !changing.pending.is_complete() {
            self.changing = Some(changing);
            return;
        }
        self.shared.in_force.changed();
        if let Purpose::PutInForce(new) = changing.purpose {
            self.in_force(*new);
        }
        // Whoever asked may be gone.
        let _ = changing.done.send(changing.checkpoint);
    }

    /// A new version is in force.
    fn in_force(&mut self, new: NewVersion) {
        let NewVersion { version, prepared, from, operator, trial } = new;
        let before = self.counts(&operator);
        let trial = trial.map(|spec| {
            // A canary that was promoted is not what is gone back to.
            let back = OperatorVersion { canary: None, ..from.clone() };
            Trial::new(
                operator.clone(),
                TrialLeft { change: version.change, spec, back },
                before,
                self.environment.clock.monotonic(),
            )
        });
        let OperatorVersion { change, uid, plugin, .. } = &version;
        tracing::info!(change, operator = uid, plugin, "in force");
        self.shared.in_force.trials().accept(&from, &version, trial);
        self.shared.in_force.accept(version, prepared);
        let after = self.counts(&operator);
        self.shared.in_force.trials().counted(&operator, before, after);
    }

    /// Whether no checkpoint is to be taken, lest a version on trial cannot be undone, be it that it is not in force everywhere yet.
    pub(super) fn holds_checkpoints(&self) -> bool {
        self.changing.as_ref().is_some_and(|changing| changing.purpose.is_trial_with_state())
            || self.shared.in_force.trials().hold_checkpoints(self.environment.clock.monotonic())
    }

    /// What an operator or sink has rejected and failed on, without what a canary has.
    pub(super) fn counts(&self, operator: &str) -> Counts {
        self.done(operator, Duration::ZERO).counts
    }

    /// What an operator or sink has done by now, without what a canary has, over all its subtasks.
    fn done(&self, operator: &str, now: Duration) -> Done {
        let all = self.shared.counts(operator);
        let counts: [fn(&NodeMetrics) -> &AtomicU64; 4] =
            [|of| &of.rejected, |of| &of.failed, |of| &of.call_ns, |of| &of.call_items];
        let by_all = counts.map(|count| all.iter().map(|of| count(of).load(Relaxed)).sum::<u64>());
        // Only now: what a canary rejects and fails on it counts as its own first.
        let of_canary = self.shared.in_force.prepared().canary(operator).map(|(_, canary)| canary.counts.canary());
        let canary = of_canary.unwrap_or_default();
        let by_canary = [canary.rejected, canary.failed, canary.time_us * 1000, canary.rows + canary.timers];
        let [rejected, failed, call_ns, items] =
            std::array::from_fn(|index| by_all[index].saturating_sub(by_canary[index]));
        Done { counts: Counts { rejected, failed }, calls: Sample { at: now, call_ns, items } }
    }

    /// Looks at versions on trial: fails if one does not stand it, otherwise says when to look again.
    pub(super) fn look_at_trials(&self, now: Duration) -> Result<Option<Duration>, RunError> {
        self.shared.in_force.trials().look(now, |operator| self.done(operator, now))
    }
}
