//! A source that gives its records in small portions, each after a checkpoint has been completed since the one before: so that even
//! a short input passes many checkpoints. Guarantees: what it gives is what the source behind it gives.
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
};

use async_trait::async_trait;
use tokio::sync::Notify;
use wasmill::{
    connector::{BatchLimits, ConnectorError, Opening, ReadStatus, Source, SourceReader},
    model::{RawBatch, SplitPosition},
};

/// What test and sources say to each other.
#[derive(Debug, Default)]
pub struct Gate {
    completed: AtomicU64,
    reads: AtomicUsize,
    opened: Notify,
}

impl Gate {
    /// So many checkpoints are complete now.
    pub fn complete(&self, checkpoints: u64) {
        if self.completed.swap(checkpoints, SeqCst) != checkpoints {
            self.opened.notify_waiters();
        }
    }

    /// How many portions were given, over all sources and starts.
    pub fn reads(&self) -> usize {
        self.reads.load(SeqCst)
    }

    async fn pass(&self, seen: &mut Option<u64>) {
        loop {
            let opened = self.opened.notified();
            let now = self.completed.load(SeqCst);
            if seen.is_none_or(|seen| now > seen) {
                *seen = Some(now);
                return;
            }
            opened.await;
        }
    }
}

/// The source behind the gate.
#[derive(Debug)]
pub struct Gated {
    /// Where records come from.
    pub inner: Box<dyn Source>,
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
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        if !into.is_empty() {
            return Ok(ReadStatus::More);
        }
        let mut seen = self.seen;
        self.gate.pass(&mut seen).await;
        let status = self.inner.read(into, BatchLimits { records: self.records, ..limits }).await?;
        self.seen = seen;
        self.gate.reads.fetch_add(1, SeqCst);
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
        Err(ConnectorError { place: "nothing".into(), what: "there is nothing to read".into(), retry: false })
    }
}
