//! Windows of one length that follow each other without gap or overlap.
use std::time::Duration;

use crate::model::EventTime;

/// Tumbling windows: each time falls into exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    length_ms: i64,
    offset_ms: i64,
}

impl Tumbling {
    /// Windows of `length` (at least 1 ms, whole ms) that start at multiples of it since 1970-01-01 UTC, shifted by `offset`.
    pub fn new(length: Duration, offset: Duration) -> Tumbling {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
        let length_ms = ms(length).max(1);
        Tumbling { length_ms, offset_ms: ms(offset) % length_ms }
    }

    /// The start of the window a time falls into.
    #[inline]
    pub fn start_of(self, time: EventTime) -> EventTime {
        time.saturating_sub(time.saturating_sub(self.offset_ms).rem_euclid(self.length_ms))
    }

    /// The end, exclusive, of the window with this start.
    #[inline]
    pub fn end_of(self, start: EventTime) -> EventTime {
        start.saturating_add(self.length_ms)
    }

    /// Whether the window with this start is over once the watermark is here: no time in it is still to come.
    #[inline]
    pub fn is_over(self, start: EventTime, watermark: EventTime) -> bool {
        self.end_of(start) - 1 <= watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_the_window_that_holds_it() {
        let ms = Duration::from_millis;
        for (length, offset, time, start) in [
            (5000, 0, 0, 0),
            (5000, 0, 4999, 0),
            (5000, 0, 5000, 5000),
            (5000, 0, -1, -5000),
            (5000, 1000, 999, -4000),
            (5000, 1000, 1000, 1000),
            (1, 0, 7, 7),
        ] {
            let windows = Tumbling::new(ms(length), ms(offset));
            assert_eq!(windows.start_of(time), start, "{length} {offset} {time}");
            assert!(start <= time && time < windows.end_of(start));
        }
    }

    #[test]
    fn a_window_is_over_with_its_last_millisecond() {
        let windows = Tumbling::new(Duration::from_secs(5), Duration::ZERO);
        assert!(!windows.is_over(0, 4998));
        assert!(windows.is_over(0, 4999));
        assert!(windows.is_over(windows.start_of(i64::MAX), i64::MAX));
    }

    #[test]
    fn times_at_the_ends_of_the_scale_do_not_overflow() {
        let windows = Tumbling::new(Duration::from_secs(5), Duration::from_secs(1));
        assert_eq!(windows.start_of(i64::MIN), i64::MIN);
        assert!((0..5000).contains(&(i64::MAX - windows.start_of(i64::MAX))));
    }
}
