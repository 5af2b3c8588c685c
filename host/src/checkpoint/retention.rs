//! What may be deleted: first all is looked at, then it is decided, then deleted. What cannot be read is assumed to need everything.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    CheckpointStore, ManifestId, Start, StoreError, lineage,
    manifest::{MANIFESTS, PARTS},
    recover::read,
    starts::{self, forgettable},
};

/// A manifest in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// One that can be read.
    Readable {
        /// Which.
        id: ManifestId,
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
    /// Starts of the job.
    pub starts: BTreeMap<u64, Start>,
}

/// A checkpoint that is not complete yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// The newest that was complete when it was triggered: its tasks may leave references to blobs of that one, or of later ones.
    pub base: Option<u64>,
    /// Names of blobs that are being written for it.
    pub blobs: BTreeSet<String>,
}

/// What to delete: all manifests before any blob, and starts last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanupPlan {
    /// Names of manifests, oldest first.
    pub manifests: Vec<String>,
    /// Names of blobs.
    pub blobs: Vec<String>,
    /// Names of starts, oldest first.
    pub starts: Vec<String>,
}

/// What nobody needs: manifests but the newest `retain` (at least 1) that can be gone on from and those that checkpoints in flight build on; blobs
/// that no manifest that stays and no checkpoint in flight refers to; starts that do not lead to a manifest that stays. While a manifest cannot be
/// read, no blob is deleted.
pub fn retention(survey: &Survey, retain: usize, in_flight: &[InFlight]) -> CleanupPlan {
    let mut readable = BTreeMap::new();
    let mut named = Vec::new();
    for manifest in &survey.manifests {
        match manifest {
            Kept::Readable { id, blobs } => drop(readable.insert(*id, blobs)),
            Kept::Unreadable(name) => named.extend(ManifestId::of(name)),
        }
    }
    let all_readable = readable.len() == survey.manifests.len();
    named.extend(readable.keys());
    let lineage = lineage(&survey.starts, &named);
    let usable: Vec<ManifestId> = lineage.manifests.iter().copied().filter(|id| readable.contains_key(id)).collect();
    let first_kept = usable.get(retain.max(1) - 1).map_or(0, |id| id.checkpoint);
    // One without a base may refer to any that has become complete since.
    let base = in_flight.iter().map(|checkpoint| checkpoint.base.unwrap_or(0)).min();
    let first_kept = base.map_or(first_kept, |base| base.min(first_kept));
    let stays: Vec<ManifestId> = usable.into_iter().filter(|id| id.checkpoint >= first_kept).collect();
    let (kept, old): (Vec<_>, Vec<_>) = readable.into_iter().partition(|(id, _)| stays.contains(id));
    let mut plan = CleanupPlan::default();
    plan.manifests.extend(old.iter().map(|(id, _)| id.name()));
    // Those that cannot be read may be mended.
    if all_readable {
        let forgettable = forgettable(&survey.starts, &lineage, stays.last().copied());
        plan.starts.extend(forgettable.into_iter().map(starts::name));
    }
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
    let (starts, mut manifests) = (starts::starts(store).await?, Vec::new());
    for name in store.list(MANIFESTS).await? {
        manifests.push(match read(store, &name).await {
            Ok(manifest) => {
                let blobs = manifest.blobs().map(|blob| blob.name.clone()).collect();
                ManifestId::of(&name).map_or(Kept::Unreadable(name), |id| Kept::Readable { id, blobs })
            }
            Err(error @ StoreError::Io { .. }) => return Err(error),
            Err(_) => Kept::Unreadable(name),
        });
    }
    Ok(Survey { manifests, parts, starts })
}

/// Deletes what was decided, and stops at the first failure: what is left is found the next time.
pub async fn clean(store: &dyn CheckpointStore, plan: &CleanupPlan) -> Result<(), StoreError> {
    for name in plan.manifests.iter().chain(&plan.blobs).chain(&plan.starts) {
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
