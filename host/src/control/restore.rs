//! What a start of a job begins with: from its latest checkpoint, a savepoint, or nothing, divided among the subtasks there are now.
use std::collections::{BTreeSet, HashMap};

use super::{JobOptions, Prepared, RunError, StartFrom};
use crate::{
    checkpoint::{self, CheckpointStore, DurableParts, Manifest},
    model::SubtaskState,
};

/// What a start begins with.
#[derive(Default)]
pub(super) struct Restored {
    /// Larger than that of every start before.
    pub(super) start: u64,
    /// The latest checkpoint there is; those to come have larger numbers.
    pub(super) checkpoint: u64,
    /// Whether the job had ended with it.
    pub(super) finished: bool,
    /// By uid and subtask.
    states: HashMap<(String, u32), SubtaskState>,
    /// By uid of a sink.
    pub(super) committables: HashMap<String, Vec<Vec<u8>>>,
    /// What is durable already where the job's checkpoints go.
    pub(super) durable: DurableParts,
}

impl Restored {
    /// What a subtask begins with; `None` if there is nothing to restore.
    pub(super) fn take(&mut self, uid: &str, subtask: u32) -> Option<SubtaskState> {
        self.states.remove(&(uid.to_owned(), subtask))
    }

    /// How far event time had come.
    pub(super) fn watermark(&self, uid: &str, subtask: u32) -> crate::model::EventTime {
        self.states.get(&(uid.to_owned(), subtask)).map_or(crate::model::NO_WATERMARK, |state| state.watermark)
    }
}

/// Numbers the start of a job that comes next, so that what it leaves is told from what earlier ones left.
async fn next_start(store: &dyn CheckpointStore) -> Result<u64, checkpoint::StoreError> {
    const STARTS: &str = "starts/";
    let known = store.list(STARTS).await?;
    let number = |name: &String| name.strip_prefix(STARTS)?.parse::<u64>().ok();
    let start = known.iter().filter_map(number).max().unwrap_or(0) + 1;
    store.put(&format!("{STARTS}{start:020}"), crate::model::Blob::Bytes(bytes::Bytes::new())).await?;
    for name in known {
        store.delete(&name).await?;
    }
    Ok(start)
}

/// `first` is the first start of this run of the job, once there was one: a savepoint is gone back to only until there is a newer
/// checkpoint.
pub(super) async fn restore(
    prepared: &Prepared,
    options: &JobOptions,
    first: Option<u64>,
    now_ms: i64,
) -> Result<Restored, RunError> {
    let (mut start, mut latest) = (u64::try_from(now_ms).unwrap_or(0), None);
    if let Some(store) = &options.checkpoints {
        start = next_start(&**store).await.map_err(RunError::Store)?;
        latest = latest_in(&**store).await?;
    }
    let number = latest.as_ref().map_or(0, |latest| latest.checkpoint);
    let durable = latest.as_ref().map(DurableParts::of).unwrap_or_default();
    let begun = |manifest: &Manifest| first.is_some_and(|first| manifest.start >= first);
    let (manifest, store) = match &options.from {
        StartFrom::Savepoint(path) if !latest.as_ref().is_some_and(begun) => {
            let store = (options.open)(path).map_err(RunError::Store)?;
            let savepoint = latest_in(&*store).await?.ok_or_else(|| RunError::NoSavepoint(path.clone()))?;
            (Some(savepoint), Some(store))
        }
        _ => (latest, options.checkpoints.clone()),
    };
    let mut restored = Restored { start, checkpoint: number, durable, ..Restored::default() };
    if let (Some(manifest), Some(store)) = (manifest, store) {
        tracing::info!(checkpoint = manifest.checkpoint, start, "restoring");
        divide(prepared, options, &manifest, &*store, &mut restored).await?;
    }
    Ok(restored)
}

async fn latest_in(store: &dyn CheckpointStore) -> Result<Option<Manifest>, RunError> {
    let found = checkpoint::latest(store).await.map_err(RunError::Store)?;
    for (name, error) in &found.skipped {
        tracing::error!("checkpoint `{name}` cannot be used, an earlier one is: {error}");
    }
    match found.manifest {
        None if !found.skipped.is_empty() => {
            // To start from nothing where there was something would lose it all.
            Err(RunError::Store(found.skipped.into_iter().next().map(|(_, error)| error).unwrap_or_else(|| unreachable!())))
        }
        manifest => Ok(manifest),
    }
}

/// Gives each subtask its share.
async fn divide(
    prepared: &Prepared,
    options: &JobOptions,
    manifest: &Manifest,
    store: &dyn CheckpointStore,
    restored: &mut Restored,
) -> Result<(), RunError> {
    let plan = &prepared.plan;
    if manifest.max_parallelism != plan.max_parallelism {
        return Err(RunError::MaxParallelism { was: manifest.max_parallelism, is: plan.max_parallelism });
    }
    restored.checkpoint = restored.checkpoint.max(manifest.checkpoint);
    restored.finished = manifest.finished;
    let known: BTreeSet<&str> = plan.nodes.iter().map(|node| node.uid.as_str()).collect();
    let lost: Vec<String> =
        manifest.nodes.iter().map(|node| &node.uid).filter(|uid| !known.contains(uid.as_str())).cloned().collect();
    if !lost.is_empty() && !options.allow_non_restored_state {
        return Err(RunError::NonRestoredState { uids: lost });
    }
    for node in &plan.nodes {
        let Some(old) = manifest.nodes.iter().find(|old| old.uid == node.uid) else { continue };
        let shares = checkpoint::redistribute(old, node.parallelism, plan.max_parallelism);
        for (subtask, share) in shares.into_iter().enumerate() {
            let state = checkpoint::fetch(store, share).await.map_err(RunError::Store)?;
            restored.states.insert((node.uid.clone(), subtask as u32), state);
        }
        let committables = old.subtasks.iter().flat_map(|subtask| subtask.committables.iter().cloned()).collect();
        restored.committables.insert(node.uid.clone(), committables);
    }
    Ok(())
}
