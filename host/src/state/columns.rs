//! Columns to and from the values of rows of several tables. Knows the kinds of values, and nothing of keys.
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, cast::AsArray, types::Int64Type,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};

use super::{
    records::{number, put_number},
    values::{CHANGED, Cells, SET, Values},
};
use crate::model::Kind;

/// Writes row `i` of `column`, of the state's kind, to `places[i]` = (which table's values, which row).
pub(super) fn scatter(all: &mut [&mut Values], state: usize, places: &[(u32, u32)], column: &ArrayRef) {
    if let ([Values { cells, records, .. }], None) = (&mut *all, column.nulls())
        && let Cells::Int64(at) = cells[state]
    {
        for ((_, row), value) in places.iter().zip(column.as_primitive::<Int64Type>().values()) {
            let record = records.get_mut(*row as usize);
            put_number(record, at, value.to_le_bytes());
            record[state] = SET | CHANGED;
        }
        return;
    }
    for (from, (which, row)) in places.iter().enumerate() {
        all[*which as usize].put(state, *row as usize, column, from);
    }
}

/// The values of a state at these places as a column; null where there is no such table.
pub(super) fn gather(kind: Kind, all: &[&Values], state: usize, places: &[(u32, u32)]) -> ArrayRef {
    match kind {
        Kind::Boolean => {
            let (values, nulls) = fixed(all, state, places, |record, at| record[at] != 0);
            Arc::new(BooleanArray::new(values.into(), nulls))
        }
        Kind::Int64 => {
            let (values, nulls) = fixed(all, state, places, |record, at| i64::from_le_bytes(number(record, at)));
            Arc::new(Int64Array::new(values.into(), nulls))
        }
        Kind::Float64 => {
            let (values, nulls) = fixed(all, state, places, |record, at| f64::from_le_bytes(number(record, at)));
            Arc::new(Float64Array::new(values.into(), nulls))
        }
        Kind::Utf8 => {
            let (offsets, data, nulls) = variable(all, state, places);
            // SAFETY: every cell of a state of this kind holds one value of a checked string column, or nothing.
            Arc::new(unsafe { StringArray::new_unchecked(offsets, data.into(), nulls) })
        }
        Kind::Binary => {
            let (offsets, data, nulls) = variable(all, state, places);
            Arc::new(BinaryArray::new(offsets, data.into(), nulls))
        }
    }
}

/// Of a kind that lies in records, in one walk: the flags are beside the value.
fn fixed<T: Default>(
    all: &[&Values],
    state: usize,
    places: &[(u32, u32)],
    read: impl Fn(&[u8], usize) -> T,
) -> (Vec<T>, Option<NullBuffer>) {
    let at = match all.first().map(|values| &values.cells[state]) {
        Some(Cells::Boolean(at) | Cells::Int64(at) | Cells::Float64(at)) => *at,
        _ => return (places.iter().map(|_| T::default()).collect(), Some(NullBuffer::new_null(places.len()))),
    };
    let mut column = Vec::with_capacity(places.len());
    let set = BooleanBuffer::collect_bool(places.len(), |i| {
        let (which, row) = places[i];
        let Some(values) = all.get(which as usize) else {
            column.push(T::default());
            return false;
        };
        let record = values.records.get(row as usize);
        column.push(read(record, at));
        record[state] & SET != 0
    });
    (column, nulls(set))
}

fn variable(all: &[&Values], state: usize, places: &[(u32, u32)]) -> (OffsetBuffer<i32>, Vec<u8>, Option<NullBuffer>) {
    let slice = |(which, row): &(u32, u32)| match all.get(*which as usize).map(|values| &values.cells[state]) {
        Some(Cells::Utf8(cells) | Cells::Binary(cells)) => &cells[*row as usize][..],
        _ => &[],
    };
    let offsets = OffsetBuffer::<i32>::from_lengths(places.iter().map(|place| slice(place).len()));
    let mut data = Vec::with_capacity(offsets[places.len()] as usize);
    places.iter().for_each(|place| data.extend_from_slice(slice(place)));
    let set = BooleanBuffer::collect_bool(places.len(), |i| {
        let (which, row) = places[i];
        all.get(which as usize).is_some_and(|values| values.is_set(state, row as usize))
    });
    (offsets, data, nulls(set))
}

fn nulls(set: BooleanBuffer) -> Option<NullBuffer> {
    Some(NullBuffer::new(set)).filter(|nulls| nulls.null_count() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StateDescription, StateKind};

    #[test]
    fn what_was_scattered_is_gathered_and_the_rest_is_null() {
        let columns: [(Kind, ArrayRef); 5] = [
            (Kind::Boolean, Arc::new(BooleanArray::from(vec![true, false, true]))),
            (Kind::Int64, Arc::new(Int64Array::from(vec![1, 2, 3]))),
            (Kind::Float64, Arc::new(Float64Array::from(vec![1.5, 2.5, 3.5]))),
            (Kind::Utf8, Arc::new(StringArray::from(vec!["a", "", "ccc"]))),
            (Kind::Binary, Arc::new(BinaryArray::from(vec![&b"a"[..], b"\xff", b"ccc"]))),
        ];
        let states = columns.each_ref().map(|(kind, _)| StateDescription {
            name: kind.to_string(),
            kind: StateKind::Value,
            schema_version: 0,
            value: *kind,
            key: None,
            time_to_live: None,
        });
        let (mut first, mut second) = (Values::of(&states, false), Values::of(&states, false));
        first.grow(3);
        second.grow(5);
        for (state, (kind, column)) in columns.into_iter().enumerate() {
            scatter(&mut [&mut first, &mut second], state, &[(0, 2), (1, 4), (1, 0)], &column);
            let back = gather(kind, &[&first, &second], state, &[(0, 2), (1, 4), (1, 0), (0, 0), (2, 0)]);
            assert_eq!(&back.slice(0, 3), &column);
            assert!(back.is_null(3) && back.is_null(4) && !first.is_set(state, 0) && first.is_set(state, 2));
            scatter(&mut [&mut first], state, &[(0, 1), (0, 2), (0, 2)], &back.slice(1, 3));
            assert!(!first.is_set(state, 2), "a null unsets");
        }
    }
}
