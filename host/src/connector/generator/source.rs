//! The generator as a source: which events its parts make, and when.
use std::{num::NonZeroU64, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    behavior, lines,
    splits::{Run, Splits},
    transactions,
};
use crate::{
    connector::{BatchLimits, ConnectorError, Opening, ReadStatus, Source, SourceReader},
    model::{Clock, Position, RawBatch, SplitPosition},
    writer::Writer,
};

/// The least time between two batches of a paced generator, so that it does not spin.
const PACE: Duration = Duration::from_millis(1);

/// `generator: { workload: lines, events: 1000000, rate: 50000 }`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorSource {
    /// What is made.
    workload: Workload,
    /// How many events all parts make together. Default: no end.
    events: Option<u64>,
    /// How many events a second all parts make together, from 1. Default: as many as are taken.
    #[serde(default, deserialize_with = "rate")]
    rate: Option<u64>,
    /// Of transactions: number of users, from 1. Default: 100 000, the most.
    keys: Option<NonZeroU64>,
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<u64>::deserialize(deserializer)? {
        Some(0) => Err(D::Error::custom("`rate` must be at least 1 event a second")),
        rate => Ok(rate),
    }
}

/// What a generator makes. Events have event times: the timestamps that are in them, if there are.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Workload {
    /// Lines of ten words.
    Lines,
    /// `{"userId":U,"itemId":I,"behavior":"B","timestamp":T}`
    Behavior,
    /// `{"user":U,"amount":A,"timestamp":T}`
    Transactions,
}

impl Source for GeneratorSource {
    fn parallelism_max(&self) -> Option<usize> {
        None
    }

    fn can_replay(&self) -> bool {
        true
    }

    fn open(
        &self,
        opening: &Opening,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let &Opening { subtask, parallelism, ref clock, .. } = opening;
        if matches!(self.workload, Workload::Lines) {
            lines::prepare();
        }
        let (splits, begin) = Splits::open(subtask, parallelism, restored)?;
        Ok(Box::new(GeneratorReader {
            workload: self.workload,
            keys: self.keys.map_or(u64::MAX, NonZeroU64::get),
            place: format!("generator, part {} of {parallelism}", subtask + 1).into(),
            made: splits.made(),
            splits,
            events: self.events.unwrap_or(u64::MAX),
            pace: self.rate.map(|rate| Pace { rate, begin, start: None, earliest: Duration::ZERO }),
            clock: clock.clone(),
        }))
    }
}

struct GeneratorReader {
    workload: Workload,
    keys: u64,
    place: Arc<str>,
    splits: Splits,
    /// Events that were made of these splits, also in earlier runs.
    made: u64,
    /// Events of all parts.
    events: u64,
    pace: Option<Pace>,
    clock: Arc<dyn Clock>,
}

/// When events are due.
struct Pace {
    /// Events a second, of all parts.
    rate: u64,
    /// The first event that any part has to make: after a restart not those made before.
    begin: u64,
    /// When this part was asked for its first event: before that nobody could have taken any.
    start: Option<Duration>,
    /// When the next batch may be made.
    earliest: Duration,
}

impl Pace {
    fn due(&self, event: u64) -> Duration {
        let event = event.saturating_sub(self.begin);
        let nanoseconds = u128::from(event % self.rate) * 1_000_000_000 / u128::from(self.rate);
        self.start.unwrap_or_default()
            + Duration::from_secs(event / self.rate)
            + Duration::from_nanos(nanoseconds as u64)
    }

    /// How many events are due by now: those with lower numbers.
    fn due_by(&self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.start.unwrap_or_default()).as_nanos();
        u64::try_from(since * u128::from(self.rate) / 1_000_000_000)
            .map_or(u64::MAX, |n| n.saturating_add(1).saturating_add(self.begin))
    }
}

impl GeneratorReader {
    fn record_bytes_max(&self) -> usize {
        match self.workload {
            Workload::Lines => lines::RECORD_BYTES_MAX,
            Workload::Behavior => behavior::RECORD_BYTES_MAX,
            Workload::Transactions => transactions::RECORD_BYTES_MAX,
        }
    }

