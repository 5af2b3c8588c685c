//! Changes that were begun and of which nothing is noted yet: a file each, which goes once something is. Guarantees that those a process has left
//! behind are found by the next. Must not know what the changes are.
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What is known of a change that was begun.
#[derive(Serialize, Deserialize)]
pub(super) struct Beginning {
    /// Who has asked for it.
    pub(super) who: String,
    /// For what.
    pub(super) what: String,
    /// When, in ms since 1970-01-01 UTC.
    pub(super) time_ms: i64,
    /// What whoever has begun it wants to know at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memo: Option<String>,
}

/// A change that was begun. Drop it once it is noted what came of it, or nothing will.
pub struct Begun(PathBuf);

impl Drop for Begun {
    fn drop(&mut self) {
        // Whoever was to note what came of it cannot.
        if std::thread::panicking() {
            return;
        }
        // If it stays, there is an entry too many at the next start, which says what it is.
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot be removed");
        }
    }
}

impl Begun {
    /// Durable once it returns. There must not be one of this number.
    pub(super) fn new(folder: &Path, number: u64, beginning: &Beginning) -> io::Result<Begun> {
        let path = folder.join(format!("{number:020}.json"));
        let mut file = File::create_new(&path)?;
        let begun = Begun(path);
        file.write_all(&serde_json::to_vec(beginning)?)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(begun)
    }

    /// The files that earlier processes have left, in order. Of one that was not written whole nothing had begun.
    pub(super) fn left(folder: &Path) -> io::Result<Vec<(PathBuf, Option<Beginning>)>> {
        let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        let read = |path: PathBuf| {
            let beginning = serde_json::from_slice(&fs::read(&path)?).ok();
            Ok((path, beginning))
        };
        paths.into_iter().map(read).collect()
    }
}
