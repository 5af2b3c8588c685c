//! What becomes of calls into plugins that fail, as it was asked for. Plain data.
use std::time::Duration;

use serde::Deserialize;

use super::Place;

/// `on_failure: skip`, or `on_failure: { action: dead_letter, retries: 3, backoff: 100ms, circuit_breaker: {...} }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureSpec {
    /// Where it is said; of no meaning where it is not.
    pub place: Place,
    /// What becomes of what a call fails on when trying again does not help.
    pub action: FailureAction,
    /// How often a failed call is tried again, to [`RETRIES_MAX`]. Default 0.
    pub retries: u32,
    /// The wait before the first of them, from 1 ms to [`BACKOFF_MAX`], doubled before each further one up to that. Default
    /// [`BACKOFF_DEFAULT`].
    pub backoff: Duration,
    /// When calls are not even tried. Never with [`FailureAction::Fail`].
    pub circuit_breaker: Option<CircuitBreakerSpec>,
}

/// What becomes of what a call fails on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The job fails.
    #[default]
    Fail,
    /// Rows, timers or windows are sought out that the plugin fails on; they are counted and dropped.
    Skip,
    /// They go to the operator's `rejected` output as well.
    DeadLetter,
}

/// `circuit_breaker: { failures: 100, within: 1min, open: 30s }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreakerSpec {
    /// More failed calls than this open it, from 1 to [`CIRCUIT_FAILURES_MAX`]. Default [`CIRCUIT_FAILURES_DEFAULT`].
    pub failures: u32,
    /// Within which span, from 1 ms to [`CIRCUIT_SPAN_MAX`]. Default [`CIRCUIT_WITHIN_DEFAULT`].
    pub within: Duration,
    /// How long it is open, from 1 ms to [`CIRCUIT_SPAN_MAX`]. Default [`CIRCUIT_OPEN_DEFAULT`].
    pub open: Duration,
}

/// The most retries of a call.
pub const RETRIES_MAX: u32 = 100;
/// The wait before the first retry.
pub const BACKOFF_DEFAULT: Duration = Duration::from_millis(100);
/// The longest wait before a retry.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The most failed calls a circuit breaker remembers.
pub const CIRCUIT_FAILURES_MAX: u32 = 10_000;
/// Failed calls a circuit breaker bears.
pub const CIRCUIT_FAILURES_DEFAULT: u32 = 100;
/// For how long it remembers them.
pub const CIRCUIT_WITHIN_DEFAULT: Duration = Duration::from_secs(60);
/// How long it stays open.
pub const CIRCUIT_OPEN_DEFAULT: Duration = Duration::from_secs(30);
/// The longest span of a circuit breaker.
pub const CIRCUIT_SPAN_MAX: Duration = Duration::from_secs(86_400);

impl Default for FailureSpec {
    fn default() -> Self {
        FailureSpec {
            place: Place::default(),
            action: FailureAction::Fail,
            retries: 0,
            backoff: BACKOFF_DEFAULT,
            circuit_breaker: None,
        }
    }
}

impl FailureSpec {
    /// Whether the first failure of a call is the job's.
    pub fn fails_at_once(&self) -> bool {
        self.action == FailureAction::Fail && self.retries == 0
    }
}

impl Default for CircuitBreakerSpec {
    fn default() -> Self {
        CircuitBreakerSpec {
            failures: CIRCUIT_FAILURES_DEFAULT,
            within: CIRCUIT_WITHIN_DEFAULT,
            open: CIRCUIT_OPEN_DEFAULT,
        }
    }
}
