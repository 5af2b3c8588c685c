//! Checkpoints in a directory: a blob is a file that is written aside, made durable and then renamed into place. Knows nothing of
//! what blobs mean. One job writes below a directory at a time; many may read.
use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::{
    BlobReference, CheckpointStore, StoreError,
    api::{GET_BYTES_MAX, check_name, check_prefix},
};
use crate::model::Blob;

/// What names of files that are being written begin with; no blob's name does.
const UNFINISHED: &str = ".unfinished-";

/// Bytes that are read at once from a file.
const BUFFER_BYTES: usize = 256 << 10;

/// Directories remembered as durable; once there are more, all are looked at anew.
const DIRECTORIES_MAX: usize = 4096;

/// Blobs as files below a directory.
#[derive(Clone, Debug)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    directories: Mutex<Directories>,
}

#[derive(Debug, Default)]
struct Directories {
    /// Known to survive a crash of the machine.
    durable: HashSet<PathBuf>,
    /// Blobs being written; while there are any, no directory is removed.
    writing: usize,
}

impl LocalStore {
    /// Blobs below a directory, which is made if it is not there.
    pub fn open(directory: impl Into<PathBuf>) -> Result<LocalStore, StoreError> {
        let root: PathBuf = directory.into();
        let failed = |error: io::Error| StoreError::io(&root.display().to_string(), &error);
        let root = std::path::absolute(&root).map_err(failed)?;
        make_durable(&root, &mut HashSet::new()).map_err(failed)?;
        Ok(LocalStore { inner: Arc::new(Inner { root, directories: Mutex::default() }) })
    }

    /// Where the blobs are.
    pub fn directory(&self) -> &Path {
        &self.inner.root
    }

    /// Makes a blob durable; `None` if there is one of that name and it is not to be replaced.
    async fn write(&self, name: &str, content: Blob, replace: bool) -> Result<Option<BlobReference>, StoreError> {
        check_name(name)?;
        let owned = name.to_owned();
        self.blocking(name, move |inner| {
            let written = inner.put(&owned, &content, replace);
            if written.is_err() {
                // Whatever went wrong, what is known of directories may be part of it.
                inner.directories().durable.clear();
            }
            // Not a missing blob: what is missing is what it was to be made of.
            let written = written.map_err(|error| Failure::Store(StoreError::io(&owned, &error)))?;
            Ok(written.map(|(bytes, checksum)| BlobReference { name: owned, bytes, checksum }))
        })
        .await
    }

    /// Work that waits for the disk, where it holds up no task. Without a runtime, as in simulations, here.
    async fn blocking<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = self.inner.clone();
        let outcome = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => match runtime.spawn_blocking(move || work(&inner)).await {
                Ok(outcome) => outcome,
                Err(error) => return Err(StoreError::io(name, &error)),
            },
            Err(_) => work(&inner),
        };
        outcome.map_err(|failure| match failure {
            Failure::Store(error) => error,
            Failure::Io(error) if error.kind() == ErrorKind::NotFound => StoreError::Missing(name.to_owned()),
            Failure::Io(error) => StoreError::io(name, &error),
        })
    }
}

