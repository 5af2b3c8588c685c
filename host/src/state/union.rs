//! Which rows the keys of several windows have in each of these. Windows that slide share most of their slices, so what was found out
//! for one is kept for the next: a row is looked up once, not once for every window.
use arrow_buffer::OffsetBuffer;

use super::{
    key_table::{KeyTable, Mark},
    scan::{Cursor, UnionPage},
    table::Table,
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

    /// Keys from the one that `from` counts to, at most `limit`, that any of these windows has, and their rows there; `tables` are
    /// those of the windows, all included.
    pub(super) fn page(
        &mut self,
        windows: &[Window],
        tables: &[Option<&Table>],
        from: usize,
        limit: usize,
    ) -> UnionPage {
        const NONE: u32 = u32::MAX;
        let to = self.keys.len().min(from.saturating_add(limit)).max(from);
        // By number, from `from` on: which of the page's keys it is.
        let mut places = vec![NONE; to - from];
        let mut page = UnionPage::empty();
        let (mut data, mut lengths) = (Vec::new(), Vec::new());
        for (window, table) in windows.iter().zip(tables) {
            let Some(table) = table else { continue };
            let Some(slice) = self.windows.iter().find(|slice| slice.window == *window) else { continue };
            let rank = page.touched.windows.len() as u32;
            page.touched.windows.push(*window);
            let rows = slice.rows.get(from..slice.rows.len().min(to)).unwrap_or_default();
            for (number, row) in rows.iter().enumerate().filter(|(_, row)| **row > 0) {
                let row = row - 1;
                if !table.young.is_live(row as usize) {
                    continue;
                }
                let place = &mut places[number];
                if *place == NONE {
                    *place = lengths.len() as u32;
                    let key = self.keys.key(from + number);
                    data.extend_from_slice(key);
                    lengths.push(key.len());
                }
                page.touched.places.push((rank, row));
                page.owners.push(*place);
            }
        }
        page.touched.groups.extend(0..page.owners.len() as u32);
        page.len = lengths.len();
        self.found += page.len;
        page.keys = KeyRows::Variable { offsets: OffsetBuffer::<i32>::from_lengths(lengths), data: data.into() };
        page.next = (to < self.keys.len()).then_some(Cursor { row: to, ..Cursor::default() });
        page
    }
}
