//! A column of values that can be read and written at any place: where accumulators lie between two batches. Knows which places
//! have changed, and when, where values expire.
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};

use super::{list::List, map::MapCell};
use crate::model::{Kind, StateDescription, StateKind};

/// The place holds a value.
pub(super) const SET: u8 = 1;
/// The place was written, or unset, since changes were last taken note of.
pub(super) const CHANGED: u8 = 2;

/// Values of one kind; places never written are null.
pub(super) struct Values {
    pub(super) cells: Cells,
    pub(super) flags: Vec<u8>,
    /// When each place was last written, in ms; empty where values do not expire.
    times: Vec<i64>,
    timed: bool,
    /// Bytes outside of the cells.
    heap: usize,
}

pub(super) enum Cells {
    /// Nothing is kept here.
    Absent,
    Boolean(Vec<bool>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    Utf8(Vec<Box<[u8]>>),
    Binary(Vec<Box<[u8]>>),
    /// Encoded lists.
    List(Vec<List>),
    Map(Vec<MapCell>),
}

impl Values {
    /// For a declared state; maps are left out where they are kept elsewhere.
    pub(super) fn of(state: &StateDescription, maps: bool) -> Values {
        let mut values = match state.kind {
            StateKind::Value | StateKind::Reducing | StateKind::Aggregating => Values::new(state.value),
            StateKind::List => Values::with(Cells::List(Vec::new())),
            StateKind::Map if maps => Values::with(Cells::Map(Vec::new())),
            _ => Values::with(Cells::Absent),
        };
        values.timed = state.time_to_live.is_some() && state.kind != StateKind::Map;
        values
    }

    fn with(cells: Cells) -> Values {
        Values { cells, flags: Vec::new(), times: Vec::new(), timed: false, heap: 0 }
    }

    pub(super) fn new(kind: Kind) -> Values {
        Values::with(match kind {
            Kind::Boolean => Cells::Boolean(Vec::new()),
            Kind::Int64 => Cells::Int64(Vec::new()),
            Kind::Float64 => Cells::Float64(Vec::new()),
            Kind::Utf8 => Cells::Utf8(Vec::new()),
            Kind::Binary => Cells::Binary(Vec::new()),
        })
    }

    /// Makes room for places up to `length`.
    pub(super) fn grow(&mut self, length: usize) {
        if length <= self.flags.len() {
            return;
        }
        self.flags.resize(length, 0);
        if self.timed {
            self.times.resize(length, 0);
        }
        match &mut self.cells {
            Cells::Absent => {}
            Cells::Boolean(cells) => cells.resize(length, false),
            Cells::Int64(cells) => cells.resize(length, 0),
            Cells::Float64(cells) => cells.resize(length, 0.0),
            Cells::Utf8(cells) | Cells::Binary(cells) => cells.resize_with(length, Box::default),
            Cells::List(cells) => cells.resize_with(length, List::default),
            Cells::Map(cells) => cells.resize_with(length, MapCell::default),
        }
    }

    /// Whether the place was written.
    pub(super) fn is_set(&self, place: usize) -> bool {
        self.flags[place] & SET != 0
    }

    /// Whether the place may have changed.
    pub(super) fn is_changed(&self, place: usize) -> bool {
        self.flags[place] & CHANGED != 0
    }

    /// Takes note of a place's change.
    pub(super) fn settle(&mut self, place: usize) {
        self.flags[place] &= !CHANGED;
        if let Cells::Map(cells) = &mut self.cells {
            cells[place].settle();
        }
    }

    /// Bytes in memory, approximately.
    pub(super) fn bytes(&self) -> usize {
        let cell = match &self.cells {
            Cells::Absent => 0,
            Cells::Boolean(_) => 1,
            Cells::Int64(_) | Cells::Float64(_) => 8,
            Cells::Utf8(_) | Cells::Binary(_) => 16,
            Cells::List(_) => size_of::<List>(),
            Cells::Map(_) => size_of::<MapCell>(),
        };
        self.flags.len() * (cell + 1) + self.times.len() * 8 + self.heap
    }

