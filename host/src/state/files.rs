//! Which files of a database checkpoints have made durable. Files of sorted entries never change, so that each is sent once.
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What is known of files, by their names in the database's folder.
#[derive(Default)]
pub(super) struct Files {
    known: BTreeMap<String, Known>,
}

/// Whatever went wrong while they were held, they are changed by single calls.
pub(super) fn lock(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Known {
    part: String,
    checkpoint: u64,
    durable: bool,
}

impl Files {
    /// The part a file is, and whether that is durable already; called `part` if the file is new.
    pub(super) fn part(&mut self, file: &str, part: String, checkpoint: u64) -> (String, bool) {
        let known = self.known.entry(file.to_owned()).or_insert(Known { part, checkpoint, durable: false });
        (known.part.clone(), known.durable)
    }

    /// Notes that a file was restored from a part that is durable.
    #[cfg(feature = "rocksdb")]
    pub(super) fn restored(&mut self, file: String, part: String) {
        self.known.insert(file, Known { part, checkpoint: 0, durable: true });
    }

    /// Forgets files the database does not have any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.known.retain(|file, _| is_there(file));
    }

    /// A checkpoint is complete.
    pub(super) fn completed(&mut self, checkpoint: u64) {
        for known in self.known.values_mut().filter(|known| known.checkpoint <= checkpoint) {
            known.durable = true;
        }
    }
}
