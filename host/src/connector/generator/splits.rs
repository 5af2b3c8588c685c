//! Which events are still to be made, by whom, and how checkpoints keep that. Pure.
use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    connector::{
        ConnectorError,
        encoding::{Decoding, Encoding},
    },
    model::SplitPosition,
};

const VERSION: u8 = 1;

/// Events `residue`, `residue + stride`, `residue + 2 stride` and so on. Those of all parts are disjoint and make up all events.
/// Ordered by the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Split {
    /// The next event to be made.
    next: u64,
    stride: u64,
    /// Below the stride.
    residue: u64,
}

impl Split {
    fn decode(split: &SplitPosition) -> Result<Split, ConnectorError> {
        let mut decoding = Decoding::new(&split.split, &split.position, VERSION)?;
        let (stride, residue, next) = (decoding.u64()?, decoding.u64()?, decoding.u64()?);
        if stride == 0 || next % stride != residue {
            return Err(decoding.failed("these are no events"));
        }
        decoding.finish()?;
        Ok(Split { next, stride, residue })
    }

    /// Version 1: stride, residue, next.
    fn encode(&self) -> SplitPosition {
        let position = Encoding::new(VERSION).u64(self.stride).u64(self.residue).u64(self.next).finish();
        SplitPosition { split: format!("{} of {}", self.residue, self.stride), position }
    }

    /// The same events in `count` splits.
    fn divide(self, count: u64) -> impl Iterator<Item = Split> {
        let stride = self.stride.saturating_mul(count);
        (0..count).map(move |i| {
            let next = self.next.saturating_add(i.saturating_mul(self.stride));
            Split { next, stride, residue: next % stride }
        })
    }
}

/// What a part makes: the events of its splits, all in order.
pub struct Splits(BinaryHeap<Reverse<Split>>);

/// Events in sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the first.
    pub first: u64,
    /// From each number to the next.
    pub stride: u64,
    /// How many.
    pub count: u64,
}

impl Splits {
    /// Those of part `subtask` of `parallelism`, and the first event that any part has to make. What is `restored` is shared out
    /// anew, in smaller splits if there would not be one for each part.
    pub fn open(
        subtask: usize,
        parallelism: usize,
        restored: Option<&[SplitPosition]>,
    ) -> Result<(Splits, u64), ConnectorError> {
        let mut all: Vec<Split> = restored.unwrap_or_default().iter().map(Split::decode).collect::<Result<_, _>>()?;
        if all.is_empty() {
            all.push(Split { next: 0, stride: 1, residue: 0 });
        }
        let begin = all.iter().map(|split| split.next).min().unwrap_or(0);
        let pieces = parallelism.div_ceil(all.len()) as u64;
        all = all.into_iter().flat_map(|split| split.divide(pieces)).collect();
        // Parts that get several get events as far apart as can be.
        all.sort_unstable_by_key(|split| (split.stride, split.residue));
        Ok((Splits(all.into_iter().skip(subtask).step_by(parallelism).map(Reverse).collect()), begin))
    }

    /// How many events have been made of these.
    pub fn made(&self) -> u64 {
        self.0.iter().map(|Reverse(split)| split.next / split.stride).fold(0, u64::saturating_add)
    }

    /// The next event.
    pub fn next(&self) -> Option<u64> {
        self.0.peek().map(|Reverse(split)| split.next)
    }

    /// Takes the next events below `until`, `count` of them at most, as far as they have one distance. `None` if there is none.
    pub fn take(&mut self, until: u64, count: u64) -> Option<Run> {
        if count == 0 || self.next()? >= until {
            return None;
        }
        let Reverse(mut split) = self.0.pop()?;
        let until = self.next().map_or(until, |other| other.min(until));
        let count = (until - split.next).div_ceil(split.stride).min(count);
        let run = Run { first: split.next, stride: split.stride, count };
        split.next = split.next.saturating_add(count.saturating_mul(split.stride));
        self.0.push(Reverse(split));
        Some(run)
    }

    /// How far they are.
    pub fn positions(&self) -> Vec<SplitPosition> {
        self.0.iter().map(|Reverse(split)| split.encode()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(splits: &mut Splits, until: u64, count: u64) -> Vec<u64> {
        let mut events = Vec::new();
        while let Some(run) = splits.take(until, count - events.len() as u64) {
            assert!(run.count > 0);
            events.extend((0..run.count).map(|i| run.first + i * run.stride));
        }
        events
    }

    #[test]
    fn events_are_made_once_and_in_order_however_often_they_are_shared_out_anew() {
        const EVENTS: u64 = 100_000;
        let mut made = Vec::new();
        let mut restored: Option<Vec<SplitPosition>> = None;
        for (turn, parallelism) in [1, 2, 4, 3, 8, 1, 5, 128, 2].into_iter().enumerate() {
            let mut left = Vec::new();
            for part in 0..parallelism {
                let (mut splits, begin) = Splits::open(part, parallelism, restored.as_deref()).unwrap();
                assert!(splits.next().is_some_and(|next| next >= begin), "{part} of {parallelism} has nothing");
                let before = splits.made();
                // Not all come as far as others.
                let found = taken(&mut splits, EVENTS, (97 + 31 * (turn + part) % 11) as u64);
                assert!(found.is_sorted());
                assert_eq!(splits.made(), before + found.len() as u64);
                made.extend(found);
                left.extend(splits.positions());
            }
            let names: std::collections::BTreeSet<_> = left.iter().map(|split| &split.split).collect();
            assert_eq!(names.len(), left.len());
            restored = Some(left);
        }
        assert!(made.len() as u64 > EVENTS / 10 && (made.len() as u64) < EVENTS);
        let (mut rest, _) = Splits::open(0, 1, restored.as_deref()).unwrap();
        let found = taken(&mut rest, EVENTS, u64::MAX);
        assert!(found.is_sorted());
        made.extend(found);
        made.sort_unstable();
        assert!(made.into_iter().eq(0..EVENTS));
        assert_eq!(rest.take(EVENTS, 1), None);
    }

    #[test]
    fn positions_that_mean_nothing_are_refused() {
        let split = Split { next: 7, stride: 4, residue: 3 };
        assert_eq!(Split::decode(&split.encode()).unwrap(), split);
        for stride in [0, 5] {
            assert!(Split::decode(&Split { stride, ..split }.encode()).unwrap_err().what.contains("no events"));
        }
    }
}
