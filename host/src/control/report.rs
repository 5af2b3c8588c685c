//! What a job has done, so far or in all.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    dataflow::{LatencyHistogram, NodeMetrics},
    model::{EventTime, NO_WATERMARK},
};

/// What a source, operator or sink has done, all its subtasks together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReport {
    /// Its name in the job.
    pub name: String,
    /// Rows, or records, in.
    pub records_in: u64,
    /// Rows out, side outputs included.
    pub records_out: u64,
    /// Rows too late for their window.
    pub late: u64,
    /// Rows rejected, or malformed.
    pub rejected: u64,
    /// Rows, timers and windows that calls have failed on and that were passed over.
    pub failed: u64,
    /// How often a circuit breaker has opened.
    pub circuits_opened: u64,
    /// Guests replaced because their memory had grown too much.
    pub guests_replaced: u64,
    /// How far event time has come in the subtask that is furthest behind; `None` before the first.
    pub watermark: Option<EventTime>,
}

impl NodeReport {
    /// `rules` have counted what their operator has not: all but rows in.
    pub(super) fn of(name: &str, subtasks: &[Arc<NodeMetrics>], rules: &[Arc<NodeMetrics>]) -> NodeReport {
        let sum = |count: fn(&NodeMetrics) -> u64| subtasks.iter().chain(rules).map(|metrics| count(metrics)).sum();
        NodeReport {
            name: name.to_owned(),
            records_in: subtasks.iter().map(|m| m.records_in.load(Relaxed)).sum(),
            records_out: sum(|m| m.records_out.load(Relaxed)),
            late: sum(|m| m.late.load(Relaxed)),
            rejected: sum(|m| m.rejected.load(Relaxed)),
            failed: sum(|m| m.failed.load(Relaxed)),
            circuits_opened: sum(|m| m.circuits_opened.load(Relaxed)),
            guests_replaced: sum(|m| m.guests_replaced.load(Relaxed)),
            watermark: subtasks.iter().map(|m| m.watermark()).min().filter(|watermark| *watermark != NO_WATERMARK),
        }
    }
}

/// What checkpoints have cost. Clones share.
#[derive(Clone, Debug, Default)]
pub struct CheckpointCounts(Arc<Mutex<Vec<(Duration, u64)>>>, Arc<AtomicU64>);

/// Checkpoints whose cost is remembered; of more, the latest.
const COSTS_MAX: usize = 10_000;

impl CheckpointCounts {
    pub(super) fn completed(&self, took: Duration, bytes: u64) {
        let mut costs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if costs.len() == COSTS_MAX {
            costs.remove(0);
        }
        costs.push((took, bytes));
    }

    pub(super) fn failed(&self) {
        self.1.fetch_add(1, Relaxed);
    }

    /// From barrier to durable manifest, and the bytes written, of each complete checkpoint or savepoint.
    pub fn costs(&self) -> Vec<(Duration, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many were given up.
    pub fn failures(&self) -> u64 {
        self.1.load(Relaxed)
    }
}

/// What a sink says of itself at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkReport {
    /// Its name in the job.
    pub name: String,
    /// Whatever its connector has to say.
    pub summary: serde_json::Value,
}

/// A job that has ended well.
#[derive(Debug)]
pub struct JobReport {
    /// In the order of the plan.
    pub nodes: Vec<NodeReport>,
    /// Of sinks that have something to say.
    pub sinks: Vec<SinkReport>,
    /// From source to sink, over all sinks.
    pub latency: LatencyHistogram,
    /// From start to end.
    pub elapsed: Duration,
    /// Whether it was stopped before its sources ended.
    pub stopped: bool,
    /// What its checkpoints have cost.
    pub checkpoints: CheckpointCounts,
}
