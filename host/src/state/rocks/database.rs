//! A database of one store: ordered bytes, written without a log of its own, since checkpoints are what is restored.
use std::{
    ffi::CStr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use rocksdb::{
    CompactionDecision, DB, Direction, IteratorMode, ReadOptions, WriteBatch,
    compaction_filter::CompactionFilter,
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
};

use super::{Shared, linking::Linking};
use crate::{
    model::{LaterParts, Part, StateDescription},
    state::{
        error::StateError,
        schema::{is_expired, remap_row},
        wire::{MAP, ROW, WINDOW_BYTES, read_entry},
    },
};

/// A database. While a checkpoint of it is being made, reads wait until it has all that was to be written before, and writes, which must not
/// become part of it, until it is there.
pub(in crate::state) struct Db {
    db: Arc<DB>,
    /// The checkpoint that is being made, and what writing for one has failed with.
    linking: Mutex<Option<Arc<Linking>>>,
    directory: PathBuf,
    cache_bytes: usize,
    now: Arc<AtomicI64>,
    _shared: Arc<Shared>,
}

/// What is to be written at once.
pub(in crate::state) struct Writes(WriteBatch);

impl Writes {
    pub(in crate::state) fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(key, value);
    }

    pub(in crate::state) fn delete(&mut self, key: &[u8]) {
        self.0.delete(key);
    }

    /// Up to `to`, exclusive.
    pub(in crate::state) fn delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.0.delete_range(from, to);
    }

    pub(in crate::state) fn bytes(&self) -> usize {
        self.0.size_in_bytes()
    }
}

impl Db {
    /// Opens, or makes, the database in a directory.
    pub(in crate::state) fn open(
        shared: &Arc<Shared>,
        directory: &Path,
        states: &[StateDescription],
    ) -> Result<Db, StateError> {
        let now = Arc::new(AtomicI64::new(i64::MIN));
        let mut options = shared.options();
        if states.iter().any(|state| state.time_to_live.is_some()) {
            options.set_compaction_filter_factory(Expired { states: states.into(), now: now.clone() });
        }
        let db = DB::open(&options, directory).map_err(failed(directory))?;
        let cache_bytes = shared.settings.cache_bytes;
        Ok(Db {
            db: Arc::new(db),
            linking: Mutex::default(),
            directory: directory.to_owned(),
            cache_bytes,
            now,
            _shared: shared.clone(),
        })
    }

    pub(in crate::state) fn writes(&self) -> Writes {
        Writes(WriteBatch::default())
    }

    /// Bytes of rows to be kept in memory above it.
    pub(in crate::state) fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    pub(in crate::state) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Tells it the time by which values expire.
    pub(in crate::state) fn set_now(&self, now_ms: i64) {
        self.now.store(now_ms, Relaxed);
    }

    /// The values of keys.
    pub(in crate::state) fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        self.wait(Linking::written)?;
        self.db.multi_get(keys).into_iter().collect::<Result<_, _>>().map_err(failed(&self.directory))
    }

    /// Writes all, and leaves nothing to be written.
    pub(in crate::state) fn write(&self, writes: &mut Writes) -> Result<(), StateError> {
        if writes.0.is_empty() {
            return Ok(());
        }
        self.wait(Linking::over)?;
        self.db.write_without_wal(std::mem::take(&mut writes.0)).map_err(failed(&self.directory))
    }

    /// Visits the entries from a key up to another, exclusive, until told to stop.
    pub(in crate::state) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, StateError>,
    ) -> Result<(), StateError> {
        self.wait(Linking::written)?;
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        for entry in self.db.iterator_opt(IteratorMode::From(from, Direction::Forward), options) {
            let (key, value) = entry.map_err(failed(&self.directory))?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// Has all written, and all files linked into a directory that must not exist, on another thread, and `parts` made of that.
    /// Leaves nothing to be written.
    pub(in crate::state) fn checkpoint(
        &self,
        writes: &mut Writes,
        directory: PathBuf,
        parts: impl FnOnce(&Path) -> Result<Vec<Part>, StateError> + Send + 'static,
    ) -> Result<LaterParts, StateError> {
        self.wait(Linking::over)?;
        let writes = std::mem::take(&mut writes.0);
        let linking = Linking::begin(&self.db, writes, directory, parts).map_err(StateError::file(&self.directory))?;
        *self.linking.lock().unwrap_or_else(PoisonError::into_inner) = Some(linking.clone());
        Ok(LaterParts::new(move || linking.parts()))
    }

    /// Waits for a checkpoint that is being made, whatever comes of it.
    pub(in crate::state) fn settle(&self) {
        // What has failed fails whoever reads or writes next.
        let _ = self.wait(Linking::over);
    }

    /// Waits for a checkpoint that is being made, if there is one.
    fn wait(&self, until: impl Fn(&Linking) -> Result<bool, String>) -> Result<(), StateError> {
        let mut linking = self.linking.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = linking.as_ref().map_or(Ok(false), |linking| until(linking));
        let database = |what| StateError::Database { directory: self.directory.clone(), what };
        if is_over.map_err(database)? {
            *linking = None;
        }
        Ok(())
    }

    /// Compacts all of it.
    #[cfg(test)]
    pub(in crate::state) fn compact(&self) {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }
}

impl Drop for Db {
    /// The directory may be removed next.
    fn drop(&mut self) {
        self.settle();
    }
}

fn failed(directory: &Path) -> impl Fn(rocksdb::Error) -> StateError {
    |error| StateError::Database { directory: directory.to_owned(), what: error.into_string() }
}

/// Drops expired rows and entries when files are compacted.
struct Expired {
    states: Arc<[StateDescription]>,
    now: Arc<AtomicI64>,
}

const FILTER: &CStr = c"wasmill.expired";

impl CompactionFilterFactory for Expired {
    type Filter = ExpiredNow;

    fn create(&mut self, _: CompactionFilterContext) -> ExpiredNow {
        ExpiredNow { states: self.states.clone(), now_ms: self.now.load(Relaxed) }
    }

    fn name(&self) -> &CStr {
        FILTER
    }
}

struct ExpiredNow {
    states: Arc<[StateDescription]>,
    now_ms: i64,
}

impl CompactionFilter for ExpiredNow {
    fn filter(&mut self, _: u32, key: &[u8], value: &[u8]) -> CompactionDecision {
        let expired = match key.first() {
            Some(&ROW) => matches!(remap_row(value, Some, &self.states, self.now_ms), Ok(None)),
            Some(&MAP) => self.is_entry_expired(key, value).unwrap_or(false),
            _ => false,
        };
        if expired { CompactionDecision::Remove } else { CompactionDecision::Keep }
    }

    fn name(&self) -> &CStr {
        FILTER
    }
}

impl ExpiredNow {
    fn is_entry_expired(&self, key: &[u8], value: &[u8]) -> Option<bool> {
        let state = key.get(3 + WINDOW_BYTES..5 + WINDOW_BYTES)?.try_into().ok()?;
        let state = self.states.get(usize::from(u16::from_be_bytes(state)))?;
        Some(is_expired(state, read_entry(value)?.0, self.now_ms))
    }
}
