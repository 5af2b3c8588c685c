//! When a window fires: once it is over, and before and after that as often as asked for. Decides from what is given alone; what it
//! has to remember of a window is in its [`Registers`], which are kept with the window.
use std::num::NonZeroU64;

use super::over_at;
use crate::model::{Decision, EventTime, TimeDomain, Window};

/// When windows fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Once a window is over by this time it fires, whether or not it fired early; never of itself if absent.
    pub end: Option<TimeDomain>,
    /// Before it is over. Windows that never are, because there is no `end`, are always before it.
    pub early: Repeat,
    /// After it is over, for rows that came late.
    pub late: Repeat,
    /// Whether what was in a window when it fired is forgotten.
    pub purge: bool,
}

/// Firing again and again; never if both are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeat {
    /// With every so many rows since it last fired.
    pub count: Option<NonZeroU64>,
    /// At regular times, if a row has come since it last fired.
    pub every: Option<Every>,
}

/// Regular times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    /// In ms, at least 1.
    pub interval_ms: i64,
    /// By which time.
    pub domain: TimeDomain,
    /// Whether they are the multiples of the interval since 1970-01-01 UTC; else the interval begins with the first row since the
    /// window last fired.
    pub aligned: bool,
}

/// What a trigger remembers of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Rows since it last fired; none before the first.
    pub pending: Option<i64>,
    /// The timer of the next regular time, if it is set.
    pub next: Option<EventTime>,
}

/// How far time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Event time.
    pub watermark: EventTime,
    /// Processing time, in ms since 1970-01-01 UTC.
    pub now_ms: i64,
}

impl Times {
    fn of(self, domain: TimeDomain) -> i64 {
        match domain {
            TimeDomain::Event => self.watermark,
            TimeDomain::Processing => self.now_ms,
        }
    }
}

/// A timer of a window to be set, or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerRequest {
    /// When it is due: once time has come to it.
    pub time: EventTime,
    /// By which time.
    pub domain: TimeDomain,
    /// Set if true, deleted if false.
    pub set: bool,
}

impl Repeat {
    /// With each row.
    pub const EACH: Repeat = Repeat { count: Some(NonZeroU64::MIN), every: None };

    /// Never.
    pub const NEVER: Repeat = Repeat { count: None, every: None };
}

impl Trigger {
    /// Once the window is over, and with each row that comes late but is allowed.
    pub fn at_end(domain: TimeDomain) -> Trigger {
        Trigger { end: Some(domain), early: Repeat::NEVER, late: Repeat::EACH, purge: false }
    }

    /// With every `count` rows, and not at the end of the window.
    pub fn count(count: NonZeroU64) -> Trigger {
        let early = Repeat { count: Some(count), every: None };
        Trigger { end: None, early, late: Repeat::NEVER, purge: false }
    }

    /// At regular times, at the end of the window, and with each row that comes late but is allowed.
    pub fn every(every: Every) -> Trigger {
        let early = Repeat { count: None, every: Some(every) };
        Trigger { early, ..Trigger::at_end(every.domain) }
    }

    /// The same, but what fired is forgotten.
    pub fn purging(self) -> Trigger {
        Trigger { purge: true, ..self }
    }

    fn is_over(self, window: Window, times: Times) -> bool {
        self.end.is_some_and(|domain| over_at(window.end, domain) <= times.of(domain))
    }

    fn repeat(self, window: Window, times: Times) -> Repeat {
        if self.is_over(window, times) { self.late } else { self.early }
    }

    /// A row of this time has come.
    #[inline]
    pub fn on_element(
        self,
        time: EventTime,
        window: Window,
        times: Times,
        registers: &mut Registers,
        timers: &mut Vec<TimerRequest>,
    ) -> Decision {
        let repeat = self.repeat(window, times);
        if registers.pending.is_none() {
            self.set_end(window, times, timers);
        }
        let pending = registers.pending.unwrap_or(0).saturating_add(1);
        registers.pending = Some(pending);
        if repeat.count.is_some_and(|count| count.get() <= pending as u64) {
            return self.fire(repeat, registers, timers);
        }
        if let (Some(every), None) = (repeat.every, registers.next) {
            let from = match every.domain {
                TimeDomain::Event => time.max(times.watermark.saturating_add(1)),
                TimeDomain::Processing => times.now_ms,
            };
            self.set_next(every.after(from), every.domain, window, times, registers, timers);
        }
        Decision::Continue
    }

