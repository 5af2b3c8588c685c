//! The outside of a simulated job: a source that can be read again, a sink with two-phase commit, and checkpoint storage, all of them
//! slow and failing as a seed says, and all of them outliving crashes. A failing call has had its effect or not, and does not say.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use wasmill::{
    checkpoint::{BlobReference, CheckpointStore, MemoryStore, StoreError},
    connector::{
        BatchLimits, CONNECTOR_FAILED, ConnectorError, Delivery, Opening, ReadStatus, Recovery, Sink, SinkWriter,
        Source, SourceReader,
    },
    model::{Batch, Blob, Clock, Encoded, Position, RawBatch, SplitPosition},
};

use super::{case::Split, executor::Simulator};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Weather: how slow and how unreliable the outside is.
#[derive(Clone)]
pub struct Weather {
    simulator: Simulator,
    random: Arc<Mutex<Rng>>,
    /// Of a thousand calls, so many fail, as long as failures are left: a job that fails more often than it can take checkpoints
    /// would go on for ever.
    failing: u32,
    failures_left: Arc<AtomicU32>,
    /// The longest a call takes, in ms.
    slow_ms: u64,
}

/// The most failures in a simulation.
const FAILURES_MAX: u32 = 60;

/// Where in a call a failure struck.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Struck {
    Not,
    Before,
    After,
}

impl Weather {
    /// From a seed's choices.
    pub fn new(simulator: &Simulator, random: &mut Rng) -> Weather {
        let failing = [0, 0, 5, 30][random.usize(..4)];
        let slow_ms = [0, 3, 50, 400][random.usize(..4)];
        let failures_left = Arc::new(AtomicU32::new(random.u32(..FAILURES_MAX)));
        let (simulator, random) = (simulator.clone(), Arc::new(Mutex::new(random.fork())));
        Weather { simulator, random, failing, failures_left, slow_ms }
    }

    async fn pass(&self) -> Struck {
        let (wait, struck) = {
            let mut random = lock(&self.random);
            let wait = random.u64(..=self.slow_ms);
            let struck = match random.u32(..1000) < self.failing {
                false => Struck::Not,
                true if self.failures_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() => {
                    Struck::Not
                }
                true if random.bool() => Struck::Before,
                true => Struck::After,
            };
            (wait, struck)
        };
        if wait > 0 {
            self.simulator.sleep_until(self.simulator.now() + Duration::from_millis(wait)).await;
        }
        struck
    }
}

fn broken() -> ConnectorError {
    ConnectorError {
        place: "simulation".into(),
        what: "a failure was injected".into(),
        retry: true,
        code: CONNECTOR_FAILED,
    }
}

/// Events in splits, each read in order from any place; a reader of several takes what happened first.
#[derive(Clone)]
pub struct SimulatedSource {
    /// What there is to read.
    pub splits: Arc<Vec<Split>>,
    /// What it is like outside.
    pub weather: Weather,
}

impl std::fmt::Debug for SimulatedSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimulatedSource({} splits)", self.splits.len())
    }
}

impl Source for SimulatedSource {
    fn parallelism_max(&self) -> Option<usize> {
        Some(self.splits.len())
    }
    fn can_replay(&self) -> bool {
        true
    }
    fn open(
        &self,
        opening: &Opening,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let read = |split: usize| {
            let known = restored.unwrap_or_default().iter().find(|known| known.split == split.to_string());
            known.map_or(0, |known| String::from_utf8_lossy(&known.position).parse().unwrap_or(0))
        };
        let mine = (0..self.splits.len()).filter(|split| split % opening.parallelism == opening.subtask);
        Ok(Box::new(SimulatedReader {
            source: self.clone(),
            positions: mine.map(|split| (split, read(split))).collect(),
            given: 0,
        }))
    }
}

struct SimulatedReader {
    source: SimulatedSource,
    positions: BTreeMap<usize, usize>,
    given: u64,
}

#[async_trait]
impl SourceReader for SimulatedReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        if self.source.weather.pass().await != Struck::Not {
            return Err(broken());
        }
        if !into.is_empty() {
            return Ok(ReadStatus::More);
        }
        let count = lock(&self.source.weather.random).usize(1..=limits.records.min(8));
        into.position = Position { place: "simulation".into(), record: 1 + self.given };
        while into.len() < count {
            let next = |(split, read): (&usize, &mut usize)| {
                let (at, _) = self.source.splits[*split].get(*read)?;
                Some((*at, *split))
            };
            let Some((_, split)) = self.positions.iter_mut().filter_map(next).min() else { break };
            let read = self.positions.entry(split).or_default();
            into.data.extend_from_slice(self.source.splits[split][*read].1.as_bytes());
            into.ends.push(into.data.len() as u32);
            *read += 1;
        }
        self.given += into.len() as u64;
        Ok(if into.is_empty() { ReadStatus::End } else { ReadStatus::More })
    }

    fn positions(&self) -> Vec<SplitPosition> {
        let position = |(split, read): (&usize, &usize)| SplitPosition {
            split: split.to_string(),
            position: read.to_string().into_bytes(),
        };
        self.positions.iter().map(position).collect()
    }
}

/// What a sink has outside.
#[derive(Debug, Default)]
struct Outside {
    visible: Vec<String>,
    /// By transaction.
    prepared: BTreeMap<String, Vec<String>>,
    /// Transactions that were committed.
    committed: std::collections::BTreeSet<String>,
    /// The latest start of the job that has settled what was prepared before it.
    start: u64,
}

