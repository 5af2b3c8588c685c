//! Keys and, for each, the values of all states, in memory. Knows no database and no windows.
use super::{
    key_table::{FETCHED_KEYS, KeyTable, Mark},
    schema::is_expired,
    touched::Touched,
    values::Values,
    wire::{Reader, put_cell, read_cell},
};
use crate::model::{KeyRows, StateDescription, key_group, key_hash};

/// Tables of fewer rows are not looked at for dead ones.
const SHRINK_ROWS: usize = 1024;

/// Rows looked at for expired values each time a table is touched.
const SWEEP_ROWS: usize = 16;

/// A table of rows.
pub(super) struct Rows {
    pub(super) keys: KeyTable,
    pub(super) groups: Vec<u16>,
    pub(super) values: Values,
    /// Row touches until dead rows are looked for.
    countdown: usize,
    swept: usize,
    /// Counts how often rows have changed their places.
    pub(super) generation: u64,
}

impl Rows {
    pub(super) fn new(states: &[StateDescription], maps: bool) -> Rows {
        let values = Values::of(states, maps);
        Rows { keys: KeyTable::default(), groups: Vec::new(), values, countdown: SHRINK_ROWS, swept: 0, generation: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Bytes in memory, approximately.
    pub(super) fn bytes(&self) -> usize {
        self.keys.memory() + self.groups.len() * 2 + self.values.bytes()
    }

    /// Finds or makes rows: those of `hashes`, which belong to `keys` from `first_row` on.
    pub(super) fn touch(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        first_row: usize,
        (batch, rank): (u32, u32),
        into: &mut Touched,
    ) {
        self.countdown = self.countdown.saturating_sub(hashes.len());
        let unseen = Mark { batch: batch.wrapping_sub(1), group: 0 };
        into.groups.reserve(hashes.len());
        for (chunk, hashes) in hashes.chunks(FETCHED_KEYS).enumerate() {
            self.keys.fetch(hashes);
            into.groups.extend(hashes.iter().enumerate().map(|(i, hash)| {
                let (data, length) = keys.tail(first_row + chunk * FETCHED_KEYS + i);
                let (number, mark) = self.keys.find(*hash, data, length, unseen);
                if mark.batch != batch {
                    *mark = Mark { batch, group: into.places.len() as u32 };
                    into.places.push((rank, number as u32));
                }
                mark.group
            }));
        }
    }

    /// Makes the cells of rows that keys were found for; `suffix` bytes of a key are not part of what its group depends on.
    pub(super) fn extend(&mut self, suffix: usize, max_parallelism: u32) {
        for row in self.groups.len()..self.keys.len() {
            let key = self.keys.key(row);
            self.groups.push(key_group(key_hash(&key[..key.len() - suffix]), max_parallelism) as u16);
        }
        self.values.grow(self.groups.len());
    }

    /// The row of a key, which is made if it is not there.
    pub(super) fn row(&mut self, key: &[u8], suffix: usize, max_parallelism: u32) -> usize {
        let (row, _) = self.keys.find(key_hash(key), key, key.len(), Mark::default());
        self.extend(suffix, max_parallelism);
        row
    }

    /// Whether any state holds something.
    pub(super) fn is_live(&self, row: usize) -> bool {
        self.values.is_live(row)
    }

    /// Whether any state may have changed.
    pub(super) fn is_changed(&self, row: usize) -> bool {
        self.values.is_changed(row)
    }

    /// Takes note of all changes of a row.
    pub(super) fn settle(&mut self, row: usize) {
        self.values.settle(row);
    }

    /// Appends the row's states, without maps and what is expired. `value` is memory kept from row to row.
    pub(super) fn encode(
        &self,
        row: usize,
        states: &[StateDescription],
        now_ms: i64,
        value: &mut Vec<u8>,
        into: &mut Vec<u8>,
    ) {
        let values = &self.values;
        for (state, description) in states.iter().enumerate() {
            if !values.is_set(state, row) || values.map(state, row).is_some() {
                continue;
            }
            let time = values.is_timed(state).then(|| values.time(state, row));
            if !is_expired(description, time, now_ms) {
                value.clear();
                values.encode(state, row, value);
                put_cell(state, time, value, into);
            }
        }
    }

    /// Puts encoded states into a row, which does not count as a change. False if they are none.
    pub(super) fn load(&mut self, row: usize, bytes: &[u8]) -> bool {
        let mut reader = Reader(bytes);
        while !reader.is_empty() {
            let Some(cell) = read_cell(&mut reader) else { return false };
            if !self.values.load(cell.state, row, cell.value, cell.time) {
                return false;
            }
        }
        true
    }

    /// Moves a row's values here from another table.
    pub(super) fn take(&mut self, row: usize, from: &mut Rows, at: usize) {
        self.values.take(row, &mut from.values, at);
    }

    /// Looks at a few rows and forgets what is expired in them.
    pub(super) fn sweep(&mut self, states: &[StateDescription], now_ms: i64, track: bool) {
        if states.iter().all(|state| state.time_to_live.is_none()) || self.groups.is_empty() {
            return;
        }
        for _ in 0..SWEEP_ROWS.min(self.len()) {
            let row = self.swept % self.len();
            self.swept = row + 1;
            let values = &mut self.values;
            for (state, description) in states.iter().enumerate() {
                let Some(ttl) = description.time_to_live else { continue };
                if values.map(state, row).is_some_and(|map| !map.is_empty()) {
                    let oldest = now_ms.saturating_sub_unsigned(ttl.milliseconds);
                    values.change_map(state, row, |map| map.sweep(oldest, track));
                } else if values.is_timed(state) && is_expired(description, Some(values.time(state, row)), now_ms) {
                    values.unset(state, row);
                }
            }
        }
    }

    /// Forgets dead rows once they may be half of all, with a walk over all rows for as many row touches as there are rows. Rows
    /// whose end is still to be told to someone (`track`) are kept; true if these are more than the living.
    pub(super) fn shrink(
        &mut self,
        states: &[StateDescription],
        maps: bool,
        track: bool,
        suffix: usize,
        max: u32,
    ) -> bool {
        if self.countdown > 0 {
            return false;
        }
        let (mut dead, mut kept) = (0, 0);
        for row in (0..self.len()).filter(|row| !self.is_live(*row)) {
            if track && self.is_changed(row) { kept += 1 } else { dead += 1 }
        }
        self.countdown = self.len().max(SHRINK_ROWS);
        let overrun = kept > (self.len() - kept - dead) + SHRINK_ROWS;
        if dead * 2 <= self.len() {
            return overrun;
        }
        let mut smaller = Rows::new(states, maps);
        for row in 0..self.len() {
            if self.is_live(row) || track && self.is_changed(row) {
                let key = self.keys.key(row);
                let (to, _) = smaller.keys.find(key_hash(key), key, key.len(), Mark::default());
                smaller.extend(suffix, max);
                smaller.take(to, self, row);
            }
        }
        smaller.countdown = smaller.len().max(SHRINK_ROWS);
        smaller.generation = self.generation + 1;
        *self = smaller;
        overrun
    }
}
