//! The stage that runs a transform plugin: a batch in, its outputs out.
use std::mem::swap;

use async_trait::async_trait;

use super::{
    CanaryChange, Failures, Operator, Outputs, Rejects, Replacement, RowNumbers, TaskError,
    canary::{self, Canary},
    failures::{Rows, Work},
    moments::Moments,
};
use crate::{
    checkpoint::CommitPermit,
    model::{Batch, EventTime, Schema, SnapshotRequest, SubtaskState},
    plugin::Instance,
};

/// A transform plugin at work.
pub struct Transform {
    instance: Instance,
    /// Columns it reads, in its order.
    reads: Vec<usize>,
    /// Of the main output and the declared side outputs.
    schemas: Vec<Schema>,
    rejects: Rejects,
    failures: Failures,
    moments: Moments,
    watermark: EventTime,
    seen: u64,
    /// The version that has a share of the rows, if there is one.
    canary: Option<Box<Canary>>,
}

impl Transform {
    /// `schemas` are those of the main output and of the declared side outputs, in order; event time had come to `watermark`.
    pub fn new(
        instance: Instance,
        reads: Vec<usize>,
        schemas: Vec<Schema>,
        (rejects, failures): (Rejects, Failures),
        moments: Moments,
        watermark: EventTime,
    ) -> Transform {
        Transform { instance, reads, schemas, rejects, failures, moments, watermark, seen: 0, canary: None }
    }

    /// Puts the canary in the place of the version in force, or back.
    fn exchange(&mut self) {
        let Some(canary) = &mut self.canary else { return };
        canary.exchange(&mut self.instance, &mut self.failures);
        swap(&mut self.reads, &mut canary.guest.reads);
    }

    /// Rows that are all of one version.
    async fn rows(&mut self, batch: Batch, numbers: RowNumbers, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut work = Work::rows(batch, numbers);
        while let Some(Rows { batch, numbers, records, .. }) = self.failures.next_rows(&mut work) {
            let moment = work.moment(&mut self.moments, self.watermark);
            let began = self.canary.as_ref().map(|_| self.moments.monotonic());
            let result = self.instance.transform(moment, &batch, &self.reads, &self.schemas, records);
            if let Some((canary, began)) = self.canary.as_ref().zip(began) {
                let emitted = result.as_ref().ok();
                canary.called(self.moments.monotonic().saturating_sub(began), (batch.rows(), 0), emitted);
            }
            let replaced = self.instance.replaced() + self.canary.as_ref().map_or(0, |canary| canary.replaced());
            outputs.metrics().set_guests_replaced(replaced);
            let Some(emitted) = self.failures.after(&mut work, result, outputs.metrics()).await? else { continue };
            let plugin = Some(self.instance.name());
            self.rejects.rows(&batch, emitted.rejections, (plugin, &numbers), outputs).await?;
            // The input is not needed any more: its memory goes back before anything waits for a slow reader.
            drop(batch);
            for (side, rows) in emitted.side_outputs {
                outputs.emit(side + 1, rows).await?;
            }
            outputs.emit(0, emitted.main).await?;
        }
        if let Some(canary) = &self.canary {
            canary.failed(work.poisoned().count());
        }
        self.failures.report(work, &mut self.rejects, outputs).await
    }
}

#[async_trait]
impl Operator for Transform {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let numbers = RowNumbers::after(self.seen);
        self.seen += batch.rows() as u64;
        let Some(canary) = &self.canary else { return self.rows(batch, numbers, outputs).await };
        let parts = canary.rows(batch, numbers).map_err(|what| canary::bug(self.instance.operator(), what))?;
        for (of_canary, batch, numbers) in parts {
            if !of_canary {
                self.rows(batch, numbers, outputs).await?;
                continue;
            }
            self.exchange();
            let done = self.rows(batch, numbers, outputs).await;
            self.exchange();
            done.map_err(|error| canary::failure(self.instance.operator(), error))?;
        }
        Ok(())
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        outputs.watermark(watermark).await
    }

    fn moments(&mut self) -> Option<&mut Moments> {
        Some(&mut self.moments)
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        (self.instance, self.reads) = (new.instance, new.reads);
        self.failures.replaced();
        Ok(())
    }

    fn canary(&mut self, change: CanaryChange) -> Result<(), TaskError> {
        let promoted = canary::change(&mut self.canary, change, &self.failures)
            .map_err(|what| canary::bug(self.instance.operator(), what))?;
        if promoted {
            self.exchange();
            self.canary = None;
        }
        Ok(())
    }

    async fn snapshot(&mut self, _request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        Ok(SubtaskState { watermark: self.watermark, ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.instance.checkpoint_completed(permit.checkpoint())?;
        self.canary.as_mut().map_or(Ok(()), |canary| canary.completed(permit.checkpoint()))
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.instance.checkpoint_aborted(checkpoint)?;
        self.canary.as_mut().map_or(Ok(()), |canary| canary.aborted(checkpoint))
    }
}
