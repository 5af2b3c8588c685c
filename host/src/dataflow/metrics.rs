//! What a running node counts, readable while it runs.
use std::sync::{
    Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    model::{EventTime, NO_WATERMARK},
    plugin::Measures,
};

/// Counts of one subtask of a node. Written by its task only.
#[derive(Debug)]
pub struct NodeMetrics {
    /// Rows in.
    pub records_in: AtomicU64,
    /// Rows out, side outputs included.
    pub records_out: AtomicU64,
    /// Rows that came too late for their window.
    pub late: AtomicU64,
    /// Rows rejected, or malformed.
    pub rejected: AtomicU64,
    /// Rows, timers and windows that calls have failed on and that were passed over.
    pub failed: AtomicU64,
    /// How often a circuit breaker has opened.
    pub circuits_opened: AtomicU64,
    /// Guests replaced because their memory had grown too much.
    pub guests_replaced: AtomicU64,
    /// Time in calls and what belongs to them, such as finding the state of their keys, in ns.
    pub call_ns: AtomicU64,
    /// Rows, timers and windows that these calls were given; what was given again counts again.
    pub call_items: AtomicU64,
    /// What its plugins have measured themselves.
    pub measures: Measures,
    watermark: AtomicI64,
}

impl Default for NodeMetrics {
    fn default() -> Self {
        NodeMetrics {
            records_in: AtomicU64::default(),
            records_out: AtomicU64::default(),
            late: AtomicU64::default(),
            rejected: AtomicU64::default(),
            failed: AtomicU64::default(),
            circuits_opened: AtomicU64::default(),
            guests_replaced: AtomicU64::default(),
            call_ns: AtomicU64::default(),
            call_items: AtomicU64::default(),
            measures: Measures::default(),
            watermark: AtomicI64::new(NO_WATERMARK),
        }
    }
}

impl NodeMetrics {
    /// Adds to a count.
    pub fn add(&self, count: &AtomicU64, rows: usize) {
        count.fetch_add(rows as u64, Relaxed);
    }

    /// The last watermark of this start.
    pub fn watermark(&self) -> EventTime {
        self.watermark.load(Relaxed)
    }

    /// The job starts, maybe again: its event time may be an earlier one.
    pub(crate) fn start(&self) {
        self.set_watermark(NO_WATERMARK);
    }

    pub(super) fn set_guests_replaced(&self, count: u64) {
        self.guests_replaced.store(count, Relaxed);
    }

    /// A call with so many rows, timers or windows is over.
    pub(super) fn called(&self, took: Duration, items: usize) {
        self.call_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.add(&self.call_items, items);
    }

    pub(super) fn set_watermark(&self, watermark: EventTime) {
        self.watermark.store(watermark, Relaxed);
    }
}

/// How long records took from source to sink, in us, to 1 %.
#[derive(Debug)]
pub struct LatencyHistogram(Mutex<Histogram<u64>>);

/// The longest latency told apart.
const LATENCY_US_MAX: u64 = 3_600_000_000;

impl Default for LatencyHistogram {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
        LatencyHistogram(Mutex::new(Histogram::new_with_max(LATENCY_US_MAX, 2).expect("bounds")))
    }
}

impl LatencyHistogram {
    /// Notes that `rows` records took this long.
    pub fn record(&self, latency: Duration, rows: usize) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Ok(mut histogram) = self.0.lock() {
            histogram.saturating_record_n(microseconds, rows as u64);
        }
    }

    /// Adds another one's records.
    pub fn merge(&self, other: &LatencyHistogram) {
        if let (Ok(mut mine), Ok(theirs)) = (self.0.lock(), other.0.lock()) {
            // Both have the same bounds, so nothing can fall outside.
            let _ = mine.add(&*theirs);
        }
    }

    /// The latency that this share (0 to 1) of the records did not exceed; `None` before there was one.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let histogram = self.0.lock().ok()?;
        (!histogram.is_empty()).then(|| Duration::from_micros(histogram.value_at_quantile(share)))
    }
}
