//! Taking over databases: as they are, or copying what is wanted of them.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Db, RocksDbSettings, Shared};
use crate::{
    model::{Blob, Part, StoreFormat, StoreSnapshot},
    state::{
        backend::{Kind, StateBackend},
        claim::Temporary,
        error::StateError,
        files::lock,
        maps::after_prefix,
        migrate::{Migrator, Taking},
        restore::content,
        schema::Mapping,
        settings::Layout,
        store::KeyedStore,
        table::Table,
        timers::Timers,
        wire::{MAP, OPEN, ROW, WINDOW_BYTES, read_window, split_group},
    },
};

impl KeyedStore {
    pub(in crate::state) fn restore_database(
        &mut self,
        backend: &StateBackend,
        shared: &Arc<Shared>,
        found: &[(StoreSnapshot, Mapping)],
        migrator: &mut dyn Migrator,
    ) -> Result<(), StateError> {
        let settings = &self.settings;
        let subtask = settings.subtask.to_string();
        let folder = shared.settings.directory.join(&settings.uid).join(subtask).join(&settings.name);
        let in_use = in_use(found, &folder)?;
        let name = |number: usize| match number {
            0 => settings.start.to_string(),
            _ => format!("{}-{number}", settings.start),
        };
        // Otherwise what lies here is of an earlier run: the checkpoint is the truth. Or of a store that was there in this start, of which a
        // checkpoint may be on its way.
        if in_use.is_empty() && folder.exists() && !folder.join(name(0)).exists() {
            fs::remove_dir_all(&folder).map_err(StateError::file(&folder))?;
        }
        let number = (0..).find(|number| !folder.join(name(*number)).exists()).unwrap_or_default();
        let folder = folder.join(name(number));
        fs::create_dir_all(&folder).map_err(StateError::file(&folder))?;
        let directory = folder.join("db");
        // Until a checkpoint of this store is complete, there may be some on their way that need what the stores before it have left.
        self.folders.insert(0, in_use);
        let as_it_was = match found {
            [(snapshot, mapping)] => {
                snapshot.format == StoreFormat::RocksDb
                    && snapshot.groups == self.settings.groups
                    && mapping.is_identity()
            }
            _ => false,
        };
        if let ([(snapshot, _)], true) = (found, as_it_was) {
            place_files(snapshot, &directory)?;
            for part in snapshot.parts.iter().filter(|part| snapshot.durable && part.note.ends_with(b".sst")) {
                lock(&self.files).restored(String::from_utf8_lossy(&part.note).into_owned(), part.name.clone());
            }
        }
        let db = Db::open(shared, &directory, &self.settings.states)?;
        self.writes = Some(db.writes());
        self.db = Some(db);
        if !as_it_was {
            self.take_over(backend, found, migrator)?;
        }
        self.look_around(found.is_empty())
    }

    /// Finds out which windows and timers the database has.
    fn look_around(&mut self, empty: bool) -> Result<(), StateError> {
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Ok(()) };
        db.write(writes)?;
        self.timers = Timers::stored();
        self.timers.refill(db)?;
        if self.settings.layout == Layout::Windows {
            for kind in [ROW, MAP] {
                let mut from = vec![kind];
                // From window to window, not from entry to entry.
                loop {
                    let mut next = None;
                    db.scan(&from, &[kind + 1], |key, _| {
                        next = key.get(1..=WINDOW_BYTES).map(<[u8]>::to_vec);
                        Ok(false)
                    })?;
                    let Some(bytes) = next else { break };
                    from = after_prefix(&[&[kind][..], &bytes].concat());
                    let Some(window) = read_window(&bytes) else { break };
                    if let Err(at) = self.tables.binary_search_by_key(&window, |table| table.window) {
                        self.tables.insert(at, Table::new(window, &self.shape));
                    }
                }
            }
        }
        for table in self.tables.iter_mut().chain(&mut self.open).filter(|_| !empty) {
            table.stored = true;
            table.complete = false;
        }
        Ok(())
    }

    /// Opens the database of another subtask and copies what is wanted.
    pub(in crate::state) fn take_database(
        &mut self,
        backend: &StateBackend,
        number: usize,
        snapshot: &StoreSnapshot,
        taking: &mut Taking<'_>,
    ) -> Result<(), StateError> {
        let (shared, directory, _temporary) = match &backend.0 {
            Kind::RocksDb(shared) => {
                let Some(db) = &self.db else { return Err(self.bug("it has no database")) };
                (shared.clone(), db.directory().with_file_name(format!("old-{number}")), None)
            }
            Kind::Memory => {
                let folder = Temporary::new_in(&std::env::temp_dir())?;
                let settings = RocksDbSettings::new(folder.path());
                (Arc::new(Shared::new(settings)?), folder.path().join("db"), Some(folder))
            }
        };
        place_files(snapshot, &directory)?;
        {
            let old = Db::open(&shared, &directory, &[])?;
            let mut key = Vec::new();
            old.scan(&[ROW], &[OPEN + 1], |full, value| {
                let damaged = || StateError::damaged(&snapshot.store, "an entry of its database is none");
                let group = split_group(full, &mut key).ok_or_else(damaged)?;
                if self.settings.groups.contains(&group.into()) {
                    self.take_entry(group, &key, value, taking).map_err(|error| error.unwrap_or_else(damaged))?;
                }
                Ok(true)
            })?;
        }
        fs::remove_dir_all(&directory).map_err(StateError::file(&directory))
    }
}

/// The folders of the stores before this one, if it takes over what one of them has left in this same start of the job.
fn in_use(found: &[(StoreSnapshot, Mapping)], folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let is_here = |part: &Part| matches!(&part.content, Some(Blob::File(path)) if path.starts_with(folder));
    if !found.iter().flat_map(|(snapshot, _)| &snapshot.parts).any(is_here) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(StateError::file(folder))?;
    entries.map(|entry| Ok(entry.map_err(StateError::file(folder))?.path())).collect()
}

/// Puts a database's files where it can be opened.
fn place_files(snapshot: &StoreSnapshot, directory: &Path) -> Result<(), StateError> {
    fs::create_dir_all(directory).map_err(StateError::file(directory))?;
    for part in &snapshot.parts {
        let name = std::str::from_utf8(&part.note).ok().filter(|name| !name.is_empty() && !name.contains('/'));
        let name = name.ok_or_else(|| StateError::damaged(&part.name, "it does not say which file it is"))?;
        let path = directory.join(name);
        let placed = match content(part)? {
            Blob::Bytes(bytes) => fs::File::create(&path).and_then(|mut file| file.write_all(bytes)),
            // Files of entries never change and may be shared; the others are written to.
            Blob::File(from) if name.ends_with(".sst") && fs::hard_link(from, &path).is_ok() => Ok(()),
            Blob::File(from) => fs::copy(from, &path).map(drop),
        };
        placed.map_err(StateError::file(&path))?;
    }
    Ok(())
}
