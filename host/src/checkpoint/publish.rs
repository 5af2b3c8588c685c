//! Makes a checkpoint durable: first all it consists of, its manifest last. Until that is there, the checkpoint does not exist.
use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};

use super::{
    BlobReference, CheckpointStore, Draft, Manifest, StoreError, check_newest, encoding,
    manifest::{NodeState, PartEntry, StoreEntry, SubtaskEntry, part_blob},
};
use crate::model::{Blob, StoreSnapshot, SubtaskState};

/// Blobs that are written at the same time.
const PUTS_MAX: usize = 8;

/// Makes a checkpoint durable. Parts without content are among `known`, the durable blobs by name of earlier manifests in this store;
/// if one is not, nothing is written. Fails with [`StoreError::Fenced`] if a later start has taken over. After an error the checkpoint may be
/// there nonetheless, whole.
pub async fn publish(
    store: &dyn CheckpointStore,
    draft: Draft,
    known: &BTreeMap<String, BlobReference>,
) -> Result<Manifest, StoreError> {
    check_newest(store, draft.start).await?;
    let draft = finish(draft).await?;
    let mut durable = BTreeMap::new();
    let mut contents: BTreeMap<String, Blob> = BTreeMap::new();
    for part in draft.parts() {
        let name = part_blob(&part.name);
        match &part.content {
            Some(content) => {
                contents.insert(name, content.clone());
            }
            None => {
                let blob = known.get(&name).ok_or_else(|| StoreError::Missing(name.clone()))?;
                durable.insert(name, blob.clone());
            }
        }
    }
    let puts: Vec<BoxFuture<'_, _>> =
        contents.into_iter().map(|(name, content)| put(store, name, content).boxed()).collect();
    let written: Vec<BlobReference> = stream::iter(puts).buffer_unordered(PUTS_MAX).try_collect().await?;
    durable.extend(written.into_iter().map(|blob| (blob.name.clone(), blob)));
    let manifest = manifest(draft, &durable)?;
    let name = manifest.id().name();
    let bytes = encoding::encode(&name, &manifest)?;
    store.put(&name, Blob::Bytes(bytes.into())).await?;
    // Last: a later start either has seen the manifest, or is seen now.
    check_newest(store, manifest.start).await?;
    Ok(manifest)
}

/// Waits for parts that are still being made, where that holds up no task. Without a runtime, as in simulations, here.
async fn finish(mut draft: Draft) -> Result<Draft, StoreError> {
    let is_later = |state: &SubtaskState| state.stores.iter().any(|store| store.later.is_some());
    if !draft.nodes.iter().flat_map(|node| &node.subtasks).any(is_later) {
        return Ok(draft);
    }
    let name = draft.id().name();
    let wait = move || {
        let subtasks = draft.nodes.iter_mut().flat_map(|node| &mut node.subtasks);
        subtasks.flat_map(|subtask| &mut subtask.stores).try_for_each(StoreSnapshot::finish)?;
        Ok(draft)
    };
    let finished = match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(wait).await.unwrap_or_else(|error| Err(error.to_string())),
        Err(_) => wait(),
    };
    finished.map_err(|what| StoreError::io(&name, &what))
}

async fn put(store: &dyn CheckpointStore, name: String, content: Blob) -> Result<BlobReference, StoreError> {
    store.put(&name, content).await
}

fn manifest(draft: Draft, durable: &BTreeMap<String, BlobReference>) -> Result<Manifest, StoreError> {
    let mut nodes = Vec::with_capacity(draft.nodes.len());
    for node in draft.nodes {
        let subtasks = node.subtasks.into_iter().map(|subtask| subtask_entry(subtask, durable));
        let subtasks = subtasks.collect::<Result<Vec<_>, _>>()?;
        nodes.push(NodeState { uid: node.uid, parallelism: subtasks.len() as u32, subtasks });
    }
    Ok(Manifest {
        job: draft.job,
        checkpoint: draft.checkpoint,
        start: draft.start,
        kind: draft.kind,
        created_ms: draft.created_ms,
        max_parallelism: draft.max_parallelism,
        finished: draft.finished,
        versions: draft.versions,
        nodes,
    })
}

fn subtask_entry(state: SubtaskState, durable: &BTreeMap<String, BlobReference>) -> Result<SubtaskEntry, StoreError> {
    let stores = state.stores.into_iter().map(|store| store_entry(store, durable));
    Ok(SubtaskEntry {
        watermark: state.watermark,
        splits: state.splits,
        stores: stores.collect::<Result<_, _>>()?,
        operator_states: state.operator_states,
        committables: state.committables,
    })
}

fn store_entry(store: StoreSnapshot, durable: &BTreeMap<String, BlobReference>) -> Result<StoreEntry, StoreError> {
    let mut parts = Vec::with_capacity(store.parts.len());
    for part in store.parts {
        let name = part_blob(&part.name);
        let blob = durable.get(&name).cloned().ok_or(StoreError::Missing(name))?;
        parts.push(PartEntry { blob, groups: part.groups, note: part.note });
    }
    Ok(StoreEntry { store: store.store, format: store.format, groups: store.groups, note: store.note, parts })
}
