//! What holds of checkpoints as a whole: across stores, crashes and cleanups.
mod crashes;
mod formats;
mod pieces;
mod starts;
mod stores;

use std::{collections::BTreeMap, future::Future, sync::Arc};

use bytes::Bytes;
use futures::FutureExt;

use super::*;
use crate::model::{
    Blob, CanaryVersion, OperatorKind, OperatorState, OperatorVersion, Part, Redistribution, RuleVersion, SnapshotKind,
    SplitPosition, StoreFormat, StoreSnapshot, SubtaskState,
};

/// Without a runtime nothing waits: stores do their work where they are asked.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("no store waits")
}

fn part(name: &str, content: Option<&str>) -> Part {
    let content = content.map(|text| Blob::Bytes(Bytes::copy_from_slice(text.as_bytes())));
    Part { name: name.to_owned(), groups: 0..8, note: vec![1], content }
}

/// A checkpoint of a job with one keyed node of one subtask.
fn draft(checkpoint: u64, parts: Vec<Part>) -> Draft {
    let store = StoreSnapshot {
        store: "windows".into(),
        format: StoreFormat::Runs,
        groups: 0..8,
        note: vec![9],
        parts,
        later: None,
        durable: false,
    };
    let state = SubtaskState {
        watermark: checkpoint as i64,
        splits: vec![SplitPosition { split: "a.csv".into(), position: vec![1, 2] }],
        stores: vec![store],
        operator_states: vec![OperatorState {
            name: "seen".into(),
            redistribution: Redistribution::Union,
            elements: vec![vec![], vec![3]],
        }],
        committables: vec![vec![4]],
    };
    Draft {
        job: "counts".into(),
        checkpoint,
        start: 1,
        kind: SnapshotKind::Checkpoint,
        created_ms: -5,
        max_parallelism: 8,
        finished: false,
        versions: vec![OperatorVersion {
            change: 3,
            uid: "count".into(),
            kind: OperatorKind::Aggregate,
            plugin: "sum@2.0.0".into(),
            digest: "ab".into(),
            configuration: "{}".into(),
            canary: Some(CanaryVersion {
                plugin: "sum@3.0.0".into(),
                digest: "cd".into(),
                configuration: "{}".into(),
                share: crate::model::Share::of(0.05).unwrap(),
                by: vec!["word".into()],
            }),
            rule: None,
        }],
        nodes: vec![DraftNode { uid: "count".into(), subtasks: vec![state] }],
    }
}

/// Where the manifest of a checkpoint is, of the first start.
fn manifest_name(checkpoint: u64) -> String {
    ManifestId { checkpoint, start: Some(1) }.name()
}

/// What a later checkpoint may refer to.
fn known(manifest: &Manifest) -> BTreeMap<String, BlobReference> {
    manifest.blobs().map(|blob| (blob.name.clone(), blob.clone())).collect()
}

/// Publishes checkpoint 1 of parts `a` and `b`.
fn first(store: &dyn CheckpointStore) -> Manifest {
    let parts = vec![part("1/a", Some("one")), part("1/b", Some("two"))];
    block_on(publish(store, draft(1, parts), &BTreeMap::new())).unwrap()
}

/// Checkpoint 2, which builds on the first.
fn second() -> Draft {
    draft(2, vec![part("1/b", None), part("2/c", Some("three")), part("2/d", Some(""))])
}

/// The contents of all parts that a checkpoint restores, by name.
fn contents(store: &dyn CheckpointStore, manifest: &Manifest) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
    let mut found = BTreeMap::new();
    for node in &manifest.nodes {
        let shares = redistribute(node, node.parallelism, manifest.max_parallelism);
        for state in block_on(restore(store, &shares))? {
            for part in state.stores.into_iter().flat_map(|store| store.parts) {
                let content = match part.content {
                    Some(Blob::Bytes(bytes)) => bytes.to_vec(),
                    Some(Blob::File(path)) => std::fs::read(path).unwrap(),
                    None => panic!("{} has no content", part.name),
                };
                found.insert(part.name, content);
            }
        }
    }
    Ok(found)
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Each kind of store, empty.
fn stores(directory: &tempfile::TempDir) -> [Arc<dyn CheckpointStore>; 2] {
    [Arc::new(MemoryStore::default()), Arc::new(LocalStore::open(directory.path().join("deep/er")).unwrap())]
}
