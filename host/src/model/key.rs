//! Keys: how a key's columns become bytes, how those are hashed, and which task a hash belongs to.
//!
//! Encoding, hash and key group decide where state lives, so none of the three may ever change:
//! - A key is the concatenation of its columns' values. `bool`: one byte, 0 or 1. `i64`: 8 bytes, little-endian. `string` and
//!   `bytes`: the bytes, preceded by their number as a 4-byte little-endian integer unless it is the key's last column.
//! - The hash is XXH3-64 with seed 0 (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>) of those bytes.
//! - The key group is `(hash >> 32) * max_parallelism >> 32`, the subtask `group * parallelism / max_parallelism`.
//!
//! Numbers with a fraction are no keys, and null is none.
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, StringArray, cast::AsArray, types::Int64Type};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use xxhash_rust::xxh3::xxh3_64;

use super::{KeyGroups, Kind};

/// Number of key groups of a job that does not say otherwise.
pub const MAX_PARALLELISM_DEFAULT: u32 = 128;

/// The most key groups a job may have.
pub const MAX_PARALLELISM_LIMIT: u32 = 32_768;

/// The hash of an encoded key.
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The key group of a hash, below `max_parallelism`.
#[inline]
pub fn key_group(hash: u64, max_parallelism: u32) -> u32 {
    (((hash >> 32) * u64::from(max_parallelism)) >> 32) as u32
}

/// The task a key group belongs to, below `parallelism`.
#[inline]
pub fn subtask_of(group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
}

/// The key groups of a subtask: those for which [`subtask_of`] names it. Empty if there are more subtasks than groups and it has none.
pub fn groups_of(subtask: u32, parallelism: u32, max_parallelism: u32) -> KeyGroups {
    let first = |subtask: u32| {
        let groups = u64::from(subtask) * u64::from(max_parallelism);
        groups.div_ceil(u64::from(parallelism.max(1))).min(u64::from(max_parallelism)) as u32
    };
    first(subtask)..first(subtask.saturating_add(1))
}

/// The encoded keys of a batch's rows. The key of a single column is used where it lies, without a copy.
#[derive(Clone, Debug)]
pub enum KeyRows {
    /// Keys of the same length.
    Fixed {
        /// Bytes per key, more than 0.
        width: usize,
        /// The keys one after the other.
        data: arrow_buffer::Buffer,
    },
    /// Keys of varying length: key `i` is `data[offsets[i]..offsets[i + 1]]`.
    Variable {
        /// One more than there are keys.
        offsets: OffsetBuffer<i32>,
        /// The keys one after the other.
        data: arrow_buffer::Buffer,
    },
}

impl KeyRows {
    /// Encodes the keys made of these columns, which must be of key kinds, of equal length, and without nulls. No columns give
    /// every row the same, empty key.
    pub fn encode(columns: &[ArrayRef], rows: usize) -> KeyRows {
        if let [column] = columns {
            match Kind::of(column.data_type()) {
                Some(Kind::Int64) => {
                    let values = column.as_primitive::<Int64Type>().values();
                    return KeyRows::Fixed { width: 8, data: values.inner().clone() };
                }
                Some(Kind::Utf8) => {
                    let strings = column.as_string::<i32>();
                    return KeyRows::Variable { offsets: strings.offsets().clone(), data: strings.values().clone() };
                }
                Some(Kind::Binary) => {
                    let bytes = column.as_binary::<i32>();
                    return KeyRows::Variable { offsets: bytes.offsets().clone(), data: bytes.values().clone() };
                }
                _ => {}
            }
        }
        let mut data = Vec::with_capacity(rows * 16);
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        for row in 0..rows {
            for (i, column) in columns.iter().enumerate() {
                encode_value(column, row, i + 1 == columns.len(), &mut data);
            }
            offsets.push(data.len() as i32);
        }
        KeyRows::Variable { offsets: OffsetBuffer::new(ScalarBuffer::from(offsets)), data: data.into() }
    }

