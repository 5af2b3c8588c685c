//! What a start of a job begins with: its latest checkpoint, a savepoint, or nothing, divided among the subtasks there are now.
use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use uuid::{NoContext, Timestamp, Uuid};

use super::{
    JobOptions, Prepared, RunError, StartFrom,
    publish::{Durable, durable},
    rules::RulesOf,
};
use crate::{
    checkpoint::{
        Base, CheckpointStore, Manifest, ManifestId, Run, StoreError, begin, check_newest, claim, committables,
        latest_below, match_nodes, redistribute, restore as restore_shares,
    },
    job::PlanNode,
    model::{EventTime, NO_WATERMARK, OperatorVersion, SubtaskState, latest_versions},
};

/// What a start begins with.
#[derive(Default)]
pub(super) struct Restored {
    /// Larger than that of every start before.
    pub(super) start: u64,
    /// The highest number any checkpoint has; those to come have higher ones.
    pub(super) highest: u64,
    /// The latest complete one where the job's checkpoints go.
    pub(super) complete: Option<u64>,
    /// What is durable there by it.
    pub(super) durable: Durable,
    /// Plugins in force then that are not those of the job file.
    pub(super) versions: Vec<OperatorVersion>,
    /// Operators and sinks, by uid, whose state was left by an earlier version than is in force: what is not declared any more is discarded.
    pub(super) changed: HashSet<String>,
    /// Whether the job had ended with what is restored.
    pub(super) finished: bool,
    /// By uid and subtask.
    states: HashMap<(String, u32), SubtaskState>,
    /// By uid of a sink.
    pub(super) committables: HashMap<String, Vec<Vec<u8>>>,
    /// The same of the latest complete checkpoint, where a savepoint is gone back to in its stead.
    pub(super) passed_over: HashMap<String, Vec<Vec<u8>>>,
}

impl Restored {
    /// Of one subtask alone.
    pub(super) fn of(uid: &str, subtask: u32, state: SubtaskState) -> Restored {
        Restored { states: HashMap::from([((uid.to_owned(), subtask), state)]), ..Restored::default() }
    }

    /// What a subtask begins with; `None` if there is nothing to restore.
    pub(super) fn take(&mut self, uid: &str, subtask: u32) -> Option<SubtaskState> {
        self.states.remove(&(uid.to_owned(), subtask))
    }

    /// What a subtask begins with if there is nothing to restore: event time had come so far where it is.
    pub(super) fn begin(&mut self, uid: &str, subtask: u32, watermark: EventTime) {
        let begin = SubtaskState { watermark, ..SubtaskState::default() };
        self.states.entry((uid.to_owned(), subtask)).or_insert(begin);
    }

    /// How far event time had come.
    pub(super) fn watermark(&self, uid: &str, subtask: u32) -> EventTime {
        self.states.get(&(uid.to_owned(), subtask)).map_or(NO_WATERMARK, |state| state.watermark)
    }
}

/// The starts of a run of a job.
pub(super) struct OwnStarts {
    pub(super) run: Run,
    /// The first of which something has run.
    pub(super) first: Option<u64>,
    /// The latest that was claimed.
    pub(super) latest: Option<u64>,
}

impl OwnStarts {
    /// Of a run that begins now.
    pub(super) fn none(now_ms: i64) -> OwnStarts {
        let (seconds, rest) = (now_ms.div_euclid(1000), now_ms.rem_euclid(1000));
        let time = Timestamp::from_unix(NoContext, u64::try_from(seconds).unwrap_or(0), rest as u32 * 1_000_000);
        let run = Run { id: Uuid::new_v7(time).to_string(), process: std::process::id() };
        OwnStarts { run, first: None, latest: None }
    }
}

/// Takes the job over, and finds what it goes on from. A savepoint is gone back to only until this run has a checkpoint of its own. Fails if
/// another run has taken over from this one.
pub(super) async fn restore(
    (prepared, in_force): (&Prepared, &[OperatorVersion]),
    options: &JobOptions,
    own: &mut OwnStarts,
    now_ms: i64,
) -> Result<Restored, RunError> {
    let before = own.latest;
    let restored = take_over((prepared, in_force), options, own, now_ms).await;
    // A claim that has failed may have been made nonetheless, and is no other's.
    let claimed = own.latest.filter(|_| own.latest != before);
    if let (Err(_), Some(store), Some(start)) = (&restored, &options.checkpoints, claimed) {
        // Another that starts at the same time may have deleted what was looked at.
        check_newest(&**store, start).await?;
    }
    restored
}

