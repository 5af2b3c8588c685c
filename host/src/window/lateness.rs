//! How long a window is kept after it is over, and from when on a row is too late for it.
use std::time::Duration;

use super::whole_ms;
use crate::model::{EventTime, Window};

/// The time for which windows are kept after they are over, for rows that come late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    allowed_ms: i64,
}

impl Lateness {
    /// Windows are kept for this long, in whole ms.
    pub fn new(allowed: Duration) -> Lateness {
        Lateness { allowed_ms: whole_ms(allowed) }
    }

    /// Whether windows are forgotten once they are over.
    pub fn is_none(self) -> bool {
        self.allowed_ms == 0
    }

    /// The watermark at which a window is forgotten.
    #[inline]
    pub fn cleanup_time(self, window: Window) -> EventTime {
        window.last().saturating_add(self.allowed_ms)
    }

    /// Whether a window is forgotten already: a row for it is late.
    #[inline]
    pub fn is_late(self, window: Window, watermark: EventTime) -> bool {
        self.cleanup_time(window) <= watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WATERMARK_END;

    #[test]
    fn a_window_is_kept_until_its_last_time_and_the_allowed_lateness_have_passed() {
        let window = Window { start: 0, end: 5000 };
        for (allowed, kept_at, late_at) in [(0, 4998, 4999), (1, 4999, 5000), (2000, 6998, 6999)] {
            let lateness = Lateness::new(Duration::from_millis(allowed));
            assert!(!lateness.is_late(window, kept_at) && lateness.is_late(window, late_at), "{allowed}");
        }
    }

    #[test]
    fn all_windows_are_over_at_the_end_whatever_lateness_is_allowed() {
        let lateness = Lateness::new(Duration::MAX);
        assert!(lateness.is_late(Window::GLOBAL, WATERMARK_END));
        assert!(!lateness.is_late(Window::GLOBAL, WATERMARK_END - 1));
    }
}