    /// A timer of the window is due.
    pub fn on_timer(
        self,
        (time, domain): (EventTime, TimeDomain),
        window: Window,
        registers: &mut Registers,
        timers: &mut Vec<TimerRequest>,
    ) -> Decision {
        if self.end == Some(domain) && time == over_at(window.end, domain) {
            return self.fire(self.early, registers, timers);
        }
        let regular = |repeat: Repeat| repeat.every.is_some_and(|every| every.domain == domain);
        if registers.next != Some(time) || !(regular(self.early) || regular(self.late)) {
            return Decision::Continue;
        }
        registers.next = None;
        match registers.pending {
            Some(1..) => self.fire(Repeat::NEVER, registers, timers),
            _ => Decision::Continue,
        }
    }

    /// Sessions with these registers are one now. Their timers are gone; those of the one are set.
    pub fn merged(
        self,
        before: impl Iterator<Item = Registers>,
        window: Window,
        times: Times,
        timers: &mut Vec<TimerRequest>,
    ) -> Registers {
        let mut merged = before.fold(Registers::default(), |merged, one| Registers {
            pending: merged.pending.into_iter().chain(one.pending).reduce(i64::saturating_add),
            next: merged.next.into_iter().chain(one.next).min(),
        });
        if merged.pending.is_some() {
            self.set_end(window, times, timers);
        }
        if let Some(next) = merged.next.take()
            && let Some(every) = self.repeat(window, times).every
        {
            self.set_next(next, every.domain, window, times, &mut merged, timers);
        }
        merged
    }

    /// The window is forgotten: whether it fires once more, for rows that came late and have not been seen.
    pub fn on_cleanup(self, registers: Registers) -> Decision {
        match registers.pending {
            Some(1..) if self.end.is_some() && self.late != Repeat::NEVER => Decision::Fire,
            _ => Decision::Continue,
        }
    }

    fn set_end(self, window: Window, times: Times, timers: &mut Vec<TimerRequest>) {
        if let Some((time, domain)) = self.end_timer(window).filter(|_| !self.is_over(window, times)) {
            timers.push(TimerRequest { time, domain, set: true });
        }
    }

    /// When a window's end is due, and by which time, if it is waited for.
    pub fn end_timer(self, window: Window) -> Option<(EventTime, TimeDomain)> {
        self.end.map(|domain| (over_at(window.end, domain), domain))
    }

    fn set_next(
        self,
        time: EventTime,
        domain: TimeDomain,
        window: Window,
        times: Times,
        registers: &mut Registers,
        timers: &mut Vec<TimerRequest>,
    ) {
        // At the end it fires anyhow.
        let at_end = self.end == Some(domain) && !self.is_over(window, times) && over_at(window.end, domain) <= time;
        if !at_end {
            registers.next = Some(time);
            timers.push(TimerRequest { time, domain, set: true });
        }
    }

    fn fire(self, repeat: Repeat, registers: &mut Registers, timers: &mut Vec<TimerRequest>) -> Decision {
        registers.pending = Some(0);
        if let (Some(time), Some(every)) = (registers.next.take(), repeat.every) {
            timers.push(TimerRequest { time, domain: every.domain, set: false });
        }
        if self.purge { Decision::FireAndPurge } else { Decision::Fire }
    }
}

impl Every {
    /// When what comes at `time` is to be fired.
    fn after(self, time: EventTime) -> EventTime {
        let interval = self.interval_ms.max(1);
        if !self.aligned {
            return over_at(time.saturating_add(interval), self.domain);
        }
        over_at(time.saturating_sub(time.rem_euclid(interval)).saturating_add(interval), self.domain)
    }
}

#[cfg(test)]
mod tests;