/// `in_force` is what has come into force since the job was first started, as far as that is known.
async fn take_over(
    (prepared, in_force): (&Prepared, &[OperatorVersion]),
    options: &JobOptions,
    own: &mut OwnStarts,
    now_ms: i64,
) -> Result<Restored, RunError> {
    // Without a store nothing tells of earlier starts, but time does not repeat.
    let mut restored = Restored { start: u64::try_from(now_ms).unwrap_or(0), ..Restored::default() };
    let (mut latest, mut base) = (None, None);
    if let Some(store) = &options.checkpoints {
        if own.latest.is_none() {
            let files = store.remove_unfinished().await?;
            if files > 0 {
                tracing::info!(files, "what an earlier run had not finished writing was removed");
            }
        }
        restored.start = claim(&**store, &own.run, own.latest, now_ms).await?;
        own.latest = Some(restored.start);
        let found = find(&**store, None, &mut restored).await?;
        restored.complete = found.as_ref().map(|(manifest, _)| manifest.checkpoint);
        restored.durable = found.as_ref().map(|(manifest, _)| durable(manifest)).unwrap_or_default();
        base = found.as_ref().map(|(_, id)| *id);
        latest = found.map(|(manifest, _)| (manifest, store.clone()));
    }
    let is_own = |manifest: &Manifest| own.first.is_some_and(|first| manifest.start >= first);
    if let StartFrom::Savepoint(path) = &options.from
        && !latest.as_ref().is_some_and(|(manifest, _)| is_own(manifest))
    {
        let passed_over = latest.iter().flat_map(|(manifest, _)| &manifest.nodes);
        restored.passed_over = passed_over.map(|node| (node.uid.clone(), committables(node))).collect();
        latest = Some(savepoint(options, path, &mut restored).await?);
    }
    while let Some((manifest, store)) = latest {
        let (checkpoint, start) = (manifest.checkpoint, restored.start);
        let is_here = options.checkpoints.as_ref().is_some_and(|here| Arc::ptr_eq(here, &store));
        // What checkpoints can be built on: of others it is not known what is durable.
        let is_latest = is_here && restored.complete == Some(checkpoint);
        let rules = RulesOf {
            prepared,
            in_force: latest_versions(in_force.iter().chain(manifest.versions.iter().filter(|_| is_here))),
            saved: if is_here { &manifest.versions } else { &[] },
        };
        match divide(&rules, options, (&manifest, is_here, is_latest), &*store, &mut restored).await {
            Err(RunError::Store(error)) if error.is_loss() => {
                tracing::error!(checkpoint, "cannot be restored, an earlier one is tried: {error}");
                let earlier = find(&*store, Some(checkpoint), &mut restored).await?;
                if is_here {
                    base = earlier.as_ref().map(|(_, id)| *id);
                }
                latest = match (&options.from, earlier) {
                    // What is before this run's own was passed over.
                    (StartFrom::Savepoint(path), earlier)
                        if is_here && !earlier.as_ref().is_some_and(|(it, _)| is_own(it)) =>
                    {
                        Some(savepoint(options, path, &mut restored).await?)
                    }
                    (_, Some((earlier, _))) => Some((earlier, store)),
                    (_, None) => return Err(error.into()),
                };
            }
            Err(error) => return Err(error),
            Ok(()) => {
                tracing::info!(checkpoint, start, "restored");
                break;
            }
        }
    }
    if let Some(store) = &options.checkpoints {
        let base = base.map_or(Base::Nothing, Base::Checkpoint);
        begin(&**store, restored.start, &own.run, base, now_ms).await?;
    }
    own.first.get_or_insert(restored.start);
    Ok(restored)
}

/// What is in the folder of a savepoint.
async fn savepoint(
    options: &JobOptions,
    path: &Path,
    restored: &mut Restored,
) -> Result<(Manifest, Arc<dyn CheckpointStore>), RunError> {
    let store = (options.open)(path)?;
    let found = find(&*store, None, restored).await?;
    let (manifest, _) = found.ok_or_else(|| RunError::NoSavepoint(path.to_owned()))?;
    Ok((manifest, store))
}

async fn find(
    store: &dyn CheckpointStore,
    below: Option<u64>,
    restored: &mut Restored,
) -> Result<Option<(Manifest, ManifestId)>, StoreError> {
    let found = latest_below(store, below).await?;
    for (name, error) in &found.skipped {
        tracing::error!("checkpoint `{name}` cannot be used, an earlier one is: {error}");
    }
    restored.highest = restored.highest.max(found.highest.unwrap_or(0));
    Ok(found.manifest.zip(found.id))
}

/// Gives each subtask its share.
async fn divide(
    rules: &RulesOf<'_>,
    options: &JobOptions,
    (manifest, is_here, is_latest): (&Manifest, bool, bool),
    store: &dyn CheckpointStore,
    restored: &mut Restored,
) -> Result<(), RunError> {
    // A later checkpoint may have been tried before, and have had more.
    (restored.states, restored.committables) = Default::default();
    let plan = &rules.prepared.plan;
    manifest.accepts(plan.max_parallelism)?;
    let homes: HashMap<&str, Option<&PlanNode>> =
        manifest.nodes.iter().filter_map(|old| Some((&*old.uid, rules.home(&old.uid)?))).collect();
    let uids: Vec<&str> = homes.keys().copied().collect();
    let matching = match_nodes(manifest, &uids);
    let nodes = if options.allow_non_restored_state { matching.matched } else { matching.complete()? };
    restored.finished = manifest.finished;
    // Whoever starts from elsewhere does so with what the job file says.
    restored.versions = if is_here { manifest.versions.clone() } else { Vec::new() };
    for old in nodes {
        // Of a rule that was removed since then, nothing is.
        let Some(node) = homes.get(&*old.uid).copied().flatten() else { continue };
        let shares = redistribute(old, node.parallelism, plan.max_parallelism);
        let states = restore_shares(store, &shares).await?;
        for (subtask, mut state) in states.into_iter().enumerate() {
            state.stores.iter_mut().for_each(|store| store.durable = is_latest);
            restored.states.insert((old.uid.clone(), subtask as u32), state);
        }
        restored.committables.insert(old.uid.clone(), committables(old));
    }
    Ok(())
}
