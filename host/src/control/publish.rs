//! A checkpoint on its way: what tasks left at its barrier is gathered and made durable, in the job's checkpoint directory, in that
//! of a savepoint, or both. When it is complete, what nobody needs any more is deleted.
use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use crate::{
    checkpoint::{
        BlobReference, CheckpointStore, CommitPermit, Draft, DraftNode, InFlight, Manifest, StoreError, check_newest,
        clean, publish, retention, survey,
    },
    dataflow::{Barrier, Last},
    model::{OperatorVersion, SnapshotKind},
};

/// Durable blobs by name.
pub(super) type Durable = BTreeMap<String, BlobReference>;

/// Where a job's checkpoints go.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) store: Arc<dyn CheckpointStore>,
    /// What the latest complete checkpoint has made durable.
    pub(super) durable: Durable,
    /// How many complete checkpoints are kept.
    pub(super) retain: usize,
}

/// A savepoint somebody asked for.
pub(super) struct Savepoint {
    pub(super) store: Arc<dyn CheckpointStore>,
    /// Whoever waits for it.
    pub(super) done: Option<oneshot::Sender<Result<(), String>>>,
}

impl Savepoint {
    /// Tells whoever waits.
    pub(super) fn tell(self, result: Result<(), String>) {
        if let Some(done) = self.done {
            // They may be gone.
            let _ = done.send(result);
        }
    }
}

/// What became of a checkpoint.
pub(super) struct Published {
    pub(super) checkpoint: u64,
    pub(super) outcome: Result<Complete, StoreError>,
}

/// A complete checkpoint.
pub(super) struct Complete {
    /// The right to commit, unless it is a savepoint that the job goes on after.
    pub(super) permit: Option<CommitPermit>,
    /// What is durable now in the job's checkpoint directory, if it went there.
    pub(super) durable: Option<Durable>,
    /// Bytes written.
    pub(super) bytes: u64,
}

/// What is durable by a manifest.
pub(super) fn durable(manifest: &Manifest) -> Durable {
    manifest.blobs().map(|blob| (blob.name.clone(), blob.clone())).collect()
}

fn written(manifest: &Manifest, known: &Durable) -> u64 {
    manifest.blobs().filter(|blob| !known.contains_key(&blob.name)).map(|blob| blob.bytes).sum()
}

/// What a job's checkpoints have in common.
pub(super) struct Header {
    pub(super) job: String,
    pub(super) start: u64,
    pub(super) created_ms: i64,
    pub(super) max_parallelism: u32,
    pub(super) versions: Vec<OperatorVersion>,
}

/// Makes a checkpoint durable wherever it belongs: a savepoint in its own directory, the last barrier's always also in the job's, where
/// it goes on from if nobody says otherwise.
pub(super) async fn publish_all(
    header: Header,
    barrier: Barrier,
    nodes: Vec<DraftNode>,
    savepoint: Option<Arc<dyn CheckpointStore>>,
    target: Option<Target>,
    others: Vec<InFlight>,
) -> Published {
    let Header { job, start, created_ms, max_parallelism, versions } = header;
    let (checkpoint, kind, finished) = (barrier.checkpoint, barrier.kind, barrier.last == Last::Drain);
    let draft = Draft { job, checkpoint, start, kind, created_ms, max_parallelism, finished, versions, nodes };
    let commits = kind == SnapshotKind::Checkpoint || barrier.last != Last::No;
    let here = target.as_ref().map(|target| target.store.clone());
    let work = async {
        if let Some(target) = &target {
            check_newest(&*target.store, start).await?;
        }
        let mut bytes = 0;
        if let Some(store) = savepoint {
            bytes += written(&publish(&*store, draft.clone(), &Durable::new()).await?, &Durable::new());
        }
        let mut made = None;
        if let Some(target) = target.filter(|_| commits) {
            let manifest = publish(&*target.store, draft, &target.durable).await?;
            bytes += written(&manifest, &target.durable);
            made = Some(durable(&manifest));
            tidy_up(&target, &others, start).await;
        }
        Ok(Complete { permit: commits.then(|| CommitPermit::granted(checkpoint)), durable: made, bytes })
    };
    let outcome = match (work.await, here) {
        // Whoever has taken over removes what an earlier start has not finished.
        (Err(error), Some(store)) => check_newest(&*store, start).await.and(Err(error)),
        (outcome, _) => outcome,
    };
    Published { checkpoint, outcome }
}

/// Deletes what nobody needs, unless somebody else has taken over. That it could not is no reason to fail: it is tried again after the next
/// checkpoint.
async fn tidy_up(target: &Target, others: &[InFlight], start: u64) {
    let work = async {
        let survey = survey(&*target.store).await?;
        // Nothing of a later start is in the survey then.
        check_newest(&*target.store, start).await?;
        clean(&*target.store, &retention(&survey, target.retain, others)).await
    };
    if let Err(error) = work.await {
        tracing::warn!("old checkpoints could not be deleted yet: {error}");
    }
}
