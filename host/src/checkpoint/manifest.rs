//! What a checkpoint consists of: small state itself, and references to the blobs that hold the rest. Pure data; knows nothing of
//! how it is written.
use std::collections::HashSet;

use super::{BlobReference, RestoreError, api::is_name};
use crate::model::{
    Blob, EventTime, KeyGroups, MAX_PARALLELISM_LIMIT, OperatorState, OperatorVersion, Part, SnapshotKind,
    SplitPosition, StoreFormat, StoreSnapshot, SubtaskState,
};

/// What names of manifests begin with.
pub const MANIFESTS: &str = "manifests/";

/// What names of blobs begin with that hold parts of stores. The rest is the part's name.
pub const PARTS: &str = "parts/";

/// A complete checkpoint, or savepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Name of the job.
    pub job: String,
    /// Counts up over all starts of the job.
    pub checkpoint: u64,
    /// Which start of the job took it.
    pub start: u64,
    /// Why it was taken.
    pub kind: SnapshotKind,
    /// When it was triggered, in ms since 1970-01-01 UTC.
    pub created_ms: i64,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// The job has ended with it: there is nothing left to run.
    pub finished: bool,
    /// Plugins in force at its barrier that are not those of the job file.
    pub versions: Vec<OperatorVersion>,
    /// Sources, operators and sinks, each uid once.
    pub nodes: Vec<NodeState>,
}

/// Which manifest: a name says as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManifestId {
    /// Of which checkpoint.
    pub checkpoint: u64,
    /// Of which start; earlier versions of wasmill did not say so in names.
    pub start: Option<u64>,
}

impl ManifestId {
    /// Where it is.
    pub fn name(&self) -> String {
        let checkpoint = self.checkpoint;
        match self.start {
            Some(start) => format!("{MANIFESTS}{checkpoint:020}-{start:020}"),
            None => format!("{MANIFESTS}{checkpoint:020}"),
        }
    }

    /// Which manifest has this name; `None` if none can.
    pub fn of(name: &str) -> Option<ManifestId> {
        let rest = name.strip_prefix(MANIFESTS)?;
        let id = match rest.split_once('-') {
            Some((checkpoint, start)) => {
                ManifestId { checkpoint: checkpoint.parse().ok()?, start: Some(start.parse().ok()?) }
            }
            None => ManifestId { checkpoint: rest.parse().ok()?, start: None },
        };
        (id.name() == name).then_some(id)
    }
}

/// What the subtasks of a source, operator or sink have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Of the node, the same after a change of the job.
    pub uid: String,
    /// Number of subtasks, at least 1.
    pub parallelism: u32,
    /// Of each subtask, in order.
    pub subtasks: Vec<SubtaskEntry>,
}

/// What a subtask has left: [`SubtaskState`] with references in place of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtaskEntry {
    /// How far event time had come.
    pub watermark: EventTime,
    /// Of a source.
    pub splits: Vec<SplitPosition>,
    /// Of a keyed operator.
    pub stores: Vec<StoreEntry>,
    /// Of any.
    pub operator_states: Vec<OperatorState>,
    /// What a sink has prepared.
    pub committables: Vec<Vec<u8>>,
}

/// A keyed store: [`StoreSnapshot`] with references in place of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry {
    /// Which of the operator's stores.
    pub store: String,
    /// How its parts are written.
    pub format: StoreFormat,
    /// The key groups of the subtask that left it.
    pub groups: KeyGroups,
    /// The store's own.
    pub note: Vec<u8>,
    /// Its files, in the store's order.
    pub parts: Vec<PartEntry>,
}

/// A file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartEntry {
    /// Where it is, below [`PARTS`].
    pub blob: BlobReference,
    /// The key groups it speaks of.
    pub groups: KeyGroups,
    /// The store's own.
    pub note: Vec<u8>,
}

/// A checkpoint whose parts are not durable yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Name of the job.
    pub job: String,
    /// Counts up over all starts of the job.
    pub checkpoint: u64,
    /// Which start of the job takes it.
    pub start: u64,
    /// Why it is taken.
    pub kind: SnapshotKind,
    /// When it was triggered, in ms since 1970-01-01 UTC.
    pub created_ms: i64,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// The job ends with it.
    pub finished: bool,
    /// Plugins in force at its barrier that are not those of the job file.
    pub versions: Vec<OperatorVersion>,
    /// Sources, operators and sinks, each uid once.
    pub nodes: Vec<DraftNode>,
}

