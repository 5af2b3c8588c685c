//! What is durable: where checkpoints lie, what a manifest says, which of them can be restored, and what may be deleted. Knows nothing
//! of tasks, records or RocksDB; decisions are pure, storage is behind [`CheckpointStore`].
mod api;
mod encoding;
mod error;
mod local;
mod manifest;
mod memory;
mod permit;
mod protocol;
mod publish;
mod recover;
mod redistribute;
mod retention;
mod starts;
#[cfg(test)]
mod tests;

pub use api::{BlobReference, CheckpointStore, GET_BYTES_MAX, NAME_BYTES_MAX};
pub use error::{CheckpointsFailing, RestoreError, StoreError};
pub use local::LocalStore;
pub use manifest::{
    Draft, DraftNode, MANIFESTS, Manifest, ManifestId, NodeState, PARTS, PartEntry, StoreEntry, SubtaskEntry, part_blob,
};
pub use memory::MemoryStore;
pub use permit::CommitPermit;
pub use protocol::{Decision, Pending, Progress, Schedule};
pub use publish::publish;
pub use recover::{Recovered, latest, latest_below, load, read, restore};
pub use redistribute::{Matching, Share, committables, match_nodes, redistribute};
pub use retention::{CleanupPlan, InFlight, Kept, Survey, clean, remove_all, retention, survey};
pub use starts::{Base, Lineage, Run, STARTS, Start, begin, check_newest, claim, lineage};
