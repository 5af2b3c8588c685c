//! Event time, and the clock through which everything else asks for time. Nothing else in the host reads the system's clock,
//! so that a simulated one can stand in for it.
use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;

/// Milliseconds since 1970-01-01 UTC.
pub type EventTime = i64;

/// The watermark before there is one.
pub const NO_WATERMARK: EventTime = i64::MIN;

/// The watermark after the last record: every window fires.
pub const WATERMARK_END: EventTime = i64::MAX;

/// Which time something goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeDomain {
    /// The time in the records.
    #[default]
    Event,
    /// The time at which they are processed.
    Processing,
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Processing time: the wall clock, in ms since 1970-01-01 UTC. May jump.
    fn now_ms(&self) -> i64;
    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;
    /// Completes once [`monotonic`](Clock::monotonic) has reached `deadline`.
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Time that processors have spent on the calling thread. No clock: for limits and measurements, not for results.
pub fn thread_processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a `timespec` to write to. The call cannot fail with this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The machine's clock, on tokio's timer.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic reading starts at 0 now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep_until((self.start + deadline).into()))
    }
}
