//! The stage that runs a transform plugin: a batch in, its outputs out.
use async_trait::async_trait;

use super::{
    Failures, Operator, Outputs, Rejects, Replacement, RowNumbers, TaskError,
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
        Transform { instance, reads, schemas, rejects, failures, moments, watermark, seen: 0 }
    }
}

#[async_trait]
impl Operator for Transform {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let numbers = RowNumbers::after(self.seen);
        self.seen += batch.rows() as u64;
        let mut work = Work::rows(batch, numbers);
        while let Some(Rows { batch, numbers, records, .. }) = self.failures.next_rows(&mut work) {
            let moment = work.moment(&mut self.moments, self.watermark);
            let result = self.instance.transform(moment, &batch, &self.reads, &self.schemas, records);
            outputs.metrics().set_guests_replaced(self.instance.replaced());
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
        self.failures.report(work, &mut self.rejects, outputs).await
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        outputs.watermark(watermark).await
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        (self.instance, self.reads) = (new.instance, new.reads);
        Ok(())
    }

    async fn snapshot(&mut self, _request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        Ok(SubtaskState { watermark: self.watermark, ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        Ok(self.instance.checkpoint_completed(permit.checkpoint())?)
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        Ok(self.instance.checkpoint_aborted(checkpoint)?)
    }
}
