//! What all states of a table hold in each row: where values and accumulators lie between two batches. Knows which have changed and,
//! where they expire, when they were written. What is small of a row lies together, in a record.
use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};

use super::{
    layout::{Layout, Slot},
    list::Lists,
    map::MapCell,
    records::{Records, number, put_number},
};
use crate::model::StateDescription;

/// The row has a value of the state.
pub(super) const SET: u8 = 1;
/// It was written, or unset, since changes were last taken note of.
pub(super) const CHANGED: u8 = 2;

/// The values; those never written are null.
pub(super) struct Values {
    /// Flags, times, numbers and short lists, as [`Layout`] says.
    pub(super) records: Records,
    pub(super) cells: Vec<Cells>,
    times: Vec<Option<usize>>,
    /// Bytes outside of records and cells.
    heap: usize,
}

/// Where a state's values are.
pub(super) enum Cells {
    /// Nothing is kept here.
    Absent,
    /// At this place of the records.
    Boolean(usize),
    Int64(usize),
    Float64(usize),
    /// By row.
    Utf8(Vec<Box<[u8]>>),
    Binary(Vec<Box<[u8]>>),
    Map(Vec<MapCell>),
    /// Encoded.
    List(Lists),
}

impl Values {
    /// For declared states; maps are left out where they are kept elsewhere.
    pub(super) fn of(states: &[StateDescription], maps: bool) -> Values {
        let Layout { length, slots, times } = Layout::of(states, maps);
        let cell = |slot| match slot {
            Slot::Absent => Cells::Absent,
            Slot::Boolean(at) => Cells::Boolean(at),
            Slot::Int64(at) => Cells::Int64(at),
            Slot::Float64(at) => Cells::Float64(at),
            Slot::Utf8 => Cells::Utf8(Vec::new()),
            Slot::Binary => Cells::Binary(Vec::new()),
            Slot::Map => Cells::Map(Vec::new()),
            Slot::List { length_at, at, short_bytes } => Cells::List(Lists::new(length_at, at, short_bytes)),
        };
        let cells = slots.into_iter().map(cell).collect();
        Values { records: Records::new(length), cells, times, heap: 0 }
    }

    /// Makes room for rows up to `length`.
    pub(super) fn grow(&mut self, length: usize) {
        self.records.grow(length);
        for cells in &mut self.cells {
            match cells {
                Cells::Utf8(cells) | Cells::Binary(cells) if cells.len() < length => {
                    cells.resize_with(length, Box::default);
                }
                Cells::Map(cells) if cells.len() < length => cells.resize_with(length, MapCell::default),
                _ => {}
            }
        }
    }

    fn flags(&self, row: usize) -> &[u8] {
        &self.records.get(row)[..self.cells.len()]
    }

    /// Whether the row has a value of the state.
    pub(super) fn is_set(&self, state: usize, row: usize) -> bool {
        self.records.get(row)[state] & SET != 0
    }

    /// Whether the row has a value of any state.
    pub(super) fn is_live(&self, row: usize) -> bool {
        self.flags(row).iter().any(|flags| flags & SET != 0)
    }

    /// Whether any state of the row may have changed.
    pub(super) fn is_changed(&self, row: usize) -> bool {
        self.flags(row).iter().any(|flags| flags & CHANGED != 0)
    }

    /// Takes note of all changes of a row.
    pub(super) fn settle(&mut self, row: usize) {
        let flags = &mut self.records.get_mut(row)[..self.cells.len()];
        for (flags, cells) in flags.iter_mut().zip(&mut self.cells).filter(|(flags, _)| **flags & CHANGED != 0) {
            *flags &= !CHANGED;
            if let Cells::Map(cells) = cells {
                cells[row].settle();
            }
        }
    }

