//! Encoded keys, numbered in the order they came. Open addressing with linear probing over 8-byte entries, a third of the key's
//! hash beside its number, so that a probe nearly always touches one cache line of the index and one of the keys.

/// A set of distinct keys with a number each, from 0 up.
#[derive(Default)]
pub(super) struct KeyTable {
    /// `number + 1` in the low half, the hash's low half in the high half; 0 where free. A power of two long.
    index: Vec<u64>,
    hashes: Vec<u64>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

const INITIAL_ENTRIES: usize = 64;

impl KeyTable {
    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The key with this number.
    #[inline]
    pub(super) fn key(&self, number: usize) -> &[u8] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[start..self.ends[number]]
    }

    /// The number of a key; a new one if it was not there.
    #[inline]
    pub(super) fn number(&mut self, hash: u64, key: &[u8]) -> usize {
        if (self.len() + 1) * 2 > self.index.len() {
            self.grow();
        }
        let mask = self.index.len() - 1;
        let tag = hash << 32;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let entry = self.index[at];
            if entry == 0 {
                break;
            }
            if entry & !0xFFFF_FFFF == tag {
                let number = (entry as u32 - 1) as usize;
                if self.key(number) == key {
                    return number;
                }
            }
            at = (at + 1) & mask;
        }
        let number = self.len();
        self.index[at] = tag | (number as u64 + 1);
        self.hashes.push(hash);
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
        number
    }

    #[cold]
    fn grow(&mut self) {
        let length = (self.index.len() * 2).max(INITIAL_ENTRIES);
        let mask = length - 1;
        let mut index = vec![0u64; length];
        for (number, hash) in self.hashes.iter().enumerate() {
            let mut at = (hash >> 32) as usize & mask;
            while index[at] != 0 {
                at = (at + 1) & mask;
            }
            index[at] = hash << 32 | (number as u64 + 1);
        }
        self.index = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key_hash;

    #[test]
    fn equal_keys_have_one_number_and_different_keys_never_do() {
        let mut table = KeyTable::default();
        let keys: Vec<String> = (0..5000).map(|i| format!("key-{}", i % 3000)).collect();
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(table.number(key_hash(key.as_bytes()), key.as_bytes()), i % 3000);
        }
        assert_eq!(table.len(), 3000);
        assert_eq!(table.key(0), b"key-0");
        assert_eq!(table.key(2999), b"key-2999");
    }

    #[test]
    fn keys_whose_hashes_are_equal_are_told_apart() {
        let mut table = KeyTable::default();
        for round in 0..2 {
            for i in 0..200u32 {
                assert_eq!(table.number(42, &i.to_le_bytes()), i as usize, "round {round}");
            }
        }
        assert_eq!(table.number(42, b""), 200);
    }
}