/// What the subtasks of a source, operator or sink leave.
#[derive(Clone, Debug)]
pub struct DraftNode {
    /// Of the node.
    pub uid: String,
    /// Of each subtask, in order.
    pub subtasks: Vec<SubtaskState>,
}

impl Draft {
    /// All parts.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let subtasks = self.nodes.iter().flat_map(|node| &node.subtasks);
        subtasks.flat_map(|subtask| &subtask.stores).flat_map(|store| &store.parts)
    }

    /// Which manifest it becomes.
    pub fn id(&self) -> ManifestId {
        ManifestId { checkpoint: self.checkpoint, start: Some(self.start) }
    }

    /// Names of all blobs it refers to, whether they are there yet or not.
    pub fn blobs(&self) -> impl Iterator<Item = String> {
        self.parts().map(|part| part_blob(&part.name))
    }
}

/// The blob that holds a part.
pub fn part_blob(part: &str) -> String {
    format!("{PARTS}{part}")
}

impl Manifest {
    /// Which it is, where it is written now.
    pub fn id(&self) -> ManifestId {
        ManifestId { checkpoint: self.checkpoint, start: Some(self.start) }
    }

    /// All blobs it refers to; one may come several times.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobReference> {
        let subtasks = self.nodes.iter().flat_map(|node| &node.subtasks);
        subtasks.flat_map(|subtask| &subtask.stores).flat_map(|store| &store.parts).map(|part| &part.blob)
    }

    /// Fails if a job with so many key groups cannot start from it.
    pub fn accepts(&self, max_parallelism: u32) -> Result<(), RestoreError> {
        if self.max_parallelism == max_parallelism {
            return Ok(());
        }
        Err(RestoreError::MaxParallelism { saved: self.max_parallelism, asked: max_parallelism })
    }

    /// What contradicts itself, if anything does.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_PARALLELISM_LIMIT).contains(&self.max_parallelism) {
            return Err(format!("max_parallelism {}", self.max_parallelism));
        }
        let mut uids = HashSet::new();
        for node in &self.nodes {
            if !uids.insert(&node.uid) {
                return Err(format!("node `{}` twice", node.uid));
            }
            if node.parallelism == 0 || node.parallelism as usize != node.subtasks.len() {
                return Err(format!(
                    "node `{}` has {} of {} subtasks",
                    node.uid,
                    node.subtasks.len(),
                    node.parallelism
                ));
            }
        }
        let subtasks = self.nodes.iter().flat_map(|node| &node.subtasks);
        for store in subtasks.flat_map(|subtask| &subtask.stores) {
            let parts = store.parts.iter().map(|part| &part.groups);
            for groups in std::iter::once(&store.groups).chain(parts) {
                if groups.start > groups.end || groups.end > self.max_parallelism {
                    return Err(format!("store `{}` has key groups {groups:?}", store.store));
                }
            }
        }
        match self.blobs().find(|blob| !blob.name.starts_with(PARTS) || !is_name(&blob.name)) {
            Some(blob) => Err(format!("`{}` is no name of a part", blob.name)),
            None => Ok(()),
        }
    }
}

impl NodeState {
    /// Whether something would be lost with it: all but watermarks.
    pub fn holds_state(&self) -> bool {
        self.subtasks.iter().any(|subtask| {
            !subtask.splits.is_empty()
                || !subtask.committables.is_empty()
                || subtask.stores.iter().any(|store| !store.parts.is_empty())
                || subtask.operator_states.iter().any(|state| !state.elements.is_empty())
        })
    }
}

impl StoreEntry {
    /// The snapshot that was taken, its contents as `content` has them.
    pub(super) fn snapshot<E>(&self, content: impl Fn(&BlobReference) -> Result<Blob, E>) -> Result<StoreSnapshot, E> {
        let part = |part: &PartEntry| {
            let name = part.blob.name.strip_prefix(PARTS).unwrap_or(&part.blob.name).to_owned();
            Ok(Part { name, groups: part.groups.clone(), note: part.note.clone(), content: Some(content(&part.blob)?) })
        };
        Ok(StoreSnapshot {
            store: self.store.clone(),
            format: self.format,
            groups: self.groups.clone(),
            note: self.note.clone(),
            parts: self.parts.iter().map(part).collect::<Result<_, E>>()?,
            later: None,
            durable: false,
        })
    }
}
