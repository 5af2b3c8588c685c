//! The generator as a source: which events its parts make, and when.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de::Error};

use super::{behavior, lines, transactions};
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
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<u64>::deserialize(deserializer)? {
        Some(0) => Err(D::Error::custom("`rate` must be at least 1 event a second")),
        rate => Ok(rate),
    }
}

/// What a generator makes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Workload {
    /// Lines of ten words, with event times.
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
        _restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let &Opening { subtask, parallelism, ref clock, .. } = opening;
        if matches!(self.workload, Workload::Lines) {
            lines::prepare();
        }
        Ok(Box::new(GeneratorReader {
            workload: self.workload,
            place: format!("generator, part {} of {parallelism}", subtask + 1).into(),
            next: subtask as u64,
            stride: parallelism as u64,
            made: 0,
            events: self.events.unwrap_or(u64::MAX),
            pace: self.rate.map(|rate| Pace { rate, start: None, earliest: Duration::ZERO }),
            clock: clock.clone(),
        }))
    }
}

struct GeneratorReader {
    workload: Workload,
    place: Arc<str>,
    /// Number of the next event, and how many numbers it is to the one after.
    next: u64,
    stride: u64,
    /// Events this part has made.
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
    /// When the first event was asked for: before that nobody could have taken any.
    start: Option<Duration>,
    /// When the next batch may be made.
    earliest: Duration,
}

impl Pace {
    fn due(&self, event: u64) -> Duration {
        let nanoseconds = u128::from(event % self.rate) * 1_000_000_000 / u128::from(self.rate);
        self.start.unwrap_or_default()
            + Duration::from_secs(event / self.rate)
            + Duration::from_nanos(nanoseconds as u64)
    }

    /// How many events are due by now: those with lower numbers.
    fn due_by(&self, now: Duration) -> u64 {
        let since = now.saturating_sub(self.start.unwrap_or_default()).as_nanos();
        u64::try_from(since * u128::from(self.rate) / 1_000_000_000).map_or(u64::MAX, |n| n.saturating_add(1))
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

    fn make(&mut self, into: &mut RawBatch, count: usize) {
        if into.is_empty() {
            into.position = Position { place: self.place.clone(), record: self.made + 1 };
        }
        match self.workload {
            Workload::Lines => {
                let (first, stride) = (self.next, self.stride);
                into.timestamps.extend((0..count as u64).map(|i| lines::time(first + i * stride)));
                self.make_with(into, count, lines::push);
            }
            Workload::Behavior => self.make_with(into, count, behavior::push),
            Workload::Transactions => self.make_with(into, count, transactions::push),
        }
    }

    #[inline(always)]
    fn make_with(&mut self, into: &mut RawBatch, count: usize, push: impl Fn(&mut Writer, u64)) {
        let mut out = Writer::new(&mut into.data, count * self.record_bytes_max());
        let (first, stride) = (self.next, self.stride);
        into.ends.reserve(count);
        for i in 0..count as u64 {
            push(&mut out, first + i * stride);
            into.ends.push(out.len() as u32);
        }
        out.finish();
        self.next += count as u64 * stride;
        self.made += count as u64;
    }

    /// How many events all parts may have made by now. With `wait`, waits until there is one for this part.
    async fn due(&mut self, wait: bool) -> u64 {
        let Some(pace) = &mut self.pace else {
            return u64::MAX;
        };
        pace.start.get_or_insert_with(|| self.clock.monotonic());
        let ready = pace.due(self.next).max(pace.earliest);
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
        if self.next >= self.events {
            return Ok(ReadStatus::End);
        }
        let room = self.room(into, limits);
        if room == 0 {
            return Ok(ReadStatus::More);
        }
        let until = self.due(into.is_empty()).await.min(self.events);
        let count =
            usize::try_from(until.saturating_sub(self.next).div_ceil(self.stride)).unwrap_or(usize::MAX).min(room);
        if count == 0 {
            return Ok(ReadStatus::More);
        }
        if let Some(pace) = &mut self.pace {
            if into.is_empty() {
                into.arrived = Some(pace.due(self.next));
            }
            if count == room {
                // More may be due: this batch was only full.
                pace.earliest = Duration::ZERO;
            }
        }
        self.make(into, count);
        Ok(ReadStatus::More)
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
}
