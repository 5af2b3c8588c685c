//! What is kept of jobs on disk: a folder for each, whose record is there once all else is. Guarantees that a record is the old one or
//! the new one, whenever the machine stops, and that one process has the folder. Must not know what a state means. `docs/jobs.md` shows it.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Change, Parallelism, Phase, ServiceError, history::Promised, trials::KeptTrial};

/// The text of a job as it was submitted.
const TEXT: &str = "job.yaml";
const RECORD: &str = "record.json";
/// Of the record while it is written.
const UNFINISHED: &str = ".record.json";
/// The number below which all events are that were told of.
const EVENTS: &str = "events";
/// Of that number while it is written.
const UNFINISHED_EVENTS: &str = ".events";
/// What names of folders begin with that are being removed.
const REMOVED: &str = ".removed-";
/// The file whose lock says that the jobs are in use.
const LOCK: &str = "in-use";

/// Where a job's checkpoints are that does not say.
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// Where a job's savepoints are that does not say.
pub(super) const SAVEPOINTS: &str = "savepoints";
/// For what a job keeps beside: `state: { backend: rocksdb, directory: state }`.
const STATE: &str = "state";

/// What is known of a job beside its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) phase: Phase,
    /// In ms since 1970-01-01 UTC.
    pub(super) created_ms: i64,
    /// Of the last change of state, in ms since 1970-01-01 UTC.
    pub(super) changed_ms: i64,
    /// As they were given.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) parallelism: Parallelism,
    pub(super) from_savepoint: Option<PathBuf>,
    /// Until there is a checkpoint with a higher number, it starts from the savepoint.
    pub(super) from_savepoint_until: u64,
    pub(super) allow_non_restored_state: bool,
    /// Where its checkpoints are.
    pub(super) checkpoints: PathBuf,
    /// Its plugins: digests of their components, and those that were uploaded also as the job names them.
    pub(super) plugins: BTreeSet<String>,
    /// Why it has failed, if it has.
    pub(super) error: Option<String>,
    /// The latest savepoint somebody asked for.
    pub(super) savepoint: Option<PathBuf>,
    /// What is in force of its operators in place of what the text says, at every start.
    #[serde(default)]
    pub(super) versions: Vec<Promised>,
    /// Which of them are, or were, on trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) trials: Vec<KeptTrial>,
    /// The latest changes of its operators.
    #[serde(default)]
    pub(super) history: Vec<Change>,
}

/// The folder of all jobs, in use until this is dropped.
pub(super) struct Folders {
    root: PathBuf,
    _lock: File,
}

/// Work on `path` with its error.
fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ServiceError> {
    result.map_err(|error| ServiceError::Records { path: path.to_owned(), error })
}

impl Folders {
    /// `jobs` in a directory, which is made if it is not there. Removes what was being made or removed when an earlier process ended.
    pub(super) fn open(directory: &Path) -> Result<Folders, ServiceError> {
        let directory = at(directory, std::path::absolute(directory))?;
        let root = directory.join("jobs");
        at(&root, fs::create_dir_all(&root))?;
        let path = root.join(LOCK);
        let lock = at(&path, File::options().create(true).truncate(false).write(true).open(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ServiceError::InUse(root)),
            Err(TryLockError::Error(error)) => return Err(ServiceError::Records { path, error }),
        }
        let folders = Folders { root, _lock: lock };
        for folder in folders.all()? {
            if !at(&folder, folder.join(RECORD).try_exists())? || name(&folder).starts_with(REMOVED) {
                tracing::info!("{} was being made or removed when the server ended: it is removed", folder.display());
                at(&folder, fs::remove_dir_all(&folder))?;
            }
        }
        at(&directory, sync(&directory))?;
        Ok(folders)
    }