    /// Bytes in memory, approximately.
    pub(super) fn bytes(&self) -> usize {
        let outside = |cells: &Cells| match cells {
            Cells::Absent | Cells::Boolean(_) | Cells::Int64(_) | Cells::Float64(_) => 0,
            Cells::Utf8(cells) | Cells::Binary(cells) => cells.len() * size_of::<Box<[u8]>>(),
            Cells::Map(cells) => cells.len() * size_of::<MapCell>(),
            Cells::List(lists) => lists.memory(),
        };
        self.records.bytes() + self.cells.iter().map(outside).sum::<usize>() + self.heap
    }

    /// When the state was last written; the end of time where values do not expire.
    pub(super) fn time(&self, state: usize, row: usize) -> i64 {
        self.times[state].map_or(i64::MAX, |at| i64::from_le_bytes(number(self.records.get(row), at)))
    }

    /// Notes when the state was written.
    pub(super) fn stamp(&mut self, state: usize, row: usize, now_ms: i64) {
        if let Some(at) = self.times[state] {
            let record = self.records.get_mut(row);
            put_number(record, at, now_ms.to_le_bytes());
            record[state] |= CHANGED;
        }
    }

    /// Whether values of the state have times.
    pub(super) fn is_timed(&self, state: usize) -> bool {
        self.times[state].is_some()
    }

    /// Copies a value of a column of the state's kind; a null unsets it.
    pub(super) fn put(&mut self, state: usize, row: usize, column: &ArrayRef, from: usize) {
        if column.is_null(from) {
            return self.unset(state, row);
        }
        let record = self.records.get_mut(row);
        record[state] |= SET | CHANGED;
        match self.cells[state] {
            Cells::Boolean(at) => record[at] = u8::from(column.as_boolean().value(from)),
            Cells::Int64(at) => put_number(record, at, column.as_primitive::<Int64Type>().value(from).to_le_bytes()),
            Cells::Float64(at) => {
                put_number(record, at, column.as_primitive::<Float64Type>().value(from).to_le_bytes());
            }
            Cells::Utf8(_) => self.replace(state, row, column.as_string::<i32>().value(from).as_bytes()),
            Cells::Binary(_) => self.replace(state, row, column.as_binary::<i32>().value(from)),
            Cells::Absent | Cells::List(_) | Cells::Map(_) => {}
        }
    }

    /// Forgets the value.
    pub(super) fn unset(&mut self, state: usize, row: usize) {
        let record = self.records.get_mut(row);
        if record[state] & SET == 0 {
            return;
        }
        record[state] = CHANGED;
        match &mut self.cells[state] {
            Cells::Utf8(cells) | Cells::Binary(cells) => self.heap -= std::mem::take(&mut cells[row]).len(),
            Cells::List(lists) => self.heap -= lists.take(record).len(),
            Cells::Absent | Cells::Boolean(_) | Cells::Int64(_) | Cells::Float64(_) | Cells::Map(_) => {}
        }
    }

    /// Writes over old bytes where the length allows: accumulators mostly keep theirs.
    fn replace(&mut self, state: usize, row: usize, value: &[u8]) {
        if let Cells::Utf8(cells) | Cells::Binary(cells) = &mut self.cells[state] {
            let cell = &mut cells[row];
            if cell.len() == value.len() {
                cell.copy_from_slice(value);
            } else {
                self.heap = self.heap + value.len() - cell.len();
                *cell = value.into();
            }
        }
    }

    /// The encoded list of a row; empty where none is.
    pub(super) fn list(&self, state: usize, row: usize) -> &[u8] {
        match &self.cells[state] {
            Cells::List(lists) => lists.bytes(self.records.get(row)),
            _ => &[],
        }
    }

    /// Appends encoded elements to the list of a row, or puts them there.
    pub(super) fn put_list(&mut self, state: usize, row: usize, elements: &[u8], append: bool) {
        if elements.is_empty() {
            if !append {
                self.unset(state, row);
            }
            return;
        }
        if let Cells::List(lists) = &mut self.cells[state] {
            let record = self.records.get_mut(row);
            self.heap -= lists.outside(record);
            lists.put(record, elements, append);
            self.heap += lists.outside(record);
            record[state] |= SET | CHANGED;
        }
    }

