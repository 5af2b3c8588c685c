//! The starts of a job: each says in the checkpoint directory that it is there before anything of it runs, and what it goes on from.
//! Guarantees: of two starts all agree which is the later; what an earlier one publishes once the later is there is never gone on
//! from, and it is told so. Must not know what a start does.
//!
//! A start first claims a number, then looks for what to go on from. Whoever publishes first writes its manifest, then looks whether a
//! later start has claimed a number. So either the later start has seen the manifest, or the earlier one sees the claim.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CheckpointStore, ManifestId, StoreError, manifest::MANIFESTS};
use crate::model::Blob;

/// What names of starts begin with.
pub const STARTS: &str = "starts/";

/// The version of records that is written and read.
const VERSION: u16 = 1;

/// How often a number is asked for while others start too, and starts are looked at while others tidy up.
const ATTEMPTS_MAX: u32 = 100;

/// Who starts a job: the same for all starts of one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Nobody else's.
    pub id: String,
    /// The system's number of its process, for people.
    pub process: u32,
}

/// A start that others find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whose it is; `None` where earlier versions of wasmill have left nothing but a number.
    pub run: Option<Run>,
    /// When it was claimed, in ms since 1970-01-01 UTC.
    pub claimed_ms: i64,
    /// What it goes on from; `None` until that is known, and nothing of it has run by then.
    pub base: Option<Base>,
}

/// What a start goes on from while it has no checkpoint of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// There was no checkpoint.
    Nothing,
    /// This one, or one before it.
    Checkpoint(ManifestId),
    /// The newest that names no start: so did earlier versions of wasmill.
    Unnamed,
}

/// What can be gone on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Manifests, the newest first; their checkpoints' numbers fall.
    pub manifests: Vec<ManifestId>,
    /// Starts that say so, the newest first.
    pub starts: Vec<u64>,
}

/// Which of these manifests the next start may go on from: those of the newest start of which anything has run, then what that went on
/// from, and so on. What an earlier start has published later is not among them. Without any start, all.
pub fn lineage(starts: &BTreeMap<u64, Start>, manifests: &[ManifestId]) -> Lineage {
    let mut found = Lineage::default();
    let mut sorted = manifests.to_vec();
    sorted.sort_unstable_by_key(|id| std::cmp::Reverse((id.start, id.checkpoint)));
    let Some((newest, _)) = starts.iter().rfind(|(_, start)| start.base.is_some()) else {
        found.manifests = sorted;
        return found;
    };
    let (mut at, mut last) = (*newest, u64::MAX);
    loop {
        found.starts.push(at);
        let of = |start: Option<u64>, last: u64| {
            sorted.iter().copied().filter(move |id| id.start == start && id.checkpoint <= last)
        };
        found.manifests.extend(of(Some(at), last));
        match starts.get(&at).and_then(|start| start.base) {
            Some(Base::Checkpoint(ManifestId { checkpoint, start: Some(start) })) if start < at => {
                (at, last) = (start, last.min(checkpoint));
            }
            Some(Base::Checkpoint(ManifestId { checkpoint, start: None })) => {
                found.manifests.extend(of(None, last.min(checkpoint)));
                return found;
            }
            Some(Base::Unnamed) => {
                found.manifests.extend(of(None, last));
                return found;
            }
            // What that one went on from is needed by nobody any more.
            Some(Base::Nothing | Base::Checkpoint(_)) | None => return found,
        }
    }
}

/// Of `starts`, those that say nothing the lineage needs, when of its manifests those from `first_kept` on stay. The newest is needed always:
/// it is what the others are told by.
pub(super) fn forgettable(
    starts: &BTreeMap<u64, Start>,
    lineage: &Lineage,
    first_kept: Option<ManifestId>,
) -> Vec<u64> {
    let Some(begun) = lineage.starts.first() else { return Vec::new() };
    let oldest = first_kept.map(|id| id.start.unwrap_or(0));
    let needed =
        |start: u64| start >= *begun || lineage.starts.contains(&start) && oldest.is_none_or(|oldest| start >= oldest);
    starts.keys().copied().filter(|start| !needed(*start)).collect()
}

/// Claims the number of a run's next start, larger than all before: from then on, whoever started earlier cannot publish. `own` is the run's start
/// before, if there was one. Fails if another run has started after that.
pub async fn claim(store: &dyn CheckpointStore, run: &Run, own: Option<u64>, now_ms: i64) -> Result<u64, StoreError> {
    for _ in 0..ATTEMPTS_MAX {
        // First: whoever has published something has claimed a number before that.
        let published = store.list(MANIFESTS).await?;
        let published = published.iter().filter_map(|name| ManifestId::of(name)?.start).max();
        let starts = starts(store).await?;
        if let Some(own) = own {
            let others = starts.range(own + 1..).rev();
            if let Some((number, other)) = others.into_iter().find(|(_, start)| start.run.as_ref() != Some(run)) {
                return Err(fenced(own, *number, Some(other)));
            }
        }
        let number = starts.keys().next_back().copied().max(published).unwrap_or(0) + 1;
        let start = Start { run: Some(run.clone()), claimed_ms: now_ms, base: None };
        if store.create(&name(number), Blob::Bytes(encode(&start).into())).await? {
            return Ok(number);
        }
    }
    Err(StoreError::io(STARTS, &"others start this job as well, again and again"))
}

