//! The stage of window joins. Rows are kept by key and time, once each however many windows they are in; a timer says when a window of
//! a key is over. Then its pairs go out, and rows that are in no later window are removed. Sessions are found in the times of the rows
//! kept, when they end, so that joining two of them moves nothing.
use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;

use super::{
    JoinSettings, Side, Windowing, intake,
    pairs::Pairs,
    timeline::{Gone, Page, Stretch, Timeline},
};
use crate::{
    checkpoint::CommitPermit,
    dataflow::{Moments, Operator, Outputs, Rejects, StateHome, TaskError},
    job::AssignerSpec,
    model::{Batch, EventTime, SnapshotRequest, SubtaskState, TimeDomain, WATERMARK_END, Window},
    state::{Due, Touched},
    window::{Sessions, Sliding, over_at},
};

/// How rows are put into windows.
#[derive(Clone, Copy)]
enum Windows {
    Fixed(Sliding),
    /// With the gap between two.
    Session(Sessions, i64),
}

/// A window join at work.
pub(super) struct WindowJoin {
    settings: JoinSettings,
    windows: Windows,
    time: TimeDomain,
    rejects: [Rejects; 2],
    moments: Moments,
    timeline: Timeline,
    pairs: Pairs,
    watermark: EventTime,
    /// The latest processing time seen: here it never goes back, lest a window be over twice.
    now_ms: i64,
    /// When the first timer by processing time is due.
    wake_at: Option<i64>,
}

/// A window of a key that is over.
struct Over {
    /// Rows with these times are in it.
    rows: Stretch,
    /// Its end.
    end: EventTime,
    /// Its start; that of a session is the time of its first row.
    start: Option<EventTime>,
    /// Rows from this time on are in later windows too.
    keep_from: EventTime,
}

impl Windows {
    fn of(assigner: AssignerSpec) -> Option<Windows> {
        Some(match assigner {
            AssignerSpec::Tumbling { size, offset } => Windows::Fixed(Sliding::tumbling(size, offset)),
            AssignerSpec::Sliding { size, slide, offset } => Windows::Fixed(Sliding::new(size, slide, offset)),
            AssignerSpec::Session { gap } => {
                let sessions = Sessions::new(gap);
                Windows::Session(sessions, sessions.window_of(0).end)
            }
            AssignerSpec::Global => return None,
        })
    }

    /// The window of a key that is over at a timer's time.
    fn over(self, time: EventTime, domain: TimeDomain) -> Option<Over> {
        let end = if domain == TimeDomain::Event { time.saturating_add(1) } else { time };
        match self {
            Windows::Fixed(sliding) => {
                let window = sliding.ending_at(end)?;
                let keep_from = sliding.next(window).start;
                let rows = Stretch { from: window.start, to: window.last() };
                Some(Over { rows, end, start: Some(window.start), keep_from })
            }
            Windows::Session(_, gap_ms) => {
                // At the end of the scale gaps are cut off.
                let last = if end == EventTime::MAX { end } else { end.saturating_sub(gap_ms) };
                let rows = Stretch { from: EventTime::MIN, to: last };
                Some(Over { rows, end, start: None, keep_from: EventTime::MAX })
            }
        }
    }
}

/// The name of a store: what is kept, and the timers, are of these windows.
fn store_name(windowing: Windowing) -> String {
    let ms = |duration: Duration| duration.as_millis();
    let windows = match windowing.assigner {
        AssignerSpec::Tumbling { size, offset } => format!("tumbling-{}-{}", ms(size), ms(offset)),
        AssignerSpec::Sliding { size, slide, offset } => format!("sliding-{}-{}-{}", ms(size), ms(slide), ms(offset)),
        AssignerSpec::Session { gap } => format!("session-{}", ms(gap)),
        AssignerSpec::Global => "global".to_owned(),
    };
    let time = if windowing.time == TimeDomain::Event { "event" } else { "processing" };
    format!("join-{windows}-{time}")
}

impl WindowJoin {
    /// With what an earlier run left.
    pub(super) fn open(
        settings: JoinSettings,
        windowing: Windowing,
        rejects: [Rejects; 2],
        moments: Moments,
        home: &StateHome,
        restored: SubtaskState,
    ) -> Result<WindowJoin, TaskError> {
        let windows =
            Windows::of(windowing.assigner).ok_or_else(|| settings.bug("rows are joined in windows that never end"))?;
        let watermark = restored.watermark;
        let timeline = Timeline::open(&store_name(windowing), &settings, home, restored)?;
        let wake_at = timeline.store.next_timer(TimeDomain::Processing);
        let (pairs, time, now_ms) = (Pairs::new(&settings), windowing.time, i64::MIN);
        Ok(WindowJoin { settings, windows, time, rejects, moments, timeline, pairs, watermark, now_ms, wake_at })
    }

    /// Whether a window that ends there is over.
    fn is_over(&self, end: EventTime) -> bool {
        let now = if self.time == TimeDomain::Event { self.watermark } else { self.now_ms };
        over_at(end, self.time) <= now || self.watermark == WATERMARK_END
    }

