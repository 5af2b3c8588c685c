//! Which rows the keys of several windows have in each of these. Windows that slide share most of their slices, so what was found out
//! for one is kept for the next: a row is looked up once, not once for every window.
use arrow_buffer::OffsetBuffer;

use super::{
    key_table::{KeyTable, Mark},
    table::Table,
    touched::Touched,
};
use crate::model::{KeyRows, Window, key_hash};

/// Keys that no window has any more may be so many before all is found out anew.
const STALE_KEYS: usize = 1024;

/// The keys of windows looked at lately, numbered.
#[derive(Default)]
pub(super) struct Union {
    keys: KeyTable,
    windows: Vec<Slice>,
    /// Keys found in the scan under way.
    found: usize,
}

/// A window's rows by the number of their key.
struct Slice {
    window: Window,
    /// Of the table's rows, when they were looked at.
    generation: u64,
    /// So many rows have been.
    seen: usize,
    /// One more than the row, 0 where there is none.
    rows: Vec<u32>,
}

impl Union {
    /// A window is no more.
    pub(super) fn forget(&mut self, window: Window) {
        self.windows.retain(|slice| slice.window != window);
    }

    /// A scan begins.
    pub(super) fn begin(&mut self) {
        self.found = 0;
    }

    /// A scan has ended.
    pub(super) fn end(&mut self) {
        if self.keys.len() > 2 * self.found + STALE_KEYS {
            *self = Union::default();
        }
    }

    /// Looks at those rows of a table that it has not seen yet.
    pub(super) fn include(&mut self, table: &Table) {
        let rows = &table.young;
        let at = self.windows.iter().position(|slice| slice.window == table.window).unwrap_or_else(|| {
            let slice = Slice { window: table.window, generation: rows.generation, seen: 0, rows: Vec::new() };
            self.windows.push(slice);
            self.windows.len() - 1
        });
        let slice = &mut self.windows[at];
        if slice.generation != rows.generation {
            *slice = Slice { window: table.window, generation: rows.generation, seen: 0, rows: Vec::new() };
        }
        for row in slice.seen..rows.len() {
            let key = rows.keys.key(row);
            let (number, _) = self.keys.find(key_hash(key), key, key.len(), Mark::default());
            if number >= slice.rows.len() {
                slice.rows.resize((number + 1).max(self.keys.len()), 0);
            }
            slice.rows[number] = row as u32 + 1;
        }
        slice.seen = rows.len();
    }

    /// At most `limit` keys from number `from` on that any of these windows has, and their rows there; `tables` are those of the
    /// windows, all included. Then the number to go on from, if there are more.
    pub(super) fn page(
        &mut self,
        windows: &[Window],
        tables: &[Option<&Table>],
        from: usize,
        limit: usize,
    ) -> (KeyRows, Vec<Touched>, Option<usize>) {
        let slice = |window: &Window| self.windows.iter().find(|slice| slice.window == *window);
        let slices: Vec<Option<(&Slice, &Table)>> =
            windows.iter().zip(tables).map(|(window, table)| slice(window).zip(*table)).collect();
        let row_of = |slice: &Option<(&Slice, &Table)>, number: usize| {
            let (slice, table) = (*slice)?;
            let row = slice.rows.get(number)?.checked_sub(1)?;
            table.young.is_live(row as usize).then_some(row)
        };
        let mut touched: Vec<Touched> = windows.iter().map(|_| Touched::default()).collect();
        for ((touched, window), slice) in touched.iter_mut().zip(windows).zip(&slices) {
            touched.windows.extend(slice.map(|_| *window));
            touched.places.reserve(limit);
        }
        let mut data = Vec::new();
        let mut lengths = Vec::new();
        let mut number = from;
        while number < self.keys.len() && lengths.len() < limit {
            let mut any = false;
            for (touched, slice) in touched.iter_mut().zip(&slices) {
                let row = row_of(slice, number);
                any |= row.is_some();
                // The table one past the last stands for "not there".
                let absent = (touched.windows.len() as u32, 0);
                touched.places.push(row.map_or(absent, |row| (0, row)));
            }
            if any {
                let key = self.keys.key(number);
                data.extend_from_slice(key);
                lengths.push(key.len());
            } else {
                touched.iter_mut().for_each(|touched| {
                    touched.places.pop();
                });
            }
            number += 1;
        }
        touched.iter_mut().for_each(|touched| touched.groups.extend(0..lengths.len() as u32));
        self.found += lengths.len();
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
        let next = Some(number).filter(|number| *number < self.keys.len());
        (KeyRows::Variable { offsets, data: data.into() }, touched, next)
    }
}
