//! The stage of interval joins. Rows of both inputs are kept for as long as rows they can be paired with may come; whichever of a pair
//! comes last finds the other and the pair goes out. A row is late if its time is before the watermark.
use std::ops::Range;

use async_trait::async_trait;

use super::{
    JoinSettings, Side, intake,
    pairs::Pairs,
    timeline::{Gone, Page, Stretch, Timeline},
};
use crate::{
    checkpoint::CommitPermit,
    dataflow::{Moments, Operator, Outputs, Rejects, StateHome, TaskError},
    job::IntervalSpec,
    model::{Batch, EventTime, SnapshotRequest, SubtaskState, TimeDomain, WATERMARK_END},
    state::{Due, Touched},
};

/// Rows are removed in so many steps an interval, so that a key has few timers however many rows it has.
const STEPS: i64 = 16;

/// Rows of a key looked at first when some may be over; most keys have no more.
const FEW_ROWS: usize = 16;

/// An interval join at work.
pub(super) struct IntervalJoin {
    settings: JoinSettings,
    interval: IntervalSpec,
    rejects: [Rejects; 2],
    moments: Moments,
    timeline: Timeline,
    pairs: Pairs,
    watermark: EventTime,
    touched: Touched,
}

/// Rows of a batch that are of one key and look for rows in one stretch of time, in the order of their times.
struct Group {
    key: u32,
    rows: Range<usize>,
    stretch: Stretch,
}

/// Where rows of the other input lie that a row of `side` at `time` is paired with.
fn partners(interval: IntervalSpec, side: Side, time: EventTime) -> Stretch {
    let IntervalSpec { lower_ms, upper_ms } = interval;
    match side {
        Side::First => Stretch { from: time.saturating_add(lower_ms), to: time.saturating_add(upper_ms) },
        Side::Second => Stretch { from: time.saturating_sub(upper_ms), to: time.saturating_sub(lower_ms) },
    }
}

/// When a timer is set for a row that is over once the watermark is after `last`: at most a step later, and for different keys at
/// different times, lest all come due together.
fn removal_time(interval: IntervalSpec, last: EventTime, hash: u64) -> EventTime {
    let step = ((interval.upper_ms - interval.lower_ms) / STEPS).max(1);
    let over = last.saturating_add(1);
    let ahead = (i128::from(hash % step.cast_unsigned()) - i128::from(over)).rem_euclid(i128::from(step));
    over.saturating_add(ahead as i64)
}

/// The rows of a batch, `order` being by key and time, as groups.
fn groups(order: &[u32], keys: &[u32], times: &[EventTime], partners: impl Fn(EventTime) -> Stretch) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (at, row) in order.iter().enumerate() {
        let (key, stretch) = (keys[*row as usize], partners(times[*row as usize]));
        match groups.last_mut() {
            Some(last) if last.key == key && stretch.from <= last.stretch.to => {
                last.stretch.to = stretch.to;
                last.rows.end = at + 1;
            }
            _ => groups.push(Group { key, rows: at..at + 1, stretch }),
        }
    }
    groups
}

impl IntervalJoin {
    /// With what an earlier run left.
    pub(super) fn open(
        settings: JoinSettings,
        interval: IntervalSpec,
        rejects: [Rejects; 2],
        moments: Moments,
        home: &StateHome,
        restored: SubtaskState,
    ) -> Result<IntervalJoin, TaskError> {
        let watermark = restored.watermark;
        let timeline = Timeline::open("interval-join", &settings, home, restored)?;
        let (pairs, touched) = (Pairs::new(&settings), Touched::default());
        Ok(IntervalJoin { settings, interval, rejects, moments, timeline, pairs, watermark, touched })
    }

    /// Whether nothing that is still to come can be paired with a row.
    fn is_over(&self, side: Side, time: EventTime) -> bool {
        partners(self.interval, side, time).to < self.watermark || self.watermark == WATERMARK_END
    }

    async fn process(&mut self, side: Side, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let batch = intake::keyed(&self.settings, side, batch, &mut self.rejects, outputs).await?;
        let (times, watermark) = (batch.timestamps.clone(), self.watermark);
        let batch = intake::in_time(&self.settings, batch, |row| times[row] < watermark, outputs)?;
        if batch.rows() == 0 {
            return Ok(());
        }
        let mut touched = std::mem::take(&mut self.touched);
        let hashes = self.timeline.touch(side, &batch, &mut touched)?;
        let times = &batch.timestamps[..];
        let mut order: Vec<u32> = (0..batch.rows() as u32).collect();
        order.sort_by_key(|row| (touched.groups[*row as usize], times[*row as usize]));
        for group in groups(&order, &touched.groups, times, |time| partners(self.interval, side, time)) {
            let mut next = None;
            loop {
                let of = (&touched, group.key);
                let limit = self.settings.batch_records;
                let mut page = self.timeline.page(of, side.other(), group.stretch, next.take(), limit)?;
                self.match_rows(side, &batch, &order[group.rows.clone()], &page);
                if self.pairs.is_full() {
                    self.pairs.emit(Some((side, &batch)), batch.arrived, outputs).await?;
                }
                next = page.next.take();
                if next.is_none() {
                    break;
                }
            }
        }
        self.pairs.emit(Some((side, &batch)), batch.arrived, outputs).await?;
        self.keep(side, &batch, order, &touched, &hashes)?;
        self.touched = touched;
        Ok(())
    }

