//! A column of values that can be read and written at any place: where accumulators lie between two batches.
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};

use crate::model::Kind;

/// Values of one kind; places never written are null.
pub(super) struct Values {
    cells: Cells,
    set: Vec<bool>,
}

enum Cells {
    Boolean(Vec<bool>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Utf8(Vec<Box<[u8]>>),
    Binary(Vec<Box<[u8]>>),
}

impl Values {
    pub(super) fn new(kind: Kind) -> Values {
        let cells = match kind {
            Kind::Boolean => Cells::Boolean(Vec::new()),
            Kind::Int64 => Cells::Int64(Vec::new()),
            Kind::Float64 => Cells::Float64(Vec::new()),
            Kind::Utf8 => Cells::Utf8(Vec::new()),
            Kind::Binary => Cells::Binary(Vec::new()),
        };
        Values { cells, set: Vec::new() }
    }

    /// Makes room for places up to `length`.
    pub(super) fn grow(&mut self, length: usize) {
        if length <= self.set.len() {
            return;
        }
        self.set.resize(length, false);
        match &mut self.cells {
            Cells::Boolean(cells) => cells.resize(length, false),
            Cells::Int64(cells) => cells.resize(length, 0),
            Cells::Float64(cells) => cells.resize(length, 0.0),
            Cells::Utf8(cells) | Cells::Binary(cells) => cells.resize_with(length, Box::default),
        }
    }

    /// Whether the place was written.
    pub(super) fn is_set(&self, place: usize) -> bool {
        self.set[place]
    }

    /// Copies a value into place; a null unsets it.
    fn put(&mut self, place: usize, column: &ArrayRef, row: usize) {
        self.set[place] = column.is_valid(row);
        match &mut self.cells {
            Cells::Boolean(cells) => cells[place] = column.as_boolean().value(row),
            Cells::Int64(cells) => cells[place] = column.as_primitive::<Int64Type>().value(row),
            Cells::Float64(cells) => cells[place] = column.as_primitive::<Float64Type>().value(row),
            Cells::Utf8(cells) => replace(&mut cells[place], column.as_string::<i32>().value(row).as_bytes()),
            Cells::Binary(cells) => replace(&mut cells[place], column.as_binary::<i32>().value(row)),
        }
    }
}

/// Writes over the old value where the length allows: accumulators mostly keep theirs.
fn replace(cell: &mut Box<[u8]>, value: &[u8]) {
    if cell.len() == value.len() {
        cell.copy_from_slice(value);
    } else {
        *cell = value.into();
    }
}

/// Writes row `i` of `column`, of the values' kind, to `places[i]` = (which of the values, where in it).
pub(super) fn scatter(all: &mut [&mut Values], places: &[(u32, u32)], column: &ArrayRef) {
    if let ([values], None) = (&mut *all, column.nulls())
        && let Cells::Int64(cells) = &mut values.cells
    {
        for ((_, place), value) in places.iter().zip(column.as_primitive::<Int64Type>().values()) {
            cells[*place as usize] = *value;
            values.set[*place as usize] = true;
        }
        return;
    }
    for (row, (which, place)) in places.iter().enumerate() {
        all[*which as usize].put(*place as usize, column, row);
    }
}

/// The values at these places as a column.
pub(super) fn gather(kind: Kind, all: &[&Values], places: &[(u32, u32)]) -> ArrayRef {
    let at = |(which, place): &(u32, u32)| (all[*which as usize], *place as usize);
    let set = BooleanBuffer::collect_bool(places.len(), |i| {
        let (values, place) = at(&places[i]);
        values.set[place]
    });
    let nulls = Some(NullBuffer::new(set)).filter(|nulls| nulls.null_count() > 0);
    macro_rules! fixed {
        ($cells:path, $column:ident) => {{
            let values: Vec<_> = places
                .iter()
                .map(|it| match at(it) {
                    (Values { cells: $cells(cells), .. }, place) => cells[place],
                    _ => Default::default(),
                })
                .collect();
            Arc::new($column::new(values.into(), nulls))
        }};
    }
    macro_rules! variable {
        ($cells:path) => {{
            let slices = || {
                places.iter().map(|it| match at(it) {
                    (Values { cells: $cells(cells), .. }, place) => &cells[place][..],
                    _ => &[],
                })
            };
            let offsets = OffsetBuffer::<i32>::from_lengths(slices().map(<[u8]>::len));
            let mut data = Vec::with_capacity(offsets[places.len()] as usize);
            slices().for_each(|slice| data.extend_from_slice(slice));
            (offsets, data.into(), nulls)
        }};
    }
    match kind {
        Kind::Boolean => fixed!(Cells::Boolean, BooleanArray),
        Kind::Int64 => fixed!(Cells::Int64, Int64Array),
        Kind::Float64 => fixed!(Cells::Float64, Float64Array),
        Kind::Utf8 => {
            let (offsets, data, nulls) = variable!(Cells::Utf8);
            // SAFETY: every cell holds one value of a checked string column, or nothing.
            Arc::new(unsafe { StringArray::new_unchecked(offsets, data, nulls) })
        }
        Kind::Binary => {
            let (offsets, data, nulls) = variable!(Cells::Binary);
            Arc::new(BinaryArray::new(offsets, data, nulls))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_scattered_is_gathered_and_the_rest_is_null() {
        let columns: [(Kind, ArrayRef); 5] = [
            (Kind::Boolean, Arc::new(BooleanArray::from(vec![true, false, true]))),
            (Kind::Int64, Arc::new(Int64Array::from(vec![1, 2, 3]))),
            (Kind::Float64, Arc::new(Float64Array::from(vec![1.5, 2.5, 3.5]))),
            (Kind::Utf8, Arc::new(StringArray::from(vec!["a", "", "ccc"]))),
            (Kind::Binary, Arc::new(BinaryArray::from(vec![&b"a"[..], b"\xff", b"ccc"]))),
        ];
        for (kind, column) in columns {
            let (mut first, mut second) = (Values::new(kind), Values::new(kind));
            first.grow(3);
            second.grow(5);
            scatter(&mut [&mut first, &mut second], &[(0, 2), (1, 4), (1, 0)], &column);
            let back = gather(kind, &[&first, &second], &[(0, 2), (1, 4), (1, 0), (0, 0)]);
            assert_eq!(&back.slice(0, 3), &column);
            assert!(back.is_null(3) && !first.is_set(0) && first.is_set(2));
            scatter(&mut [&mut first], &[(0, 1), (0, 2), (0, 2)], &back.slice(1, 3));
            assert!(!first.is_set(2), "a null unsets");
        }
    }
}
