//! How far event time has come at a source whose records come from several splits, each with times of its own. Pure.
use std::time::Duration;

use super::{BoundedOutOfOrderness, WatermarkMerge, watermark::Progress};
use crate::model::{EventTime, NO_WATERMARK, WATERMARK_END};

/// The splits of a source's subtask. Its watermark is that of the split that is furthest behind; those that have given nothing for a
/// while are left out.
#[derive(Debug)]
pub struct SplitTimes {
    bound: Duration,
    idle_after: Option<Duration>,
    splits: Vec<Split>,
    merge: WatermarkMerge,
    ended: bool,
}

#[derive(Debug)]
struct Split {
    times: BoundedOutOfOrderness,
    /// When it is idle, unless something comes; `None` if it is already, or never will be.
    idle_at: Option<Duration>,
}

impl SplitTimes {
    /// Without splits yet, where event time had come to `watermark`. Times come out of order by at most `bound`.
    pub fn new(bound: Duration, idle_after: Option<Duration>, watermark: EventTime) -> SplitTimes {
        SplitTimes { bound, idle_after, splits: Vec::new(), merge: WatermarkMerge::new(0, watermark), ended: false }
    }

    /// How far event time has come.
    pub fn watermark(&self) -> EventTime {
        if self.ended { WATERMARK_END } else { self.merge.watermark() }
    }

    /// Nothing comes any more.
    pub fn end(&mut self) {
        self.ended = true;
        self.splits.iter_mut().for_each(|split| split.idle_at = None);
    }

    /// There are so many splits now.
    pub fn grow(&mut self, count: usize, now: Duration) {
        while self.splits.len() < count {
            let idle_at = self.idle_after.map(|after| now + after);
            self.splits.push(Split { times: BoundedOutOfOrderness::new(self.bound, NO_WATERMARK), idle_at });
            self.merge.join();
        }
    }

    /// Records of a split have come.
    pub fn active(&mut self, split: usize, now: Duration) {
        self.splits[split].idle_at = self.idle_after.map(|after| now + after);
        self.merge.active(split);
    }

    /// Takes note of times of a split.
    pub fn observe(&mut self, split: usize, times: &[EventTime]) -> Progress {
        match self.splits[split].times.observe(times) {
            Some(watermark) => self.merge.advance(split, watermark),
            None => Progress::None,
        }
    }

    /// How far each split has come; `None` for those that are idle.
    pub fn reached(&self) -> impl Iterator<Item = Option<EventTime>> {
        let watches = self.idle_after.is_some();
        self.splits.iter().map(move |split| (!watches || split.idle_at.is_some()).then(|| split.times.watermark()))
    }

    /// A split is kept waiting, and not idle for that.
    pub fn wait(&mut self, split: usize, now: Duration) {
        let split = &mut self.splits[split];
        split.idle_at = split.idle_at.and(self.idle_after.map(|after| now + after));
    }

    /// When the next split may be idle.
    pub fn idle_at(&self) -> Option<Duration> {
        self.splits.iter().filter_map(|split| split.idle_at).min()
    }

    /// Leaves out whoever has given nothing for too long.
    pub fn tick(&mut self, now: Duration) -> Progress {
        let mut progress = Progress::None;
        for (index, split) in self.splits.iter_mut().enumerate() {
            if split.idle_at.take_if(|at| *at <= now).is_some() {
                match self.merge.idle(index) {
                    Progress::None => {}
                    other => progress = other,
                }
            }
        }
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_is_that_of_the_split_furthest_behind_and_idle_ones_do_not_count() {
        let mut times = SplitTimes::new(Duration::from_millis(10), Some(SECOND), 50);
        times.grow(2, Duration::ZERO);
        assert_eq!(times.observe(0, &[200, 150]), Progress::None);
        assert_eq!(times.observe(1, &[100]), Progress::Watermark(89));
        times.active(0, SECOND / 2);
        assert_eq!((times.idle_at(), times.tick(SECOND / 2)), (Some(SECOND), Progress::None));
        assert_eq!(times.tick(SECOND), Progress::Watermark(189));
        assert_eq!((times.tick(2 * SECOND), times.idle_at()), (Progress::Idle, None));
        // What comes from one that was idle may be late.
        times.active(1, 2 * SECOND);
        assert_eq!(times.observe(1, &[120]), Progress::None);
        assert_eq!((times.watermark(), times.idle_at()), (189, Some(3 * SECOND)));
    }

    #[test]
    fn a_split_that_joins_holds_back_event_time_which_never_goes_back() {
        let mut times = SplitTimes::new(Duration::ZERO, None, 50);
        times.grow(1, Duration::ZERO);
        assert_eq!(times.observe(0, &[40]), Progress::None);
        assert_eq!(times.observe(0, &[61]), Progress::Watermark(60));
        times.grow(2, Duration::ZERO);
        assert_eq!((times.observe(0, &[100]), times.watermark()), (Progress::None, 60));
        assert_eq!(times.observe(1, &[30]), Progress::None);
        assert_eq!(times.observe(1, &[71]), Progress::Watermark(70));
        times.end();
        assert_eq!(times.watermark(), WATERMARK_END);
    }
}
