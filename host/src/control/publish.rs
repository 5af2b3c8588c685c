//! What tasks left at a barrier, gathered and made durable: in the job's checkpoint directory, in that of a savepoint, or both.
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::sync::oneshot;

use super::Prepared;
use crate::{
    checkpoint::{self, CheckpointStore, DurableParts, LeftNode, Manifest, StoreError, Unpublished},
    dataflow::{Barrier, Last, Left},
    model::SnapshotKind,
};

/// Where a job's checkpoints go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) store: Arc<dyn CheckpointStore>,
    /// What the latest complete checkpoint has made durable.
    pub(super) durable: DurableParts,
    /// How many complete checkpoints are kept.
    pub(super) retain: usize,
}

/// A checkpoint on its way.
pub(super) struct Publication {
    barrier: Barrier,
    start: u64,
    prepared: Arc<Prepared>,
    missing: HashSet<usize>,
    left: BTreeMap<String, Vec<Left>>,
    savepoint: Option<Arc<dyn CheckpointStore>>,
    /// Who waits for it.
    pub(super) done: Option<oneshot::Sender<Result<(), String>>>,
}

/// What became of it.
pub(super) struct Published {
    pub(super) checkpoint: u64,
    /// What is durable now in the job's checkpoint directory, if it went there.
    pub(super) outcome: Result<Option<DurableParts>, StoreError>,
    /// Bytes written.
    pub(super) bytes: u64,
}

impl Publication {
    pub(super) fn new(
        prepared: &Arc<Prepared>,
        start: u64,
        barrier: Barrier,
        tasks: usize,
        savepoint: Option<(Arc<dyn CheckpointStore>, Option<oneshot::Sender<Result<(), String>>>)>,
    ) -> Publication {
        let (savepoint, done) = savepoint.map_or((None, None), |(store, done)| (Some(store), done));
        let (missing, left) = ((0..tasks).collect(), BTreeMap::new());
        Publication { barrier, start, prepared: prepared.clone(), missing, left, savepoint, done }
    }

    /// A task has passed the barrier.
    pub(super) fn acknowledge(&mut self, task: usize, left: Vec<Left>) {
        if self.missing.remove(&task) {
            for left in left {
                self.left.entry(left.uid.to_string()).or_default().push(left);
            }
        }
    }

    /// Whether all tasks have.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// What is to be made durable, at a time in ms.
    pub(super) fn unpublished(&mut self, created_ms: i64) -> Unpublished {
        let plan = &self.prepared.plan;
        let nodes = std::mem::take(&mut self.left).into_iter().map(|(uid, mut left)| {
            left.sort_by_key(|left| left.subtask);
            LeftNode { uid, subtasks: left.into_iter().map(|left| left.state).collect() }
        });
        Unpublished {
            job: plan.name.clone(),
            checkpoint: self.barrier.checkpoint,
            start: self.start,
            kind: self.barrier.kind,
            created_ms,
            max_parallelism: plan.max_parallelism,
            finished: self.barrier.last == Last::Drain,
            nodes: nodes.collect(),
        }
    }

    /// Makes it durable wherever it belongs, and deletes what is not needed any more.
    pub(super) fn publish(
        &mut self,
        target: Option<Target>,
        created_ms: i64,
    ) -> impl Future<Output = Published> + Send + 'static {
        let unpublished = self.unpublished(created_ms);
        let savepoint = self.savepoint.take();
        // The last one of a run is also where the job goes on from if nobody says otherwise.
        let to_target = self.barrier.kind == SnapshotKind::Checkpoint || self.barrier.last != Last::No;
        let target = target.filter(|_| to_target);
        async move {
            let checkpoint = unpublished.checkpoint;
            let mut bytes = 0;
            let outcome = async {
                if let Some(store) = savepoint {
                    let (_, written) = checkpoint::publish(&*store, &unpublished, &DurableParts::default()).await?;
                    bytes += written;
                }
                let Some(target) = target else { return Ok(None) };
                let (manifest, written) = checkpoint::publish(&*target.store, &unpublished, &target.durable).await?;
                bytes += written;
                tidy_up(&target, &manifest).await;
                Ok(Some(DurableParts::of(&manifest)))
            }
            .await;
            Published { checkpoint, outcome, bytes }
        }
    }
}

/// Deletes what no retained checkpoint needs. That it could not is no reason to fail: it will be tried again.
async fn tidy_up(target: &Target, newest: &Manifest) {
    if let Err(error) = checkpoint::clean_up(&*target.store, target.retain).await {
        tracing::warn!(checkpoint = newest.checkpoint, "old checkpoints could not be deleted: {error}");
    }
}
