//! Windows of one length that start at regular times; tumbling ones follow each other without gap or overlap. Overlapping windows
//! share slices: pieces of time that lie within each window wholly or not at all, so that a row is put into one slice, and not into
//! every window.
use std::{collections::BTreeSet, time::Duration};

use super::whole_ms;
use crate::model::{EventTime, Window};

/// Sliding windows: each time falls into at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    size_ms: i64,
    slide_ms: i64,
    offset_ms: i64,
    /// The greatest common divisor of size and slide.
    slice_ms: i64,
}

impl Sliding {
    /// Windows of length `size` that start at multiples of `slide` since 1970-01-01 UTC, shifted by `offset`. All in whole ms, the
    /// size at least 1, the slide from 1 to the size (else it is the nearest of these).
    pub fn new(size: Duration, slide: Duration, offset: Duration) -> Sliding {
        let size_ms = whole_ms(size).max(1);
        let slide_ms = whole_ms(slide).clamp(1, size_ms);
        Sliding { size_ms, slide_ms, offset_ms: whole_ms(offset) % slide_ms, slice_ms: gcd(size_ms, slide_ms) }
    }

    /// Windows of length `size` that follow each other.
    pub fn tumbling(size: Duration, offset: Duration) -> Sliding {
        Sliding::new(size, size, offset)
    }

    /// Whether each time falls into exactly one window, which is then one slice.
    pub fn is_tumbling(self) -> bool {
        self.size_ms == self.slide_ms
    }

    /// The greatest multiple of `step` (shifted) that is not after `time`.
    #[inline]
    fn floor(self, time: EventTime, step: i64) -> EventTime {
        time.saturating_sub(time.saturating_sub(self.offset_ms).rem_euclid(step))
    }

    /// The slice a time falls into.
    #[inline]
    pub fn slice_of(self, time: EventTime) -> Window {
        let start = self.floor(time, self.slice_ms);
        Window { start, end: start.saturating_add(self.slice_ms) }
    }

    /// The windows a slice lies in, the first to be over first.
    pub fn windows_of(self, slice: Window) -> impl Iterator<Item = Window> {
        let last = self.last_window_of(slice);
        let before = self.windows_before_last(slice, last);
        (0..=before).rev().map(move |n| self.starting_at(last.start.saturating_sub(n * self.slide_ms)))
    }

    /// The last window a slice lies in: once that is over, the slice is of no more use.
    #[inline]
    pub fn last_window_of(self, slice: Window) -> Window {
        self.starting_at(self.floor(slice.start, self.slide_ms))
    }

    /// The window that starts next after this one.
    pub fn next(self, window: Window) -> Window {
        self.starting_at(window.start.saturating_add(self.slide_ms))
    }

    /// The window that ends there, if one does.
    pub fn ending_at(self, end: EventTime) -> Option<Window> {
        self.windows_of(self.slice_of(end.saturating_sub(1))).find(|window| window.end == end)
    }

    fn starting_at(self, start: EventTime) -> Window {
        Window { start, end: start.saturating_add(self.size_ms) }
    }

    /// Of the windows that some of these slices lie in, those that are over at `until` and were not yet at `after`; the first to be
    /// over first.
    pub fn over_between(self, slices: impl Iterator<Item = Window>, after: EventTime, until: EventTime) -> Vec<Window> {
        // Most often the answer is none, and quickly found: watermarks are more frequent than windows.
        let last_over = self.floor(until.saturating_sub(self.size_ms - 1), self.slide_ms);
        if until != EventTime::MAX && self.starting_at(last_over).last() <= after {
            return Vec::new();
        }
        let mut windows = BTreeSet::new();
        for slice in slices {
            let due = self.windows_after(slice, after).take_while(|window| window.last() <= until);
            windows.extend(due);
        }
        windows.into_iter().collect()
    }

