//! Values of an earlier schema version on their way into a store: gathered into calls of bounded size, and put back where they were. Keys,
//! times, and all else of an entry stay as they are. Must not know who makes new values of old ones.
use std::ops::{ControlFlow, Range};

use arrow_array::{Array, ArrayRef};

use super::{
    error::StateError,
    items::{items, map_keys, put_elements, put_item, split_list},
    schema::Mapping,
    settings::StoreSettings,
    wire::{MAP, ROW, Reader, WINDOW_BYTES, put_cell, put_entry, read_cell, read_entry},
};
use crate::model::{Kind, StateDescription, StateKind, value_text};

/// Values in a call.
pub const MIGRATED_VALUES_MAX: usize = 4096;

/// Bytes of values in a call, of more than one value.
pub const MIGRATED_BYTES_MAX: usize = 1 << 20;

/// Why a value could not be migrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateError {
    /// In words.
    pub what: String,
    /// Whether it may go well another time.
    pub retry: bool,
}

/// Who makes values of an earlier schema version into those of the declared one. States are named by their places among those declared.
pub trait Migrator {
    /// Whether it does so for this state.
    fn migrates(&self, state: usize) -> bool;

    /// As many values of the declared type as it is given, of the type they were written with. Neither have nulls. A call that fails has
    /// had no effect, and is made again with fewer values.
    fn migrate(&mut self, state: usize, from_version: u32, values: &ArrayRef) -> Result<ArrayRef, MigrateError>;

    /// An encoded key, in messages.
    fn key_text(&self, key: &[u8]) -> String;
}

/// Nobody: state of an earlier version is refused.
pub struct NoMigrator;

impl Migrator for NoMigrator {
    fn migrates(&self, _: usize) -> bool {
        false
    }

    fn migrate(&mut self, _: usize, _: u32, _: &ArrayRef) -> Result<ArrayRef, MigrateError> {
        Err(MigrateError { what: "there is nobody to do it".to_owned(), retry: false })
    }

    fn key_text(&self, key: &[u8]) -> String {
        format!("{key:02x?}")
    }
}

/// What was not migrated: its place among the values given, and why. Says whether to go on.
pub(super) type Failed<'a> = dyn FnMut(usize, MigrateError) -> ControlFlow<()> + 'a;

/// Has encoded values migrated that were written as `was` says. Gives the new ones in pieces, without those that failed; `None` if some are
/// no values.
pub(super) fn migrate_items(
    migrator: &mut dyn Migrator,
    state: usize,
    was: &StateDescription,
    old: &[&[u8]],
    failed: &mut Failed<'_>,
) -> Option<Vec<ArrayRef>> {
    let mut done = Vec::new();
    let mut at = 0;
    while at < old.len() {
        let call = at..at + call_length(&old[at..]);
        let encoded: Vec<Option<&[u8]>> = old[call.clone()].iter().copied().map(Some).collect();
        let values = items(was.value, &encoded)?;
        at = call.end;
        let mut calls = Calls { migrator, state, version: was.schema_version, failed, done: &mut done };
        if calls.make(&values, call.start).is_break() {
            break;
        }
    }
    Some(done)
}

/// How many of these values go into one call.
fn call_length(old: &[&[u8]]) -> usize {
    let mut bytes = 0;
    let fits = |value: &&&[u8]| {
        bytes += value.len();
        bytes <= MIGRATED_BYTES_MAX
    };
    old.iter().take(MIGRATED_VALUES_MAX).take_while(fits).count().max(1)
}

struct Calls<'a, 'f> {
    migrator: &'a mut dyn Migrator,
    state: usize,
    version: u32,
    failed: &'a mut Failed<'f>,
    done: &'a mut Vec<ArrayRef>,
}

impl Calls<'_, '_> {
    /// In halves where a call fails, until it is known which value is at fault. `at` is the place of the first.
    fn make(&mut self, values: &ArrayRef, at: usize) -> ControlFlow<()> {
        match self.migrator.migrate(self.state, self.version, values) {
            Ok(new) => {
                self.done.push(new);
                ControlFlow::Continue(())
            }
            Err(error) if values.len() < 2 || error.retry => (self.failed)(at, error),
            Err(_) => {
                let half = values.len() / 2;
                self.make(&values.slice(0, half), at)?;
                self.make(&values.slice(half, values.len() - half), at + half)
            }
        }
    }
}