    /// How many more records the batch has room for, if all are as long as can be.
    fn room(&self, into: &RawBatch, limits: BatchLimits) -> usize {
        if !into.is_empty()
            && (into.position.place != self.place || into.position.record + into.len() as u64 != self.made + 1)
        {
            return 0;
        }
        let bytes = limits.bytes.saturating_sub(into.data.len()) / self.record_bytes_max();
        let records = limits.records.saturating_sub(into.len()).min(bytes);
        if into.is_empty() { records.max(1) } else { records }
    }

    fn make(&mut self, into: &mut RawBatch, run: Run) {
        if into.is_empty() {
            into.position = Position { place: self.place.clone(), record: self.made + 1 };
        }
        match self.workload {
            Workload::Lines => self.make_with(into, run, lines::push),
            Workload::Behavior => self.make_with(into, run, behavior::push),
            Workload::Transactions => self.make_with(into, run, |out, i| transactions::push_of(out, i, self.keys)),
        }
        self.made += run.count;
    }

    #[inline(always)]
    fn make_with(&self, into: &mut RawBatch, run: Run, push: impl Fn(&mut Writer, u64) -> i64) {
        let count = run.count as usize;
        let mut out = Writer::new(&mut into.data, count * self.record_bytes_max());
        into.ends.reserve(count);
        into.timestamps.reserve(count);
        for i in 0..run.count {
            into.timestamps.push(push(&mut out, run.first + i * run.stride));
            into.ends.push(out.len() as u32);
        }
        out.finish();
    }

    /// How many events all parts may have made by now. With `wait`, waits until event `next` is one of them.
    async fn due(&mut self, next: u64, wait: bool) -> u64 {
        let Some(pace) = &mut self.pace else {
            return u64::MAX;
        };
        pace.start.get_or_insert_with(|| self.clock.monotonic());
        let ready = pace.due(next).max(pace.earliest);
        if wait && self.clock.monotonic() < ready {
            self.clock.sleep_until(ready).await;
        }
        let now = self.clock.monotonic();
        if now < ready {
            return 0;
        }
        pace.earliest = now + PACE;
        pace.due_by(now)
    }
}