    fn all(&self) -> Result<Vec<PathBuf>, ServiceError> {
        let mut found = Vec::new();
        for entry in at(&self.root, fs::read_dir(&self.root))? {
            let path = at(&self.root, entry)?.path();
            if path.is_dir() {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// The folder of a job.
    pub(super) fn of(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// All jobs. A record that cannot be read is an error: its job may have to run.
    pub(super) fn load(&self) -> Result<Vec<Record>, ServiceError> {
        let read = |folder: &PathBuf| {
            let path = folder.join(RECORD);
            let bytes = at(&path, fs::read(&path))?;
            at(&path, serde_json::from_slice(&bytes).map_err(io::Error::from))
        };
        self.all()?.iter().map(read).collect()
    }

    /// The text of a job.
    pub(super) fn text(&self, id: &str) -> Result<String, ServiceError> {
        let path = self.of(id).join(TEXT);
        at(&path, fs::read_to_string(&path))
    }

    /// Makes a job's folder, all but its record: it is a job's once that is written.
    pub(super) fn make(&self, id: &str, text: &str) -> Result<(), ServiceError> {
        let folder = self.of(id);
        at(&folder, fs::create_dir(&folder))?;
        for below in [CHECKPOINTS, SAVEPOINTS, STATE] {
            at(&folder, fs::create_dir(folder.join(below)))?;
        }
        let path = folder.join(TEXT);
        at(&path, File::create_new(&path).and_then(|mut file| write(&mut file, text.as_bytes())))?;
        at(&self.root, sync(&self.root))
    }

    /// Writes a job's record. Of one job, one at a time.
    pub(super) fn write(&self, record: &Record) -> Result<(), ServiceError> {
        let folder = self.of(&record.id);
        let bytes = serde_json::to_vec_pretty(record).map_err(io::Error::from);
        at(&folder.join(RECORD), bytes.and_then(|bytes| replace(&folder, RECORD, UNFINISHED, &bytes)))
    }

    /// The number below which all events are that an earlier process may have told of; none if there was no such process.
    pub(super) fn events(&self) -> Result<Option<u64>, ServiceError> {
        let path = self.root.join(EVENTS);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => at(&path, text.and_then(|text| text.trim().parse().map_err(io::Error::other))).map(Some),
        }
    }

    /// From now on events may be told of whose numbers are below this.
    pub(super) fn allow_events(&self, below: u64) -> Result<(), ServiceError> {
        at(&self.root.join(EVENTS), replace(&self.root, EVENTS, UNFINISHED_EVENTS, below.to_string().as_bytes()))
    }

    /// Removes a job, or what was made of one.
    pub(super) fn remove(&self, id: &str) -> Result<(), ServiceError> {
        let (folder, removed) = (self.of(id), self.root.join(format!("{REMOVED}{id}")));
        match fs::rename(&folder, &removed) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => at(&folder, renamed)?,
        }
        at(&self.root, sync(&self.root))?;
        at(&removed, fs::remove_dir_all(&removed))
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes a file in place of the one there is.
fn replace(folder: &Path, name: &str, unfinished: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(unfinished);
    write(&mut File::create(&unfinished)?, bytes)?;
    fs::rename(&unfinished, folder.join(name))?;
    sync(folder)
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record {
            id: id.into(),
            name: "count".into(),
            phase: Phase::STARTING,
            created_ms: 1,
            changed_ms: 2,
            variables: BTreeMap::from([("IN".into(), "a.txt".into())]),
            parallelism: Parallelism { job: Some(2), nodes: BTreeMap::new() },
            from_savepoint: None,
            from_savepoint_until: 3,
            allow_non_restored_state: true,
            checkpoints: "c".into(),
            plugins: BTreeSet::from(["sha256:0".into()]),
            error: Some("no".into()),
            savepoint: Some("s".into()),
            versions: Vec::new(),
            trials: Vec::new(),
            history: Vec::new(),
        }
    }

    #[test]
    fn what_was_half_made_or_half_removed_is_gone_and_the_rest_is_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let folders = Folders::open(directory.path()).unwrap();
        for id in ["a", "b", "c"] {
            folders.make(id, "name: ${X}").unwrap();
        }
        for id in ["a", "b"] {
            folders.write(&record(id)).unwrap();
        }
        fs::write(folders.of("a").join(UNFINISHED), "{").unwrap();
        fs::rename(folders.of("b"), folders.of(&format!("{REMOVED}b"))).unwrap();
        assert!(matches!(Folders::open(directory.path()), Err(ServiceError::InUse(_))));
        drop(folders);
        let folders = Folders::open(directory.path()).unwrap();
        assert_eq!(folders.load().unwrap(), [record("a")]);
        assert_eq!(folders.text("a").unwrap(), "name: ${X}");
        assert_eq!(folders.all().unwrap(), [folders.of("a")]);
        folders.remove("a").unwrap();
        folders.remove("a").unwrap();
        assert!(folders.load().unwrap().is_empty());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let folders = Folders::open(directory.path()).unwrap();
        folders.make("a", "").unwrap();
        fs::write(folders.of("a").join(RECORD), "{").unwrap();
        let error = folders.load().unwrap_err().to_string();
        assert!(error.starts_with("[V0104]") && error.contains("a/record.json"), "{error}");
    }
}
