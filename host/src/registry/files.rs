//! The registry's directory: `blobs/SHA256.wasm`, `plugins/NAME/VERSION.json`, and `uploads/` for what is not finished. Guarantees that a
//! file has its name only once it is durable, and that whatever a crash left is removed. Must not know what components are.
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use tempfile::{NamedTempFile, TempPath};

use super::{Record, RegistryError};

/// Bytes of a record in the index.
const RECORD_BYTES_MAX: u64 = 4 << 20;

const BLOBS: &str = "blobs";
const PLUGINS: &str = "plugins";
const UPLOADS: &str = "uploads";

/// The directory.
pub(super) struct Files {
    blobs: PathBuf,
    plugins: PathBuf,
    uploads: PathBuf,
}

impl Files {
    /// Opens it, and reads the index. What no record refers to is removed: its upload was not finished.
    pub(super) fn open(directory: &Path) -> Result<(Files, Vec<Record>), RegistryError> {
        let [blobs, plugins, uploads] = [BLOBS, PLUGINS, UPLOADS].map(|folder| directory.join(folder));
        match fs::remove_dir_all(&uploads) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(RegistryError::Io { path: uploads, error });
            }
            _ => {}
        }
        for folder in [&blobs, &plugins, &uploads] {
            fs::create_dir_all(folder).map_err(RegistryError::io(folder))?;
        }
        sync(directory)?;
        let files = Files { blobs, plugins, uploads };
        let records = files.records()?;
        files.remove_unneeded(&records)?;
        Ok((files, records))
    }

    /// Where files are that are not finished.
    pub(super) fn uploads(&self) -> &Path {
        &self.uploads
    }

    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        self.blobs.join(format!("{digest}.wasm"))
    }

    fn record(&self, record: &Record) -> PathBuf {
        self.plugins.join(&record.name).join(format!("{}.json", record.version))
    }

    /// Keeps a durable file and its record: first the file, then the record, which is what makes it a plugin. Fails without a trace if the
    /// record could not be read again.
    pub(super) fn keep(&self, record: &Record, file: TempPath) -> Result<(), RegistryError> {
        let text = serde_json::to_vec_pretty(record).map_err(|error| RegistryError::Internal(error.to_string()))?;
        if text.len() as u64 > RECORD_BYTES_MAX {
            let (plugin, max) = (record.to_string(), RECORD_BYTES_MAX as usize);
            return Err(RegistryError::Record { plugin, bytes: text.len(), max });
        }
        let blob = self.blob(&record.digest);
        file.persist(&blob).map_err(|error| RegistryError::Io { path: blob, error: error.error })?;
        sync(&self.blobs)?;
        let path = self.record(record);
        let folder = self.plugins.join(&record.name);
        fs::create_dir_all(&folder).map_err(RegistryError::io(&folder))?;
        sync(&self.plugins)?;
        let written = || -> io::Result<()> {
            let mut file = NamedTempFile::new_in(&self.uploads)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        written().map_err(RegistryError::io(&path))?;
        sync(&folder)
    }

    /// Removes a record; from then on there is no such plugin.
    pub(super) fn forget(&self, record: &Record) -> Result<(), RegistryError> {
        let path = self.record(record);
        fs::remove_file(&path).map_err(RegistryError::io(path))?;
        let folder = self.plugins.join(&record.name);
        sync(&folder)?;
        // Fails while there are other versions.
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    pub(super) fn remove_blob(&self, digest: &str) -> Result<(), RegistryError> {
        let path = self.blob(digest);
        fs::remove_file(&path).map_err(RegistryError::io(path))
    }

    fn records(&self) -> Result<Vec<Record>, RegistryError> {
        let mut records = Vec::new();
        for folder in entries(&self.plugins)? {
            for path in entries(&folder)? {
                let record = read(&path)?;
                let damaged = |what: &str| RegistryError::Damaged { path: path.clone(), what: what.into() };
                if self.record(&record) != path {
                    return Err(damaged("it is the record of another plugin"));
                }
                let size = fs::metadata(self.blob(&record.digest)).map(|metadata| metadata.len()).ok();
                if size != Some(record.size) {
                    return Err(damaged(&format!("its component, {}.wasm, is missing or cut off", record.digest)));
                }
                records.push(record);
            }
        }
        Ok(records)
    }

    fn remove_unneeded(&self, records: &[Record]) -> Result<(), RegistryError> {
        let needed: HashSet<PathBuf> = records.iter().map(|record| self.blob(&record.digest)).collect();
        for path in entries(&self.blobs)? {
            if !needed.contains(&path) {
                tracing::info!(path = %path.display(), "an upload was not finished; it is removed");
                fs::remove_file(&path).map_err(RegistryError::io(path))?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Record, RegistryError> {
    let length = fs::metadata(path).map_err(RegistryError::io(path))?.len();
    let damaged = |what: String| RegistryError::Damaged { path: path.to_owned(), what };
    if length > RECORD_BYTES_MAX {
        return Err(damaged(format!("a record has at most {RECORD_BYTES_MAX} bytes, not {length}")));
    }
    let text = fs::read(path).map_err(RegistryError::io(path))?;
    serde_json::from_slice(&text).map_err(|error| damaged(format!("not a record: {error}")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let read = || folder.read_dir()?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    read().map_err(RegistryError::io(folder))
}

/// Makes names in a folder durable.
fn sync(folder: &Path) -> Result<(), RegistryError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(RegistryError::io(folder))
}