    /// Notes the pairs of rows, which are in the order of their times, and a page of the other input.
    fn match_rows(&mut self, side: Side, batch: &Batch, rows: &[u32], page: &Page) {
        if page.len() == 0 {
            return;
        }
        let matched = |row: &u32| {
            let Stretch { from, to } = partners(self.interval, side, batch.timestamps[*row as usize]);
            let range = page.count_while(|time| time < from)..page.count_while(|time| time <= to);
            (!range.is_empty()).then_some((*row, range))
        };
        // Of rows in the order of their times, those that look into the page are together.
        let last = page.time(page.len() - 1);
        let stretch = |row: &u32| partners(self.interval, side, batch.timestamps[*row as usize]);
        let start = rows.partition_point(|row| stretch(row).to < page.time(0));
        let end = rows.partition_point(|row| stretch(row).from <= last);
        let matches: Vec<(u32, Range<usize>)> = rows[start..end.max(start)].iter().filter_map(matched).collect();
        self.pairs.match_rows(side, page, &matches);
    }

    /// Keeps the rows for which others may still come.
    fn keep(
        &mut self,
        side: Side,
        batch: &Batch,
        mut rows: Vec<u32>,
        touched: &Touched,
        hashes: &[u64],
    ) -> Result<(), TaskError> {
        let times = &batch.timestamps[..];
        rows.retain(|row| !self.is_over(side, times[*row as usize]));
        // Rows of one time are kept in the order they came.
        rows.sort_unstable();
        self.timeline.insert(side, touched, (batch, times), &rows, self.moments.now_ms())?;
        let timer = |row: &u32| {
            let row = *row as usize;
            let last = partners(self.interval, side, times[row]).to;
            (touched.groups[row], removal_time(self.interval, last, hashes[row]))
        };
        let timers = rows.iter().map(timer).collect();
        self.timeline.set_timers(touched, TimeDomain::Event, timers)
    }

    /// Removes rows whose time has passed.
    fn clean(&mut self) -> Result<(), TaskError> {
        let (mut due, mut touched) = (Due::default(), Touched::default());
        while self.timeline.take_due(TimeDomain::Event, self.watermark, &mut due, &mut touched)? {
            let now_ms = self.moments.now_ms();
            let (mut gone, mut timers) = (Gone::default(), Vec::new());
            for (key, hash) in touched.groups.iter().zip(&due.hashes) {
                for side in Side::BOTH {
                    if let Some(time) = self.clean_key((&touched, *key), side, &mut gone, now_ms)? {
                        // Had the interval been another when the row came, no other timer would be its.
                        let last = partners(self.interval, side, time).to;
                        timers.push((*key, removal_time(self.interval, last, *hash)));
                    }
                }
            }
            self.timeline.remove(&touched, &mut gone, now_ms)?;
            self.timeline.set_timers(&touched, TimeDomain::Event, timers)?;
        }
        Ok(())
    }

    /// Finds the rows of a key that are over; gives the time of the first that is not.
    fn clean_key(
        &mut self,
        of: (&Touched, u32),
        side: Side,
        gone: &mut Gone,
        now_ms: i64,
    ) -> Result<Option<EventTime>, TaskError> {
        let (mut next, mut limit) = (None, FEW_ROWS.min(self.settings.batch_records));
        loop {
            let mut page = self.timeline.page(of, side, Stretch::ALL, next.take(), limit)?;
            let over = page.count_while(|time| self.is_over(side, time));
            gone.add(side, of.1, &page, over);
            if gone.len() >= self.settings.batch_records {
                self.timeline.remove(of.0, gone, now_ms)?;
            }
            if over < page.len() {
                return Ok(Some(page.time(over)));
            }
            next = page.next.take();
            if next.is_none() {
                return Ok(None);
            }
            limit = self.settings.batch_records;
        }
    }
}

#[async_trait]
impl Operator for IntervalJoin {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.process(Side::First, batch, outputs).await
    }

    async fn second(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.process(Side::Second, batch, outputs).await
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        self.clean()?;
        outputs.watermark(watermark).await
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        self.timeline.snapshot(request, self.watermark)
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.timeline.store.completed(permit.checkpoint());
        Ok(())
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.timeline.store.aborted(checkpoint);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_removed_soon_after_they_are_over_and_never_before() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..1000 {
            let lower_ms = random.i64(-10_000..10_000);
            let interval = IntervalSpec { lower_ms, upper_ms: lower_ms + random.i64(0..10_000) };
            let step = ((interval.upper_ms - lower_ms) / STEPS).max(1);
            let (last, hash) = (random.i64(-100_000..100_000), random.u64(..));
            let time = removal_time(interval, last, hash);
            assert!(last < time && time <= last + step);
            // Few: as many as there are steps.
            let rest = |time: i64| time.rem_euclid(step);
            assert_eq!(rest(time), rest(removal_time(interval, last + 7, hash)));
        }
        let interval = IntervalSpec { lower_ms: 0, upper_ms: i64::MAX / 8 };
        assert_eq!(removal_time(interval, EventTime::MAX, 5), EventTime::MAX);
    }

    #[test]
    fn rows_that_look_into_the_same_time_do_so_together() {
        let (keys, times) = ([0, 1, 0, 0, 1], [0, 5, 10, 100, 90]);
        let order = [0, 2, 3, 1, 4];
        let partners = |time| partners(IntervalSpec { lower_ms: -5, upper_ms: 5 }, Side::First, time);
        let found: Vec<_> = groups(&order, &keys, &times, partners)
            .into_iter()
            .map(|group| (group.key, group.rows, group.stretch.from, group.stretch.to))
            .collect();
        assert_eq!(found, [(0, 0..2, -5, 15), (0, 2..3, 95, 105), (1, 3..4, 0, 10), (1, 4..5, 85, 95)]);
    }
}