    /// The map of a row.
    pub(super) fn map(&self, state: usize, row: usize) -> Option<&MapCell> {
        match self.cells.get(state)? {
            Cells::Map(cells) => cells.get(row),
            _ => None,
        }
    }

    /// Changes the map of a row.
    pub(super) fn change_map<T>(
        &mut self,
        state: usize,
        row: usize,
        change: impl FnOnce(&mut MapCell) -> T,
    ) -> Option<T> {
        let Cells::Map(cells) = self.cells.get_mut(state)? else { return None };
        let cell = &mut cells[row];
        self.heap -= cell.bytes();
        let result = change(cell);
        self.heap += cell.bytes();
        self.records.get_mut(row)[state] = if cell.is_empty() { CHANGED } else { SET | CHANGED };
        Some(result)
    }

    /// Appends the encoded value. Maps have none.
    pub(super) fn encode(&self, state: usize, row: usize, into: &mut Vec<u8>) {
        let record = self.records.get(row);
        match &self.cells[state] {
            Cells::Absent | Cells::Map(_) => {}
            Cells::Boolean(at) => into.push(record[*at]),
            Cells::Int64(at) | Cells::Float64(at) => into.extend_from_slice(&number(record, *at)),
            Cells::Utf8(cells) | Cells::Binary(cells) => into.extend_from_slice(&cells[row]),
            Cells::List(lists) => into.extend_from_slice(lists.bytes(record)),
        }
    }

    /// Puts an encoded value in a row, which does not count as a change. One without a time does not expire until it is written
    /// again. False if it is none.
    pub(super) fn load(&mut self, state: usize, row: usize, value: &[u8], time: Option<i64>) -> bool {
        let record = self.records.get_mut(row);
        match self.cells.get(state) {
            None | Some(Cells::Absent | Cells::Map(_)) => return false,
            Some(Cells::Boolean(at)) => match value {
                [0] | [1] => record[*at] = value[0],
                _ => return false,
            },
            Some(Cells::Int64(at) | Cells::Float64(at)) => match value.try_into() {
                Ok(value) => put_number(record, *at, value),
                Err(_) => return false,
            },
            Some(Cells::Utf8(_)) if std::str::from_utf8(value).is_err() => return false,
            Some(Cells::Utf8(_) | Cells::Binary(_)) => self.replace(state, row, value),
            Some(Cells::List(_)) => self.put_list(state, row, value, false),
        }
        let record = self.records.get_mut(row);
        record[state] = SET;
        if let Some(at) = self.times[state] {
            put_number(record, at, time.unwrap_or(i64::MAX).to_le_bytes());
        }
        true
    }

    /// Moves all values of a row of another table of the same states here, where none is.
    pub(super) fn take(&mut self, row: usize, from: &mut Values, at: usize) {
        let (record, old) = (self.records.get_mut(row), from.records.get_mut(at));
        record.copy_from_slice(old);
        let mut heap = 0;
        for (to, from) in self.cells.iter_mut().zip(&mut from.cells) {
            heap += match (to, from) {
                (Cells::Utf8(to), Cells::Utf8(from)) | (Cells::Binary(to), Cells::Binary(from)) => {
                    swap(to, row, from, at, |it| it.len())
                }
                (Cells::Map(to), Cells::Map(from)) => swap(to, row, from, at, MapCell::bytes),
                (Cells::List(to), Cells::List(from)) => to.move_from(from, record),
                _ => 0,
            };
        }
        old.fill(0);
        self.heap += heap;
        from.heap -= heap;
    }
}

/// Swaps a value with an unset one; gives its bytes outside of the cell.
fn swap<T>(to: &mut [T], row: usize, from: &mut [T], at: usize, bytes: impl Fn(&T) -> usize) -> usize {
    std::mem::swap(&mut to[row], &mut from[at]);
    bytes(&to[row])
}
