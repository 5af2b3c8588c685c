//! Where checkpoints are kept: named blobs that appear whole and stay as they are. What names mean is not decided here.
use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;
use crate::model::Blob;

/// The largest blob that [`CheckpointStore::get`] reads, in bytes; so the largest manifest.
pub const GET_BYTES_MAX: u64 = 64 << 20;

/// The longest name of a blob, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// A durable blob, and how to know that it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobReference {
    /// Its name in the store.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// XXH3-128, seed 0, of its content.
    pub checksum: u128,
}

impl BlobReference {
    /// Fails unless a blob that was read has this length and checksum.
    pub(super) fn verify(&self, bytes: u64, checksum: u128) -> Result<(), StoreError> {
        if bytes != self.bytes {
            return Err(StoreError::damaged(&self.name, format!("{bytes} bytes instead of {}", self.bytes)));
        }
        if checksum != self.checksum {
            return Err(StoreError::damaged(&self.name, "its checksum differs"));
        }
        Ok(())
    }
}

/// Named blobs. Names are relative paths of letters, digits, `-`, `_`, `.` and `/`, of at most [`NAME_BYTES_MAX`], whose components
/// are not empty and do not begin with `.`; others are refused with [`StoreError::Io`].
///
/// An implementation owes: what [`put`](CheckpointStore::put) and [`delete`](CheckpointStore::delete) returned for is durable and seen
/// by everyone at once; a blob is there whole or not at all. It decides nothing: not what is complete, nor what may be deleted.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Makes a blob durable; one of that name is replaced. After an error it may be there or not.
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError>;
    /// The same unless there is a blob of that name, which stays as it is: whether it was made. Of several who try, one is told so.
    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError>;
    /// A blob of at most [`GET_BYTES_MAX`].
    async fn get(&self, name: &str) -> Result<Bytes, StoreError>;
    /// A blob, its length and checksum verified.
    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError>;
    /// A blob's length in bytes.
    async fn length(&self, name: &str) -> Result<u64, StoreError>;
    /// Names that begin with `prefix`, in order.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// Deletes a blob, if it is there. After an error it may be there or not.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;
    /// Removes what writers that were killed have left, and says how many files that were. For whoever alone writes to the store,
    /// before it does. Without effect where nothing can be left.
    async fn remove_unfinished(&self) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// Whether a name is one of a blob.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= NAME_BYTES_MAX
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed))
}

/// Fails unless a name is one of a blob.
pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    if is_name(name) { Ok(()) } else { Err(StoreError::io(name, &"this is no name of a blob")) }
}

/// Fails unless names can begin so.
pub(super) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.is_empty() { Ok(()) } else { check_name(prefix.strip_suffix('/').unwrap_or(prefix)) }
}
