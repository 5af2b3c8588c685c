//! Records of one length, numbered from 0 up. They lie in chunks that never move once they are full, so that many records cost no
//! copy of all of them. Knows nothing of what is in them.

/// What a processor loads at once.
pub(super) const LINE_BYTES: usize = 64;

/// Records of a chunk.
const CHUNK_RECORDS: usize = 4096;

/// The records; each is zeros until it is written.
pub(super) struct Records {
    /// Bytes of a record.
    length: usize,
    count: usize,
    /// All but the last have [`CHUNK_RECORDS`].
    chunks: Vec<Vec<[u8; LINE_BYTES]>>,
}

impl Records {
    /// None yet, of `length` bytes each.
    pub(super) fn new(length: usize) -> Records {
        Records { length, count: 0, chunks: Vec::new() }
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> usize {
        self.count * self.length
    }

    /// Makes records up to number `count`.
    pub(super) fn grow(&mut self, count: usize) {
        let whole = (CHUNK_RECORDS * self.length).div_ceil(LINE_BYTES);
        while self.count < count {
            if self.count.is_multiple_of(CHUNK_RECORDS) {
                self.chunks.push(Vec::new());
            }
            let (first, before) = (self.chunks.len() == 1, (self.chunks.len() - 1) * CHUNK_RECORDS);
            let Some(chunk) = self.chunks.last_mut() else { return };
            self.count = count.min(before + CHUNK_RECORDS);
            let lines = ((self.count - before) * self.length).div_ceil(LINE_BYTES);
            if lines > chunk.capacity() {
                // Many tables are small: only of large ones a chunk is there at once.
                let room = if first { (2 * chunk.len()).clamp(lines, whole) } else { whole };
                chunk.reserve_exact(room - chunk.len());
            }
            chunk.resize(lines, [0; LINE_BYTES]);
        }
    }

    /// A record.
    #[inline(always)]
    pub(super) fn get(&self, number: usize) -> &[u8] {
        let start = number % CHUNK_RECORDS * self.length;
        &self.chunks[number / CHUNK_RECORDS].as_flattened()[start..start + self.length]
    }

    /// A record, to be written.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, number: usize) -> &mut [u8] {
        let start = number % CHUNK_RECORDS * self.length;
        &mut self.chunks[number / CHUNK_RECORDS].as_flattened_mut()[start..start + self.length]
    }
}

/// The number at a place of a record.
#[inline(always)]
pub(super) fn number(record: &[u8], at: usize) -> [u8; 8] {
    record.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default()
}

/// Writes the number at a place of a record.
#[inline(always)]
pub(super) fn put_number(record: &mut [u8], at: usize, number: [u8; 8]) {
    if let Some(bytes) = record.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *bytes = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_what_was_written_however_they_grow() {
        for length in [8, 24, 40, 64, 192] {
            let mut records = Records::new(length);
            for count in [1, 2, 7, 100, 101, CHUNK_RECORDS, CHUNK_RECORDS + 1, 3 * CHUNK_RECORDS + 5] {
                let before = records.count;
                records.grow(count);
                records.grow(count / 2);
                assert_eq!(records.bytes(), count * length);
                for number in before..count {
                    assert!(records.get(number).iter().all(|byte| *byte == 0));
                    put_number(records.get_mut(number), length - 8, (number as u64).to_le_bytes());
                    records.get_mut(number)[0] = !(number as u8);
                }
                for at in 0..count {
                    let expected = (at as u64).to_le_bytes();
                    assert!(length == 8 || number(records.get(at), length - 8) == expected);
                    assert_eq!(records.get(at)[0], !(at as u8));
                }
            }
        }
    }
}
