//! Windows and triggers as they were asked for. Plain data, defaults filled in; that they go together was checked when the file
//! was read.
use std::time::Duration;

use super::PluginSpec;
use crate::model::TimeDomain;

/// `window: { tumbling: 5min, offset: 0s, time: event, allowed_lateness: 0s, trigger: event_time, purge: false }`.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// Which rows belong together.
    pub assigner: AssignerSpec,
    /// Which time decides. Default event time.
    pub time: TimeDomain,
    /// For how much longer than its end a window takes rows; whole ms. 0 unless windows end in event time. Default 0.
    pub allowed_lateness: Duration,
    /// When a window's result is put out. Default: at its end.
    pub trigger: TriggerSpec,
    /// Whether a window's rows are forgotten once a result was put out; a trigger that is a plugin may also say so itself.
    pub purge: bool,
}

impl WindowSpec {
    /// Whether rows may be too late: windows end in time.
    pub fn has_late_rows(&self) -> bool {
        self.assigner != AssignerSpec::Global
    }
}

/// Which rows belong together. All times in whole ms, from 1 ms to [`SPAN_MAX`](super::SPAN_MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignerSpec {
    /// `tumbling: 5min`: windows of one length that follow each other.
    Tumbling {
        /// Length.
        size: Duration,
        /// Shifts the starts from multiples of the length since 1970-01-01 UTC; below the length. Default 0.
        offset: Duration,
    },
    /// `sliding: { size: 1h, slide: 5min }`: windows of one length that may overlap.
    Sliding {
        /// Length, at most [`WINDOWS_PER_ROW_MAX`] times `slide`.
        size: Duration,
        /// From one start to the next.
        slide: Duration,
        /// Shifts the starts from multiples of `slide` since 1970-01-01 UTC; below `slide`. Default 0.
        offset: Duration,
    },
    /// `session: 30min`: rows with less than this between them.
    Session {
        /// The pause that ends a window.
        gap: Duration,
    },
    /// `global: {}`, or `count: 100` with a trigger of that count that purges: one window that never ends.
    Global,
}

/// The most sliding windows a row may be in.
pub const WINDOWS_PER_ROW_MAX: u32 = 4096;

/// When a window's result is put out.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerSpec {
    /// `trigger: event_time`: once the watermark has passed its end, and for each late row. A global window ends with its input.
    EventTime,
    /// `trigger: processing_time`: once the clock has passed its end.
    ProcessingTime,
    /// `trigger: { count: 100 }`: whenever this many rows have come, from 1 to [`TRIGGER_COUNT_MAX`]; not at the end.
    Count(u64),
    /// `trigger: { every: 1min }`: at each multiple of this in the window's time, if rows have come since the last result, and
    /// at the end; 1 ms to [`SPAN_MAX`](super::SPAN_MAX), whole ms.
    Every(Duration),
    /// `trigger: { early: { every: 10s }, late: { count: 1 } }`: also before the end, at the end, and after it. At least one is there.
    EarlyLate {
        /// Before the end; default: not.
        early: Option<FiringSpec>,
        /// After the end, until the allowed lateness is over; default: for each late row. Only in event time.
        late: Option<FiringSpec>,
    },
    /// `trigger: { plugin: ../plugins/x, config: {...} }`: a plugin decides.
    Plugin(PluginSpec),
}

/// How often a trigger fires before or after a window's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FiringSpec {
    /// `{ every: 10s }`: at each multiple of this in processing time, if rows have come since the last result; whole ms from 1 ms
    /// to [`SPAN_MAX`](super::SPAN_MAX).
    Every(Duration),
    /// `{ count: 100 }`: after this many rows since the last result, from 1 to [`TRIGGER_COUNT_MAX`].
    Count(u64),
}

/// The most rows a trigger may wait for.
pub const TRIGGER_COUNT_MAX: u64 = 1 << 40;
