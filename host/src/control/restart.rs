//! Whether and when a failed job starts again. Pure: told the times, and given the randomness.
use std::{collections::VecDeque, time::Duration};

/// When a job that has failed starts again. Times are monotonic ones, since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartStrategy {
    /// After pauses that grow.
    ExponentialDelay {
        /// The first pause.
        initial: Duration,
        /// The longest pause.
        max: Duration,
        /// By which each is longer than the one before, at least 1.
        multiplier: f64,
        /// Once it has run for so long, the next pause is the first again.
        reset_after: Duration,
        /// By which part of itself a pause is longer or shorter, at random, from 0 to 1.
        jitter: f64,
    },
    /// A number of times, after the same pause.
    FixedDelay {
        /// How many times in all.
        attempts: u32,
        /// The pause.
        delay: Duration,
    },
    /// Unless it fails too often.
    FailureRate {
        /// How many failures are followed by a start, in any interval.
        failures: u32,
        /// The interval.
        interval: Duration,
        /// The pause.
        delay: Duration,
    },
    /// Never.
    None,
}

/// A job's restarts so far.
#[derive(Clone, Debug)]
pub struct Restarts {
    strategy: RestartStrategy,
    /// Starts after failures; with growing pauses, since the last reset.
    attempts: u32,
    /// When it failed, within the interval of a failure rate; as many as are allowed at most.
    failures: VecDeque<Duration>,
}

impl Restarts {
    /// Of a job that has not failed yet.
    pub fn new(strategy: RestartStrategy) -> Restarts {
        Restarts { strategy, attempts: 0, failures: VecDeque::new() }
    }

    /// For how long to pause before the next start after a failure of a job that had run since `running_since`, or `None` if it is
    /// not to start again. `random` is evenly distributed.
    pub fn next(&mut self, failed_at: Duration, running_since: Duration, random: u64) -> Option<Duration> {
        match self.strategy {
            RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after, jitter } => {
                if failed_at.saturating_sub(running_since) >= reset_after {
                    self.attempts = 0;
                }
                let growth = multiplier.max(1.0).powf(f64::from(self.attempts));
                self.attempts = self.attempts.saturating_add(1);
                let longest = max.as_secs_f64();
                let delay = (initial.as_secs_f64() * growth).min(longest);
                // -1 to 1.
                let deviation = random as f64 / u64::MAX as f64 * 2.0 - 1.0;
                let delay = (delay * (1.0 + deviation * jitter.clamp(0.0, 1.0))).clamp(0.0, longest);
                Some(Duration::try_from_secs_f64(delay).unwrap_or(max))
            }
            RestartStrategy::FixedDelay { attempts, delay } => {
                self.attempts = self.attempts.saturating_add(1);
                (self.attempts <= attempts).then_some(delay)
            }
            RestartStrategy::FailureRate { failures, interval, delay } => {
                let recent = |at: &Duration| failed_at.saturating_sub(*at) < interval;
                while self.failures.front().is_some_and(|at| !recent(at)) {
                    self.failures.pop_front();
                }
                if self.failures.len() >= failures as usize {
                    return None;
                }
                self.failures.push_back(failed_at);
                Some(delay)
            }
            RestartStrategy::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_long_run() {
        let strategy = RestartStrategy::ExponentialDelay {
            initial: SECOND,
            max: 5 * SECOND,
            multiplier: 2.0,
            reset_after: 60 * SECOND,
            jitter: 0.0,
        };
        let mut restarts = Restarts::new(strategy);
        let short: Vec<_> = (0..2000).map(|_| restarts.next(10 * SECOND, 9 * SECOND, 7)).collect();
        assert_eq!(&short[..4], [Some(SECOND), Some(2 * SECOND), Some(4 * SECOND), Some(5 * SECOND)]);
        assert_eq!(short[1999], Some(5 * SECOND));
        assert_eq!(restarts.next(70 * SECOND, 10 * SECOND, 7), Some(SECOND));
    }

    #[test]
    fn pauses_deviate_by_the_jitter_and_no_more() {
        let first = |random| {
            let (initial, max) = (10 * SECOND, 100 * SECOND);
            Restarts::new(RestartStrategy::ExponentialDelay {
                initial,
                max,
                multiplier: 2.0,
                reset_after: SECOND,
                jitter: 0.25,
            })
            .next(SECOND, SECOND, random)
        };
        assert_eq!((first(0), first(u64::MAX)), (Some(7500 * SECOND / 1000), Some(12_500 * SECOND / 1000)));
    }

    #[test]
    fn a_number_of_attempts_is_not_exceeded() {
        let mut restarts = Restarts::new(RestartStrategy::FixedDelay { attempts: 2, delay: SECOND });
        let next: Vec<_> = (0..4).map(|i| restarts.next(i * SECOND, Duration::ZERO, 0)).collect();
        assert_eq!(next, [Some(SECOND), Some(SECOND), None, None]);
    }

    #[test]
    fn a_job_that_fails_too_often_in_an_interval_stays_down() {
        let mut restarts =
            Restarts::new(RestartStrategy::FailureRate { failures: 2, interval: 10 * SECOND, delay: SECOND });
        let mut at = |seconds: u32| restarts.next(seconds * SECOND, Duration::ZERO, 0).is_some();
        assert_eq!([at(0), at(9), at(10), at(18), at(19)], [true, true, true, false, true]);
    }
}