    fn see(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    async fn process(&mut self, side: Side, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let batch = intake::keyed(&self.settings, side, batch, &mut self.rejects, outputs).await?;
        if batch.rows() == 0 {
            return Ok(());
        }
        let now_ms = self.moments.now_ms();
        self.see(now_ms);
        let times = match self.time {
            TimeDomain::Event => batch.timestamps.clone(),
            TimeDomain::Processing => vec![self.now_ms; batch.rows()].into(),
        };
        match self.windows {
            Windows::Fixed(sliding) => self.add_to_fixed(side, batch, &times, sliding, outputs)?,
            Windows::Session(sessions, gap_ms) => {
                self.add_to_sessions(side, &batch, &times, (sessions, gap_ms), outputs)?;
            }
        }
        self.wake_at = self.timeline.store.next_timer(TimeDomain::Processing);
        Ok(())
    }

    /// Puts rows into windows of one length.
    fn add_to_fixed(
        &mut self,
        side: Side,
        batch: Batch,
        times: &[EventTime],
        sliding: Sliding,
        outputs: &Outputs,
    ) -> Result<(), TaskError> {
        // The end of the first window that is not over, for each row.
        let open = |time: &EventTime| {
            let mut windows = sliding.windows_of(sliding.slice_of(*time));
            windows.find(|window| !self.is_over(window.end)).map(|window| window.end)
        };
        let ends: Vec<Option<EventTime>> = times.iter().map(open).collect();
        let batch = intake::in_time(&self.settings, batch, |row| ends[row].is_none(), outputs)?;
        let (times, ends): (Vec<EventTime>, Vec<EventTime>) =
            times.iter().zip(ends).filter_map(|(time, end)| Some((*time, end?))).unzip();
        let mut touched = Touched::default();
        self.timeline.touch(side, &batch, &mut touched)?;
        let rows: Vec<u32> = (0..batch.rows() as u32).collect();
        self.timeline.insert(side, &touched, (&batch, &times), &rows, self.now_ms)?;
        let ends = touched.groups.iter().copied().zip(ends).collect();
        self.set_timers(&touched, ends)
    }

    /// Puts rows into sessions.
    fn add_to_sessions(
        &mut self,
        side: Side,
        batch: &Batch,
        times: &[EventTime],
        (sessions, gap_ms): (Sessions, i64),
        outputs: &Outputs,
    ) -> Result<(), TaskError> {
        let mut touched = Touched::default();
        self.timeline.touch(side, batch, &mut touched)?;
        let rows = self.in_sessions(&touched, times, (sessions, gap_ms))?;
        outputs.metrics().add(&outputs.metrics().late, batch.rows() - rows.len());
        self.timeline.insert(side, &touched, (batch, times), &rows, self.now_ms)?;
        let of = rows.iter().map(|row| (touched.groups[*row as usize], times[*row as usize])).collect();
        let ends = last_of_runs(of, gap_ms).map(|(key, time)| (key, sessions.window_of(time).end)).collect();
        self.set_timers(&touched, ends)
    }

    /// Rows that are not late: their own session is not over, or is part of one that is not.
    fn in_sessions(
        &mut self,
        touched: &Touched,
        times: &[EventTime],
        (sessions, gap_ms): (Sessions, i64),
    ) -> Result<Vec<u32>, TaskError> {
        let over = |time: EventTime| self.is_over(sessions.window_of(time).end);
        if !times.iter().any(|time| over(*time)) {
            return Ok((0..times.len() as u32).collect());
        }
        let over: Vec<bool> = times.iter().map(|time| over(*time)).collect();
        let ended = self.watermark == WATERMARK_END;
        // Rows join sessions as they come, so those of the batch that are before a row count as well.
        let mut taken: BTreeSet<(u32, EventTime)> = BTreeSet::new();
        let mut rows = Vec::with_capacity(times.len());
        for (row, time) in times.iter().enumerate() {
            let key = touched.groups[row];
            // A session ends a gap after its last row, and a row there begins another.
            let reach = gap_ms - 1;
            let near = Stretch { from: time.saturating_sub(reach), to: time.saturating_add(reach) };
            let joins = !over[row]
                || !ended
                    && (taken.range((key, near.from)..=(key, near.to)).next().is_some()
                        || self.timeline.has_any((touched, key), near)?);
            if joins {
                taken.insert((key, *time));
                rows.push(row as u32);
            }
        }
        Ok(rows)
    }

    /// Sets timers for the ends of windows of keys.
    fn set_timers(&mut self, touched: &Touched, ends: Vec<(u32, EventTime)>) -> Result<(), TaskError> {
        let timers = ends.into_iter().map(|(key, end)| (key, over_at(end, self.time))).collect();
        self.timeline.set_timers(touched, self.time, timers)
    }

    /// Has windows fire whose timers are due.
    async fn advance(&mut self, until: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        let (mut due, mut touched) = (Due::default(), Touched::default());
        while self.timeline.take_due(self.time, until, &mut due, &mut touched)? {
            let (mut gone, mut ends) = (Gone::default(), Vec::new());
            for (key, time) in touched.groups.iter().zip(&due.times) {
                let of = (&touched, *key);
                if let Some(over) = self.windows.over(*time, self.time)
                    && !self.goes_on(of, &over)?
                {
                    let left = self.fire(of, &over, &mut gone, outputs).await?;
                    ends.extend(left.then(|| self.end_after(&over)).flatten().map(|end| (*key, end)));
                }
            }
            self.pairs.emit(None, self.moments.monotonic(), outputs).await?;
            self.timeline.remove(&touched, &mut gone, self.now_ms)?;
            self.set_timers(&touched, ends)?;
        }
        self.wake_at = self.timeline.store.next_timer(TimeDomain::Processing);
        Ok(())
    }

    /// Whether what looks like the end of a session is not: a row has come since.
    fn goes_on(&mut self, of: (&Touched, u32), over: &Over) -> Result<bool, TaskError> {
        let after = Stretch { from: over.rows.to.saturating_add(1), to: over.end.saturating_sub(1) };
        Ok(over.start.is_none() && after.from <= after.to && self.timeline.has_any(of, after)?)
    }

    /// The end of the window after one of which rows are left.
    fn end_after(&self, over: &Over) -> Option<EventTime> {
        match (self.windows, over.start) {
            (Windows::Fixed(sliding), Some(start)) => {
                Some(sliding.next(Window { start, end: over.end }).end).filter(|end| *end > over.end)
            }
            _ => None,
        }
    }

    /// Pairs the rows of a window of a key, and notes those that are of no more use. Whether any are left in it.
    async fn fire(
        &mut self,
        of: (&Touched, u32),
        over: &Over,
        gone: &mut Gone,
        outputs: &mut Outputs,
    ) -> Result<bool, TaskError> {
        let limit = self.settings.batch_records;
        let mut first = self.timeline.page(of, Side::First, over.rows, None, limit)?;
        let mut begun = Some(self.timeline.page(of, Side::Second, over.rows, None, limit)?);
        let earliest = [Some(&first), begun.as_ref()].into_iter().flatten().filter(|page| page.len() > 0);
        let earliest = earliest.map(|page| page.time(0)).min();
        let Some(start) = over.start.or(earliest) else { return Ok(false) };
        let window = Window { start, end: over.end };
        let mut left = false;
        loop {
            let is_last = first.next.is_none();
            let mut second = match begun.take() {
                Some(page) => page,
                None => self.timeline.page(of, Side::Second, over.rows, None, limit)?,
            };
            loop {
                self.pairs.cross(&first, &second, window);
                if self.pairs.is_full() {
                    self.pairs.emit(None, self.moments.monotonic(), outputs).await?;
                }
                // Once for each page of the second: they are read again for each page of the first.
                if is_last {
                    left |= self.leave(of, Side::Second, &second, over, gone)?;
                }
                let Some(next) = second.next.take() else { break };
                second = self.timeline.page(of, Side::Second, over.rows, Some(next), limit)?;
            }
            left |= self.leave(of, Side::First, &first, over, gone)?;
            let Some(next) = first.next.take() else { return Ok(left) };
            first = self.timeline.page(of, Side::First, over.rows, Some(next), limit)?;
        }
    }

    /// Notes the rows of a page that are in no later window. Whether there are others.
    fn leave(
        &mut self,
        (touched, key): (&Touched, u32),
        side: Side,
        page: &Page,
        over: &Over,
        gone: &mut Gone,
    ) -> Result<bool, TaskError> {
        let count = page.count_while(|time| over.start.is_none() || time < over.keep_from);
        gone.add(side, key, page, count);
        if gone.len() >= self.settings.batch_records {
            self.timeline.remove(touched, gone, self.now_ms)?;
        }
        Ok(count < page.len())
    }
}

/// Of times of keys, those after which no other of the same key comes within the gap, so that a session may end with them.
fn last_of_runs(mut of: Vec<(u32, EventTime)>, gap_ms: i64) -> impl Iterator<Item = (u32, EventTime)> {
    of.sort_unstable();
    let next: Vec<Option<(u32, EventTime)>> = of.iter().skip(1).map(|it| Some(*it)).chain([None]).collect();
    of.into_iter().zip(next).filter_map(move |((key, time), next)| {
        let goes_on = next.is_some_and(|(of, next)| of == key && next.saturating_sub(time) < gap_ms);
        (!goes_on).then_some((key, time))
    })
}

#[async_trait]
impl Operator for WindowJoin {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.process(Side::First, batch, outputs).await
    }

    async fn second(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.process(Side::Second, batch, outputs).await
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        // The end of a bounded input is the end of its windows, by whichever time they go.
        if self.time == TimeDomain::Event || watermark == WATERMARK_END {
            self.advance(watermark, outputs).await?;
        }
        outputs.watermark(watermark).await
    }

    fn wake_at(&self) -> Option<i64> {
        self.wake_at
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.see(now_ms);
        if self.time == TimeDomain::Processing {
            self.advance(self.now_ms, outputs).await?;
        }
        Ok(())
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
