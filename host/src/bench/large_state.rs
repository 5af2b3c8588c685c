//! What large keyed state costs: checkpoints of which little has changed, what stands still meanwhile, and going back to one. Keyed
//! stores as subtasks have them and checkpoints in a local directory, without plugins, which would only hide the cost.
use std::{
    path::PathBuf,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::sync_channel,
    },
    time::Duration,
};

use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array};

use super::measure::{cpu, resident_mb, rounded, usage};
use crate::{
    checkpoint::{BlobReference, Draft, DraftNode, LocalStore, Manifest, latest, publish, redistribute, restore},
    control::{RunError, data_runtime},
    model::{
        Clock, KeyRows, Kind, MAX_PARALLELISM_DEFAULT, SnapshotKind, SnapshotRequest, StateDescription, StateKind,
        StateValues, StoreSnapshot, SubtaskState, SystemClock, groups_of, key_group, key_hash, subtask_of,
        thread_processor_time,
    },
    state::{KeyedStore, Layout, StateBackend, StoreSettings, Touched},
};

/// Bytes of a value.
const VALUE_BYTES: usize = 200;
/// Bytes of a key and its value.
const ROW_BYTES: u64 = 8 + VALUE_BYTES as u64;
/// Keys looked up and written at once.
const BATCH_ROWS: usize = 4096;
/// How long updates run without a checkpoint before each.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(Clone, Debug)]
pub struct LargeState {
    /// Bytes of keys and values in all.
    pub bytes: u64,
    /// Share of the keys that change between two checkpoints, 0 to 1.
    pub changed: f64,
    /// Number of subtasks, a thread each.
    pub parallelism: u32,
    /// Number of checkpoints after the first; at least 1.
    pub checkpoints: u32,
    /// Where state and checkpoints go, which is deleted by whoever gave it.
    pub directory: PathBuf,
    /// Whether state is in RocksDB.
    pub rocksdb: bool,
}

/// A checkpoint's cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: u64,
    /// The longest any subtask stood still.
    still: Duration,
    /// Of that on a processor, in case others use it as well.
    still_cpu: Duration,
    /// From the barrier until the manifest was durable.
    durable: Duration,
    /// Updates a second before it, and from the barrier until it was durable.
    before: f64,
    during: f64,
}

/// A subtask and the keys it changes, batch by batch.
struct Subtask {
    store: KeyedStore,
    hot: Vec<(KeyRows, Vec<u64>, ArrayRef)>,
    touched: Touched,
}

/// A snapshot, how long the subtask stood still for it, and how much of that on a processor.
type Taken = (StoreSnapshot, Duration, Duration);

/// What subtasks at work are told, and tell.
struct Work<'a> {
    barrier: &'a AtomicBool,
    over: &'a AtomicBool,
    updates: &'a AtomicU64,
    /// All have changed all their keys once.
    changed: &'a Barrier,
    clock: &'a SystemClock,
}

/// A run under way.
struct Runner<'a> {
    run: &'a LargeState,
    backend: StateBackend,
    store: LocalStore,
    runtime: tokio::runtime::Runtime,
    clock: SystemClock,
    durable: std::collections::BTreeMap<String, BlobReference>,
    checkpoint: u64,
}

fn states() -> Vec<StateDescription> {
    vec![StateDescription {
        name: "value".to_owned(),
        kind: StateKind::Value,
        schema_version: 1,
        value: Kind::Binary,
        key: None,
        time_to_live: None,
    }]
}

