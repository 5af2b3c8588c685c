//! Changes of plugins on their way: barriers that have stages take their replacements, and versions on trial. Must not know how a change was
//! made ready.
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::sync::oneshot;

use super::{
    super::{RunError, in_force::Trial, run::NewVersion},
    Coordinator,
};
use crate::{
    checkpoint::Pending,
    dataflow::{Barrier, Last},
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
    fn in_force(&self, new: NewVersion) {
        let NewVersion { version, prepared, from, operator, trial } = new;
        let rejected = self.rejected(&operator);
        let trial = trial.map(|spec| Trial {
            until: self.environment.clock.monotonic() + spec.time,
            with_state: spec.with_state,
            rejected: spec.rejected_max.map(|max| (rejected, max)),
            back: from,
            operator,
        });
        let OperatorVersion { change, uid, plugin, .. } = &version;
        tracing::info!(change, operator = uid, plugin, "in force");
        self.shared.in_force.accept(version, prepared, trial);
    }

    /// How many rows an operator or sink has rejected.
    fn rejected(&self, operator: &str) -> u64 {
        self.shared.counts(operator).iter().map(|metrics| metrics.rejected.load(Relaxed)).sum()
    }

    /// Looks at a version on trial: fails if it has rejected too much, otherwise says when to look again, and whether checkpoints wait.
    pub(super) fn on_trial(&self) -> Result<Option<(Duration, bool)>, RunError> {
        let now = self.environment.clock.monotonic();
        let Some(trial) = self.shared.in_force.trial(now) else { return Ok(None) };
        let rejected = trial.rejected.map(|(before, max)| (self.rejected(&trial.operator).saturating_sub(before), max));
        match rejected {
            Some((rejected, max)) if rejected > max => {
                Err(RunError::OnTrial { operator: trial.operator, rejected, max })
            }
            _ => Ok(Some(((now + TRIAL_LOOK).min(trial.until), trial.with_state))),
        }
    }
}
