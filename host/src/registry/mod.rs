//! Uploaded plugins: received, checked, kept durably by digest and by name and version, and handed out to jobs. Guarantees that what is
//! kept was compiled, described and configured once within limits, and never changes. Must not know how plugins are uploaded, nor who asks.
mod error;
mod files;
mod record;
mod signature;
#[cfg(test)]
mod tests;
mod upload;
mod validate;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak},
};

use semver::Version;
use tokio::sync::Semaphore;

pub use error::RegistryError;
pub use record::{OperatorRecord, Record};
pub use signature::{PublicKey, SIGNATURE_BYTES_MAX};
pub use upload::Upload;

use crate::{
    control::{PluginSource, SourceError},
    job::PluginRef,
    model::Clock,
    plugin::{COMPONENT_BYTES_MAX, LoadError, Plugin, PluginEngine, digest},
};

/// Bytes of an uploaded file, unless the policy says otherwise.
pub const UPLOAD_BYTES_DEFAULT: u64 = 64 << 20;

/// Uploads that are received or checked at a time.
pub const UPLOADS_MAX: usize = 4;

/// Versions of plugins a registry keeps, of all names together.
pub const RECORDS_MAX: usize = 10_000;

/// Bytes of configuration schemas a registry keeps, which are in memory.
const SCHEMAS_BYTES_MAX: usize = 256 << 20;

/// What is taken.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Bytes of an upload; more than [`COMPONENT_BYTES_MAX`] is taken for that.
    pub upload_bytes_max: u64,
    /// If there are any, an upload needs a signature by one of them.
    pub keys: Vec<PublicKey>,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { upload_bytes_max: UPLOAD_BYTES_DEFAULT, keys: Vec::new() }
    }
}

/// Who may still need a plugin.
pub trait InUse: Send + Sync {
    /// Whoever needs the component with this digest, in words: `job fraud`. None if nobody does.
    fn user(&self, digest: &str) -> Option<String>;
}

/// Nobody needs anything.
pub struct NotInUse;

impl InUse for NotInUse {
    fn user(&self, _digest: &str) -> Option<String> {
        None
    }
}

/// What became of an upload.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The plugin.
    pub record: Record,
    /// Whether it was not there before.
    pub created: bool,
}

/// Uploaded plugins. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    files: files::Files,
    engine: PluginEngine,
    /// For uploads, of which jobs see nothing before they are taken.
    checking: PluginEngine,
    policy: Policy,
    clock: Arc<dyn Clock>,
    /// By name and version.
    index: RwLock<Index>,
    /// Held while files change.
    changes: Mutex<()>,
    uploads: Arc<Semaphore>,
    compiling: Arc<Semaphore>,
    /// By digest.
    loaded: Mutex<HashMap<String, Weak<Plugin>>>,
}

