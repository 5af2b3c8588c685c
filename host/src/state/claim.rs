//! Folders for what need not outlive a process: of one process at a time, empty when it begins. Guarantees that nothing is removed
//! that another process may still use. Must not know what is kept there.
use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use super::error::StateError;

/// The file whose lock says that a folder is in use; the system gives the lock back when a process ends, however it does.
const LOCK: &str = "in-use";

/// What names of folders for a moment begin with.
const TEMPORARY: &str = "wasmill-restore-";

/// The use of a folder, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

impl Claim {
    /// Makes a folder, or takes over one that earlier processes have left, and removes everything below it: the folder must be one
    /// that only claims are made of. Fails if it is in use, also by this process.
    pub fn of(folder: &Path) -> Result<Claim, StateError> {
        let failed = |error| StateError::File { path: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        empty(folder).map_err(failed)?;
        Ok(Claim { _lock: lock })
    }
}

/// A folder in a common one for temporary files, removed when it is dropped.
pub(super) struct Temporary {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Temporary {
    /// Makes one in `directory`, and removes those of processes that were killed.
    pub(super) fn new_in(directory: &Path) -> Result<Temporary, StateError> {
        let failed = |error| StateError::File { path: directory.to_owned(), error };
        remove_abandoned(directory).map_err(failed)?;
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(directory).map_err(failed)?;
        // Only a lock that is held gets its name, so that nobody takes the folder for abandoned meanwhile.
        let made = folder.path().join("made");
        let lock = File::create_new(&made).map_err(failed)?;
        lock.lock().map_err(failed)?;
        fs::rename(&made, folder.path().join(LOCK)).map_err(failed)?;
        Ok(Temporary { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Whatever cannot be removed is somebody else's, or is going away just now.
fn remove_abandoned(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let Ok(entry) = entry else { continue };
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::debug!(folder = %entry.path().display(), %error, "cannot be removed");
        }
    }
    Ok(())
}

/// Removes everything but the lock.
fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != LOCK {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_for_a_moment_outlive_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let used = Temporary::new_in(directory.path()).unwrap();
        fs::write(used.path().join("CURRENT"), "").unwrap();
        let names = [format!("{TEMPORARY}killed"), format!("{TEMPORARY}other"), "another".into()];
        for name in &names {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        fs::write(directory.path().join(&names[0]).join(LOCK), "").unwrap();
        fs::write(directory.path().join(&names[2]).join(LOCK), "").unwrap();
        let again = Temporary::new_in(directory.path()).unwrap();
        assert!(used.path().join("CURRENT").exists());
        assert_eq!(names.map(|name| directory.path().join(name).exists()), [false, true, true]);
        drop((used, again));
        assert_eq!(directory.path().read_dir().unwrap().count(), 2);
    }

    #[test]
    fn a_folder_is_one_processs_at_a_time_and_begins_empty() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("made/job.databases");
        let claim = Claim::of(&folder).unwrap();
        fs::create_dir_all(folder.join("count/0")).unwrap();
        fs::write(folder.join("count/0/CURRENT"), "").unwrap();
        fs::write(folder.join("../notes"), "").unwrap();
        assert!(matches!(Claim::of(&folder), Err(StateError::InUse { .. })));
        assert!(folder.join("count/0/CURRENT").exists());
        drop(claim);
        let _claim = Claim::of(&folder).unwrap();
        assert!(!folder.join("count").exists() && folder.join("../notes").exists());
    }
}
