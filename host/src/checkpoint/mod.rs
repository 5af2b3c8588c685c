//! What is durable: where checkpoints lie, what a manifest says, which of them can be restored, and what may be deleted. Knows nothing
//! of tasks, records or RocksDB; decisions are pure, storage is behind [`CheckpointStore`].
mod api;
mod permit;

pub use api::{BlobReference, CheckpointStore, StoreError};
pub use permit::CommitPermit;
