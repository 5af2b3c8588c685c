//! Checkpoints in memory, for simulations and for jobs that keep none on disk: gone with the process.
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    BlobReference, CheckpointStore, StoreError,
    api::{GET_BYTES_MAX, check_name, check_prefix},
};
use crate::model::Blob;

/// Blobs in memory. As large as what is put; whoever puts deletes what is no longer needed.
#[derive(Debug, Default)]
pub struct MemoryStore {
    blobs: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryStore {
    fn blobs(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        // Every change is a single call, so a panic elsewhere leaves nothing half done.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, name: &str) -> Result<Bytes, StoreError> {
        check_name(name)?;
        self.blobs().get(name).cloned().ok_or_else(|| StoreError::Missing(name.to_owned()))
    }
}

fn bytes(name: &str, content: Blob) -> Result<Bytes, StoreError> {
    match content {
        Blob::Bytes(bytes) => Ok(bytes),
        Blob::File(path) => Ok(std::fs::read(&path).map_err(|error| StoreError::io(name, &error))?.into()),
    }
}

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError> {
        check_name(name)?;
        let content = bytes(name, content)?;
        let checksum = xxh3_128(&content);
        let bytes = content.len() as u64;
        self.blobs().insert(name.to_owned(), content);
        Ok(BlobReference { name: name.to_owned(), bytes, checksum })
    }

    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError> {
        check_name(name)?;
        let content = bytes(name, content)?;
        match self.blobs().entry(name.to_owned()) {
            Entry::Occupied(_) => Ok(false),
            Entry::Vacant(free) => {
                free.insert(content);
                Ok(true)
            }
        }
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        let content = self.read(name)?;
        let bytes = content.len() as u64;
        if bytes > GET_BYTES_MAX {
            return Err(StoreError::TooLarge { name: name.to_owned(), bytes, max: GET_BYTES_MAX });
        }
        Ok(content)
    }

    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError> {
        let content = self.read(&blob.name)?;
        blob.verify(content.len() as u64, xxh3_128(&content))?;
        Ok(Blob::Bytes(content))
    }

    async fn length(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.read(name)?.len() as u64)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        check_prefix(prefix)?;
        let blobs = self.blobs();
        let from_prefix = blobs.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).map(|(name, _)| name);
        Ok(from_prefix.take_while(|name| name.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        self.blobs().remove(name);
        Ok(())
    }
}
