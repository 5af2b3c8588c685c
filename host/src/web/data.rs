//! The server's folder: one server's at a time, closed to other users. Must not know what is kept there.
use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
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
    /// Takes the folder, or makes it. Fails if another server has it, or if it is open to other users and has what no server has made.
    pub(super) fn open(path: &Path) -> Result<DataDirectory, WebError> {
        let failed = |error: std::io::Error| WebError::File { path: path.to_owned(), what: error.to_string() };
        // What lies there is run: nobody else may write it.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        close(path)?;
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

/// Closes a folder to other users. One that has something else in it may be shared for a reason, such as `/tmp`.
fn close(path: &Path) -> Result<(), WebError> {
    let failed = |what: String| WebError::File { path: path.to_owned(), what };
    let io = |error: std::io::Error| failed(error.to_string());
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let open = format!("it is open to other users (mode {mode:o})");
    if !path.join(LOCK).exists() && fs::read_dir(path).map_err(io)?.next().is_some() {
        return Err(failed(format!("{open} and is not a server's: name a new folder, or close it with `chmod 700`")));
    }
    tracing::warn!("{}: {open}: it is closed to them now", path.display());
    fs::set_permissions(path, Permissions::from_mode(mode & 0o700)).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_open_to_others_is_closed_unless_it_is_not_a_servers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let set = |mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let mode = || fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        // Empty, and then one that a server has made.
        for _ in 0..2 {
            set(0o755);
            DataDirectory::open(path).unwrap();
            assert_eq!(mode(), 0o700);
        }
        fs::rename(path.join(LOCK), path.join("other")).unwrap();
        DataDirectory::open(path).unwrap();
        fs::remove_file(path.join(LOCK)).unwrap();
        set(0o1777);
        let error = DataDirectory::open(path).unwrap_err().to_string();
        assert!(error.starts_with("[R0219]") && error.contains("1777"), "{error}");
        assert_eq!(mode(), 0o1777);
    }
}
