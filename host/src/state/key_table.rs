//! Encoded keys, numbered in the order they came. Open addressing with linear probing; a probe touches one entry of the index
//! (a part of the hash beside the key's number) and one of the keys (their length, first bytes and mark together), so that short
//! keys are told apart without looking at their bytes elsewhere.

/// A set of distinct keys with a number each, from 0 up, and a mark each that callers use as they like.
#[derive(Default)]
pub(super) struct KeyTable {
    /// `number + 1` in the low half, the hash's low half in the high half; 0 where free. A power of two long.
    index: Vec<u64>,
    keys: Vec<Key>,
    bytes: Vec<u8>,
}

/// Small, since how many of them a processor's cache holds is what a probe costs.
struct Key {
    /// The first [`HEAD_BYTES`], zeros after the end.
    head: u64,
    /// Where it starts in `bytes`, in units of [`START_UNIT`].
    start: u32,
    length: u32,
    mark: Mark,
}

/// What callers note about a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which batch last saw the key.
    pub(super) batch: u32,
    /// Its group there.
    pub(super) group: u32,
}

const INITIAL_ENTRIES: usize = 64;
const HEAD_BYTES: usize = 8;

/// Keys start at multiples of this, so that 32 bits reach over 32 GiB of keys.
const START_UNIT: usize = 8;

/// Keys looked for together.
pub(super) const FETCHED_KEYS: usize = 64;
/// Tables of fewer keys mostly lie in a processor's cache.
const FETCH_FROM_KEYS: usize = 4096;

/// Of so many entries of the index...
const LOAD_OF: usize = 8;
/// ...so many are used at most.
const LOAD_MAX: usize = 5;