/// Says what a claimed start goes on from: now it may run. Forgets starts that nobody needs any more.
pub async fn begin(
    store: &dyn CheckpointStore,
    number: u64,
    run: &Run,
    base: Base,
    now_ms: i64,
) -> Result<(), StoreError> {
    let start = Start { run: Some(run.clone()), claimed_ms: now_ms, base: Some(base) };
    store.put(&name(number), Blob::Bytes(encode(&start).into())).await?;
    let starts = starts(store).await?;
    for old in forgettable(&starts, &lineage(&starts, &[]), None) {
        store.delete(&name(old)).await?;
    }
    Ok(())
}

/// Fails if there is a later start than this. Where nobody has said that anything started, as in savepoints, there is none.
pub async fn check_newest(store: &dyn CheckpointStore, start: u64) -> Result<(), StoreError> {
    let names = store.list(STARTS).await?;
    let Some(newest) = names.iter().filter_map(|name| number(name)).max().filter(|newest| *newest > start) else {
        return Ok(());
    };
    // Who that is need not be known to stop.
    let by = store.get(&name(newest)).await.ok().and_then(|bytes| decode(&name(newest), &bytes).ok());
    Err(fenced(start, newest, by.as_ref()))
}

/// All starts that are still known.
pub(super) async fn starts(store: &dyn CheckpointStore) -> Result<BTreeMap<u64, Start>, StoreError> {
    let mut attempts = 0;
    'again: loop {
        let mut found = BTreeMap::new();
        for name in store.list(STARTS).await? {
            let Some(number) = number(&name) else { continue };
            match store.get(&name).await {
                Ok(bytes) => drop(found.insert(number, decode(&name, &bytes)?)),
                // Somebody has just found it needless, because of one that may not have been there before.
                Err(StoreError::Missing(_)) if attempts < ATTEMPTS_MAX => {
                    attempts += 1;
                    continue 'again;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(found);
    }
}

/// The blob of a start.
pub(super) fn name(start: u64) -> String {
    format!("{STARTS}{start:020}")
}

fn number(blob: &str) -> Option<u64> {
    let number = blob.strip_prefix(STARTS)?.parse().ok()?;
    (name(number) == blob).then_some(number)
}

fn fenced(start: u64, newer: u64, by: Option<&Start>) -> StoreError {
    let who = by.and_then(|start| start.run.as_ref().map(|run| (run.process, start.claimed_ms)));
    let by = who.map_or_else(String::new, |(process, claimed_ms)| {
        let claimed_ms = u64::try_from(claimed_ms).unwrap_or(0);
        let since = std::time::UNIX_EPOCH + std::time::Duration::from_millis(claimed_ms);
        format!(", of process {process} at {}", humantime::format_rfc3339_millis(since))
    });
    StoreError::Fenced { start, newer, by }
}

/// As it is in the file: docs/formats/manifest.md.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u16,
    run: Run,
    claimed_ms: i64,
    base: Option<RecordedBase>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RecordedBase {
    Nothing,
    Manifest(String),
    Unnamed,
}

fn encode(start: &Start) -> Vec<u8> {
    let base = start.base.map(|base| match base {
        Base::Nothing => RecordedBase::Nothing,
        Base::Checkpoint(id) => RecordedBase::Manifest(id.name()),
        Base::Unnamed => RecordedBase::Unnamed,
    });
    let run = start.run.clone().unwrap_or(Run { id: String::new(), process: 0 });
    let record = Record { version: VERSION, run, claimed_ms: start.claimed_ms, base };
    // Text and numbers can always be written.
    serde_json::to_vec(&record).unwrap_or_default()
}

fn decode(name: &str, bytes: &[u8]) -> Result<Start, StoreError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u16,
    }
    if bytes.is_empty() {
        return Ok(Start { run: None, claimed_ms: 0, base: Some(Base::Unnamed) });
    }
    let damaged = |error: serde_json::Error| StoreError::damaged(name, error.to_string());
    let found = serde_json::from_slice::<Versioned>(bytes).map_err(damaged)?.version;
    if found != VERSION {
        return Err(StoreError::Version { name: name.to_owned(), found, supported: VERSION });
    }
    let Record { run, claimed_ms, base, .. } = serde_json::from_slice(bytes).map_err(damaged)?;
    let base = match base {
        None => None,
        Some(RecordedBase::Nothing) => Some(Base::Nothing),
        Some(RecordedBase::Unnamed) => Some(Base::Unnamed),
        Some(RecordedBase::Manifest(of)) => {
            let id = ManifestId::of(&of).ok_or_else(|| StoreError::damaged(name, "it names no manifest"))?;
            Some(Base::Checkpoint(id))
        }
    };
    Ok(Start { run: Some(run), claimed_ms, base })
}