#[async_trait]
impl SourceReader for GeneratorReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        let Some(next) = self.splits.next().filter(|next| *next < self.events) else {
            return Ok(ReadStatus::End);
        };
        let room = self.room(into, limits);
        if room == 0 {
            return Ok(ReadStatus::More);
        }
        let was_empty = into.is_empty();
        let until = self.due(next, was_empty).await.min(self.events);
        let mut left = room as u64;
        while let Some(run) = self.splits.take(until, left) {
            self.make(into, run);
            left -= run.count;
        }
        if let Some(pace) = &mut self.pace {
            if was_empty && !into.is_empty() {
                into.arrived = Some(pace.due(next));
            }
            if left == 0 {
                // More may be due: this batch was only full.
                pace.earliest = Duration::ZERO;
            }
        }
        Ok(ReadStatus::More)
    }

    fn positions(&self) -> Vec<SplitPosition> {
        self.splits.positions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{LIMITS, ManualClock, clock, opening, read_some, records};

    fn source(settings: &str) -> GeneratorSource {
        serde_saphyr::from_str(settings).unwrap()
    }

    #[tokio::test]
    async fn parts_share_the_events() {
        for workload in ["lines", "behavior", "transactions"] {
            let source = source(&format!("{{ workload: {workload}, events: 10001 }}"));
            let whole =
                read_some(&mut *source.open(&opening(0, 1, &clock()), None).unwrap(), usize::MAX).await.unwrap();
            assert_eq!(whole.len(), 10_001);
            for part in 0..3 {
                let found =
                    read_some(&mut *source.open(&opening(part, 3, &clock()), None).unwrap(), usize::MAX).await.unwrap();
                let expected = whole.iter().skip(part).step_by(3).cloned().collect::<Vec<_>>();
                assert_eq!(found, expected);
            }
        }
    }

    #[tokio::test]
    async fn events_are_made_when_they_are_due() {
        let clock = ManualClock::new();
        let shared: Arc<dyn Clock> = clock.clone();
        let mut part =
            source("{ workload: lines, rate: 1000, events: 30 }").open(&opening(1, 2, &shared), None).unwrap();
        let mut raw = RawBatch::default();
        // Part 1 of 2 makes events 1, 3, 5, ..., which are due at as many milliseconds.
        assert!(futures::poll!(part.read(&mut raw, LIMITS)).is_pending());
        clock.advance(Duration::from_millis(6));
        assert_eq!(part.read(&mut raw, LIMITS).await.unwrap(), ReadStatus::More);
        assert_eq!((raw.len(), raw.arrived), (3, Some(Duration::from_millis(1))));
        // Nothing more is due, and the batch is not waited to be full.
        assert_eq!(part.read(&mut raw, LIMITS).await.unwrap(), ReadStatus::More);
        assert_eq!(raw.len(), 3);
        clock.advance(Duration::from_secs(1));
        let mut rest = RawBatch::default();
        let few = BatchLimits { records: 10, bytes: 1 << 20 };
        part.read(&mut rest, few).await.unwrap();
        assert_eq!((rest.len(), rest.arrived), (10, Some(Duration::from_millis(7))));
        assert_eq!(rest.timestamps, [7, 9, 11, 13, 15, 17, 19, 21, 23, 25].map(lines::time));
        // A batch that was only full is followed by the next without waiting.
        rest.clear();
        part.read(&mut rest, few).await.unwrap();
        assert_eq!((records(&rest).len(), rest.position.record), (2, 14));
        assert_eq!(part.read(&mut rest, few).await.unwrap(), ReadStatus::End);
    }

    #[tokio::test]
    async fn restored_parts_go_on_with_events_and_pace() {
        for workload in ["lines", "behavior", "transactions"] {
            let bounded = source(&format!("{{ workload: {workload}, events: 10001 }}"));
            let mut whole =
                read_some(&mut *bounded.open(&opening(0, 1, &clock()), None).unwrap(), 20_000).await.unwrap();
            let (mut found, mut left) = (Vec::new(), Vec::new());
            for part in 0..2 {
                let mut reader = bounded.open(&opening(part, 2, &clock()), None).unwrap();
                for _ in 0..=part {
                    let mut raw = RawBatch::default();
                    reader.read(&mut raw, BatchLimits { records: 1000, bytes: 1 << 20 }).await.unwrap();
                    found.extend(records(&raw));
                }
                left.extend(reader.positions());
            }
            for part in 0..3 {
                let mut reader = bounded.open(&opening(part, 3, &clock()), Some(&left)).unwrap();
                found.extend(read_some(&mut *reader, usize::MAX).await.unwrap());
            }
            whole.sort();
            found.sort();
            assert_eq!(found, whole);
        }
        // Part 1 was left at event 25 when part 0 was at 20: that is due at once, and 25 and 27 are 5 and 7 ms later.
        let manual = ManualClock::new();
        let shared: Arc<dyn Clock> = manual.clone();
        let paced = source("{ workload: transactions, rate: 1000 }");
        let mut left = Vec::new();
        for (part, events) in [(0, 10), (1, 12)] {
            let mut reader = paced.open(&opening(part, 2, &shared), None).unwrap();
            let mut raw = RawBatch::default();
            assert!(
                futures::poll!(reader.read(&mut raw, BatchLimits { records: 1, bytes: 1 << 20 })).is_ready()
                    || part == 1
            );
            manual.advance(Duration::from_secs(60));
            reader.read(&mut raw, BatchLimits { records: events, bytes: 1 << 20 }).await.unwrap();
            assert_eq!(raw.len(), events);
            left.extend(reader.positions());
        }
        let mut raw = RawBatch::default();
        let mut second = paced.open(&opening(1, 2, &shared), Some(&left)).unwrap();
        assert!(futures::poll!(second.read(&mut raw, LIMITS)).is_pending());
        manual.advance(Duration::from_millis(7));
        second.read(&mut raw, LIMITS).await.unwrap();
        assert_eq!(raw.timestamps, [25, 27].map(|i| 1_700_000_000_000 + i));
    }
}