    /// When the place was last written; the end of time where values do not expire.
    pub(super) fn time(&self, place: usize) -> i64 {
        self.times.get(place).copied().unwrap_or(i64::MAX)
    }

    /// Notes when the place was written.
    pub(super) fn stamp(&mut self, place: usize, now_ms: i64) {
        if let Some(time) = self.times.get_mut(place) {
            *time = now_ms;
            self.flags[place] |= CHANGED;
        }
    }

    /// Whether values have times.
    pub(super) fn is_timed(&self) -> bool {
        self.timed
    }

    /// Copies a value into place; a null unsets it.
    fn put(&mut self, place: usize, column: &ArrayRef, row: usize) {
        if column.is_null(row) {
            return self.unset(place);
        }
        self.flags[place] |= SET | CHANGED;
        match &mut self.cells {
            Cells::Boolean(cells) => cells[place] = column.as_boolean().value(row),
            Cells::Int64(cells) => cells[place] = column.as_primitive::<Int64Type>().value(row),
            Cells::Float64(cells) => cells[place] = column.as_primitive::<Float64Type>().value(row),
            Cells::Utf8(_) => self.replace(place, column.as_string::<i32>().value(row).as_bytes()),
            Cells::Binary(_) => self.replace(place, column.as_binary::<i32>().value(row)),
            Cells::Absent | Cells::List(_) | Cells::Map(_) => {}
        }
    }

    /// Forgets the value.
    pub(super) fn unset(&mut self, place: usize) {
        if self.flags[place] & SET == 0 {
            return;
        }
        self.flags[place] = CHANGED;
        match &mut self.cells {
            Cells::Utf8(cells) | Cells::Binary(cells) => {
                self.heap -= cells[place].len();
                cells[place] = Box::default();
            }
            Cells::List(cells) => {
                self.heap -= cells[place].outside();
                cells[place] = List::default();
            }
            Cells::Absent | Cells::Boolean(_) | Cells::Int64(_) | Cells::Float64(_) | Cells::Map(_) => {}
        }
    }

    /// Writes over old bytes where the length allows: accumulators mostly keep theirs.
    fn replace(&mut self, place: usize, value: &[u8]) {
        if let Cells::Utf8(cells) | Cells::Binary(cells) = &mut self.cells {
            let cell = &mut cells[place];
            if cell.len() == value.len() {
                cell.copy_from_slice(value);
            } else {
                self.heap = self.heap + value.len() - cell.len();
                *cell = value.into();
            }
        }
    }

    /// The encoded list in place; empty where none is.
    pub(super) fn list(&self, place: usize) -> &[u8] {
        match &self.cells {
            Cells::List(cells) => cells[place].bytes(),
            _ => &[],
        }
    }

    /// Appends encoded elements to the list in place, or puts them there.
    pub(super) fn put_list(&mut self, place: usize, elements: &[u8], append: bool) {
        if elements.is_empty() {
            if !append {
                self.unset(place);
            }
            return;
        }
        if let Cells::List(cells) = &mut self.cells {
            let list = &mut cells[place];
            self.heap -= list.outside();
            list.put(elements, append);
            self.heap += list.outside();
            self.flags[place] |= SET | CHANGED;
        }
    }

    /// The map in place.
    pub(super) fn map(&self, place: usize) -> Option<&MapCell> {
        match &self.cells {
            Cells::Map(cells) => cells.get(place),
            _ => None,
        }
    }

    /// Changes the map in place.
    pub(super) fn change_map<T>(&mut self, place: usize, change: impl FnOnce(&mut MapCell) -> T) -> Option<T> {
        let Cells::Map(cells) = &mut self.cells else { return None };
        let cell = &mut cells[place];
        self.heap -= cell.bytes();
        let result = change(cell);
        self.heap += cell.bytes();
        self.flags[place] = if cell.is_empty() { CHANGED } else { SET | CHANGED };
        Some(result)
    }

