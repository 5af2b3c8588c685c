//! A source that gives its records in small portions, each after a checkpoint has been completed since the one before: so that even
//! a short input passes many checkpoints. Guarantees: what it gives is what the source behind it gives.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use wasmill::{
    checkpoint::{BlobReference, CheckpointStore, MANIFESTS, StoreError},
    connector::{BatchLimits, CONNECTOR_FAILED, ConnectorError, Opening, ReadStatus, Source, SourceReader},
    model::{Blob, RawBatch, SplitPosition},
};

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    checkpoints: u64,
    portions: usize,
}

/// What test, storage and sources say to each other.
#[derive(Debug, Default)]
pub struct Gate {
    passed: watch::Sender<Passed>,
}

impl Gate {
    /// Waits until so many portions were given, over all sources and starts.
    pub async fn given(&self, portions: usize) {
        // The sender is here, so it does not end.
        let _ = self.passed.subscribe().wait_for(|passed| passed.portions >= portions).await;
    }

    async fn pass(&self, seen: Option<u64>) -> u64 {
        let mut passed = self.passed.subscribe();
        let opened = passed.wait_for(|passed| seen.is_none_or(|seen| passed.checkpoints > seen)).await;
        opened.map_or(0, |passed| passed.checkpoints)
    }
}

/// Storage that opens a gate whenever a checkpoint is complete.
pub struct GateStore<S> {
    /// Where checkpoints are kept.
    pub inner: S,
    /// What it opens.
    pub gate: Arc<Gate>,
}

#[async_trait]
impl<S: CheckpointStore> CheckpointStore for GateStore<S> {
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError> {
        let put = self.inner.put(name, content).await?;
        if name.starts_with(MANIFESTS) {
            self.gate.passed.send_modify(|passed| passed.checkpoints += 1);
        }
        Ok(put)
    }
    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError> {
        self.inner.create(name, content).await
    }
    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.inner.get(name).await
    }
    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError> {
        self.inner.fetch(blob).await
    }
    async fn length(&self, name: &str) -> Result<u64, StoreError> {
        self.inner.length(name).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }
}

/// The source behind the gate.
#[derive(Debug)]
pub struct Gated {
    /// Where records come from.
    pub inner: Arc<dyn Source>,
    /// What holds them back.
    pub gate: Arc<Gate>,
    /// Records in a portion.
    pub records: usize,
}

impl Source for Gated {
    fn parallelism_max(&self) -> Option<usize> {
        self.inner.parallelism_max()
    }
    fn can_replay(&self) -> bool {
        self.inner.can_replay()
    }
    fn open(
        &self,
        opening: &Opening,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let (inner, gate) = (self.inner.open(opening, restored)?, self.gate.clone());
        Ok(Box::new(GatedReader { inner, gate, records: self.records, seen: None }))
    }
}

struct GatedReader {
    inner: Box<dyn SourceReader>,
    gate: Arc<Gate>,
    records: usize,
    /// Checkpoints complete when the last portion was given.
    seen: Option<u64>,
}

#[async_trait]
impl SourceReader for GatedReader {
    async fn start(&mut self) -> Result<(), ConnectorError> {
        self.inner.start().await
    }

    fn splits(&self) -> usize {
        self.inner.splits()
    }

    fn hold(&mut self, split: usize, wait: bool) {
        self.inner.hold(split, wait);
    }

    fn completed(&mut self, positions: &[SplitPosition]) {
        self.inner.completed(positions);
    }

    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        if !into.is_empty() {
            return Ok(ReadStatus::More);
        }
        let seen = self.gate.pass(self.seen).await;
        let records = self.records.min(limits.records);
        let status = self.inner.read(into, BatchLimits { records, ..limits }).await?;
        self.seen = Some(seen);
        self.gate.passed.send_modify(|passed| passed.portions += 1);
        Ok(status)
    }

    fn positions(&self) -> Vec<SplitPosition> {
        self.inner.positions()
    }
}

/// A source that is none: what is left where one was taken out.
#[derive(Debug)]
pub struct Nothing;

impl Source for Nothing {
    fn parallelism_max(&self) -> Option<usize> {
        Some(0)
    }
    fn can_replay(&self) -> bool {
        true
    }
    fn open(&self, _: &Opening, _: Option<&[SplitPosition]>) -> Result<Box<dyn SourceReader>, ConnectorError> {
        Err(ConnectorError {
            place: "nothing".into(),
            what: "there is nothing to read".into(),
            retry: false,
            code: CONNECTOR_FAILED,
        })
    }
}
