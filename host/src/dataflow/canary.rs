//! Canaries: another version of an operator, which has a share of the keys beside the version in force. Both work in one stage with one store,
//! each on the rows and timers of its own keys, so a key's state is where it was whoever has the key. Must not know who asked for one.
use std::{
    mem::swap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arrow_array::ArrayRef;
use arrow_buffer::ScalarBuffer;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Failures, Replacement, RowNumbers, TaskError, keyed::take_rows};
use crate::{
    model::{Batch, KeyRows, Share, row_hashes},
    plugin::{Emitted, Instance},
};

/// A canary that is still to begin.
pub struct CanaryStart {
    /// What it runs.
    pub guest: Replacement,
    /// Which keys it has.
    pub share: Share,
    /// Columns of the input whose values stand for the key where rows have none.
    pub by: Vec<usize>,
    /// Where what both versions do is counted.
    pub counts: Arc<CanaryCounts>,
}

/// What becomes of a stage's canary.
pub enum CanaryChange {
    /// There is one from now on.
    Begin(Box<CanaryStart>),
    /// It has another share.
    Share(Share),
    /// It is the version in force.
    Promote,
    /// It is no more.
    Discard,
}

/// What a version has done since there is a canary, over all subtasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CallCounts {
    /// Rows processed.
    pub rows: u64,
    /// Timers fired.
    pub timers: u64,
    /// Rows emitted, side outputs included.
    pub emitted: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rows and timers that calls have failed on and that were passed over.
    pub failed: u64,
    /// Calls, also failed ones.
    pub calls: u64,
    /// Time in calls, in us.
    pub time_us: u64,
}

#[derive(Debug, Default)]
struct Counts {
    rows: AtomicU64,
    timers: AtomicU64,
    emitted: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    calls: AtomicU64,
    time_ns: AtomicU64,
}

impl Counts {
    fn so_far(&self) -> CallCounts {
        CallCounts {
            rows: self.rows.load(Relaxed),
            timers: self.timers.load(Relaxed),
            emitted: self.emitted.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            failed: self.failed.load(Relaxed),
            calls: self.calls.load(Relaxed),
            time_us: self.time_ns.load(Relaxed) / 1000,
        }
    }
}

/// What both versions of an operator have done. Shared by all its subtasks.
#[derive(Debug, Default)]
pub struct CanaryCounts {
    in_force: Counts,
    canary: Counts,
}

impl CanaryCounts {
    /// Of the version in force.
    pub fn in_force(&self) -> CallCounts {
        self.in_force.so_far()
    }

    /// Of the canary.
    pub fn canary(&self) -> CallCounts {
        self.canary.so_far()
    }
}

/// Rows of one version, and whether that is the canary.
type Part = (bool, Batch, RowNumbers);

/// A canary at work. The stage puts it in the place of the version in force for the time of its turn, and that one here.
pub(super) struct Canary {
    /// The one whose turn it is not.
    pub(super) guest: Replacement,
    failures: Failures,
    share: Share,
    by: Vec<usize>,
    counts: Arc<CanaryCounts>,
    /// Whether it is the canary's turn.
    turn: bool,
}

/// Changes the canary of a stage whose failed calls are dealt with by `failures`. Whether it is to stay in the place of the version in force.
pub(super) fn change(
    canary: &mut Option<Box<Canary>>,
    change: CanaryChange,
    failures: &Failures,
) -> Result<bool, String> {
    match (change, &mut *canary) {
        (CanaryChange::Begin(start), None) => {
            let CanaryStart { guest, share, by, counts } = *start;
            // What it fails on must not have calls of the other held back.
            let failures = failures.of_another()?;
            *canary = Some(Box::new(Canary { guest, failures, share, by, counts, turn: false }));
        }
        (CanaryChange::Share(share), Some(canary)) => canary.share = share,
        (CanaryChange::Promote, Some(_)) => return Ok(true),
        (CanaryChange::Discard, Some(_)) => *canary = None,
        (_, None) => return Err("it has no canary".to_owned()),
        (CanaryChange::Begin(_), Some(_)) => return Err("it has a canary".to_owned()),
    }
    Ok(false)
}

/// An error of a canary's turn: a failure of the canary if it is not one of somebody else, such as a stage chained behind.
pub(super) fn failure(operator: &str, error: TaskError) -> TaskError {
    let its = match &error {
        TaskError::Call(error) => error.operator == operator,
        TaskError::Rejected { node, .. } => node == operator,
        _ => false,
    };
    if !its {
        return error;
    }
    TaskError::Canary { operator: operator.to_owned(), error: Box::new(error) }
}