    /// Those of the windows of a slice that are not over at `after`.
    fn windows_after(self, slice: Window, after: EventTime) -> impl Iterator<Item = Window> {
        let last = self.last_window_of(slice);
        // How many steps before the last window the first of them starts.
        let ahead = last.last().saturating_sub(after).saturating_sub(1);
        let steps = if ahead < 0 { 0 } else { ahead / self.slide_ms + 1 };
        let before = steps.min(self.windows_before_last(slice, last) + 1);
        (0..before).rev().map(move |n| self.starting_at(last.start.saturating_sub(n * self.slide_ms)))
    }

    fn windows_before_last(self, slice: Window, last: Window) -> i64 {
        (self.size_ms - 1 - slice.start.saturating_sub(last.start).min(self.size_ms - 1)) / self.slide_ms
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WATERMARK_END;

    fn sliding(size: u64, slide: u64, offset: u64) -> Sliding {
        let ms = Duration::from_millis;
        Sliding::new(ms(size), ms(slide), ms(offset))
    }

    #[test]
    fn every_time_falls_into_the_tumbling_window_that_holds_it() {
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
            let windows = Sliding::tumbling(ms(length), ms(offset));
            let window = Window { start, end: start + length as i64 };
            assert_eq!(windows.slice_of(time), window, "{length} {offset} {time}");
            assert_eq!(windows.windows_of(window).collect::<Vec<_>>(), [window]);
        }
    }

    #[test]
    fn the_windows_of_a_times_slice_are_all_those_that_hold_the_time() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let size = random.i64(1..60);
            let slide = random.i64(1..=size);
            let offset = random.i64(0..70);
            let windows = sliding(size as u64, slide as u64, offset as u64);
            let time = random.i64(-200..200);
            let expected: Vec<Window> = (-500..500)
                .map(|n| n * slide + offset % slide)
                .filter(|start| *start <= time && time < start + size)
                .map(|start| Window { start, end: start + size })
                .collect();
            let slice = windows.slice_of(time);
            assert!(slice.start <= time && time < slice.end);
            assert_eq!(windows.windows_of(slice).collect::<Vec<_>>(), expected, "{windows:?} {time}");
            assert_eq!(Some(windows.last_window_of(slice)), expected.last().copied());
            assert!(expected.iter().all(|window| window.start <= slice.start && slice.end <= window.end));
        }
    }

    #[test]
    fn windows_are_over_once_each_however_the_watermark_advances() {
        let mut random = fastrand::Rng::with_seed(8);
        for _ in 0..200 {
            let size = random.i64(1..40);
            let windows = sliding(size as u64, random.u64(1..=size as u64), random.u64(0..5));
            let times: Vec<i64> = (0..20).map(|_| random.i64(-50..50)).collect();
            let slices = || times.iter().map(|time| windows.slice_of(*time));
            let all: BTreeSet<Window> = slices().flat_map(|slice| windows.windows_of(slice)).collect();
            let (mut seen, mut watermark) = (Vec::new(), i64::MIN);
            for next in [random.i64(-60..0), 0, random.i64(0..60), WATERMARK_END] {
                seen.extend(windows.over_between(slices(), watermark, next));
                watermark = next;
            }
            assert_eq!(seen, all.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn windows_are_found_by_their_ends_and_follow_each_other() {
        for windows in [sliding(10, 10, 3), sliding(60, 5, 0), sliding(50, 20, 7)] {
            let of: Vec<Window> = (0..100).flat_map(|time| windows.windows_of(windows.slice_of(time))).collect();
            for end in 7..100 {
                let expected = of.iter().find(|window| window.end == end).copied();
                assert_eq!(windows.ending_at(end), expected, "{windows:?}");
                if let Some(window) = expected {
                    let after = of.iter().filter(|it| it.start > window.start).min_by_key(|it| it.start);
                    assert_eq!(Some(&windows.next(window)), after);
                }
            }
        }
    }

    #[test]
    fn times_at_the_ends_of_the_scale_do_not_overflow() {
        for windows in [sliding(5000, 5000, 1000), sliding(5000, 300, 7)] {
            for time in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
                let slice = windows.slice_of(time);
                assert!(slice.start <= time && time <= slice.end);
                assert!(windows.windows_of(slice).count() >= 1);
                assert!(windows.last_window_of(slice).start <= slice.start);
            }
        }
    }
}