type Index = BTreeMap<String, BTreeMap<Version, Record>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked left the value whole: every change of it is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Opens a directory, or makes it, and removes what unfinished uploads have left. One process at a time may have it open.
    pub fn open(
        directory: &Path,
        engine: PluginEngine,
        mut policy: Policy,
        clock: Arc<dyn Clock>,
    ) -> Result<Registry, RegistryError> {
        policy.upload_bytes_max = policy.upload_bytes_max.min(COMPONENT_BYTES_MAX);
        let (files, records) = files::Files::open(directory)?;
        let mut index = Index::new();
        for record in records {
            let version = record.semantic_version()?;
            index.entry(record.name.clone()).or_default().insert(version, record);
        }
        let inner = Inner {
            files,
            engine,
            checking: PluginEngine::for_uploads()?,
            policy,
            clock,
            index: RwLock::new(index),
            changes: Mutex::default(),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            compiling: Arc::new(Semaphore::new(1)),
            loaded: Mutex::default(),
        };
        Ok(Registry { inner: Arc::new(inner) })
    }

    /// Bytes of an upload that are taken.
    pub fn upload_bytes_max(&self) -> u64 {
        self.inner.policy.upload_bytes_max
    }

    /// Begins to receive an upload. Fails if there are too many at once.
    pub async fn begin(&self) -> Result<Upload, RegistryError> {
        let permit = self.inner.uploads.clone().try_acquire_owned().map_err(|_| RegistryError::Busy)?;
        Upload::new(self.inner.files.uploads(), self.inner.policy.upload_bytes_max, permit).await
    }

    /// Checks an upload and keeps it. `signature` is base64 of an ed25519 signature of the SHA-256 of the file. The same bytes again
    /// give the same record. Not undone by dropping the future: what was begun may still be kept.
    pub async fn push(&self, upload: Upload, signature: Option<&str>, by: &str) -> Result<Pushed, RegistryError> {
        let received = upload.finish().await?;
        signature::check(&self.inner.policy.keys, &received.sha256, signature)?;
        if let Some(record) = self.with_digest(&received.digest) {
            return Ok(Pushed { record, created: false });
        }
        let found = validate::validate(&self.inner, &received).await?;
        let record = Record {
            name: found.name,
            version: found.version,
            digest: received.digest.clone(),
            size: received.size,
            uploaded_ms: self.inner.clock.now_ms(),
            uploaded_by: by.to_owned(),
            signed_by: signature::signer(&self.inner.policy.keys, &received.sha256, signature),
            imports: found.imports,
            capabilities: found.capabilities,
            operators: found.operators,
        };
        let inner = self.inner.clone();
        blocking(move || inner.keep(record, received)).await
    }

    /// A version of a plugin.
    pub fn get(&self, name: &str, version: &str) -> Result<Record, RegistryError> {
        let missing = || RegistryError::Unknown(format!("{name}@{version}"));
        let version = Version::parse(version).map_err(|_| missing())?;
        self.index().get(name).and_then(|versions| versions.get(&version)).cloned().ok_or_else(missing)
    }

    /// The first `limit` versions after a place, in order of names and versions; only of the plugin called `name`, if that is given.
    /// The place is that of the last record before. Without configuration schemas.
    pub fn list(&self, name: Option<&str>, after: Option<(&str, &Version)>, limit: usize) -> Vec<Record> {
        let index = self.index();
        let all = index.iter().filter(|(key, _)| name.is_none_or(|name| name == *key));
        all.flat_map(|(name, versions)| versions.iter().map(move |(version, record)| (name.as_str(), version, record)))
            .filter(|(name, version, _)| after.is_none_or(|after| (*name, *version) > after))
            .take(limit)
            .map(|(.., record)| record.in_list())
            .collect()
    }

    /// The file of a component, as it was uploaded.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.inner.files.blob(digest)
    }

    /// Forgets a version of a plugin, and its file and what was compiled from it if no other version has it. Blocks.
    pub fn delete(&self, name: &str, version: &str, in_use: &dyn InUse) -> Result<Record, RegistryError> {
        let _changing = locked(&self.inner.changes);
        let record = self.get(name, version)?;
        if let Some(user) = in_use.user(&record.digest) {
            return Err(RegistryError::InUse { plugin: record.to_string(), user });
        }
        self.inner.files.forget(&record)?;
        let mut index = self.inner.index.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(versions) = index.get_mut(name) {
            versions.remove(&record.semantic_version()?);
            if versions.is_empty() {
                index.remove(name);
            }
        }
        let needed = index.values().flat_map(BTreeMap::values).any(|other| other.digest == record.digest);
        drop(index);
        if !needed {
            self.inner.files.remove_blob(&record.digest)?;
            self.inner.engine.forget(&record.digest).map_err(RegistryError::io("compiled code"))?;
        }
        Ok(record)
    }

    /// The record of a reference to an uploaded plugin.
    pub fn resolve(&self, reference: &PluginRef) -> Result<Record, RegistryError> {
        let found = match reference {
            PluginRef::Registered { name, version } => return self.get(name, version),
            PluginRef::Digest(digest) => self.with_digest(digest),
            PluginRef::Path(_) => None,
        };
        found.ok_or_else(|| RegistryError::Unknown(reference.to_string()))
    }

    fn with_digest(&self, digest: &str) -> Option<Record> {
        self.index().values().flat_map(BTreeMap::values).find(|record| record.digest == digest).cloned()
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.inner.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Makes a checked upload one of the plugins.
    fn keep(&self, record: Record, received: upload::Received) -> Result<Pushed, RegistryError> {
        let _changing = locked(&self.changes);
        let version = record.semantic_version()?;
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(there) = index.get(&record.name).and_then(|versions| versions.get(&version)) {
                if there.digest == record.digest {
                    return Ok(Pushed { record: there.clone(), created: false });
                }
                return Err(RegistryError::Conflict { plugin: there.to_string(), digest: there.digest.clone() });
            }
            let schemas = index.values().flat_map(BTreeMap::values).map(Record::schema_bytes).sum::<usize>();
            if index.values().map(BTreeMap::len).sum::<usize>() >= RECORDS_MAX
                || schemas + record.schema_bytes() > SCHEMAS_BYTES_MAX
            {
                return Err(RegistryError::Full);
            }
        }
        self.files.keep(&record, received.file)?;
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.entry(record.name.clone()).or_default().insert(version, record.clone());
        Ok(Pushed { record, created: true })
    }

    /// A plugin in memory, if some job has it.
    fn in_memory(&self, digest: &str) -> Option<Arc<Plugin>> {
        locked(&self.loaded).get(digest).and_then(Weak::upgrade)
    }

    fn remember(&self, digest: &str, plugin: &Arc<Plugin>) {
        let mut loaded = locked(&self.loaded);
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.insert(digest.to_owned(), Arc::downgrade(plugin));
    }
}

impl PluginSource for Registry {
    fn load(&self, reference: &PluginRef) -> Result<Arc<Plugin>, SourceError> {
        if let PluginRef::Path(path) = reference {
            return Err(LoadError::Unknown(format!(
                "{} is a file: a job on a server uses plugins that were uploaded to it, as `name@1.0.0` or `sha256:...`",
                path.display()
            ))
            .into());
        }
        // One that is being deleted is gone.
        let resolved = {
            let _whole = locked(&self.inner.changes);
            self.resolve(reference)
        };
        let record = resolved.map_err(|error| match error {
            RegistryError::Unknown(plugin) => {
                LoadError::Unknown(format!("nobody has uploaded {plugin}; upload it, or name one that is there"))
            }
            other => LoadError::Unknown(other.to_string()),
        })?;
        if let Some(plugin) = self.inner.in_memory(&record.digest) {
            return Ok(plugin);
        }
        let path = self.blob(&record.digest);
        let bytes = std::fs::read(&path).map_err(|error| LoadError::Io { path: path.clone(), error })?;
        if digest(&bytes) != record.digest {
            return Err(LoadError::Altered(path).into());
        }
        let plugin = Plugin::from_bytes(&self.inner.engine, &bytes, &path)?;
        self.inner.remember(&record.digest, &plugin);
        Ok(plugin)
    }
}

/// Work that waits for the disk, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RegistryError> + Send + 'static,
) -> Result<T, RegistryError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(RegistryError::Internal(error.to_string())))
}
