//! Single values of columns, for harnesses that keep them.
//!
//! Guarantees: a column of cells reads as the one they are of. Must not know: states, operators.

use std::cmp::Ordering;

use crate::bindings::types::{Column, Kind, Values};
use crate::column::Field;

/// A value of a column.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    Int64(i64),
    Float64(f64),
    Utf8(String),
    Binary(Vec<u8>),
}

impl Cell {
    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Int64(_) => 2,
            Self::Float64(_) => 3,
            Self::Utf8(_) => 4,
            Self::Binary(_) => 5,
        }
    }
}

impl Ord for Cell {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Int64(a), Self::Int64(b)) => a.cmp(b),
            (Self::Float64(a), Self::Float64(b)) => a.total_cmp(b),
            (Self::Utf8(a), Self::Utf8(b)) => a.cmp(b),
            (Self::Binary(a), Self::Binary(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cell {}

/// The values of a column of `rows` rows.
pub(super) fn cells(column: &Column, rows: usize) -> Vec<Cell> {
    fn read<'c, F: Field>(column: &'c Column, rows: usize, cell: impl Fn(F::At<'c>) -> Cell) -> Vec<Cell> {
        let reader = <Option<F>>::reader(column, rows).unwrap_or_else(|error| panic!("{error}"));
        (0..rows).map(|row| <Option<F>>::read(&reader, row).map_or(Cell::Null, &cell)).collect()
    }
    match column.values {
        Values::Boolean(_) => read::<bool>(column, rows, Cell::Boolean),
        Values::Int64(_) => read::<i64>(column, rows, Cell::Int64),
        Values::Float64(_) => read::<f64>(column, rows, Cell::Float64),
        Values::Utf8(_) => read::<String>(column, rows, Cell::Utf8),
        Values::Binary(_) => read::<Vec<u8>>(column, rows, Cell::Binary),
    }
}

/// The column of these cells, which are of this kind or null.
pub(super) fn column<'c>(kind: Kind, cells: impl IntoIterator<Item = &'c Cell>) -> Column {
    fn write<'c, F: Field>(
        cells: impl IntoIterator<Item = &'c Cell>,
        value: impl Fn(&'c Cell) -> Option<F::At<'c>>,
    ) -> Column {
        let mut builder = <Option<F>>::builder(0);
        for cell in cells {
            let value = value(cell);
            assert!(value.is_some() || *cell == Cell::Null, "{cell:?} is of another kind than declared");
            <Option<F>>::push(&mut builder, value);
        }
        <Option<F>>::finish(builder)
    }
    macro_rules! of {
        ($field:ty, $cell:ident, |$value:ident| $read:expr) => {
            write::<$field>(cells, |cell| if let Cell::$cell($value) = cell { Some($read) } else { None })
        };
    }
    match kind {
        Kind::Boolean => of!(bool, Boolean, |value| *value),
        Kind::Int64 => of!(i64, Int64, |value| *value),
        Kind::Float64 => of!(f64, Float64, |value| *value),
        Kind::Utf8 => of!(&str, Utf8, |value| value.as_str()),
        Kind::Binary => of!(&[u8], Binary, |value| value.as_slice()),
    }
}
