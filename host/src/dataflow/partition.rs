//! Splits a batch by key. The hashes go along, so that the reader need not compute them again.
use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_select::take::take_record_batch;

use crate::model::{Batch, KeyRows, key_group, subtask_of};

/// The rows for each of `parallelism` subtasks, in their order. Rows with a null in their key go to the first: whoever groups by
/// the key rejects them there.
pub fn partition(
    batch: &Batch,
    key: &[usize],
    parallelism: usize,
    max_parallelism: u32,
) -> Result<Vec<Batch>, arrow_schema::ArrowError> {
    let rows = batch.rows();
    let columns: Vec<ArrayRef> = key.iter().map(|column| batch.columns.column(*column).clone()).collect();
    let mut hashes = Vec::new();
    KeyRows::encode(&columns, rows).hash_into(rows, &mut hashes);
    for (row, hash) in hashes.iter_mut().enumerate() {
        if columns.iter().any(|column| column.null_count() > 0 && column.is_null(row)) {
            *hash = 0;
        }
    }
    // A table of owners, so that the row loop has no division.
    let owners: Vec<u32> =
        (0..max_parallelism).map(|group| subtask_of(group, parallelism as u32, max_parallelism)).collect();
    let mut picked: Vec<Vec<u32>> = vec![Vec::with_capacity(rows / parallelism + rows / 8 + 1); parallelism];
    for (row, hash) in hashes.iter().enumerate() {
        picked[owners[key_group(*hash, max_parallelism) as usize] as usize].push(row as u32);
    }
    picked
        .into_iter()
        .map(|rows| {
            let timestamps = rows.iter().map(|row| batch.timestamps[*row as usize]).collect();
            let hashes: ScalarBuffer<u64> = rows.iter().map(|row| hashes[*row as usize]).collect();
            let columns = take_record_batch(&batch.columns, &UInt32Array::from(rows))?;
            Ok(Batch { columns, timestamps, arrived: batch.arrived, key_hashes: Some(hashes) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use arrow_array::{Int64Array, StringArray, cast::AsArray, types::Int64Type};

    use super::*;
    use crate::model::{Field, Kind, Schema, key_hash};

    #[test]
    fn each_key_goes_to_the_owner_of_its_group_and_keeps_its_order() {
        let schema = Schema::new(vec![Field::new("word", Kind::Utf8), Field::new("n", Kind::Int64)]).expect("schema");
        let words: Vec<String> = (0..100).map(|i| format!("w{}", i % 17)).collect();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(words.clone())), Arc::new(Int64Array::from_iter_values(0..100))];
        let batch = Batch {
            columns: schema.record_batch(columns, 100).expect("batch"),
            timestamps: (0..100).collect(),
            arrived: Duration::ZERO,
            key_hashes: None,
        };
        let parts = partition(&batch, &[0], 3, 128).expect("parts");
        assert_eq!(parts.iter().map(Batch::rows).sum::<usize>(), 100);
        for (subtask, part) in parts.iter().enumerate() {
            let numbers = part.columns.column(1).as_primitive::<Int64Type>();
            assert!(numbers.values().windows(2).all(|pair| pair[0] < pair[1]));
            for row in 0..part.rows() {
                let word = part.columns.column(0).as_string::<i32>().value(row);
                assert_eq!(word, words[numbers.value(row) as usize]);
                assert_eq!(part.timestamps[row], numbers.value(row));
                let hash = key_hash(word.as_bytes());
                assert_eq!(part.key_hashes.as_ref().map(|hashes| hashes[row]), Some(hash));
                assert_eq!(subtask_of(key_group(hash, 128), 3, 128) as usize, subtask);
            }
        }
    }
}
