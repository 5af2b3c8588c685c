//! The server's folder: one server's at a time, closed to other users. Must not know what is kept there.
use std::{
    fs::{DirBuilder, File, TryLockError},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::WebError;

/// The file whose lock says that a server has the folder; the system gives the lock back when a process ends, however it does.
const LOCK: &str = "in-use";

/// The folder, until it is dropped.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Takes the folder, or makes it. Fails if another server has it.
    pub(super) fn open(path: &Path) -> Result<DataDirectory, WebError> {
        let failed = |error: std::io::Error| WebError::File { path: path.to_owned(), what: error.to_string() };
        // What lies there is run: nobody else may write it.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDirectory { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(WebError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// A file or folder in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