/// What stopped work on the disk; a file that is not there is the blob's own.
enum Failure {
    Io(io::Error),
    Store(StoreError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

#[async_trait]
impl CheckpointStore for LocalStore {
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError> {
        let written = self.write(name, content, true).await?;
        // One that is replaced is never in the way.
        written.ok_or_else(|| StoreError::io(name, &ErrorKind::AlreadyExists))
    }

    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError> {
        Ok(self.write(name, content, false).await?.is_some())
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        check_name(name)?;
        let owned = name.to_owned();
        self.blocking(name, move |inner| {
            let file = File::open(inner.root.join(&owned))?;
            let mut content = Vec::new();
            file.take(GET_BYTES_MAX + 1).read_to_end(&mut content)?;
            let bytes = content.len() as u64;
            if bytes > GET_BYTES_MAX {
                return Err(Failure::Store(StoreError::TooLarge { name: owned, bytes, max: GET_BYTES_MAX }));
            }
            Ok(content.into())
        })
        .await
    }

    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError> {
        check_name(&blob.name)?;
        let owned = blob.clone();
        self.blocking(&blob.name, move |inner| {
            let path = inner.root.join(&owned.name);
            let (bytes, checksum) = copy_into(&mut File::open(&path)?, &mut io::sink())?;
            owned.verify(bytes, checksum).map_err(Failure::Store)?;
            Ok(Blob::File(path))
        })
        .await
    }

    async fn length(&self, name: &str) -> Result<u64, StoreError> {
        check_name(name)?;
        let owned = name.to_owned();
        self.blocking(name, move |inner| Ok(fs::metadata(inner.root.join(owned))?.len())).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        check_prefix(prefix)?;
        let owned = prefix.to_owned();
        self.blocking(prefix, move |inner| {
            let directory = owned.rsplit_once('/').map_or("", |(directory, _)| directory);
            let mut names = inner.walk(directory.into(), false)?;
            names.retain(|name| name.starts_with(&owned));
            names.sort_unstable();
            Ok(names)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let owned = name.to_owned();
        self.blocking(name, move |inner| Ok(inner.delete(&owned)?)).await
    }

    async fn remove_unfinished(&self) -> Result<usize, StoreError> {
        self.blocking("", |inner| {
            let unfinished = inner.walk(PathBuf::new(), true)?;
            for path in &unfinished {
                fs::remove_file(inner.root.join(path))?;
            }
            Ok(unfinished.len())
        })
        .await
    }
}

impl Inner {
    fn directories(&self) -> MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a blob; its length and checksum, or `None` if there is one and it is not to be replaced.
    fn put(&self, name: &str, content: &Blob, replace: bool) -> io::Result<Option<(u64, u128)>> {
        let path = self.root.join(name);
        let directory = path.parent().unwrap_or(&self.root);
        let _writing = Writing::begin(self, directory)?;
        let (unfinished, written) = match content {
            Blob::Bytes(bytes) => {
                let (mut file, unfinished) = create_in(directory)?.into_parts();
                file.write_all(bytes)?;
                file.sync_all()?;
                (unfinished, (bytes.len() as u64, xxh3_128(bytes)))
            }
            Blob::File(source) => {
                let linked =
                    tempfile::Builder::new().prefix(UNFINISHED).make_in(directory, |link| fs::hard_link(source, link));
                match linked {
                    Ok(linked) => {
                        let unfinished = linked.into_temp_path();
                        let mut file = File::open(&unfinished)?;
                        let written = copy_into(&mut file, &mut io::sink())?;
                        file.sync_all()?;
                        (unfinished, written)
                    }
                    // Another filesystem, or one without links.
                    Err(_) => {
                        let (mut file, unfinished) = create_in(directory)?.into_parts();
                        let written = copy_into(&mut File::open(source)?, &mut file)?;
                        file.sync_all()?;
                        (unfinished, written)
                    }
                }
            }
        };
        let left = unfinished.to_path_buf();
        if replace {
            unfinished.persist(&path)?;
        } else {
            match unfinished.persist_noclobber(&path) {
                Err(there) if there.error.kind() == ErrorKind::AlreadyExists => return Ok(None),
                made => made?,
            }
        }
        // Renaming a link onto another of the same file does nothing, and leaves both.
        match fs::remove_file(left) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sync_directory(directory)?;
        Ok(Some(written))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        let directory = path.parent().unwrap_or(&self.root);
        // Held throughout: another deletion must not remove the directory before this one is durable.
        let mut directories = self.directories();
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(directory)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        if directories.writing == 0 {
            // Those left empty; the first that is not ends it.
            for empty in directory.ancestors().take_while(|ancestor| *ancestor != self.root) {
                if fs::remove_dir(empty).is_err() {
                    break;
                }
                directories.durable.remove(empty);
            }
        }
        Ok(())
    }

    /// Names of the files in a directory and those below it: of blobs, or of what was left unfinished.
    fn walk(&self, directory: PathBuf, unfinished: bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            let entries = match fs::read_dir(self.root.join(&directory)) {
                // Removed meanwhile, or never made.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let (kind, path) = (entry.file_type()?, directory.join(entry.file_name()));
                // Others are not ours.
                let Some(name) = path.to_str() else { continue };
                if kind.is_dir() {
                    directories.push(path);
                } else if kind.is_file() && is_unfinished(&path) == unfinished {
                    names.push(name.to_owned());
                }
            }
        }
        if !unfinished {
            names.retain(|name| check_name(name).is_ok());
        }
        Ok(names)
    }
}

/// A blob is being written, so its directory stays.
struct Writing<'a>(&'a Inner);

impl<'a> Writing<'a> {
    fn begin(inner: &'a Inner, directory: &Path) -> io::Result<Writing<'a>> {
        let mut directories = inner.directories();
        if directories.durable.len() > DIRECTORIES_MAX {
            directories.durable.clear();
        }
        directories.durable.insert(inner.root.clone());
        make_durable(directory, &mut directories.durable)?;
        directories.writing += 1;
        Ok(Writing(inner))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.directories().writing -= 1;
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(UNFINISHED))
}

/// A new file with the permissions of any file, for a blob that is being written.
fn create_in(directory: &Path) -> io::Result<tempfile::NamedTempFile<File>> {
    tempfile::Builder::new().prefix(UNFINISHED).make_in(directory, |path| File::create_new(path))
}

/// Makes a directory and those above it, so that they survive a crash of the machine. One that is there already may have been
/// made by someone who was interrupted, so only those in `durable` are trusted.
fn make_durable(directory: &Path, durable: &mut HashSet<PathBuf>) -> io::Result<()> {
    if durable.contains(directory) {
        return Ok(());
    }
    if let Some(parent) = directory.parent() {
        let there = directory.is_dir();
        // Directories above the store's that are there already are not ours, and maybe not readable.
        if !there || !durable.is_empty() {
            make_durable(parent, durable)?;
        }
        match fs::create_dir(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ if !directory.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            Ok(()) => sync_directory(parent)?,
            Err(_) if !durable.is_empty() => sync_directory(parent)?,
            Err(_) => {}
        }
    }
    durable.insert(directory.to_owned());
    Ok(())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Copies all there is; its length and checksum.
fn copy_into(from: &mut impl Read, into: &mut impl Write) -> io::Result<(u64, u128)> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut hash, mut bytes) = (Xxh3::new(), 0);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hash.digest128())),
            Ok(read) => {
                hash.update(&buffer[..read]);
                into.write_all(&buffer[..read])?;
                bytes += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
