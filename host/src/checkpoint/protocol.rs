//! When to take a checkpoint, when to give one up, and when one is complete. Pure: told what has happened and what time it is.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{CheckpointsFailing, DraftNode};
use crate::model::SubtaskState;

/// When checkpoints are taken. Times are monotonic ones, since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From one trigger to the next.
    pub interval: Duration,
    /// From the end of one to the next trigger, at least. Unless 0, there is one at a time.
    pub min_pause: Duration,
    /// Under way at the same time, at least 1.
    pub max_concurrent: u32,
    /// From trigger to completion, at most.
    pub timeout: Duration,
    /// How many may fail one after the other before the job does.
    pub tolerable_failures: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take a checkpoint now.
    Trigger,
    /// Nothing, until this time or until something happens.
    WaitUntil(Duration),
    /// Give this checkpoint up: its time is over.
    Abort(u64),
    /// Fail the job.
    Fail(CheckpointsFailing),
}

/// What has happened to a job's checkpoints since it started.
#[derive(Clone, Debug)]
pub struct Progress {
    /// When each was triggered.
    in_flight: BTreeMap<u64, Duration>,
    /// When the last was triggered, or the job started.
    triggered: Duration,
    /// When the last ended, well or not.
    ended: Option<Duration>,
    failures: u32,
}

impl Progress {
    /// Of a job that starts now.
    pub fn new(now: Duration) -> Progress {
        Progress { in_flight: BTreeMap::new(), triggered: now, ended: None, failures: 0 }
    }

    /// A checkpoint is under way.
    pub fn triggered(&mut self, checkpoint: u64, now: Duration) {
        self.in_flight.insert(checkpoint, now);
        self.triggered = now;
    }

    /// It is durable.
    pub fn completed(&mut self, checkpoint: u64, now: Duration) {
        if self.in_flight.remove(&checkpoint).is_some() {
            self.ended = Some(now);
            self.failures = 0;
        }
    }

    /// It was given up, or could not be made durable.
    pub fn failed(&mut self, checkpoint: u64, now: Duration) {
        if self.in_flight.remove(&checkpoint).is_some() {
            self.ended = Some(now);
            self.failures = self.failures.saturating_add(1);
        }
    }
}

impl Schedule {
    /// What to do at a time, which does not go back.
    pub fn next(&self, now: Duration, progress: &Progress) -> Decision {
        if progress.failures > self.tolerable_failures {
            let (failures, tolerable) = (progress.failures, self.tolerable_failures);
            return Decision::Fail(CheckpointsFailing { failures, tolerable });
        }
        if let Some((checkpoint, _)) = progress.in_flight.iter().find(|(_, since)| self.over(since) <= now) {
            return Decision::Abort(*checkpoint);
        }
        let concurrent = if self.min_pause.is_zero() { self.max_concurrent.max(1) as usize } else { 1 };
        let timeout = self.times_out(progress);
        if let Some(timeout) = timeout.filter(|_| progress.in_flight.len() >= concurrent) {
            return Decision::WaitUntil(timeout);
        }
        let paused = progress.ended.map_or(Duration::ZERO, |ended| ended.saturating_add(self.min_pause));
        let due = progress.triggered.saturating_add(self.interval).max(paused);
        if due <= now {
            return Decision::Trigger;
        }
        Decision::WaitUntil(timeout.map_or(due, |timeout| timeout.min(due)))
    }

    /// When the first of those under way is to be given up.
    pub fn times_out(&self, progress: &Progress) -> Option<Duration> {
        progress.in_flight.values().map(|since| self.over(since)).min()
    }

    fn over(&self, since: &Duration) -> Duration {
        since.saturating_add(self.timeout)
    }
}

/// A checkpoint under way: whose acknowledgements are awaited, and what has come.
#[derive(Debug)]
pub struct Pending {
    checkpoint: u64,
    awaited: BTreeSet<usize>,
    left: BTreeMap<Arc<str>, BTreeMap<u32, SubtaskState>>,
}

impl Pending {
    /// Waits for all of these tasks, by their indices.
    pub fn new(checkpoint: u64, tasks: impl IntoIterator<Item = usize>) -> Pending {
        Pending { checkpoint, awaited: tasks.into_iter().collect(), left: BTreeMap::new() }
    }

    /// Which checkpoint.
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// A task's acknowledgement: what each of its nodes left, with the node's uid and the subtask. Ignored, with `false`, if none of
    /// that task is awaited any more.
    pub fn acknowledge(&mut self, task: usize, left: impl IntoIterator<Item = (Arc<str>, u32, SubtaskState)>) -> bool {
        if !self.awaited.remove(&task) {
            return false;
        }
        for (uid, subtask, state) in left {
            self.left.entry(uid).or_default().insert(subtask, state);
        }
        true
    }

    /// The tasks that have not acknowledged yet.
    pub fn awaited(&self) -> impl Iterator<Item = usize> {
        self.awaited.iter().copied()
    }

    /// Whether all have acknowledged.
    pub fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// What was left, in order of uids and subtasks, once all have acknowledged; itself if that is not so.
    pub fn complete(self) -> Result<Vec<DraftNode>, Pending> {
        if !self.is_complete() {
            return Err(self);
        }
        let node = |(uid, subtasks): (Arc<str>, BTreeMap<u32, SubtaskState>)| DraftNode {
            uid: uid.to_string(),
            subtasks: subtasks.into_values().collect(),
        };
        Ok(self.left.into_iter().map(node).collect())
    }
}
