//! A table of rows and, where there is a database below, what of it is in memory: rows touched lately are young; when these fill
//! half of the budget, they become old, and what was old until then is written and forgotten.
use std::sync::Arc;

use super::{
    changed::ChangedRows,
    db::{Db, Writes},
    error::StateError,
    rows::Rows,
    wire::{OPEN, WINDOW_BYTES, read_window, row_key},
};
use crate::model::{StateDescription, StateKind, Window, key_hash};

/// Bytes written to a database at once.
pub(super) const WRITE_BYTES: usize = 4 << 20;

/// What the tables of a store have in common.
pub(super) struct Shape {
    pub(super) states: Arc<[StateDescription]>,
    /// Whether maps are in memory.
    pub(super) maps: bool,
    /// Of what kind its entries are.
    pub(super) kind: u8,
    /// How many bytes at the end of a key are its window.
    pub(super) suffix: usize,
    pub(super) max_parallelism: u32,
}

impl Shape {
    /// An empty table of rows.
    pub(super) fn rows(&self) -> Rows {
        Rows::new(&self.states, self.maps)
    }

    /// Whether a database has entries of rows; maps have their own.
    fn has_rows(&self) -> bool {
        self.states.iter().any(|state| state.kind != StateKind::Map)
    }

    /// A key and window as they are in tables, apart.
    pub(super) fn split<'a>(&self, key: &'a [u8], window: Window) -> (&'a [u8], Window) {
        let (key, suffix) = key.split_at(key.len() - self.suffix);
        (key, if self.suffix == WINDOW_BYTES { read_window(suffix).unwrap_or(window) } else { window })
    }
}

/// A table.
pub(super) struct Table {
    pub(super) window: Window,
    pub(super) shape: Arc<Shape>,
    pub(super) young: Rows,
    pub(super) old: Option<Rows>,
    /// Of the young, where there is no database.
    pub(super) changed: ChangedRows,
    /// Whether the database may have entries of it.
    pub(super) stored: bool,
    /// Whether all its rows are in memory.
    pub(super) complete: bool,
    /// Whether someone is reading it page by page, so that rows must keep their places.
    pub(super) scanning: bool,
}

impl Table {
    pub(super) fn new(window: Window, shape: &Arc<Shape>) -> Table {
        let (shape, young) = (shape.clone(), shape.rows());
        let changed = ChangedRows::default();
        Table { window, shape, young, old: None, changed, stored: false, complete: true, scanning: false }
    }

    /// Its rows in memory.
    pub(super) fn generations(&self) -> impl Iterator<Item = &Rows> {
        std::iter::once(&self.young).chain(&self.old)
    }

    pub(super) fn bytes(&self) -> usize {
        self.generations().map(Rows::bytes).sum()
    }

    /// The rows that have changed, in memory without a database.
    pub(super) fn changed(&self) -> Vec<u32> {
        // What expires goes without being asked for.
        self.changed.of(&self.young, self.shape.states.iter().any(|state| state.time_to_live.is_some()))
    }

    /// Takes note of the changes of these rows, which are all that have changed.
    pub(super) fn settle(&mut self, changed: &[u32]) {
        changed.iter().for_each(|row| self.young.settle(*row as usize));
        self.changed.clear(&self.young);
    }

    /// The full key of a row's entry.
    pub(super) fn full_key(&self, rows: &Rows, row: usize, into: &mut Vec<u8>) {
        let (key, window) = self.shape.split(rows.keys.key(row), self.window);
        let group = rows.groups[row];
        match self.shape.kind {
            OPEN => {
                into.push(OPEN);
                into.extend_from_slice(&group.to_be_bytes());
                into.extend_from_slice(key);
            }
            _ => row_key(window, group, key, into),
        }
    }

    /// Makes cells for keys just found, and fills those from row `from` on with what there was of them.
    pub(super) fn fill(&mut self, from: usize, db: Option<&Db>) -> Result<(), StateError> {
        self.young.extend(self.shape.suffix, self.shape.max_parallelism);
        let Some(db) = db.filter(|_| from < self.young.len() && self.shape.has_rows()) else { return Ok(()) };
        let (mut missing, mut keys) = (Vec::new(), Vec::new());
        for row in from..self.young.len() {
            let key = self.young.keys.key(row);
            let at = self.old.as_ref().and_then(|old| old.keys.get(key_hash(key), key));
            // A dead row of the old may be clean and forgotten there, but the database knows the same then.
            if let (Some(at), Some(old)) = (at, &mut self.old) {
                self.young.take(row, old, at);
            } else if !self.complete {
                let mut full = Vec::new();
                self.full_key(&self.young, row, &mut full);
                missing.push(row);
                keys.push(full);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        for (row, value) in missing.into_iter().zip(db.get(&keys)?) {
            if let Some(value) = value
                && !self.young.load(row, &value)
            {
                return Err(not_a_row(db));
            }
        }
        Ok(())
    }

    /// Writes changed rows; without a database has them among what is to be written.
    pub(super) fn write(&mut self, db: Option<&Db>, writes: &mut Writes) -> Result<(), StateError> {
        let mut old = self.old.take();
        if let Some(old) = &mut old {
            std::mem::swap(&mut self.young, old);
            self.write_young(db, writes)?;
            std::mem::swap(&mut self.young, old);
        }
        self.old = old;
        self.write_young(db, writes)
    }

    fn write_young(&mut self, db: Option<&Db>, writes: &mut Writes) -> Result<(), StateError> {
        let (mut key, mut cell, mut value) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..self.young.len() {
            if !self.young.is_changed(row) {
                continue;
            }
            key.clear();
            value.clear();
            self.full_key(&self.young, row, &mut key);
            self.young.encode(row, &self.shape.states, i64::MIN, &mut cell, &mut value);
            if value.is_empty() {
                writes.delete(&key);
            } else {
                writes.put(&key, &value);
                self.stored = true;
            }
            self.young.settle(row);
            if let Some(db) = db.filter(|_| writes.bytes() > WRITE_BYTES) {
                db.write(writes)?;
            }
        }
        Ok(())
    }

    /// Writes and forgets what is old; what was young is old now.
    pub(super) fn age(&mut self, db: &Db, writes: &mut Writes) -> Result<(), StateError> {
        let young = std::mem::replace(&mut self.young, self.shape.rows());
        if let Some(old) = self.old.replace(young)
            && old.len() > 0
        {
            self.young = old;
            self.write_young(Some(db), writes)?;
            self.young = self.shape.rows();
            self.complete = false;
        }
        Ok(())
    }
}

pub(super) fn not_a_row(db: &Db) -> StateError {
    StateError::Database { directory: db.directory().to_owned(), what: "it has a row that is none".to_owned() }
}