    /// The key of a row.
    #[inline]
    pub fn get(&self, row: usize) -> &[u8] {
        match self {
            KeyRows::Fixed { width, data } => &data[row * width..(row + 1) * width],
            KeyRows::Variable { offsets, data } => &data[offsets[row] as usize..offsets[row + 1] as usize],
        }
    }

    /// The bytes from the start of a row's key on, and the key's length.
    #[inline]
    pub fn tail(&self, row: usize) -> (&[u8], usize) {
        match self {
            KeyRows::Fixed { width, data } => (&data[row * width..], *width),
            KeyRows::Variable { offsets, data } => {
                let start = offsets[row] as usize;
                (&data[start..], offsets[row + 1] as usize - start)
            }
        }
    }

    /// Appends the hash of every one of the first `rows` keys.
    pub fn hash_into(&self, rows: usize, hashes: &mut Vec<u64>) {
        hashes.reserve(rows);
        match self {
            KeyRows::Fixed { width, data } => hashes.extend(data.chunks_exact(*width).take(rows).map(key_hash)),
            KeyRows::Variable { offsets, data } => {
                hashes.extend(offsets.windows(2).take(rows).map(|w| key_hash(&data[w[0] as usize..w[1] as usize])));
            }
        }
    }
}

/// The columns that keys were encoded from, as [`KeyRows::encode`] did it from columns of these kinds. Fails on bytes that are no
/// such keys.
pub fn decode_keys<'a>(
    kinds: &[Kind],
    keys: impl Iterator<Item = &'a [u8]> + Clone,
) -> Result<Vec<ArrayRef>, KeyDecodeError> {
    let mut rests: Vec<&[u8]> = keys.collect();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(kinds.len());
    for (i, kind) in kinds.iter().enumerate() {
        let last = i + 1 == kinds.len();
        let mut values: Vec<&[u8]> = Vec::with_capacity(rests.len());
        for rest in &mut rests {
            let length = match kind {
                Kind::Boolean => 1,
                Kind::Int64 => 8,
                Kind::Utf8 | Kind::Binary if last => rest.len(),
                Kind::Utf8 | Kind::Binary => {
                    let (length, after) = rest.split_first_chunk().ok_or(KeyDecodeError)?;
                    *rest = after;
                    u32::from_le_bytes(*length) as usize
                }
                Kind::Float64 => return Err(KeyDecodeError),
            };
            let (value, after) = rest.split_at_checked(length).ok_or(KeyDecodeError)?;
            values.push(value);
            *rest = after;
        }
        columns.push(match kind {
            Kind::Boolean => Arc::new(values.iter().map(|value| Some(value[0] != 0)).collect::<BooleanArray>()),
            Kind::Int64 => {
                let number = |value: &&[u8]| (*value).try_into().map(i64::from_le_bytes).map_err(|_| KeyDecodeError);
                Arc::new(Int64Array::from(values.iter().map(number).collect::<Result<Vec<_>, _>>()?))
            }
            Kind::Utf8 => {
                let offsets = OffsetBuffer::<i32>::from_lengths(values.iter().map(|value| value.len()));
                let text = values.concat();
                Arc::new(StringArray::try_new(offsets, text.into(), None).map_err(|_| KeyDecodeError)?)
            }
            Kind::Binary | Kind::Float64 => Arc::new(BinaryArray::from_vec(values)),
        });
    }
    if rests.iter().all(|rest| rest.is_empty()) { Ok(columns) } else { Err(KeyDecodeError) }
}

/// Bytes that are no key of the kinds expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes in state are no key of the operator's key columns")]
pub struct KeyDecodeError;

