//! Changes of plugins on their way: barriers that have stages take their replacements, and versions on trial. Must not know how a change was
//! made ready.
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    super::{
        RunError,
        in_force::Trial,
        pace::{Pace, Sample},
        run::NewVersion,
    },
    Coordinator,
};
use crate::{
    checkpoint::Pending,
    dataflow::{Barrier, Last, NodeMetrics},
    model::{OperatorVersion, SnapshotKind, latest_versions},
};

/// How often a version on trial is looked at.
const TRIAL_LOOK: Duration = Duration::from_millis(100);

/// A change whose barrier is out.
pub(super) struct Changing {
    pub(super) checkpoint: u64,
    pending: Pending,
    new: Option<Box<NewVersion>>,
    done: oneshot::Sender<()>,
}

impl Coordinator<'_> {
    /// Lets the barrier of a change out, which saves nothing: checkpoints after it have the change.
    pub(super) fn change(
        &mut self,
        offer: u64,
        new: Option<Box<NewVersion>>,
        done: oneshot::Sender<()>,
    ) -> Result<(), RunError> {
        let trial = new.as_ref().and_then(|new| new.trial);
        if trial.is_some_and(|trial| trial.with_state) && self.target.is_some() {
            // What is gone back to, should it fail.
            self.trigger(SnapshotKind::Checkpoint, Last::No, None)?;
        }
        let (checkpoint, change) = (self.next_checkpoint, Some(offer));
        self.next_checkpoint += 1;
        self.versions = latest_versions(self.versions.iter().chain(new.as_ref().map(|new| &new.version)));
        if let Some(new) = &new {
            self.shared.in_force.changing(&new.operator, &new.from);
        }
        let pending = Pending::new(checkpoint, 0..self.tasks.len());
        let kind = SnapshotKind::Checkpoint;
        tracing::debug!(change, "the barrier of a change goes out");
        self.changing = Some(Changing { checkpoint, pending, new, done });
        self.send(Barrier { checkpoint, kind, kept: false, last: Last::No, aligned: true, change })
    }

    /// The barrier of a change has passed a task.
    pub(super) fn changed(&mut self, task: usize) {
        let Some(mut changing) = self.changing.take() else { return };
        changing.pending.acknowledge(task, std::iter::empty());
        if !changing.pending.is_complete() {
            self.changing = Some(changing);
            return;
        }
        if let Some(new) = changing.new {
            self.in_force(*new);
        }
        // Whoever asked may be gone.
        let _ = changing.done.send(());
    }

    /// A new version is in force.
    fn in_force(&mut self, new: NewVersion) {
        let NewVersion { version, prepared, from, operator, trial } = new;
        let rejected = self.rejected(&operator);
        self.pace = Pace::default();
        let trial = trial.map(|spec| Trial {
            until: self.environment.clock.monotonic() + spec.time,
            with_state: spec.with_state,
            rejected: spec.rejected_max.map(|max| (rejected, max)),
            record_time_max: spec.record_time_max,
            // A canary that was promoted is not what is gone back to.
            back: OperatorVersion { canary: None, ..from },
            operator,
        });
        let OperatorVersion { change, uid, plugin, .. } = &version;
        tracing::info!(change, operator = uid, plugin, "in force");
        self.shared.in_force.accept(version, prepared, trial);
    }

    /// How many rows an operator or sink has rejected.
    fn rejected(&self, operator: &str) -> u64 {
        self.sum(operator, |metrics| &metrics.rejected)
    }

    /// A count of an operator or sink, over all its subtasks.
    fn sum(&self, operator: &str, count: fn(&NodeMetrics) -> &AtomicU64) -> u64 {
        self.shared.counts(operator).iter().map(|metrics| count(metrics).load(Relaxed)).sum()
    }

    /// Looks at a version on trial: fails if it has rejected too much or is too slow, otherwise says when to look again, and whether
    /// checkpoints wait.
    pub(super) fn on_trial(&mut self) -> Result<Option<(Duration, bool)>, RunError> {
        let now = self.environment.clock.monotonic();
        let Some(trial) = self.shared.in_force.trial(now) else { return Ok(None) };
        let rejected = trial.rejected.map(|(before, max)| (self.rejected(&trial.operator).saturating_sub(before), max));
        if let Some((rejected, max)) = rejected.filter(|(rejected, max)| rejected > max) {
            return Err(RunError::OnTrial { operator: trial.operator, rejected, max });
        }
        if let Some(max) = trial.record_time_max {
            let call_ns = self.sum(&trial.operator, |metrics| &metrics.call_ns);
            let items = self.sum(&trial.operator, |metrics| &metrics.call_items);
            let mean = self.pace.mean(Sample { at: now, call_ns, items });
            if let Some(mean) = mean.filter(|mean| *mean > max) {
                return Err(RunError::TooSlow { operator: trial.operator, mean, max });
            }
        }
        Ok(Some(((now + TRIAL_LOOK).min(trial.until), trial.with_state)))
    }
}
