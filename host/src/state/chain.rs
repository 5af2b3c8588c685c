//! Which runs make up the state at the last checkpoint, and what the next one writes: changes, or sections whole. Pure
//! bookkeeping.
use bytes::Bytes;

use crate::model::{Blob, KeyGroups, Part};

/// Parts of the key groups of a subtask that are written whole, or not, each by itself.
pub(super) const SECTIONS: usize = 16;

/// So many sections at most are written whole because their changes have outgrown them.
const REBASED_MAX: usize = 2;

/// From so many runs on, the sections that still need the oldest one are written whole, one at a checkpoint: what is written whole holds
/// up the task.
const RUNS_MAX: usize = 24;

/// The section of a key group.
pub(super) fn section_of(group: u32, groups: &KeyGroups) -> usize {
    let length = u64::from(groups.end - groups.start).max(1);
    (u64::from(group.saturating_sub(groups.start)) * SECTIONS as u64 / length) as usize % SECTIONS
}

struct Run {
    name: String,
    checkpoint: u64,
    number: u64,
    /// Until a checkpoint that has it is complete.
    content: Option<Bytes>,
    whole: u16,
    /// Entries in each section.
    entries: [u64; SECTIONS],
}

/// The runs of the last checkpoint.
#[derive(Default)]
pub(super) struct Chain {
    runs: Vec<Run>,
    numbers: u64,
}

impl Chain {
    /// With the runs of a restored checkpoint, all durable: names, numbers, whole sections, and entries in each section as far as they
    /// counted.
    pub(super) fn restored(runs: Vec<(String, u64, u16, [u64; SECTIONS])>) -> Chain {
        let numbers = runs.iter().map(|(_, number, ..)| *number).max().unwrap_or(0);
        let run = |(name, number, whole, entries)| Run { name, checkpoint: 0, number, content: None, whole, entries };
        Chain { runs: runs.into_iter().map(run).collect(), numbers }
    }

    /// Whether the next checkpoint can build on earlier ones.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Forgets all runs: the next checkpoint is whole.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// Which sections to write whole, given how many entries live, and how many have changed, in each.
    pub(super) fn plan(&self, live: &[u64; SECTIONS], changed: &[u64; SECTIONS]) -> u16 {
        if self.runs.is_empty() {
            return u16::MAX;
        }
        let mut whole = 0;
        let mut outgrown = Vec::new();
        for section in 0..SECTIONS {
            let base = self.base(section);
            let later: u64 = self.runs[base + 1..].iter().map(|run| run.entries[section]).sum();
            if changed[section] * 2 > live[section] && changed[section] > 0 {
                whole |= 1 << section;
            } else if later + changed[section] > self.runs[base].entries[section] {
                outgrown.push((std::cmp::Reverse(later), section));
            } else if base == 0 && self.runs.len() >= RUNS_MAX {
                outgrown.push((std::cmp::Reverse(u64::MAX), section));
            }
        }
        outgrown.sort_unstable();
        if outgrown.get(1).is_some_and(|(later, _)| *later == std::cmp::Reverse(u64::MAX)) {
            outgrown.truncate(1);
        }
        outgrown.iter().take(REBASED_MAX).for_each(|(_, section)| whole |= 1 << section);
        whole
    }

    /// The run that has the section whole, and last.
    fn base(&self, section: usize) -> usize {
        self.runs.iter().rposition(|run| run.whole & (1 << section) != 0).unwrap_or_default()
    }

    /// Adds a run, and forgets those no section needs any more.
    pub(super) fn add(&mut self, name: String, checkpoint: u64, content: Bytes, whole: u16, entries: [u64; SECTIONS]) {
        self.numbers += 1;
        self.runs.push(Run { name, checkpoint, number: self.numbers, content: Some(content), whole, entries });
        let first = (0..SECTIONS).map(|section| self.base(section)).min().unwrap_or_default();
        let bases: Vec<usize> = (0..SECTIONS).map(|section| self.base(section)).collect();
        let mut at = 0;
        self.runs.retain(|run| {
            let needed = at >= first
                && bases
                    .iter()
                    .enumerate()
                    .any(|(section, base)| at == *base || at > *base && run.entries[section] > 0);
            at += 1;
            needed
        });
    }

    /// A checkpoint is complete: it has made the contents of its runs durable.
    pub(super) fn completed(&mut self, checkpoint: u64) {
        for run in self.runs.iter_mut().filter(|run| run.checkpoint <= checkpoint) {
            run.content = None;
        }
    }

    /// The runs as parts of a snapshot.
    pub(super) fn parts(&self, groups: &KeyGroups) -> Vec<Part> {
        let part = |run: &Run| Part {
            name: run.name.clone(),
            groups: groups.clone(),
            note: note(run.number, false),
            content: run.content.clone().map(Blob::Bytes),
        };
        self.runs.iter().map(part).collect()
    }
}

/// What a part says of itself: its place in the order of parts, and whether none of its entries is in another.
pub(super) fn note(number: u64, disjoint: bool) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[u8::from(disjoint)]].concat()
}

/// Takes a note apart.
pub(super) fn read_note(note: &[u8]) -> Option<(u64, bool)> {
    let (number, rest) = note.split_first_chunk()?;
    match rest {
        [disjoint @ (0 | 1)] => Some((u64::from_le_bytes(*number), *disjoint == 1)),
        _ => None,
    }
}
