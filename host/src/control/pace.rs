//! How long an operator takes for a record, in the mean of the last second. Pure: told the times.
use std::{collections::VecDeque, time::Duration};

/// The time over which the mean is taken.
const OVER: Duration = Duration::from_secs(1);

/// The least time between two samples that are kept: so many there are at most.
const APART: Duration = Duration::from_millis(50);

/// What an operator had done at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// On the monotonic clock.
    pub(super) at: Duration,
    /// Time in calls, in ns.
    pub(super) call_ns: u64,
    /// What they were given.
    pub(super) items: u64,
}

/// Samples of the last second, and the one before.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Sample>);

impl Pace {
    /// Takes the next sample. The mean time for a record since the one a second before; none before there is such a one, or if nothing was
    /// done.
    pub(super) fn mean(&mut self, now: Sample) -> Option<Duration> {
        if self.0.back().is_none_or(|last| last.at + APART <= now.at) {
            self.0.push_back(now);
        }
        while self.0.get(1).is_some_and(|second| second.at + OVER <= now.at) {
            self.0.pop_front();
        }
        let first = self.0.front().filter(|first| first.at + OVER <= now.at)?;
        let ns = now.call_ns.saturating_sub(first.call_ns);
        ns.checked_div(now.items.saturating_sub(first.items)).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_the_last_second_once_there_was_one() {
        let mut pace = Pace::default();
        let mut look = |ms: u64, call_ns, items| {
            pace.mean(Sample { at: Duration::from_millis(ms), call_ns, items }).map(|mean| mean.as_nanos())
        };
        assert_eq!([look(0, 500, 5), look(400, 900, 6), look(999, 9000, 7)], [None; 3]);
        assert_eq!(look(1000, 10_500, 105), Some(100));
        assert_eq!(look(1999, 10_700, 107), Some(17), "since 999 ms");
        assert_eq!(look(5000, 10_700, 107), None, "nothing was done");
        assert!((0..10_000).all(|ms| look(6000 + ms, 10_700, 107).is_none()));
        assert!(pace.0.len() <= 22, "{}", pace.0.len());
    }
}
