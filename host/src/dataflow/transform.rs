//! The stage that runs a transform plugin: a batch in, its outputs out.
use async_trait::async_trait;

use super::{Operator, Outputs, Rejects, Replacement, TaskError, moments::Moments};
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
        rejects: Rejects,
        moments: Moments,
        watermark: EventTime,
    ) -> Transform {
        Transform { instance, reads, schemas, rejects, moments, watermark, seen: 0 }
    }
}

#[async_trait]
impl Operator for Transform {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let moment = self.moments.next(self.watermark);
        let emitted = self.instance.transform(moment, &batch, &self.reads, &self.schemas, records)?;
        outputs.metrics().set_guests_replaced(self.instance.replaced());
        self.rejects.rows(&batch, emitted.rejections, outputs).await?;
        // The input is not needed any more: its memory goes back before anything waits for a slow reader.
        drop(batch);
        for (side, rows) in emitted.side_outputs {
            outputs.emit(side + 1, rows).await?;
        }
        outputs.emit(0, emitted.main).await
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