/// A sink with two-phase commit.
#[derive(Clone)]
pub struct SimulatedSink {
    outside: Arc<Mutex<Outside>>,
    weather: Weather,
}

impl std::fmt::Debug for SimulatedSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimulatedSink")
    }
}

impl SimulatedSink {
    /// With nothing in it.
    pub fn new(weather: Weather) -> SimulatedSink {
        SimulatedSink { outside: Arc::default(), weather }
    }

    /// What everybody can see, sorted.
    pub fn visible(&self) -> Vec<String> {
        let mut visible = lock(&self.outside).visible.clone();
        visible.sort();
        visible
    }

    /// Transactions begun and neither committed nor undone, of the latest start: nobody cares for those of others.
    pub fn prepared(&self) -> usize {
        let outside = lock(&self.outside);
        outside.prepared.keys().filter(|id| start_of(id) >= outside.start).count()
    }

    async fn commit(&self, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        for committable in committables {
            let struck = self.weather.pass().await;
            if struck == Struck::Before {
                return Err(broken());
            }
            let id = String::from_utf8_lossy(committable).into_owned();
            let mut outside = lock(&self.outside);
            match outside.prepared.remove(&id) {
                Some(records) => {
                    outside.visible.extend(records);
                    outside.committed.insert(id);
                }
                None if outside.committed.contains(&id) => {}
                None => {
                    let what = format!("transaction {id} is gone: a commit was lost");
                    return Err(ConnectorError {
                        place: "simulation".into(),
                        what,
                        retry: false,
                        code: CONNECTOR_FAILED,
                    });
                }
            }
            drop(outside);
            if struck == Struck::After {
                return Err(broken());
            }
        }
        Ok(())
    }
}

/// Which start a transaction is of.
fn start_of(id: &str) -> u64 {
    id.split('-').next().and_then(|start| start.parse().ok()).unwrap_or(0)
}

#[async_trait]
impl Sink for SimulatedSink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }
    async fn recover(&self, recovery: &Recovery, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        self.commit(committables).await?;
        let mut outside = lock(&self.outside);
        outside.start = outside.start.max(recovery.start);
        outside.prepared.retain(|id, _| start_of(id) >= recovery.start);
        Ok(())
    }
    fn open(&self, opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        let part = format!("{}-{}", opening.start, opening.subtask);
        Ok(Box::new(SimulatedWriter { sink: self.clone(), part, transaction: 0, records: Vec::new() }))
    }
}

struct SimulatedWriter {
    sink: SimulatedSink,
    part: String,
    transaction: u64,
    records: Vec<String>,
}

#[async_trait]
impl SinkWriter for SimulatedWriter {
    async fn write(&mut self, _rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        if self.sink.weather.pass().await != Struck::Not {
            return Err(broken());
        }
        let text = String::from_utf8_lossy(&encoded.data);
        self.records.extend(text.lines().map(str::to_owned));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn prepare(&mut self, _checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        if self.records.is_empty() {
            return Ok(Vec::new());
        }
        if self.sink.weather.pass().await != Struck::Not {
            return Err(broken());
        }
        self.transaction += 1;
        let id = format!("{}-{}", self.part, self.transaction);
        lock(&self.sink.outside).prepared.insert(id.clone(), std::mem::take(&mut self.records));
        Ok(vec![id.into_bytes()])
    }

    async fn commit(&mut self, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        self.sink.commit(committables).await
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Checkpoint storage in memory, slow and failing.
pub struct SimulatedStore {
    inner: MemoryStore,
    weather: Weather,
}

impl SimulatedStore {
    /// With nothing in it.
    pub fn new(weather: Weather) -> SimulatedStore {
        SimulatedStore { inner: MemoryStore::default(), weather }
    }
}

fn unreachable(name: &str) -> StoreError {
    StoreError::Io { name: name.to_owned(), what: "a failure was injected".into() }
}

#[async_trait]
impl CheckpointStore for SimulatedStore {
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError> {
        match self.weather.pass().await {
            Struck::Before => Err(unreachable(name)),
            Struck::After => self.inner.put(name, content).await.and(Err(unreachable(name))),
            Struck::Not => self.inner.put(name, content).await,
        }
    }

    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError> {
        match self.weather.pass().await {
            Struck::Before => Err(unreachable(name)),
            Struck::After => self.inner.create(name, content).await.and(Err(unreachable(name))),
            Struck::Not => self.inner.create(name, content).await,
        }
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        match self.weather.pass().await {
            Struck::Not => self.inner.get(name).await,
            _ => Err(unreachable(name)),
        }
    }

    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError> {
        match self.weather.pass().await {
            Struck::Not => self.inner.fetch(blob).await,
            _ => Err(unreachable(&blob.name)),
        }
    }

    async fn length(&self, name: &str) -> Result<u64, StoreError> {
        match self.weather.pass().await {
            Struck::Not => self.inner.length(name).await,
            _ => Err(unreachable(name)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.weather.pass().await {
            Struck::Before => Err(unreachable(name)),
            Struck::After => self.inner.delete(name).await.and(Err(unreachable(name))),
            Struck::Not => self.inner.delete(name).await,
        }
    }
}
