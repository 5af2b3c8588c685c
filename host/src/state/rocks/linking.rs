//! A checkpoint of a database that is being made while its task goes on: what was in memory above it is written, all memory is flushed,
//! and the files are linked. Knows nothing of what is written.
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rocksdb::{DB, WriteBatch, checkpoint::Checkpoint};

use crate::{model::Part, state::error::StateError};

/// A checkpoint on its way.
pub(super) struct Linking {
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    /// Whether the database has what was to be written, or what it failed with. Nobody has that any more, so that failure lasts.
    written: Option<Result<(), String>>,
    parts: Option<Result<Vec<Part>, String>>,
}

impl Linking {
    /// Begins one, on a thread of its own.
    pub(super) fn begin(
        db: &Arc<DB>,
        writes: WriteBatch,
        directory: PathBuf,
        parts: impl FnOnce(&Path) -> Result<Vec<Part>, StateError> + Send + 'static,
    ) -> io::Result<Arc<Linking>> {
        let linking = Arc::new(Linking { progress: Mutex::default(), changed: Condvar::new() });
        let (db, end) = (db.clone(), End(linking.clone()));
        thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            let written = db.write_without_wal(writes).map_err(rocksdb::Error::into_string);
            end.0.set(|progress| progress.written = Some(written.clone()));
            let link = || Checkpoint::new(&db)?.create_checkpoint(&directory);
            let made = written
                .and_then(|()| link().map_err(rocksdb::Error::into_string))
                .and_then(|()| parts(&directory).map_err(|error| error.to_string()));
            // Whoever waits may close the database next, and remove its directory.
            drop(db);
            end.0.set(|progress| progress.parts = Some(made));
        })?;
        Ok(linking)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&Progress) -> bool) -> MutexGuard<'_, Progress> {
        let waited = self.changed.wait_while(self.lock(), |progress| !until(progress));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the database has all that was to be written, and says whether the checkpoint is over as well.
    pub(super) fn written(&self) -> Result<bool, String> {
        let progress = self.wait(|progress| progress.written.is_some());
        progress.written.clone().unwrap_or(Ok(()))?;
        Ok(progress.parts.is_some())
    }

    /// Waits until it is over, whether made or not.
    pub(super) fn over(&self) -> Result<bool, String> {
        self.wait(|progress| progress.parts.is_some()).written.clone().unwrap_or(Ok(()))?;
        Ok(true)
    }

    /// Waits until it is over; its parts.
    pub(super) fn parts(&self) -> Result<Vec<Part>, String> {
        self.wait(|progress| progress.parts.is_some()).parts.clone().unwrap_or_else(|| Ok(Vec::new()))
    }
}

/// Whatever becomes of the thread, nobody waits for it for ever.
struct End(Arc<Linking>);

impl Drop for End {
    fn drop(&mut self) {
        let ended = || "the thread that made a checkpoint has ended".to_owned();
        self.0.set(|progress| {
            progress.written.get_or_insert_with(|| Err(ended()));
            progress.parts.get_or_insert_with(|| Err(ended()));
        });
    }
}