fn encode_value(column: &ArrayRef, row: usize, last: bool, into: &mut Vec<u8>) {
    let variable = |bytes: &[u8], into: &mut Vec<u8>| {
        if !last {
            into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        }
        into.extend_from_slice(bytes);
    };
    match Kind::of(column.data_type()) {
        Some(Kind::Boolean) => into.push(u8::from(column.as_boolean().value(row))),
        Some(Kind::Int64) => into.extend_from_slice(&column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        Some(Kind::Utf8) => variable(column.as_string::<i32>().value(row).as_bytes(), into),
        Some(Kind::Binary) => variable(column.as_binary::<i32>().value(row), into),
        // Refused when the job is checked.
        Some(Kind::Float64) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<ArrayRef> {
        vec![
            Arc::new(StringArray::from(vec!["a", "", "bc"])),
            Arc::new(Int64Array::from(vec![1, -1, i64::MAX])),
            Arc::new(BooleanArray::from(vec![true, false, true])),
            Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"", b"xyz"])),
        ]
    }

    #[test]
    fn keys_are_decoded_to_the_columns_they_were_encoded_from() {
        let all = columns();
        for picked in
            [vec![0], vec![1], vec![2], vec![3], vec![0, 1], vec![3, 0], vec![1, 2, 3], vec![0, 3, 1, 2], vec![]]
        {
            let columns: Vec<ArrayRef> = picked.iter().map(|i| all[*i].clone()).collect();
            let kinds: Vec<Kind> = columns.iter().filter_map(|c| Kind::of(c.data_type())).collect();
            let keys = KeyRows::encode(&columns, 3);
            let decoded = decode_keys(&kinds, (0..3).map(|row| keys.get(row)));
            assert_eq!(decoded, Ok(columns), "{picked:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_key_are_refused() {
        for (kinds, key) in [
            (vec![Kind::Int64], &b"1234567"[..]),
            (vec![Kind::Int64], b"123456789"),
            (vec![Kind::Utf8, Kind::Boolean], b"\x09\0\0\0a"),
            (vec![Kind::Utf8], b"\xff"),
            (vec![], b"a"),
        ] {
            assert_eq!(decode_keys(&kinds, std::iter::once(key)), Err(KeyDecodeError), "{kinds:?}");
        }
    }

    #[test]
    fn encoding_hash_and_placement_are_those_of_the_first_release() {
        let keys = KeyRows::encode(&columns(), 3);
        assert_eq!(keys.get(0), b"\x01\0\0\0a\x01\0\0\0\0\0\0\0\x01\xff");
        assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(key_hash(b"word"), xxh3_64(b"word"));
        let hash = key_hash(b"the");
        assert_eq!((key_group(u64::MAX, 128), key_group(0, 128)), (127, 0));
        for parallelism in [1, 2, 3, 128] {
            assert!(subtask_of(key_group(hash, 128), parallelism, 128) < parallelism);
        }
        assert_eq!((0..128).filter(|group| subtask_of(*group, 2, 128) == 0).count(), 64);
    }

    #[test]
    fn the_groups_of_a_subtask_are_those_that_belong_to_it() {
        for (parallelism, max) in [(1, 1), (1, 128), (2, 128), (3, 128), (7, 100), (128, 128), (5, 3), (3, 32_768)] {
            for subtask in 0..parallelism {
                let theirs: Vec<u32> =
                    (0..max).filter(|group| subtask_of(*group, parallelism, max) == subtask).collect();
                assert_eq!(
                    groups_of(subtask, parallelism, max).collect::<Vec<_>>(),
                    theirs,
                    "{subtask}/{parallelism} of {max}"
                );
            }
        }
    }

    #[test]
    fn a_slice_of_a_column_has_the_keys_of_its_own_rows() {
        for column in columns() {
            let whole = KeyRows::encode(std::slice::from_ref(&column), 3);
            let part = KeyRows::encode(&[column.slice(1, 2)], 2);
            let mut hashes = Vec::new();
            part.hash_into(2, &mut hashes);
            assert_eq!((part.get(0), part.get(1)), (whole.get(1), whole.get(2)));
            assert_eq!(hashes, [key_hash(whole.get(1)), key_hash(whole.get(2))]);
        }
    }
}
