//! Which windows a time falls into, when a window is over, and when it fires. Pure arithmetic on times; must not know state, tasks
//! or clocks.
mod lateness;
mod session;
mod sliding;
mod trigger;

pub use lateness::Lateness;
pub use session::{Session, SessionSet, Sessions};
pub use sliding::Sliding;
pub use trigger::{Every, Registers, Repeat, TimerRequest, Times, Trigger};

use std::time::Duration;

use crate::model::{EventTime, TimeDomain};

/// How rows are put into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigner {
    /// By time, windows of one length; tumbling ones are those that follow each other.
    Sliding(Sliding),
    /// By time, per key: as long as rows come.
    Session(Sessions),
    /// All rows of a key into one.
    Global,
}

/// The last time that belongs to what ends before `end`: at this event time it is over, since no earlier one is to come. Processing
/// time goes on within a millisecond, so by that nothing is over before `end` itself.
pub fn over_at(end: EventTime, domain: TimeDomain) -> EventTime {
    match domain {
        TimeDomain::Event => end.saturating_sub(1),
        TimeDomain::Processing => end,
    }
}

/// Whole milliseconds, so few that sums of some of them cannot overflow.
fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 8)
}
