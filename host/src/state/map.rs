//! The map of one key in memory: entries in the order of their keys' bytes, and which have changed.
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// When it was written, in ms, and its value.
type Entry = (i64, Box<[u8]>);

/// A map. Entries carry the time they were last written, for those that expire.
#[derive(Default)]
pub(super) struct MapCell {
    entries: BTreeMap<Box<[u8]>, Entry>,
    /// Keys written or removed since changes were last taken note of.
    changed: BTreeSet<Box<[u8]>>,
    bytes: usize,
    /// Up to where expired entries were looked for.
    swept: Box<[u8]>,
}

/// Of an entry, besides key and value.
const ENTRY_BYTES: usize = 56;

/// Entries looked at by one [`MapCell::sweep`].
const SWEEP_ENTRIES: usize = 64;

impl MapCell {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in memory, approximately.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When it was written, and the value.
    pub(super) fn get(&self, key: &[u8]) -> Option<(i64, &[u8])> {
        self.entries.get(key).map(|(time, value)| (*time, &value[..]))
    }

    /// Puts or, without a value, removes an entry. `track` if changes are to be remembered.
    pub(super) fn put(&mut self, key: &[u8], value: Option<&[u8]>, time: i64, track: bool) {
        let old = match value {
            Some(value) => {
                self.bytes += key.len() + value.len() + ENTRY_BYTES;
                self.entries.insert(key.into(), (time, value.into()))
            }
            None => self.entries.remove(key),
        };
        if let Some((_, old)) = &old {
            self.bytes -= key.len() + old.len() + ENTRY_BYTES;
        }
        if track && (old.is_some() || value.is_some()) {
            self.changed.insert(key.into());
        }
    }

    /// Removes all entries.
    pub(super) fn clear(&mut self, track: bool) {
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        if track {
            self.changed.extend(entries.into_keys());
        }
    }

    /// Entries after a key, in order: key, time, value.
    pub(super) fn after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&[u8], i64, &[u8])> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries
            .range::<[u8], _>((from, Bound::Unbounded))
            .map(|(key, (time, value))| (&key[..], *time, &value[..]))
    }

    /// Keys changed, with what they have now.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&[u8], Option<(i64, &[u8])>)> {
        self.changed.iter().map(|key| (&key[..], self.get(key)))
    }

    /// Takes note of all changes.
    pub(super) fn settle(&mut self) {
        self.changed.clear();
    }

    /// Removes a few entries written before `oldest`; each call goes on where the last ended.
    pub(super) fn sweep(&mut self, oldest: i64, track: bool) {
        let from = if self.swept.is_empty() { None } else { Some(&self.swept[..]) };
        let seen: Vec<(Box<[u8]>, bool)> =
            self.after(from).take(SWEEP_ENTRIES).map(|(key, time, _)| (key.into(), time <= oldest)).collect();
        for (key, _) in seen.iter().filter(|(_, expired)| *expired) {
            self.put(key, None, 0, track);
        }
        let ended = seen.len() < SWEEP_ENTRIES;
        self.swept = seen.into_iter().next_back().filter(|_| !ended).map(|(key, _)| key).unwrap_or_default();
    }
}
