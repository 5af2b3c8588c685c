//! Finds the checkpoint to start from, and reads what it consists of. Changes nothing in the store.
use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};

use super::{
    BlobReference, CheckpointStore, Manifest, ManifestId, Share, StoreError, encoding, lineage, manifest::MANIFESTS,
    starts::starts,
};
use crate::model::{Blob, SubtaskState};

/// Blobs that are read or looked at at the same time.
const READS_MAX: usize = 8;

/// What a job may start from.
#[derive(Debug)]
pub struct Recovered {
    /// The newest checkpoint that is whole and may be gone on from; `None` if there is none at all.
    pub manifest: Option<Manifest>,
    /// Which manifest that is.
    pub id: Option<ManifestId>,
    /// Those that are newer and not whole, newest first, and why.
    pub skipped: Vec<(String, StoreError)>,
    /// The highest number that a checkpoint has, whole or not: those to come have higher ones.
    pub highest: Option<u64>,
}

/// The newest checkpoint that is whole, of those that the newest start may go on from. Fails if there are checkpoints and none is, since starting anew would then pass over state;
/// and if storage fails or a manifest is of a later version, since an older one would then be taken for the newest.
pub async fn latest(store: &dyn CheckpointStore) -> Result<Recovered, StoreError> {
    latest_below(store, None).await
}

/// As [`latest`], of the checkpoints with numbers below `limit`: for when reading the blobs of that one has shown them damaged.
pub async fn latest_below(store: &dyn CheckpointStore, limit: Option<u64>) -> Result<Recovered, StoreError> {
    let mut skipped = Vec::new();
    // Before the manifests: a start that comes meanwhile has none yet.
    let starts = starts(store).await?;
    let mut manifests = Vec::new();
    for name in store.list(MANIFESTS).await? {
        match ManifestId::of(&name) {
            Some(id) => manifests.push(id),
            None => {
                let error = StoreError::damaged(&name, "no checkpoint has this name");
                skipped.push((name, error));
            }
        }
    }
    let highest = manifests.iter().map(|id| id.checkpoint).max();
    let candidates = lineage(&starts, &manifests).manifests.into_iter();
    for id in candidates.filter(|id| limit.is_none_or(|limit| id.checkpoint < limit)) {
        let name = id.name();
        match load(store, &name).await {
            Ok(manifest) => return Ok(Recovered { manifest: Some(manifest), id: Some(id), skipped, highest }),
            Err(error) if error.is_loss() => skipped.push((name, error)),
            Err(error) => return Err(error),
        }
    }
    match skipped.iter().find(|(name, _)| ManifestId::of(name).is_some()).or(skipped.first()) {
        Some((_, newest)) => Err(StoreError::Unusable { checkpoints: skipped.len(), newest: Box::new(newest.clone()) }),
        None => Ok(Recovered { manifest: None, id: None, skipped, highest }),
    }
}

/// A particular checkpoint, or that of a savepoint, if it is whole: all blobs are there and have their lengths. Their contents are
/// verified when they are read.
pub async fn load(store: &dyn CheckpointStore, name: &str) -> Result<Manifest, StoreError> {
    let manifest = read(store, name).await?;
    let blobs: BTreeMap<&str, &BlobReference> = manifest.blobs().map(|blob| (&*blob.name, blob)).collect();
    let looks: Vec<BoxFuture<'_, _>> = blobs.into_values().map(|blob| look(store, blob).boxed()).collect();
    stream::iter(looks).buffer_unordered(READS_MAX).try_collect::<()>().await?;
    Ok(manifest)
}

/// A manifest, whatever is the case with its blobs.
pub async fn read(store: &dyn CheckpointStore, name: &str) -> Result<Manifest, StoreError> {
    let manifest = encoding::decode(name, &store.get(name).await?)?;
    let Manifest { checkpoint, start, .. } = manifest;
    if ![Some(start), None].into_iter().any(|start| ManifestId { checkpoint, start }.name() == name) {
        return Err(StoreError::damaged(
            name,
            format!("it is the manifest of checkpoint {checkpoint} of start {start}"),
        ));
    }
    Ok(manifest)
}

async fn look(store: &dyn CheckpointStore, blob: &BlobReference) -> Result<(), StoreError> {
    blob.verify(store.length(&blob.name).await?, blob.checksum)
}

/// Reads what subtasks are to start from, each blob once: their states in the same order, contents present and verified.
/// Committables are not among them: they are committed before anything starts.
pub async fn restore(store: &dyn CheckpointStore, shares: &[Share]) -> Result<Vec<SubtaskState>, StoreError> {
    let parts = shares.iter().flat_map(|share| &share.stores).flat_map(|store| &store.parts);
    let wanted: BTreeMap<&str, &BlobReference> = parts.map(|part| (&*part.blob.name, &part.blob)).collect();
    let reads: Vec<BoxFuture<'_, _>> = wanted.into_values().map(|blob| fetch(store, blob).boxed()).collect();
    let contents: BTreeMap<String, Blob> = stream::iter(reads).buffer_unordered(READS_MAX).try_collect().await?;
    let content =
        |blob: &BlobReference| contents.get(&blob.name).cloned().ok_or_else(|| StoreError::Missing(blob.name.clone()));
    let state = |share: &Share| {
        Ok(SubtaskState {
            watermark: share.watermark,
            splits: share.splits.clone(),
            stores: share.stores.iter().map(|store| store.snapshot(content)).collect::<Result<_, _>>()?,
            operator_states: share.operator_states.clone(),
            committables: Vec::new(),
        })
    };
    shares.iter().map(state).collect()
}

async fn fetch(store: &dyn CheckpointStore, blob: &BlobReference) -> Result<(String, Blob), StoreError> {
    Ok((blob.name.clone(), store.fetch(blob).await?))
}