/// Values that do not compress.
fn values(keys: &[i64]) -> ArrayRef {
    let mut data = vec![0; keys.len() * VALUE_BYTES];
    for (key, value) in keys.iter().zip(data.chunks_exact_mut(VALUE_BYTES)) {
        let mut word = *key as u64;
        for bytes in value.chunks_exact_mut(8) {
            word = key_hash(&word.to_le_bytes());
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
    Arc::new(BinaryArray::from_iter_values(data.chunks_exact(VALUE_BYTES)))
}

fn batch(keys: &[i64]) -> (KeyRows, Vec<u64>, ArrayRef) {
    let rows = KeyRows::encode(&[Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef], keys.len());
    let mut hashes = Vec::new();
    rows.hash_into(keys.len(), &mut hashes);
    (rows, hashes, values(keys))
}

impl Subtask {
    fn update(&mut self, (keys, hashes, values): &(KeyRows, Vec<u64>, ArrayRef)) -> Result<(), RunError> {
        self.store.touch(keys, hashes, None, &mut self.touched).map_err(RunError::State)?;
        std::hint::black_box(self.store.read(&self.touched, 0, 0).map_err(RunError::State)?);
        self.store.put_column(&self.touched, 0, values, 0).map_err(RunError::State)
    }

    /// Makes all keys, and remembers those that will change.
    fn fill(&mut self, keys: u64, every: u64, mine: impl Fn(i64) -> bool) -> Result<(), RunError> {
        let (mut all, mut hot) = (Vec::with_capacity(BATCH_ROWS), Vec::with_capacity(BATCH_ROWS));
        for key in (0..keys as i64).filter(|key| mine(*key)) {
            all.push(key);
            if all.len() == BATCH_ROWS {
                self.update(&batch(&all))?;
                all.clear();
            }
            if (key as u64).is_multiple_of(every) {
                hot.push(key);
                if hot.len() == BATCH_ROWS {
                    self.hot.push(batch(&hot));
                    hot.clear();
                }
            }
        }
        self.hot.push(batch(&hot));
        self.update(&batch(&all))
    }

    /// Changes its keys until it is told that all is over, and takes a snapshot on the way.
    fn work(&mut self, request: &SnapshotRequest, work: Work<'_>, tell: impl Fn(Result<Taken, RunError>)) {
        let hot = std::mem::take(&mut self.hot);
        let warm = hot.iter().try_for_each(|batch| self.update(batch));
        work.changed.wait();
        let mut outcome = warm;
        let mut taken = false;
        let mut batches = hot.iter().cycle();
        while outcome.is_ok() && !work.over.load(Relaxed) {
            if !taken && work.barrier.load(Relaxed) {
                taken = true;
                let (from, from_cpu) = (work.clock.monotonic(), thread_processor_time());
                let snapshot = self.store.snapshot(request).map_err(RunError::State);
                let (took, took_cpu) = (work.clock.monotonic() - from, thread_processor_time() - from_cpu);
                tell(snapshot.map(|snapshot| (snapshot, took, took_cpu)));
            }
            if let Some(batch) = batches.next() {
                outcome = self.update(batch);
                work.updates.fetch_add(batch.1.len() as u64, Relaxed);
            }
        }
        self.hot = hot;
        if let Err(error) = outcome {
            tell(Err(error));
        }
    }

    /// Whether all keys that change are there, with their values.
    fn is_whole(&mut self) -> Result<bool, RunError> {
        for (keys, hashes, values) in &self.hot {
            self.store.touch(keys, hashes, None, &mut self.touched).map_err(RunError::State)?;
            match self.store.read(&self.touched, 0, 0).map_err(RunError::State)? {
                StateValues::Single(found) if found.to_data() == values.to_data() => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl Runner<'_> {
    fn key_count(&self) -> u64 {
        (self.run.bytes / ROW_BYTES).max(1)
    }

    fn open(&self, start: u64, mut snapshots: Vec<Vec<StoreSnapshot>>) -> Result<Vec<KeyedStore>, RunError> {
        let parallelism = self.run.parallelism;
        let mut stores = Vec::new();
        for subtask in 0..parallelism {
            let settings = StoreSettings {
                name: "keys".to_owned(),
                uid: "bench".to_owned(),
                subtask,
                start,
                states: states(),
                layout: Layout::Keys,
                groups: groups_of(subtask, parallelism, MAX_PARALLELISM_DEFAULT),
                max_parallelism: MAX_PARALLELISM_DEFAULT,
                drop_vanished: false,
            };
            let found = snapshots.get_mut(subtask as usize).map(std::mem::take).unwrap_or_default();
            stores.push(KeyedStore::open(&self.backend, settings, found).map_err(RunError::State)?);
        }
        Ok(stores)
    }

    /// Makes all keys; how long that took.
    fn fill(&self, subtasks: &mut [Subtask], every: u64) -> Result<Duration, RunError> {
        let (keys, parallelism, begin) = (self.key_count(), self.run.parallelism, self.clock.monotonic());
        let fill = |(i, subtask): (usize, &mut Subtask)| {
            subtask.fill(keys, every, |key| {
                let group = key_group(key_hash(&key.to_le_bytes()), MAX_PARALLELISM_DEFAULT);
                subtask_of(group, parallelism, MAX_PARALLELISM_DEFAULT) as usize == i
            })
        };
        std::thread::scope(|scope| {
            let fills: Vec<_> = subtasks.iter_mut().enumerate().map(|it| scope.spawn(move || fill(it))).collect();
            let lost = |_| Err(RunError::Panic("a thread of the benchmark".to_owned()));
            fills.into_iter().try_for_each(|fill| fill.join().unwrap_or_else(lost))
        })?;
        Ok(self.clock.monotonic() - begin)
    }

    fn request(&self, subtask: usize) -> SnapshotRequest {
        let (checkpoint, prefix) = (self.checkpoint, format!("bench-{subtask}-{}", self.checkpoint));
        SnapshotRequest::new(checkpoint, SnapshotKind::Checkpoint, prefix)
    }

    /// Makes a checkpoint durable; the bytes that took.
    fn publish(&mut self, stores: Vec<StoreSnapshot>) -> Result<u64, RunError> {
        let subtasks = stores.into_iter().map(|store| SubtaskState { stores: vec![store], ..SubtaskState::default() });
        let draft = Draft {
            job: "bench".to_owned(),
            checkpoint: self.checkpoint,
            start: 1,
            kind: SnapshotKind::Checkpoint,
            created_ms: 0,
            max_parallelism: MAX_PARALLELISM_DEFAULT,
            finished: false,
            versions: Vec::new(),
            nodes: vec![DraftNode { uid: "bench".to_owned(), subtasks: subtasks.collect() }],
        };
        let manifest: Manifest = self.runtime.block_on(publish(&self.store, draft, &self.durable))?;
        let new = manifest.blobs().filter(|blob| !self.durable.contains_key(&blob.name)).map(|blob| blob.bytes).sum();
        self.durable = manifest.blobs().map(|blob| (blob.name.clone(), blob.clone())).collect();
        Ok(new)
    }

    /// A checkpoint while nothing else is done.
    fn checkpoint(&mut self, subtasks: &mut [Subtask]) -> Result<Cost, RunError> {
        self.checkpoint += 1;
        let begin = self.clock.monotonic();
        let mut snapshots = Vec::new();
        let (mut still, mut still_cpu) = (Duration::ZERO, Duration::ZERO);
        for (i, subtask) in subtasks.iter_mut().enumerate() {
            let (from, from_cpu) = (self.clock.monotonic(), thread_processor_time());
            snapshots.push(subtask.store.snapshot(&self.request(i)).map_err(RunError::State)?);
            still = still.max(self.clock.monotonic() - from);
            still_cpu = still_cpu.max(thread_processor_time() - from_cpu);
        }
        let bytes = self.publish(snapshots)?;
        let durable = self.clock.monotonic() - begin;
        subtasks.iter_mut().for_each(|subtask| subtask.store.completed(self.checkpoint));
        Ok(Cost { bytes, still, still_cpu, durable, ..Cost::default() })
    }

    /// A checkpoint while all subtasks go on changing the same keys.
    fn checkpoint_at_work(&mut self, subtasks: &mut [Subtask]) -> Result<Cost, RunError> {
        self.checkpoint += 1;
        let (barrier, over, updates) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        let requests: Vec<SnapshotRequest> = (0..subtasks.len()).map(|i| self.request(i)).collect();
        let (send, snapshots) = sync_channel(subtasks.len());
        // All has changed, and what is needed is in memory, before anything is measured.
        let changed = Barrier::new(subtasks.len() + 1);
        let clock = &SystemClock::new();
        std::thread::scope(|scope| {
            for (i, (subtask, request)) in subtasks.iter_mut().zip(&requests).enumerate() {
                let (barrier, over, updates, changed, send) = (&barrier, &over, &updates, &changed, send.clone());
                let work = Work { barrier, over, updates, changed, clock };
                // Nobody listens once the run has failed.
                scope.spawn(move || subtask.work(request, work, |outcome| drop(send.send((i, outcome)))));
            }
            let per_s = |from: (Duration, u64), to: (Duration, u64)| {
                (to.1 - from.1) as f64 / (to.0 - from.0).as_secs_f64().max(1e-9)
            };
            let now = || (clock.monotonic(), updates.load(Relaxed));
            changed.wait();
            let first = now();
            std::thread::sleep(UNDISTURBED);
            let begin = now();
            barrier.store(true, Relaxed);
            let (mut all, mut still, mut still_cpu) = (Vec::new(), Duration::ZERO, Duration::ZERO);
            let gathered = snapshots.iter().take(requests.len()).try_for_each(|(i, outcome)| {
                let (snapshot, took, took_cpu) = outcome?;
                still = still.max(took);
                still_cpu = still_cpu.max(took_cpu);
                all.push((i, snapshot));
                Ok(())
            });
            all.sort_by_key(|(i, _)| *i);
            let published =
                gathered.and_then(|()| self.publish(all.into_iter().map(|(_, snapshot)| snapshot).collect()));
            let end = now();
            over.store(true, Relaxed);
            let (before, during) = (per_s(first, begin), per_s(begin, end));
            let durable = end.0 - begin.0;
            Ok::<Cost, RunError>(Cost { bytes: published?, still, still_cpu, durable, before, during })
        })
        .inspect(|_| subtasks.iter_mut().for_each(|subtask| subtask.store.completed(self.checkpoint)))
    }

    /// Goes back to the last checkpoint; how long that took.
    fn restore(&self) -> Result<(Vec<KeyedStore>, Duration), RunError> {
        let begin = self.clock.monotonic();
        let states = self.runtime.block_on(async {
            let found = latest(&self.store).await?.manifest;
            let nodes = found.iter().flat_map(|manifest| &manifest.nodes);
            let shares: Vec<_> =
                nodes.flat_map(|node| redistribute(node, self.run.parallelism, MAX_PARALLELISM_DEFAULT)).collect();
            restore(&self.store, &shares).await
        })?;
        let durable = |mut state: SubtaskState| {
            state.stores.iter_mut().for_each(|store| store.durable = true);
            state.stores
        };
        let stores = self.open(2, states.into_iter().map(durable).collect())?;
        Ok((stores, self.clock.monotonic() - begin))
    }
}

#[cfg(feature = "rocksdb")]
fn backend(run: &LargeState) -> Result<StateBackend, RunError> {
    if !run.rocksdb {
        return Ok(StateBackend::memory());
    }
    let settings = crate::state::RocksDbSettings::new(run.directory.join("state"));
    StateBackend::rocksdb(settings).map_err(RunError::State)
}

#[cfg(not(feature = "rocksdb"))]
fn backend(run: &LargeState) -> Result<StateBackend, RunError> {
    if run.rocksdb { Err(RunError::NoRocksDb) } else { Ok(StateBackend::memory()) }
}

/// Fills state, takes a checkpoint, then others while a share of the keys is changed again and again, and restores the last one. The
/// result is a line of JSON.
pub fn large_state(run: &LargeState) -> Result<String, RunError> {
    let runtime = data_runtime().map_err(|error| RunError::Panic(error.to_string()))?;
    let mut runner = Runner {
        run,
        backend: backend(run)?,
        store: LocalStore::open(run.directory.join("checkpoints"))?,
        runtime,
        clock: SystemClock::new(),
        durable: Default::default(),
        checkpoint: 0,
    };
    let keys = runner.key_count();
    let every = (1.0 / run.changed.clamp(1e-9, 1.0)).round() as u64;
    let subtask = |store| Subtask { store, hot: Vec::new(), touched: Touched::default() };
    let mut subtasks: Vec<Subtask> = runner.open(1, Vec::new())?.into_iter().map(subtask).collect();
    let fill = runner.fill(&mut subtasks, every)?;
    let filled_mb = resident_mb();
    let first = runner.checkpoint(&mut subtasks)?;
    let first_peak_mb = usage().ru_maxrss / 1024;
    let mut costs = Vec::new();
    for _ in 0..run.checkpoints.max(1) {
        costs.push(runner.checkpoint_at_work(&mut subtasks)?);
    }
    let end_mb = resident_mb();
    let hot: Vec<_> = subtasks.into_iter().map(|subtask| subtask.hot).collect();
    let from_cpu = cpu();
    let (stores, restore) = runner.restore()?;
    let restore_cpu = cpu() - from_cpu;
    let mut subtasks: Vec<Subtask> = stores.into_iter().map(subtask).collect();
    let mut whole = true;
    for (subtask, hot) in subtasks.iter_mut().zip(hot) {
        subtask.hot = hot;
        whole &= subtask.is_whole()?;
    }
    let after = runner.checkpoint_at_work(&mut subtasks)?;
    Ok(serde_json::json!({
        "workload": "state",
        "backend": if run.rocksdb { "rocksdb" } else { "memory" },
        "parallelism": run.parallelism,
        "keys": keys,
        "state_mb": run.bytes >> 20,
        "changed_keys": keys.div_ceil(every),
        "fill_s": rounded(fill.as_secs_f64(), 3),
        "first": cost(&first),
        "later": costs.iter().map(cost).collect::<Vec<_>>(),
        "restore_s": rounded(restore.as_secs_f64(), 3),
        "restore_cpu_s": rounded(restore_cpu.as_secs_f64(), 3),
        "restored_whole": whole,
        "after_restore": cost(&after),
        "rss_filled_mb": filled_mb,
        "rss_end_mb": end_mb,
        "peak_rss_first_mb": first_peak_mb,
        "peak_rss_mb": usage().ru_maxrss / 1024,
    })
    .to_string())
}

fn cost(cost: &Cost) -> serde_json::Value {
    let ms = |duration: Duration| rounded(duration.as_secs_f64() * 1e3, 1);
    let mut line = serde_json::json!({
        "mb": rounded(cost.bytes as f64 / 1e6, 1),
        "still_ms": ms(cost.still),
        "still_cpu_ms": ms(cost.still_cpu),
        "durable_ms": ms(cost.durable),
    });
    if cost.before > 0.0 {
        line["updates_per_s"] = (cost.before as u64).into();
        line["updates_per_s_meanwhile"] = (cost.during as u64).into();
        // Work not done because of it, in ms of undisturbed work.
        line["lost_ms"] = rounded((1.0 - cost.during / cost.before) * cost.durable.as_secs_f64() * 1e3, 1).into();
    }
    line
}
