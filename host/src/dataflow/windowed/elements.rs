//! Rows kept one by one, until their window fires or for those they are joined with: each as bytes. What is written is read by later
//! releases, so the layout may not change: the event time (8 bytes, little-endian); then for each column one byte, 0 for null or 1,
//! and, if it is 1, the value: `bool` one byte, numbers 8 bytes, little-endian, text and bytes their length in 4 bytes and then
//! themselves.
use std::{sync::Arc, time::Duration};

use arrow_array::{
    Array, ArrayRef, BinaryArray, RecordBatch,
    builder::{BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder},
    cast::AsArray,
    types::{Float64Type, Int64Type},
};

use crate::model::{Batch, Kind, Schema};

/// Appends a row.
fn encode_row(columns: &[&ArrayRef], time: i64, row: usize, into: &mut Vec<u8>) {
    into.extend_from_slice(&time.to_le_bytes());
    for column in columns {
        into.push(u8::from(column.is_valid(row)));
        if column.is_null(row) {
            continue;
        }
        let mut variable = |bytes: &[u8]| {
            into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            into.extend_from_slice(bytes);
        };
        match Kind::of(column.data_type()) {
            Some(Kind::Boolean) => into.push(u8::from(column.as_boolean().value(row))),
            Some(Kind::Int64) => into.extend_from_slice(&column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
            Some(Kind::Float64) => {
                into.extend_from_slice(&column.as_primitive::<Float64Type>().value(row).to_le_bytes());
            }
            Some(Kind::Utf8) => variable(column.as_string::<i32>().value(row).as_bytes()),
            // No other Arrow type gets into a batch.
            Some(Kind::Binary) | None => variable(column.as_binary::<i32>().value(row)),
        }
    }
}

/// These rows of a batch, of these columns, as bytes.
pub(in crate::dataflow) fn encode(batch: &Batch, columns: &[usize], rows: impl Iterator<Item = u32>) -> BinaryArray {
    let columns: Vec<&ArrayRef> = columns.iter().map(|column| batch.columns.column(*column)).collect();
    let mut encoded = BinaryBuilder::new();
    let mut bytes = Vec::new();
    for row in rows {
        bytes.clear();
        encode_row(&columns, batch.timestamps[row as usize], row as usize, &mut bytes);
        encoded.append_value(&bytes);
    }
    encoded.finish()
}

enum Builder {
    Boolean(BooleanBuilder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
}

impl Builder {
    fn new(kind: Kind) -> Builder {
        match kind {
            Kind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Kind::Int64 => Builder::Int64(Int64Builder::new()),
            Kind::Float64 => Builder::Float64(Float64Builder::new()),
            Kind::Utf8 => Builder::Utf8(StringBuilder::new()),
            Kind::Binary => Builder::Binary(BinaryBuilder::new()),
        }
    }

    /// Takes a value off the front of `bytes`; none if they are no such value.
    fn take(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let valid = take_bytes::<1>(bytes)?[0] != 0;
        match self {
            Builder::Boolean(column) => {
                column.append_option(if valid { Some(take_bytes::<1>(bytes)?[0] != 0) } else { None })
            }
            Builder::Int64(column) => {
                column.append_option(if valid { Some(i64::from_le_bytes(take_bytes(bytes)?)) } else { None });
            }
            Builder::Float64(column) => {
                column.append_option(if valid { Some(f64::from_le_bytes(take_bytes(bytes)?)) } else { None });
            }
            Builder::Utf8(column) => {
                column.append_option(if valid { Some(str::from_utf8(take_variable(bytes)?).ok()?) } else { None });
            }
            Builder::Binary(column) => column.append_option(if valid { Some(take_variable(bytes)?) } else { None }),
        }
        Some(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Boolean(column) => Arc::new(column.finish()),
            Builder::Int64(column) => Arc::new(column.finish()),
            Builder::Float64(column) => Arc::new(column.finish()),
            Builder::Utf8(column) => Arc::new(column.finish()),
            Builder::Binary(column) => Arc::new(column.finish()),
        }
    }
}

fn take_bytes<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn take_variable<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take_bytes(bytes)?) as usize;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Rows with these columns from their bytes. Fails on bytes that are no such rows.
pub(in crate::dataflow) fn decode<'a>(
    schema: &Schema,
    rows: impl Iterator<Item = &'a [u8]>,
    arrived: Duration,
) -> Result<Batch, String> {
    let mut builders: Vec<Builder> = schema.fields().iter().map(|field| Builder::new(field.kind)).collect();
    let mut timestamps = Vec::new();
    for row in rows {
        let mut bytes = row;
        let mut read = || {
            timestamps.push(i64::from_le_bytes(take_bytes(&mut bytes)?));
            builders.iter_mut().try_for_each(|builder| builder.take(&mut bytes))?;
            bytes.is_empty().then_some(())
        };
        read().ok_or("bytes in state are no row of the columns read")?;
    }
    let columns = builders.iter_mut().map(Builder::finish).collect();
    let columns: RecordBatch = schema.record_batch(columns, timestamps.len())?;
    Ok(Batch { columns, timestamps: timestamps.into(), arrived, key_hashes: None })
}

#[cfg(test)]
mod tests {
    use arrow_array::{BooleanArray, Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::model::Field;

    fn batch() -> (Schema, Batch) {
        let kinds = [Kind::Utf8, Kind::Int64, Kind::Boolean, Kind::Float64, Kind::Binary];
        let fields: Vec<Field> = kinds.iter().map(|kind| Field::new(kind.to_string(), *kind).nullable()).collect();
        let schema = Schema::new(fields).expect("a schema");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("ä"), None, Some("")])),
            Arc::new(Int64Array::from(vec![Some(-1), Some(i64::MAX), None])),
            Arc::new(BooleanArray::from(vec![None, Some(true), Some(false)])),
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::INFINITY), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"\xff\0"[..]), Some(b""), None])),
        ];
        let columns = schema.record_batch(columns, 3).expect("a batch");
        let timestamps = vec![7, -7, 0].into();
        (schema, Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None })
    }

    #[test]
    fn rows_come_back_as_they_were_in_any_order_and_choice_of_columns() {
        let (schema, batch) = batch();
        for picked in [vec![0, 1, 2, 3, 4], vec![4, 0], vec![]] {
            let fields: Vec<Field> = picked.iter().map(|i| schema.fields()[*i].clone()).collect();
            let expected = batch.columns.project(&picked).expect("a projection");
            let rows = [2, 0, 1, 2];
            let encoded = encode(&batch, &picked, rows.into_iter());
            let back = decode(&Schema::new(fields).expect("a schema"), encoded.iter().flatten(), Duration::ZERO);
            let back = back.expect("rows");
            for (i, row) in rows.iter().enumerate() {
                assert_eq!(back.timestamps[i], batch.timestamps[*row as usize]);
                assert_eq!(back.columns.slice(i, 1).columns(), expected.slice(*row as usize, 1).columns());
            }
        }
    }

    #[test]
    fn the_layout_is_that_of_the_first_release_and_other_bytes_are_refused() {
        let (schema, batch) = batch();
        let encoded = encode(&batch, &[0, 1], 0..1);
        let bytes = b"\x07\0\0\0\0\0\0\0\x01\x02\0\0\0\xc3\xa4\x01\xff\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(encoded.value(0), bytes);
        for wrong in [&bytes[..23], b"", b"\x07\0\0\0\0\0\0\0\x01\x01\0\0\0\xff\0\0\0\0\0", &bytes.repeat(2)] {
            assert!(decode(&schema, [wrong].into_iter(), Duration::ZERO).is_err(), "{wrong:?}");
        }
    }
}
