//! Single values as bytes: elements of lists, keys and values of maps.
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::OffsetBuffer;

use super::wire::{Reader, ordered, unordered};
use crate::model::Kind;

/// Bit of a number with a fraction that says that it is negative.
const SIGN: u64 = 1 << 63;

/// Appends row `row` of a column of any of the kinds.
pub(super) fn put_item(column: &ArrayRef, row: usize, into: &mut Vec<u8>) {
    match Kind::of(column.data_type()) {
        Some(Kind::Boolean) => into.push(u8::from(column.as_boolean().value(row))),
        Some(Kind::Int64) => into.extend_from_slice(&column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        Some(Kind::Float64) => into.extend_from_slice(&column.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        Some(Kind::Utf8) => into.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
        Some(Kind::Binary) => into.extend_from_slice(column.as_binary::<i32>().value(row)),
        None => {}
    }
}

/// The key of a map's entry: bytes in the order of the values.
pub(super) fn map_key(column: &ArrayRef, row: usize, into: &mut Vec<u8>) {
    match Kind::of(column.data_type()) {
        Some(Kind::Int64) => into.extend_from_slice(&ordered(column.as_primitive::<Int64Type>().value(row))),
        Some(Kind::Float64) => {
            let bits = column.as_primitive::<Float64Type>().value(row).to_bits();
            into.extend_from_slice(&(if bits & SIGN == 0 { bits | SIGN } else { !bits }).to_be_bytes());
        }
        _ => put_item(column, row, into),
    }
}

/// Keys of maps as a column. `None` if they are none.
pub(super) fn map_keys(kind: Kind, keys: &[Vec<u8>]) -> Option<ArrayRef> {
    let number = |key: &Vec<u8>| key.as_slice().try_into().ok();
    Some(match kind {
        Kind::Int64 => {
            Arc::new(Int64Array::from(keys.iter().map(|key| number(key).map(unordered)).collect::<Option<Vec<_>>>()?))
        }
        Kind::Float64 => {
            let bits = |key| number(key).map(u64::from_be_bytes);
            let value = |bits: u64| f64::from_bits(if bits & SIGN == 0 { !bits } else { bits & !SIGN });
            Arc::new(Float64Array::from(keys.iter().map(|key| bits(key).map(value)).collect::<Option<Vec<_>>>()?))
        }
        _ => items(kind, &keys.iter().map(|key| Some(&key[..])).collect::<Vec<_>>())?,
    })
}

/// Items as a column, null where there is none. `None` if bytes are no value of the kind.
pub(super) fn items(kind: Kind, items: &[Option<&[u8]>]) -> Option<ArrayRef> {
    fn all<T>(items: &[Option<&[u8]>], one: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<Option<T>>> {
        items.iter().map(|item| item.map(|bytes| one(bytes).ok_or(())).transpose()).collect::<Result<_, ()>>().ok()
    }
    Some(match kind {
        Kind::Boolean => Arc::new(BooleanArray::from(all(items, |bytes| Some(*bytes.first()? != 0))?)),
        Kind::Int64 => Arc::new(Int64Array::from(all(items, |bytes| bytes.try_into().ok().map(i64::from_le_bytes))?)),
        Kind::Float64 => {
            Arc::new(Float64Array::from(all(items, |bytes| bytes.try_into().ok().map(f64::from_le_bytes))?))
        }
        Kind::Utf8 => {
            let texts =
                items.iter().map(|item| item.map(std::str::from_utf8).transpose()).collect::<Result<Vec<_>, _>>();
            Arc::new(StringArray::from(texts.ok()?))
        }
        Kind::Binary => Arc::new(BinaryArray::from(items.to_vec())),
    })
}

/// Appends elements of lists.
pub(super) fn put_elements(column: &ArrayRef, rows: std::ops::Range<usize>, into: &mut Vec<u8>) {
    match Kind::of(column.data_type()) {
        Some(Kind::Int64) => {
            column.as_primitive::<Int64Type>().values()[rows]
                .iter()
                .for_each(|it| into.extend_from_slice(&it.to_le_bytes()));
        }
        Some(Kind::Utf8 | Kind::Binary) => {
            for row in rows {
                let at = into.len();
                into.extend_from_slice(&[0; 4]);
                put_item(column, row, into);
                let length = (into.len() - at - 4) as u32;
                into[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
        }
        _ => rows.for_each(|row| put_item(column, row, into)),
    }
}

/// Encoded lists as offsets and elements. `None` if they are none.
pub(super) fn lists<'a>(kind: Kind, lists: impl Iterator<Item = &'a [u8]>) -> Option<(OffsetBuffer<i32>, ArrayRef)> {
    let mut lengths = Vec::with_capacity(lists.size_hint().0);
    if kind == Kind::Int64 {
        // Where they lie is looked up for all before any is read, so that the loads of many lists are under way at once.
        let lists: Vec<&[u8]> = lists.collect();
        lengths.extend(lists.iter().map(|list| list.len() / 8));
        let mut values = Vec::with_capacity(lengths.iter().sum());
        for list in lists {
            values.extend(list.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)));
        }
        return Some((OffsetBuffer::from_lengths(lengths), Arc::new(Int64Array::from(values))));
    }
    let mut elements = Vec::new();
    for list in lists {
        let before = elements.len();
        elements.extend(split_list(kind, list)?.into_iter().map(Some));
        lengths.push(elements.len() - before);
    }
    Some((OffsetBuffer::from_lengths(lengths), items(kind, &elements)?))
}

/// The elements of an encoded list, each as an item. `None` if it is none.
pub(super) fn split_list(kind: Kind, list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader(list);
    let mut elements = Vec::new();
    while !reader.is_empty() {
        elements.push(match kind {
            Kind::Boolean => reader.take(1)?,
            Kind::Int64 | Kind::Float64 => reader.take(8)?,
            Kind::Utf8 | Kind::Binary => {
                let length = u32::from_le_bytes(reader.array()?) as usize;
                reader.take(length)?
            }
        });
    }
    Some(elements)
}

/// Appends an item to an encoded list. `None` if it is none of the kind.
pub(super) fn push_item(kind: Kind, item: &[u8], list: &mut Vec<u8>) -> Option<()> {
    match kind {
        Kind::Utf8 | Kind::Binary => list.extend_from_slice(&u32::try_from(item.len()).ok()?.to_le_bytes()),
        _ => {}
    }
    // What cannot be read must not get in.
    items(kind, &[Some(item)])?;
    list.extend_from_slice(item);
    Some(())
}
