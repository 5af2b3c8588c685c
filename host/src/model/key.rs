//! Keys: how a key's columns become bytes, how those are hashed, and which task a hash belongs to.
//!
//! Encoding, hash and key group decide where state lives, so none of the three may ever change:
//! - A key is the concatenation of its columns' values. `bool`: one byte, 0 or 1. `i64`: 8 bytes, little-endian. `string` and
//!   `bytes`: the bytes, preceded by their number as a 4-byte little-endian integer unless it is the key's last column.
//! - The hash is XXH3-64 with seed 0 (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>) of those bytes.
//! - The key group is `(hash >> 32) * max_parallelism >> 32`, the subtask `group * parallelism / max_parallelism`.
//!
//! Numbers with a fraction are no keys, and null is none.
use arrow_array::{Array, ArrayRef, cast::AsArray, types::Int64Type};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use xxhash_rust::xxh3::xxh3_64;

use super::Kind;

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
    ((hash >> 32) * u64::from(max_parallelism) >> 32) as u32
}

/// The task a key group belongs to, below `parallelism`.
#[inline]
pub fn subtask_of(group: u32, parallelism: u32, max_parallelism: u32) -> u32 {
    (u64::from(group) * u64::from(parallelism) / u64::from(max_parallelism)) as u32
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
