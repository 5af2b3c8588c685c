//! The plugin of a sink: makes of rows what is written, and keeps lists of its subtask meanwhile. Must not know how, or where, anything is
//! written.
use super::{Outputs, Rejects, TaskError, moments::Moments};
use crate::{
    model::{Batch, EventTime, Schema, SubtaskState},
    plugin::{Instance, Written},
    state::OperatorLists,
};

/// A sink plugin at work.
pub struct SinkPlugin {
    pub(super) instance: Instance,
    /// Columns it reads, in its order.
    reads: Vec<usize>,
    /// Of what it puts out.
    shaped: [Schema; 1],
    rejects: Rejects,
    moments: Moments,
    lists: OperatorLists,
    pub(super) watermark: EventTime,
    seen: u64,
}

impl SinkPlugin {
    /// `reads` are the columns it reads, in its order, `shaped` those it puts out; `lists` hold what was restored, event time had come
    /// to `watermark`.
    pub fn new(
        instance: Instance,
        reads: Vec<usize>,
        shaped: Schema,
        rejects: Rejects,
        moments: Moments,
        lists: OperatorLists,
        watermark: EventTime,
    ) -> SinkPlugin {
        SinkPlugin { instance, reads, shaped: [shaped], rejects, moments, lists, watermark, seen: 0 }
    }

    /// What is written now that these rows have come.
    pub(super) async fn write(&mut self, batch: &Batch, outputs: &mut Outputs) -> Result<Batch, TaskError> {
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let (moment, states) = (self.moments.next(self.watermark), self.lists.read()?);
        let Written { emitted, states } =
            self.instance.write(moment, batch, &self.reads, &states, &self.shaped, records)?;
        self.lists.apply(&states)?;
        outputs.metrics().set_guests_replaced(self.instance.replaced());
        self.rejects.rows(batch, emitted.rejections, outputs).await?;
        Ok(emitted.main)
    }

    /// What is written now that the input has ended.
    pub(super) fn finish(&mut self, outputs: &mut Outputs) -> Result<Batch, TaskError> {
        let (moment, states) = (self.moments.next(self.watermark), self.lists.read()?);
        let (arrived, seen) = (self.moments.monotonic(), self.seen);
        let Written { emitted, states } =
            self.instance.finish(moment, &states, &self.shaped, arrived, seen..seen)?;
        self.lists.apply(&states)?;
        outputs.metrics().set_guests_replaced(self.instance.replaced());
        Ok(emitted.main)
    }

    pub(super) fn snapshot(&self) -> Result<SubtaskState, TaskError> {
        let operator_states = self.lists.snapshot()?;
        Ok(SubtaskState { watermark: self.watermark, operator_states, ..SubtaskState::default() })
    }
}
