//! Taking over what an earlier run left: from runs or database files, of one subtask or several, into either backend.
use super::{
    backend::{Kind, StateBackend},
    chain::{Chain, SECTIONS, read_note, section_of},
    error::StateError,
    migrate::{Entry, Migrator, Taking},
    run::{Entries, RunReader},
    schema::{Header, Mapping, map_states, remap_row},
    settings::Layout,
    store::KeyedStore,
    table::{Table, WRITE_BYTES},
    wire::{MAP, OPEN, ROW, Reader, TIMER, WINDOW_BYTES, join_group, read_entry, read_window},
};
use crate::model::{Blob, Part, StoreFormat, StoreSnapshot, Window};

impl KeyedStore {
    /// Opens the database, if there is to be one, and takes over what snapshots hold of the store's key groups.
    pub(super) fn restore(
        &mut self,
        backend: &StateBackend,
        snapshots: Vec<StoreSnapshot>,
        migrator: &mut dyn Migrator,
    ) -> Result<(), StateError> {
        let mut found = Vec::new();
        for snapshot in snapshots {
            let header = Header::decode(&snapshot.note).map_err(|what| self.unreadable(what))?;
            let mapping = map_states(&self.settings, &header, migrator, &mut self.restored)?;
            if snapshot.groups.start < self.settings.groups.end && self.settings.groups.start < snapshot.groups.end {
                found.push((snapshot, mapping));
            }
        }
        match &backend.0 {
            Kind::Memory => self.take_over(backend, &found, migrator),
            #[cfg(feature = "rocksdb")]
            Kind::RocksDb(shared) => self.restore_database(backend, shared, &found, migrator),
        }
    }

    fn unreadable(&self, what: &str) -> StateError {
        StateError::Unreadable { store: self.settings.name.clone(), what: what.to_owned() }
    }

    pub(super) fn take_over(
        &mut self,
        backend: &StateBackend,
        found: &[(StoreSnapshot, Mapping)],
        migrator: &mut dyn Migrator,
    ) -> Result<(), StateError> {
        for (i, (snapshot, mapping)) in found.iter().enumerate() {
            let mut taking = Taking::new(mapping, migrator);
            match snapshot.format {
                StoreFormat::Runs => self.take_runs(snapshot, &mut taking)?,
                StoreFormat::RocksDb => self.take_database(backend, i, snapshot, &mut taking)?,
            }
            self.take_migrated(&mut taking)?;
        }
        Ok(())
    }

    /// The newest whole run of each section, and what later ones change of it.
    fn take_runs(&mut self, snapshot: &StoreSnapshot, taking: &mut Taking<'_>) -> Result<(), StateError> {
        let mut runs = Vec::new();
        let mut disjoint = true;
        for part in &snapshot.parts {
            let Some((number, alone)) = read_note(&part.note) else {
                return Err(StateError::damaged(&part.name, "its place among the parts is not known"));
            };
            disjoint &= alone;
            runs.push((number, RunReader::open(&part.name, content(part)?)?));
        }
        runs.sort_by_key(|(number, _)| *number);
        let (numbers, runs): (Vec<u64>, Vec<RunReader>) = runs.into_iter().unzip();
        let mut entries = vec![[0; SECTIONS]; runs.len()];
        let wanted =
            self.settings.groups.start.max(snapshot.groups.start)..self.settings.groups.end.min(snapshot.groups.end);
        for group in wanted {
            let section = section_of(group, &snapshot.groups);
            let bit = 1u16 << section;
            let base = runs.iter().rposition(|run| run.header.whole & bit != 0).unwrap_or_default();
            if disjoint {
                for run in &runs {
                    self.merge(std::slice::from_ref(run), group as u16, taking, |_| ())?;
                }
            } else {
                self.merge(&runs[base..], group as u16, taking, |run| entries[base + run][section] += 1)?;
            }
        }
        if snapshot.durable && !disjoint && snapshot.groups == self.settings.groups {
            let runs = runs.into_iter().zip(numbers).zip(entries);
            self.build_on(taking.mapping, runs.map(|((run, number), entries)| (run, number, entries)));
        }
        Ok(())
    }

