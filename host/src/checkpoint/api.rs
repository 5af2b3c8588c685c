//! Where checkpoints are kept: named blobs that appear whole and stay as they are. What names mean is not decided here.
use async_trait::async_trait;
use bytes::Bytes;

use crate::model::Blob;

/// Storage failed, or what it holds is not what was put there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no blob of this name.
    #[error("[C0501] checkpoint storage: there is no `{0}`")]
    Missing(String),
    /// What was read differs from what was written.
    #[error("[C0502] checkpoint storage: `{name}` is damaged: {what}")]
    Damaged {
        /// The blob.
        name: String,
        /// How.
        what: String,
    },
    /// Reading or writing failed; whether it took effect is not known.
    #[error("[C0503] checkpoint storage: `{name}`: {what}")]
    Io {
        /// The blob, or the directory.
        name: String,
        /// What happened.
        what: String,
    },
}

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

/// Named blobs. Names are relative paths of letters, digits, `-`, `_`, `.` and `/`.
///
/// An implementation owes: what [`put`](CheckpointStore::put) returned for is durable and readable by everyone at once; a blob is there
/// whole or not at all. It decides nothing: not what is complete, nor what may be deleted.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Makes a blob durable; one of that name is replaced. After an error it may be there or not.
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError>;
    /// A small blob.
    async fn get(&self, name: &str) -> Result<Bytes, StoreError>;
    /// A blob, its length and checksum verified.
    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError>;
    /// Names that begin with `prefix`, in order.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;
    /// Deletes a blob, if it is there.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;
}
