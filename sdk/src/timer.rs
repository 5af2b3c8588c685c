//! Timers: what is to happen to a key, or to a window, at a later time.
//!
//! Guarantees: a timer deleted by one that fires before it in the same call does not fire. Must not know: keys, windows.

use std::collections::BTreeSet;

use crate::bindings::types::{TimeDomain, TimerAction, TimerChanges};

/// A timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    time_ms: i64,
    domain: TimeDomain,
}

impl Timer {
    pub(crate) fn new(time_ms: i64, domain: TimeDomain) -> Self {
        Self { time_ms, domain }
    }

    /// The time it was set for, in milliseconds since 1970-01-01 UTC.
    #[inline]
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// Whether it was set for an event time; else it was for a processing time.
    #[inline]
    pub fn is_event_time(&self) -> bool {
        self.domain == TimeDomain::EventTime
    }
}

/// The timers that a call sets and deletes.
pub(crate) struct TimerSet {
    changes: TimerChanges,
    /// How many changes are not of the row in hand.
    kept: usize,
    /// Timers deleted while timers fire, which may be due in the same call; `None` while rows are processed.
    deleted: Option<BTreeSet<(u32, i64, bool)>>,
}

impl TimerSet {
    pub(crate) fn new(firing: bool) -> Self {
        let changes = TimerChanges { keys: Vec::new(), times: Vec::new(), domains: Vec::new(), actions: Vec::new() };
        Self { changes, kept: 0, deleted: firing.then(BTreeSet::new) }
    }

    pub(crate) fn change(&mut self, key: u32, time_ms: i64, domain: TimeDomain, action: TimerAction) {
        self.changes.keys.push(key);
        self.changes.times.push(time_ms);
        self.changes.domains.push(domain);
        self.changes.actions.push(action);
        if let Some(deleted) = &mut self.deleted {
            let timer = (key, time_ms, domain == TimeDomain::EventTime);
            match action {
                TimerAction::Set => deleted.remove(&timer),
                TimerAction::Delete => deleted.insert(timer),
            };
        }
    }

    pub(crate) fn is_deleted(&self, key: u32, timer: Timer) -> bool {
        let deleted = self.deleted.as_ref().filter(|deleted| !deleted.is_empty());
        deleted.is_some_and(|deleted| deleted.contains(&(key, timer.time_ms, timer.is_event_time())))
    }

    /// Ends the row in hand: its changes are kept.
    #[inline(always)]
    pub(crate) fn end(&mut self) {
        self.kept = self.changes.keys.len();
    }

    /// Drops the changes of the row in hand.
    pub(crate) fn take_back(&mut self) {
        self.changes.keys.truncate(self.kept);
        self.changes.times.truncate(self.kept);
        self.changes.domains.truncate(self.kept);
        self.changes.actions.truncate(self.kept);
    }

    pub(crate) fn finish(self) -> TimerChanges {
        self.changes
    }
}

/// The methods that set and delete timers, for a context with the fields `timers` and `of`, whose timers they are.
macro_rules! timer_methods {
    () => {
        /// Sets a timer for an event time, in milliseconds since 1970-01-01 UTC: it fires once the watermark is there. There is one
        /// timer at most for a time: setting it again changes nothing.
        #[inline]
        pub fn set_event_timer(&mut self, time_ms: i64) {
            self.timers.change(self.of, time_ms, TimeDomain::EventTime, TimerAction::Set);
        }

        /// Deletes the timer for this event time, if there is one.
        #[inline]
        pub fn delete_event_timer(&mut self, time_ms: i64) {
            self.timers.change(self.of, time_ms, TimeDomain::EventTime, TimerAction::Delete);
        }

        /// Sets a timer for a processing time, in milliseconds since 1970-01-01 UTC.
        #[inline]
        pub fn set_processing_timer(&mut self, time_ms: i64) {
            self.timers.change(self.of, time_ms, TimeDomain::ProcessingTime, TimerAction::Set);
        }

        /// Deletes the timer for this processing time, if there is one.
        #[inline]
        pub fn delete_processing_timer(&mut self, time_ms: i64) {
            self.timers.change(self.of, time_ms, TimeDomain::ProcessingTime, TimerAction::Delete);
        }
    };
}
pub(crate) use timer_methods;