    /// Appends the encoded value in place. Maps have none.
    pub(super) fn encode(&self, place: usize, into: &mut Vec<u8>) {
        match &self.cells {
            Cells::Absent | Cells::Map(_) => {}
            Cells::Boolean(cells) => into.push(u8::from(cells[place])),
            Cells::Int64(cells) => into.extend_from_slice(&cells[place].to_le_bytes()),
            Cells::Float64(cells) => into.extend_from_slice(&cells[place].to_le_bytes()),
            Cells::Utf8(cells) | Cells::Binary(cells) => into.extend_from_slice(&cells[place]),
            Cells::List(cells) => into.extend_from_slice(cells[place].bytes()),
        }
    }

    /// Puts an encoded value in place, which does not count as a change. One without a time does not expire until it is written
    /// again. False if it is none.
    pub(super) fn load(&mut self, place: usize, value: &[u8], time: Option<i64>) -> bool {
        match &mut self.cells {
            Cells::Absent | Cells::Map(_) => return false,
            Cells::Boolean(cells) => match value {
                [0] | [1] => cells[place] = value[0] == 1,
                _ => return false,
            },
            Cells::Int64(cells) => match value.try_into() {
                Ok(value) => cells[place] = i64::from_le_bytes(value),
                Err(_) => return false,
            },
            Cells::Float64(cells) => match value.try_into() {
                Ok(value) => cells[place] = f64::from_le_bytes(value),
                Err(_) => return false,
            },
            Cells::Utf8(_) if std::str::from_utf8(value).is_err() => return false,
            Cells::Utf8(_) | Cells::Binary(_) => self.replace(place, value),
            Cells::List(_) => self.put_list(place, value, false),
        }
        self.flags[place] = SET;
        if let Some(at) = self.times.get_mut(place) {
            *at = time.unwrap_or(i64::MAX);
        }
        true
    }

    /// Moves the value at a place of another column of the same state here.
    pub(super) fn take(&mut self, place: usize, from: &mut Values, at: usize) {
        let heap = match (&mut self.cells, &mut from.cells) {
            (Cells::Boolean(to), Cells::Boolean(from)) => swap(to, place, from, at, |_| 0),
            (Cells::Int64(to), Cells::Int64(from)) => swap(to, place, from, at, |_| 0),
            (Cells::Float64(to), Cells::Float64(from)) => swap(to, place, from, at, |_| 0),
            (Cells::Utf8(to), Cells::Utf8(from)) | (Cells::Binary(to), Cells::Binary(from)) => {
                swap(to, place, from, at, |it| it.len())
            }
            (Cells::List(to), Cells::List(from)) => swap(to, place, from, at, List::outside),
            (Cells::Map(to), Cells::Map(from)) => swap(to, place, from, at, MapCell::bytes),
            _ => 0,
        };
        self.heap += heap;
        from.heap -= heap;
        self.flags[place] = std::mem::take(&mut from.flags[at]);
        if let (Some(to), Some(from)) = (self.times.get_mut(place), from.times.get(at)) {
            *to = *from;
        }
    }
}

/// Swaps a value with an unset one; gives its bytes outside of the cell.
fn swap<T>(to: &mut [T], place: usize, from: &mut [T], at: usize, bytes: impl Fn(&T) -> usize) -> usize {
    std::mem::swap(&mut to[place], &mut from[at]);
    bytes(&to[place])
}

/// Writes row `i` of `column`, of the values' kind, to `places[i]` = (which of the values, where in it).
pub(super) fn scatter(all: &mut [&mut Values], places: &[(u32, u32)], column: &ArrayRef) {
    if let ([values], None) = (&mut *all, column.nulls())
        && let Cells::Int64(cells) = &mut values.cells
    {
        for ((_, place), value) in places.iter().zip(column.as_primitive::<Int64Type>().values()) {
            cells[*place as usize] = *value;
            values.flags[*place as usize] = SET | CHANGED;
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
        values.is_set(place)
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
