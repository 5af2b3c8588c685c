//! What may be deleted: first all is looked at, then it is decided, then deleted. What cannot be read is assumed to need everything.
use std::collections::{BTreeSet, HashSet};

use super::{
    CheckpointStore, Manifest, StoreError,
    manifest::{MANIFESTS, PARTS},
    recover::read,
};

/// A manifest in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One that can be read.
    Readable {
        /// Which checkpoint.
        checkpoint: u64,
        /// Names of the blobs it refers to.
        blobs: BTreeSet<String>,
    },
    /// One that cannot, by its name.
    Unreadable(String),
}

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// All manifests.
    pub manifests: Vec<Kept>,
    /// Names of all blobs that hold parts.
    pub parts: Vec<String>,
}

/// A checkpoint that is not complete yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// The newest that was complete when it was triggered: its tasks may leave references to blobs of that one, or of later ones.
    pub base: Option<u64>,
    /// Names of blobs that are being written for it.
    pub blobs: BTreeSet<String>,
}

/// What to delete: all manifests before any blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanupPlan {
    /// Names of manifests, oldest first.
    pub manifests: Vec<String>,
    /// Names of blobs.
    pub blobs: Vec<String>,
}

/// What nobody needs: manifests but the newest `retain` (at least 1) and those that checkpoints in flight build on; blobs that no
/// manifest that stays and no checkpoint in flight refers to. While a manifest cannot be read, no blob is deleted.
pub fn retention(survey: &Survey, retain: usize, in_flight: &[InFlight]) -> CleanupPlan {
    let mut readable = Vec::new();
    let mut all_readable = true;
    for manifest in &survey.manifests {
        match manifest {
            Kept::Readable { checkpoint, blobs } => readable.push((*checkpoint, blobs)),
            Kept::Unreadable(_) => all_readable = false,
        }
    }
    readable.sort_unstable_by_key(|(checkpoint, _)| *checkpoint);
    let newest = readable.len().saturating_sub(retain.max(1));
    let first_kept = readable.get(newest).map_or(0, |(checkpoint, _)| *checkpoint);
    // One without a base may refer to any that has become complete since.
    let base = in_flight.iter().map(|checkpoint| checkpoint.base.unwrap_or(0)).min();
    let first_kept = base.map_or(first_kept, |base| base.min(first_kept));
    let (old, kept): (Vec<_>, Vec<_>) = readable.into_iter().partition(|(checkpoint, _)| *checkpoint < first_kept);
    let mut plan = CleanupPlan::default();
    plan.manifests.extend(old.iter().map(|(checkpoint, _)| Manifest::name(*checkpoint)));
    if all_readable {
        let needed: HashSet<&String> =
            kept.iter().flat_map(|(_, blobs)| *blobs).chain(in_flight.iter().flat_map(|f| &f.blobs)).collect();
        plan.blobs.extend(survey.parts.iter().filter(|part| !needed.contains(part)).cloned());
    }
    plan
}

/// What is in a store. Fails if storage does: what cannot be looked at is not taken for unreadable. The parts are listed before the
/// manifests are read, so that one published meanwhile is not without its parts.
pub async fn survey(store: &dyn CheckpointStore) -> Result<Survey, StoreError> {
    let parts = store.list(PARTS).await?;
    let mut manifests = Vec::new();
    for name in store.list(MANIFESTS).await? {
        manifests.push(match read(store, &name).await {
            Ok(manifest) => Kept::Readable {
                checkpoint: manifest.checkpoint,
                blobs: manifest.blobs().map(|blob| blob.name.clone()).collect(),
            },
            Err(error @ StoreError::Io { .. }) => return Err(error),
            Err(_) => Kept::Unreadable(name),
        });
    }
    Ok(Survey { manifests, parts })
}

/// Deletes what was decided, and stops at the first failure: what is left is found the next time.
pub async fn clean(store: &dyn CheckpointStore, plan: &CleanupPlan) -> Result<(), StoreError> {
    for name in plan.manifests.iter().chain(&plan.blobs) {
        store.delete(name).await?;
    }
    Ok(())
}

/// Deletes all checkpoints, oldest first, and then all parts. What else is in the store stays.
pub async fn remove_all(store: &dyn CheckpointStore) -> Result<(), StoreError> {
    for prefix in [MANIFESTS, PARTS] {
        for name in store.list(prefix).await? {
            store.delete(&name).await?;
        }
    }
    Ok(())
}
