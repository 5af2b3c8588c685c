//! Which keys another version of an operator has that is in force for a share of them only, its canary. Pure, and sticky: what a share has,
//! every larger share has too, in every start of the job and at every parallelism.
//!
//! Like a key's hash, the step of a hash may never change: it decides which version a key's rows and timers belong to. The step is
//! `(x >> 32) * 10 000 >> 32`, where `x` is XXH3-64 with seed 0 of 16 bytes: the hash and [`SALT`], both little-endian. So it does not
//! follow from the key group.
use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};

use super::{Kind, key_hash};

/// Steps a whole is divided into.
pub const SHARE_STEPS: u32 = 10_000;

/// The largest share, in steps: a canary that has nearly everything is to be promoted.
pub const SHARE_STEPS_MAX: u32 = 9_900;

/// Keeps the step apart from whatever else follows from the hash.
const SALT: u64 = 0x6361_6e61_7279_0001;

/// A share of the keys, in steps of 1/10 000, from 1 to [`SHARE_STEPS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// The nearest to a part of 1; none unless that is from 0.0001 to 0.99.
    pub fn of(part: f64) -> Option<Share> {
        let steps = (part * f64::from(SHARE_STEPS)).round();
        // A number that is not finite, or negative, becomes 0 or the largest.
        Share::from_steps(steps as u32)
    }

    /// Of so many steps; none unless they are from 1 to [`SHARE_STEPS_MAX`].
    pub fn from_steps(steps: u32) -> Option<Share> {
        (1..=SHARE_STEPS_MAX).contains(&steps).then_some(Share(steps))
    }

    /// Its steps.
    pub fn steps(self) -> u32 {
        self.0
    }

    /// As a part of 1.
    pub fn part(self) -> f64 {
        f64::from(self.0) / f64::from(SHARE_STEPS)
    }

    /// Whether it has the keys with this hash.
    #[inline]
    pub fn has(self, hash: u64) -> bool {
        step(hash) < self.0
    }
}

/// The step of a hash, below [`SHARE_STEPS`].
#[inline]
fn step(hash: u64) -> u32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hash.to_le_bytes());
    bytes[8..].copy_from_slice(&SALT.to_le_bytes());
    (((key_hash(&bytes) >> 32) * u64::from(SHARE_STEPS)) >> 32) as u32
}

/// A hash of each row's values in these columns, which may be of any kind and have nulls: where rows have no key. It is that of the values one
/// after the other: a byte, 0 for null, otherwise 1 and the value, little-endian; of strings and bytes their length in 4 bytes first.
pub fn row_hashes(columns: &[ArrayRef], rows: usize) -> Vec<u64> {
    let mut bytes = Vec::new();
    let hash = |row: usize| {
        bytes.clear();
        columns.iter().for_each(|column| append(column, row, &mut bytes));
        key_hash(&bytes)
    };
    (0..rows).map(hash).collect()
}

fn append(column: &ArrayRef, row: usize, into: &mut Vec<u8>) {
    into.push(u8::from(!column.is_null(row)));
    if column.is_null(row) {
        return;
    }
    let variable = |bytes: &[u8], into: &mut Vec<u8>| {
        into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        into.extend_from_slice(bytes);
    };
    match Kind::of(column.data_type()) {
        Some(Kind::Boolean) => into.push(u8::from(column.as_boolean().value(row))),
        Some(Kind::Int64) => into.extend_from_slice(&column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        Some(Kind::Float64) => into.extend_from_slice(&column.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        Some(Kind::Utf8) => variable(column.as_string::<i32>().value(row).as_bytes(), into),
        Some(Kind::Binary) => variable(column.as_binary::<i32>().value(row), into),
        // Batches have no others.
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::model::key_group;

    fn share(part: f64) -> Share {
        Share::of(part).unwrap()
    }

    #[test]
    fn shares_are_of_whole_steps_within_their_bounds() {
        let steps = [0.0001, 0.05, 0.123_44, 0.99].map(|part| share(part).steps());
        assert_eq!(steps, [1, 500, 1234, 9900]);
        assert_eq!(share(0.05).part(), 0.05);
        for wrong in [0.0, -0.1, 0.000_04, 0.9901, 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_steps_of_hashes_are_those_of_the_first_release() {
        let steps = [0, 1, key_hash(b"word"), key_hash(&7_i64.to_le_bytes()), u64::MAX].map(step);
        assert_eq!(steps, [9812, 631, 5933, 6873, 4821]);
    }

    #[test]
    fn a_larger_share_has_what_a_smaller_has_and_each_has_its_part_of_the_keys_of_every_group() {
        const KEYS: u64 = 100_000;
        let hashes: Vec<u64> = (0..KEYS).map(|key| key_hash(&key.to_le_bytes())).collect();
        let shares = [0.0001, 0.01, 0.05, 0.1, 0.5, 0.9, 0.99].map(share);
        for pair in shares.windows(2) {
            assert!(hashes.iter().all(|hash| !pair[0].has(*hash) || pair[1].has(*hash)));
        }
        // Groups of whom each has a whole subtask's keys.
        for group in 0..4 {
            let keys: Vec<u64> = hashes.iter().copied().filter(|hash| key_group(*hash, 4) == group).collect();
            for share in shares {
                let part = keys.iter().filter(|hash| share.has(**hash)).count() as f64 / keys.len() as f64;
                assert!((part - share.part()).abs() < 0.01, "{share:?}: {part} of group {group}");
            }
        }
    }

    #[test]
    fn rows_with_the_same_values_have_the_same_hash_and_others_have_not() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("ab"), Some("ab"), Some("a"), None, Some("")])),
            Arc::new(BinaryArray::from(vec![&b"c"[..], b"c", b"bc", b"", b""])),
            Arc::new(Float64Array::from(vec![Some(1.5), Some(1.5), Some(1.5), None, Some(0.0)])),
            Arc::new(BooleanArray::from(vec![true, true, true, false, false])),
            Arc::new(Int64Array::from(vec![1, 1, 1, 0, 0])),
        ];
        let hashes = row_hashes(&columns, 5);
        assert_eq!(hashes[0], hashes[1]);
        let distinct: std::collections::BTreeSet<u64> = hashes.iter().copied().collect();
        assert_eq!(distinct.len(), 4);
        assert_eq!(row_hashes(&columns[4..], 1), [key_hash(&[1, 1, 0, 0, 0, 0, 0, 0, 0])]);
    }
}