    /// Has the next checkpoint build on what was restored, if it holds all that now is, as it is.
    fn build_on(&mut self, mapping: &Mapping, runs: impl Iterator<Item = (RunReader, u64, [u64; SECTIONS])>) {
        if self.db.is_some() || !mapping.is_identity() {
            return;
        }
        let run = |(run, number, mut entries): (RunReader, u64, [u64; SECTIONS])| {
            if !run.header.dropped.is_empty() {
                entries.iter_mut().for_each(|count| *count += 1);
            }
            (run.part, number, run.header.whole, entries)
        };
        self.chain = Chain::restored(runs.map(run).collect());
        self.tracking = !self.chain.is_empty();
    }

    /// Takes over the entries of a key group: of those with the same key the one of the last run.
    /// Tells `visit` which run has each entry.
    fn merge(
        &mut self,
        runs: &[RunReader],
        group: u16,
        taking: &mut Taking<'_>,
        mut visit: impl FnMut(usize),
    ) -> Result<(), StateError> {
        let plain = self.db.is_none() && taking.mapping.is_identity();
        let mut heads: Vec<(usize, Entries)> = Vec::new();
        for (i, run) in runs.iter().enumerate() {
            if let Some(mut entries) = run.group(group)?
                && entries.advance()?
            {
                heads.push((i, entries));
            }
        }
        let mut key = Vec::new();
        while let Some(first) = heads.iter().map(|(_, entries)| entries.key()).min() {
            key.clear();
            key.extend_from_slice(first);
            if let Some((i, entries)) = heads.iter().rev().find(|(_, entries)| entries.key() == key) {
                let window = match key.first() {
                    Some(&(ROW | MAP)) => key.get(1..=WINDOW_BYTES).and_then(read_window),
                    _ => None,
                };
                let is_dropped =
                    window.is_some_and(|window| runs[i + 1..].iter().any(|run| run.header.dropped.contains(&window)));
                if let Some(value) = entries.value().filter(|_| !is_dropped) {
                    let taken = match plain && key.first() == Some(&ROW) {
                        true => self.take_row(&key, value).ok_or(None),
                        false => self.take_entry(group, &key, value, taking),
                    };
                    taken.map_err(|what| what.unwrap_or_else(|| entries.damaged()))?;
                }
            }
            let mut at = 0;
            while at < heads.len() {
                let (run, entries) = &mut heads[at];
                let passed = entries.key() == key;
                if passed {
                    visit(*run);
                }
                if passed && !entries.advance()? {
                    heads.remove(at);
                } else {
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes over an entry, maybe later: at the latest with [`take_migrated`](Self::take_migrated). `Err(None)` if it is none.
    pub(super) fn take_entry(
        &mut self,
        group: u16,
        key: &[u8],
        value: &[u8],
        taking: &mut Taking<'_>,
    ) -> Result<(), Option<StateError>> {
        if !taking.keep(group, key, value).ok_or(None)? {
            return self.take_now(group, key, value, taking.mapping);
        }
        if taking.is_full() { self.take_migrated(taking).map_err(Some) } else { Ok(()) }
    }

    /// Takes over what has waited to be migrated.
    fn take_migrated(&mut self, taking: &mut Taking<'_>) -> Result<(), StateError> {
        let (entries, values) = taking.migrated(&self.settings)?;
        self.restored.migrated += values;
        for Entry { group, key, value } in entries {
            self.take_now(group, &key, &value, taking.mapping)
                .map_err(|error| error.unwrap_or_else(|| self.bug("a migrated entry is none")))?;
        }
        Ok(())
    }

    fn take_now(&mut self, group: u16, key: &[u8], value: &[u8], mapping: &Mapping) -> Result<(), Option<StateError>> {
        let mut full = Vec::new();
        join_group(group, key, &mut full).ok_or(None)?;
        let number = |state: usize| mapping.place(state);
        let mut row = None;
        match key[0] {
            ROW => match remap_row(value, number, &self.settings.states, i64::MIN).map_err(|()| None)? {
                Some(remapped) => row = Some(remapped),
                None => return Ok(()),
            },
            MAP => {
                let at = 3 + WINDOW_BYTES;
                let state =
                    full.get(at..at + 2).and_then(|it| it.try_into().ok()).map(u16::from_be_bytes).ok_or(None)?;
                let Some(state) = number(state.into()) else { return Ok(()) };
                full[at..at + 2].copy_from_slice(&(state as u16).to_be_bytes());
            }
            _ => {}
        }
        let value = row.as_deref().unwrap_or(value);
        match (&self.db, &mut self.writes) {
            (Some(db), Some(writes)) => {
                writes.put(&full, value);
                if writes.bytes() > WRITE_BYTES { db.write(writes).map_err(Some) } else { Ok(()) }
            }
            _ => self.take_into_memory(&full, value).ok_or(None),
        }
    }

    /// Takes over a row as it was written, into memory.
    fn take_row(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (window, rest) = key.get(1..)?.split_at_checked(WINDOW_BYTES)?;
        let (table, row) = self.row(read_window(window)?, window, rest);
        table.young.load(row, value).then_some(())
    }

    fn take_into_memory(&mut self, full: &[u8], value: &[u8]) -> Option<()> {
        let max = self.settings.max_parallelism;
        let mut reader = Reader(full);
        let kind = reader.byte()?;
        match kind {
            ROW => {
                let window = reader.take(WINDOW_BYTES)?;
                reader.take(2)?;
                let (table, row) = self.row(read_window(window)?, window, reader.0);
                table.young.load(row, value).then_some(())
            }
            MAP => {
                let window = reader.take(WINDOW_BYTES)?;
                reader.take(2)?;
                let state = usize::from(u16::from_be_bytes(reader.array()?));
                let length = u32::from_be_bytes(reader.array()?) as usize;
                let (key, (time, value)) = (reader.take(length)?, read_entry(value)?);
                let (table, row) = self.row(read_window(window)?, window, key);
                table
                    .young
                    .values
                    .change_map(state, row, |map| map.put(reader.0, Some(value), time.unwrap_or(i64::MAX), false))?;
                table.young.settle(row);
                Some(())
            }
            TIMER => {
                let domain = reader.byte().filter(|domain| *domain < 2)?;
                (reader.0.len() >= 10 + WINDOW_BYTES).then_some(())?;
                self.timers.change(domain, reader.0.into(), true, false, None);
                Some(())
            }
            OPEN => {
                reader.take(2)?;
                let table = self.open.as_mut()?;
                let row = table.young.row(reader.0, 0, max);
                table.young.load(row, value).then_some(())
            }
            _ => None,
        }
    }

    fn row(&mut self, window: Window, bytes: &[u8], key: &[u8]) -> (&mut Table, usize) {
        let max = self.settings.max_parallelism;
        let suffix = self.shape.suffix;
        let at = if self.settings.layout == Layout::Windows {
            self.tables.binary_search_by_key(&window, |table| table.window).unwrap_or_else(|at| {
                self.tables.insert(at, Table::new(window, &self.shape));
                at
            })
        } else {
            0
        };
        let table = &mut self.tables[at];
        let row = if suffix == 0 {
            table.young.row(key, 0, max)
        } else {
            table.young.row(&[key, bytes].concat(), suffix, max)
        };
        (table, row)
    }

    #[cfg(not(feature = "rocksdb"))]
    fn take_database(
        &mut self,
        _: &StateBackend,
        _: usize,
        _: &StoreSnapshot,
        _: &mut Taking<'_>,
    ) -> Result<(), StateError> {
        Err(self.unreadable("it was taken of a RocksDB database, and this wasmill was built without RocksDB"))
    }
}

pub(super) fn content(part: &Part) -> Result<&Blob, StateError> {
    part.content.as_ref().ok_or_else(|| StateError::damaged(&part.name, "its content is not there"))
}
