//! When calls that keep failing are not tried for a while: a circuit breaker. Pure; must not know what is called.
use std::{collections::VecDeque, time::Duration};

use crate::job::CircuitBreakerSpec;

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Admitted,
    /// It may not, for now.
    Refused,
}

/// Counts failed calls. Times are readings of one monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    spec: CircuitBreakerSpec,
    state: State,
    /// When calls failed, the earliest first: while it is closed, and no longer ago than the span. At most one more than it bears.
    failures: VecDeque<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Duration,
    },
    /// The next call decides.
    HalfOpen,
}

impl Breaker {
    /// Closed, with nothing counted.
    pub(super) fn new(spec: CircuitBreakerSpec) -> Breaker {
        Breaker { spec, state: State::Closed, failures: VecDeque::new() }
    }

    /// Whether a call may be made now. One that may after it was open is a trial.
    pub(super) fn admit(&mut self, now: Duration) -> Admission {
        match self.state {
            State::Open { until } if now < until => Admission::Refused,
            State::Open { .. } => {
                self.state = State::HalfOpen;
                Admission::Admitted
            }
            State::Closed | State::HalfOpen => Admission::Admitted,
        }
    }

    /// Whether calls are refused, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// A call has succeeded. Whether that closes it.
    pub(super) fn succeeded(&mut self) -> bool {
        let closes = self.state == State::HalfOpen;
        if closes {
            self.state = State::Closed;
        }
        closes
    }

    /// A call has failed. Whether that opens it.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        match self.state {
            // Of what had to be called all the same.
            State::Open { .. } => return false,
            State::HalfOpen => {}
            State::Closed => {
                while self.failures.front().is_some_and(|at| now.saturating_sub(*at) > self.spec.within) {
                    self.failures.pop_front();
                }
                self.failures.push_back(now);
                if self.failures.len() <= self.spec.failures as usize {
                    return false;
                }
            }
        }
        self.failures.clear();
        self.state = State::Open { until: now.saturating_add(self.spec.open) };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(CircuitBreakerSpec { failures: 2, within: 10 * SECOND, open: 5 * SECOND })
    }

    #[test]
    fn only_more_failures_than_it_bears_within_the_span_open_it() {
        let mut breaker = breaker();
        // Never three within ten seconds.
        for at in [0, 6, 11, 17, 22, 28] {
            assert!(!breaker.failed(at * SECOND), "at {at} s");
            assert!(!breaker.succeeded(), "success changes nothing while it is closed");
        }
        assert!(breaker.failed(32 * SECOND));
        assert!(breaker.is_open());
    }

    #[test]
    fn after_its_time_one_call_decides_whether_it_closes() {
        let mut breaker = breaker();
        for _ in 0..3 {
            breaker.failed(SECOND);
        }
        assert_eq!(breaker.admit(5 * SECOND), Admission::Refused);
        assert_eq!(breaker.admit(6 * SECOND), Admission::Admitted);
        assert!(breaker.failed(7 * SECOND), "the trial failed: open again, from then on");
        assert_eq!(breaker.admit(11 * SECOND), Admission::Refused);
        assert_eq!(breaker.admit(12 * SECOND), Admission::Admitted);
        assert!(breaker.succeeded());
        // What was before is forgotten.
        assert_eq!([13, 13].map(|at| breaker.failed(at * SECOND)), [false, false]);
        assert_eq!(breaker.admit(13 * SECOND), Admission::Admitted);
        assert!(breaker.failed(13 * SECOND));
    }
}