/// New values of one state, to be taken one after the other.
#[derive(Default)]
pub(super) struct NewValues {
    pieces: Vec<ArrayRef>,
    piece: usize,
    row: usize,
}

impl NewValues {
    pub(super) fn of(pieces: Vec<ArrayRef>) -> NewValues {
        NewValues { pieces, piece: 0, row: 0 }
    }

    /// Appends the next value; to a list, if it is an element of one.
    pub(super) fn next(&mut self, in_list: bool, into: &mut Vec<u8>) -> Option<()> {
        while self.pieces.get(self.piece)?.len() == self.row {
            (self.piece, self.row) = (self.piece + 1, 0);
        }
        let (column, row) = (&self.pieces[self.piece], self.row);
        match in_list {
            true => put_elements(column, row..row + 1, into),
            false => put_item(column, row, into),
        }
        self.row += 1;
        Some(())
    }
}

/// An entry of a run, or of a database without its key group in the key.
pub(super) struct Entry {
    pub(super) group: u16,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Entry {
    /// Gives each of its values, elements of lists one by one, of states that `wanted` knows, with the state's number. `None` if it is none.
    pub(super) fn values<'a, 'w>(
        key: &[u8],
        value: &'a [u8],
        wanted: impl Fn(usize) -> Option<&'w StateDescription>,
        mut each: impl FnMut(usize, &'a [u8]),
    ) -> Option<()> {
        match *key.first()? {
            ROW => {
                let mut reader = Reader(value);
                while !reader.is_empty() {
                    let cell = read_cell(&mut reader)?;
                    match wanted(cell.state) {
                        None => {}
                        Some(state) if state.kind == StateKind::List => {
                            split_list(state.value, cell.value)?.into_iter().for_each(|item| each(cell.state, item));
                        }
                        Some(_) => each(cell.state, cell.value),
                    }
                }
            }
            MAP => {
                let state = map_state(key)?;
                let (_, value) = read_entry(value)?;
                if wanted(state).is_some() {
                    each(state, value);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The key whose state it is and, of an entry of a map, the map's.
    pub(super) fn shown(&self, key_kind: Option<Kind>, migrator: &dyn Migrator) -> String {
        let rest = self.key.get(1 + WINDOW_BYTES..).unwrap_or_default();
        if self.key.first() != Some(&MAP) {
            return migrator.key_text(rest);
        }
        let mut reader = Reader(rest.get(2..).unwrap_or_default());
        let length = reader.array().map_or(0, u32::from_be_bytes) as usize;
        let key = reader.take(length).unwrap_or_default();
        let entry = key_kind.and_then(|kind| map_keys(kind, &[reader.0.to_vec()]));
        let entry = entry.map_or_else(|| "?".to_owned(), |keys| value_text(&keys, 0));
        format!("{}, entry {entry}", migrator.key_text(key))
    }

    /// Its value with new values in place of the old.
    fn renewed(&self, mapping: &Mapping, new: &mut [NewValues]) -> Option<Vec<u8>> {
        let mut into = Vec::with_capacity(self.value.len());
        if self.key.first() == Some(&MAP) {
            let (time, _) = read_entry(&self.value)?;
            let mut value = Vec::new();
            new.get_mut(map_state(&self.key)?)?.next(false, &mut value)?;
            put_entry(time, &value, &mut into);
            return Some(into);
        }
        let mut reader = Reader(&self.value);
        let mut value = Vec::new();
        while !reader.is_empty() {
            let cell = read_cell(&mut reader)?;
            let Some(was) = mapping.old(cell.state) else {
                put_cell(cell.state, cell.time, cell.value, &mut into);
                continue;
            };
            value.clear();
            match was.kind {
                StateKind::List => {
                    for _ in split_list(was.value, cell.value)? {
                        new[cell.state].next(true, &mut value)?;
                    }
                }
                _ => new[cell.state].next(false, &mut value)?,
            }
            put_cell(cell.state, cell.time, &value, &mut into);
        }
        Some(into)
    }
}

fn map_state(key: &[u8]) -> Option<usize> {
    let at = 1 + WINDOW_BYTES;
    Some(u16::from_be_bytes(key.get(at..at + 2)?.try_into().ok()?).into())
}

/// A snapshot that is being taken over: what becomes of its states, and entries that wait to be migrated together.
pub(super) struct Taking<'a> {
    pub(super) mapping: &'a Mapping,
    migrator: &'a mut dyn Migrator,
    waiting: Vec<Entry>,
    values: usize,
    bytes: usize,
}

impl<'a> Taking<'a> {
    pub(super) fn new(mapping: &'a Mapping, migrator: &'a mut dyn Migrator) -> Taking<'a> {
        Taking { mapping, migrator, waiting: Vec::new(), values: 0, bytes: 0 }
    }

    /// Keeps an entry that has values of an earlier version; false if it has none. `None` if it is no entry.
    pub(super) fn keep(&mut self, group: u16, key: &[u8], value: &[u8]) -> Option<bool> {
        if !self.mapping.migrates() {
            return Some(false);
        }
        let mut old = 0;
        Entry::values(key, value, |state| self.mapping.old(state), |_, _| old += 1)?;
        if old > 0 {
            self.values += old;
            self.bytes += value.len();
            self.waiting.push(Entry { group, key: key.to_vec(), value: value.to_vec() });
        }
        Some(old > 0)
    }

    /// Whether enough waits for a call.
    pub(super) fn is_full(&self) -> bool {
        self.values >= MIGRATED_VALUES_MAX || self.bytes >= MIGRATED_BYTES_MAX
    }

    /// What has waited, migrated, and how many values of it are.
    pub(super) fn migrated(&mut self, settings: &StoreSettings) -> Result<(Vec<Entry>, u64), StateError> {
        let count = std::mem::take(&mut self.values) as u64;
        self.bytes = 0;
        let mut entries = std::mem::take(&mut self.waiting);
        let damaged = || StateError::Bug { store: settings.name.clone(), what: "a value in state is none".to_owned() };
        let (old, owners) = gather(&entries, |state| self.mapping.old(state)).ok_or_else(damaged)?;
        let mut new = Vec::with_capacity(old.len());
        for (number, old) in old.iter().enumerate() {
            let (Some(was), Some(place)) = (self.mapping.old(number), self.mapping.place(number)) else {
                new.push(NewValues::default());
                continue;
            };
            let mut first = None;
            let mut failed = |at: usize, error| {
                first = Some((at, error));
                ControlFlow::Break(())
            };
            let pieces = migrate_items(self.migrator, place, was, old, &mut failed).ok_or_else(damaged)?;
            if let Some((at, MigrateError { what, retry })) = first {
                let (store, state) = (settings.name.clone(), was.name.clone());
                let key = entries[owners[number][at] as usize].shown(was.key, self.migrator);
                let (was, is) = (was.schema_version, settings.states[place].schema_version);
                return Err(StateError::Migration { store, state, was, is, key, what, retry });
            }
            new.push(NewValues::of(pieces));
        }
        for entry in &mut entries {
            entry.value = entry.renewed(self.mapping, &mut new).ok_or_else(damaged)?;
        }
        Ok((entries, count))
    }
}

/// The values of entries, and of which entry each is; both by the numbers of their states.
pub(super) type Gathered<'a> = (Vec<Vec<&'a [u8]>>, Vec<Vec<u32>>);

/// Gathers the values of entries of states that `wanted` knows. `None` if one is no entry.
pub(super) fn gather<'a, 'w>(
    entries: &'a [Entry],
    wanted: impl Fn(usize) -> Option<&'w StateDescription>,
) -> Option<Gathered<'a>> {
    let (mut values, mut owners) = (Vec::new(), Vec::new());
    for (owner, entry) in entries.iter().enumerate() {
        Entry::values(&entry.key, &entry.value, &wanted, |state, value| {
            if values.len() <= state {
                values.resize_with(state + 1, Vec::new);
                owners.resize_with(state + 1, Vec::new);
            }
            values[state].push(value);
            owners[state].push(owner as u32);
        })?;
    }
    Some((values, owners))
}

/// The next of these ranges of equal things: from `at` on, as long as `same` says so of neighbours.
pub(super) fn run_of<T>(all: &[T], at: usize, same: impl Fn(&T, &T) -> bool) -> Range<usize> {
    let length = all[at..].windows(2).take_while(|pair| same(&pair[0], &pair[1])).count();
    at..(at + length + 1).min(all.len())
}
