//! How far the splits of a source may be apart in event time: those that are too far ahead wait, so that what is between them and
//! the slowest does not pile up in windows and joins. Pure, but for what the subtasks of a source tell each other.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::model::EventTime;

/// How often a subtask looks whether splits that wait may go on.
pub const LOOK: Duration = Duration::from_millis(50);

/// A subtask that holds back nobody.
const NOWHERE: EventTime = EventTime::MAX;

/// How far each subtask of a source has come.
#[derive(Debug)]
pub struct DriftGroup(Mutex<Vec<EventTime>>);

impl DriftGroup {
    /// Of so many subtasks. None of them is anywhere yet.
    pub fn new(subtasks: usize) -> Arc<DriftGroup> {
        Arc::new(DriftGroup(Mutex::new(vec![EventTime::MIN; subtasks])))
    }

    /// Tells how far a subtask has come; how far the slowest of all has.
    fn tell(&self, subtask: usize, reached: EventTime) -> EventTime {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all[subtask] = reached;
        all.iter().copied().min().unwrap_or(NOWHERE)
    }
}

/// The limit, as a subtask keeps it.
#[derive(Debug)]
pub struct Drift {
    group: Arc<DriftGroup>,
    subtask: usize,
    max_ms: i64,
    held: Vec<bool>,
}

impl Drop for Drift {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drift {
    /// Splits may be at most `max` ahead of the slowest of all subtasks.
    pub fn new(group: Arc<DriftGroup>, subtask: usize, max: Duration) -> Drift {
        let max_ms = i64::try_from(max.as_millis()).unwrap_or(i64::MAX);
        Drift { group, subtask, max_ms, held: Vec::new() }
    }

    /// Given how far each split has come (`None` if it does not count: it is idle), the splits that are to wait from now on, and
    /// those that are not to any more.
    pub fn look(&mut self, reached: impl Iterator<Item = Option<EventTime>>) -> Vec<(usize, bool)> {
        let reached: Vec<_> = reached.collect();
        let slowest = self.group.tell(self.subtask, reached.iter().flatten().copied().min().unwrap_or(NOWHERE));
        self.held.resize(reached.len(), false);
        let mut changes = Vec::new();
        for (split, reached) in reached.into_iter().enumerate() {
            // One that does not count is not held, so that it may wake up.
            let hold = reached.is_some_and(|reached| reached > slowest.saturating_add(self.max_ms));
            if std::mem::replace(&mut self.held[split], hold) != hold {
                changes.push((split, hold));
            }
        }
        changes
    }

    /// Whether any split waits.
    pub fn any_held(&self) -> bool {
        self.held.contains(&true)
    }

    /// The splits that wait.
    pub fn held(&self) -> impl Iterator<Item = usize> {
        self.held.iter().enumerate().filter_map(|(split, held)| held.then_some(split))
    }

    /// Whether all do.
    pub fn all_held(&self) -> bool {
        !self.held.is_empty() && !self.held.contains(&false)
    }

    /// Nothing comes of this subtask any more.
    pub fn end(&self) {
        self.group.tell(self.subtask, NOWHERE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_far_ahead_waits_for_the_slowest_of_all_subtasks() {
        let group = DriftGroup::new(2);
        let drift = |subtask| Drift::new(group.clone(), subtask, Duration::from_millis(100));
        let (mut first, mut second) = (drift(0), drift(1));
        let times = |times: &[i64]| times.iter().copied().map(Some).collect::<Vec<_>>().into_iter();
        // The other has not begun.
        assert_eq!(first.look(times(&[50, 60])), [(0, true), (1, true)]);
        assert!(first.all_held());
        assert_eq!(second.look(times(&[0])), []);
        assert_eq!(first.look(times(&[50, 60])), [(0, false), (1, false)]);
        assert_eq!(first.look(times(&[100, 101])), [(1, true)]);
        assert!(first.any_held() && !first.all_held());
        assert_eq!(second.look(times(&[1])), []);
        assert_eq!(first.look(times(&[100, 101])), [(1, false)]);
        // Idle ones neither wait nor are waited for.
        assert_eq!(second.look([None].into_iter()), []);
        assert_eq!(first.look(times(&[100, 201])), [(1, true)]);
        assert_eq!(first.look(times(&[150, 201])), [(1, false)]);
        second.look(times(&[7]));
        assert_eq!(first.look(times(&[150, 201])), [(0, true), (1, true)]);
        drop(second);
        assert_eq!(first.look(times(&[150, 201])), [(0, false), (1, false)]);
    }
}