pub(super) fn bug(operator: &str, what: String) -> TaskError {
    TaskError::Bug { node: operator.to_owned(), what }
}

impl Canary {
    /// Exchanges what stages of all kinds have; the columns that are read are theirs to exchange.
    pub(super) fn exchange(&mut self, instance: &mut Instance, failures: &mut Failures) {
        self.turn = !self.turn;
        swap(&mut self.guest.instance, instance);
        swap(&mut self.failures, failures);
    }

    /// Rows, timers or whatever else has these hashes: those of the version in force, and those of the canary, in their order.
    pub(super) fn divide(&self, hashes: &[u64]) -> [Vec<u32>; 2] {
        let (its, others) = (0..hashes.len() as u32).partition(|at| self.share.has(hashes[*at as usize]));
        [others, its]
    }

    /// Rows that have no key.
    pub(super) fn rows(&self, batch: Batch, numbers: RowNumbers) -> Result<Vec<Part>, String> {
        let columns: Vec<ArrayRef> = self.by.iter().map(|column| batch.columns.column(*column).clone()).collect();
        let hashes = row_hashes(&columns, batch.rows());
        self.parts(batch, numbers, &hashes)
    }

    /// Rows that have a key, in these columns, none of which is null.
    pub(super) fn keyed_rows(&self, mut batch: Batch, numbers: RowNumbers, key: &[usize]) -> Result<Vec<Part>, String> {
        let hashes = match batch.key_hashes.take() {
            Some(hashes) => hashes,
            None => {
                let columns: Vec<ArrayRef> = key.iter().map(|column| batch.columns.column(*column).clone()).collect();
                let mut hashes = Vec::new();
                KeyRows::encode(&columns, batch.rows()).hash_into(batch.rows(), &mut hashes);
                ScalarBuffer::from(hashes)
            }
        };
        batch.key_hashes = Some(hashes.clone());
        self.parts(batch, numbers, &hashes)
    }

    fn parts(&self, batch: Batch, numbers: RowNumbers, hashes: &[u64]) -> Result<Vec<Part>, String> {
        let [others, its] = self.divide(hashes);
        if others.is_empty() || its.is_empty() {
            return Ok(vec![(!its.is_empty(), batch, numbers)]);
        }
        let part = |of_canary, rows: Vec<u32>| {
            let numbers = numbers.take(&rows);
            Ok::<_, String>((of_canary, take_rows(&batch, rows)?, numbers))
        };
        Ok(vec![part(false, others)?, part(true, its)?])
    }

    fn counts(&self) -> &Counts {
        if self.turn { &self.counts.canary } else { &self.counts.in_force }
    }

    /// A call was made by the version whose turn it is: with so many rows and timers if it was done.
    pub(super) fn called(&self, took: Duration, (rows, timers): (usize, usize), emitted: Option<&Emitted>) {
        let counts = self.counts();
        counts.calls.fetch_add(1, Relaxed);
        counts.time_ns.fetch_add(took.as_nanos() as u64, Relaxed);
        if let Some(emitted) = emitted {
            counts.rows.fetch_add(rows as u64, Relaxed);
            counts.timers.fetch_add(timers as u64, Relaxed);
            let sides: usize = emitted.side_outputs.iter().map(|(_, rows)| rows.rows()).sum();
            counts.emitted.fetch_add((emitted.main.rows() + sides) as u64, Relaxed);
            counts.rejected.fetch_add(emitted.rejections.len() as u64, Relaxed);
        }
    }

    /// The version whose turn it is has failed on so many rows or timers, which are passed over.
    pub(super) fn failed(&self, items: usize) {
        self.counts().failed.fetch_add(items as u64, Relaxed);
    }

    /// How often the guest here was replaced.
    pub(super) fn replaced(&self) -> u64 {
        self.guest.instance.replaced()
    }

    pub(super) fn completed(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        let told = self.guest.instance.checkpoint_completed(checkpoint);
        told.map_err(|error| failure(&error.operator.clone(), error.into()))
    }

    pub(super) fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        let told = self.guest.instance.checkpoint_aborted(checkpoint);
        told.map_err(|error| failure(&error.operator.clone(), error.into()))
    }
}