/// The first bytes of a key as a number. `data` is what the key lies in, from its start on: where that goes on for long enough,
/// no byte need be copied singly.
#[inline]
fn head(data: &[u8], length: usize) -> u64 {
    match data.first_chunk::<HEAD_BYTES>() {
        Some(chunk) if length >= HEAD_BYTES => u64::from_le_bytes(*chunk),
        Some(chunk) => u64::from_le_bytes(*chunk) & ((1 << (8 * length)) - 1),
        None => data[..length].iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}

impl KeyTable {
    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key with this number.
    #[inline]
    pub(super) fn key(&self, number: usize) -> &[u8] {
        let key = &self.keys[number];
        let start = key.start as usize * START_UNIT;
        &self.bytes[start..start + key.length as usize]
    }

    /// The number and mark of the key in the first `length` bytes of `data`; what comes after them does not matter. A key that
    /// was not there gets the mark `new`.
    #[inline]
    pub(super) fn find(&mut self, hash: u64, data: &[u8], length: usize, new: Mark) -> (usize, &mut Mark) {
        if (self.keys.len() + 1) * LOAD_OF > self.index.len() * LOAD_MAX {
            self.grow();
        }
        let mask = self.index.len() - 1;
        let (tag, head) = (hash << 32, head(data, length));
        let mut at = hash as u32 as usize & mask;
        loop {
            let entry = self.index[at];
            if entry == 0 {
                break;
            }
            if entry & !0xFFFF_FFFF == tag {
                let number = (entry as u32 - 1) as usize;
                let key = &self.keys[number];
                if key.head == head
                    && key.length as usize == length
                    && (length <= HEAD_BYTES || self.key(number) == &data[..length])
                {
                    return (number, &mut self.keys[number].mark);
                }
            }
            at = (at + 1) & mask;
        }
        self.index[at] = tag | (self.keys.len() as u64 + 1);
        self.add(head, &data[..length], new)
    }

    /// Loads what finding keys of these hashes will look at, of at most [`FETCHED_KEYS`]. To find a key is to wait for memory twice, first to
    /// learn which key to compare with; here no load waits for that of another key, so that many are under way at once. Changes nothing.
    pub(super) fn fetch(&self, hashes: &[u64]) {
        if self.keys.len() < FETCH_FROM_KEYS {
            return;
        }
        let mask = self.index.len() - 1;
        let mut numbers = [0; FETCHED_KEYS];
        for (number, hash) in numbers.iter_mut().zip(hashes) {
            *number = (self.index[*hash as u32 as usize & mask] as u32).wrapping_sub(1);
        }
        let heads = numbers.iter().take(hashes.len()).filter_map(|number| self.keys.get(*number as usize));
        std::hint::black_box(heads.fold(0, |all, key| all ^ key.head));
    }

    /// The number of a key, if it is there.
    pub(super) fn get(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let mask = self.index.len().checked_sub(1)?;
        let mut at = hash as u32 as usize & mask;
        loop {
            let entry = self.index[at];
            if entry == 0 {
                return None;
            }
            let number = (entry as u32).wrapping_sub(1) as usize;
            if entry & !0xFFFF_FFFF == hash << 32 && self.key(number) == key {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Bytes in memory.
    pub(super) fn memory(&self) -> usize {
        self.index.len() * 8 + self.keys.len() * size_of::<Key>() + self.bytes.len()
    }

    fn add(&mut self, head: u64, key: &[u8], mark: Mark) -> (usize, &mut Mark) {
        let number = self.keys.len();
        let start = self.bytes.len() / START_UNIT;
        assert!(start <= u32::MAX as usize, "a window's keys in one subtask exceed 32 GiB");
        self.keys.push(Key { head, start: start as u32, length: key.len() as u32, mark });
        self.bytes.extend_from_slice(key);
        self.bytes.resize(self.bytes.len().next_multiple_of(START_UNIT), 0);
        (number, &mut self.keys[number].mark)
    }

    #[cold]
    fn grow(&mut self) {
        let length = (self.index.len() * 2).max(INITIAL_ENTRIES);
        let mask = length - 1;
        let mut index = vec![0u64; length];
        let old = std::mem::take(&mut self.index);
        for entry in old.into_iter().filter(|entry| *entry != 0) {
            let mut at = (entry >> 32) as usize & mask;
            while index[at] != 0 {
                at = (at + 1) & mask;
            }
            index[at] = entry;
        }
        self.index = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key_hash;

    fn number(table: &mut KeyTable, hash: u64, key: &[u8]) -> usize {
        // What lies behind a key must not matter: nothing, or anything.
        let padded = [key, b"behind-it"].concat();
        let (number, _) = table.find(hash, &padded, key.len(), Mark::default());
        assert_eq!(table.find(hash, key, key.len(), Mark::default()).0, number);
        number
    }

    #[test]
    fn equal_keys_have_one_number_and_different_keys_never_do() {
        let mut table = KeyTable::default();
        let keys: Vec<String> = (0..5000).map(|i| format!("{}-key", i % 3000)).collect();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(number(&mut table, key_hash(key.as_bytes()), key.as_bytes()), i % 3000);
        }
        assert_eq!(table.len(), 3000);
        assert_eq!(table.key(0), b"0-key");
        assert_eq!(table.key(2999), b"2999-key");
    }

    #[test]
    fn keys_whose_hashes_are_equal_are_told_apart() {
        let mut table = KeyTable::default();
        let keys: Vec<Vec<u8>> =
            (0..40u8).flat_map(|i| [vec![0; i.into()], vec![i + 1], vec![7; 9 + usize::from(i)]]).collect();
        for round in 0..2 {
            for (i, key) in keys.iter().enumerate() {
                assert_eq!(number(&mut table, 42, key), i, "round {round}");
            }
        }
    }

    #[test]
    fn marks_are_kept_and_new_keys_get_the_new_one() {
        let mut table = KeyTable::default();
        let new = Mark { batch: 1, group: 2 };
        assert_eq!(*table.find(1, b"a", 1, new).1, new);
        table.find(1, b"a", 1, new).1.group = 3;
        assert_eq!(*table.find(1, b"a", 1, new).1, Mark { batch: 1, group: 3 });
    }
}
