//! The stage of broadcast processes: a keyed stage, or one without keys, whose calls read what rows of a second input, of which every
//! subtask gets every one, have left behind. All subtasks make the same of that input, so what is said of it is said once. Must not
//! know how rows get to every subtask.
use async_trait::async_trait;

use super::{
    Keyed, Moments, Operator, Outputs, Replacement, RowNumbers, TaskError,
    failures::{Rows, Work},
    keyed::Port,
};
use crate::{
    checkpoint::CommitPermit,
    model::{Batch, EventTime, NoMaps, SnapshotRequest, SubtaskState},
    plugin::Written,
};

/// A broadcast process at work.
pub struct Broadcast {
    keyed: Keyed,
    /// Whether it speaks for all subtasks of the operator.
    speaker: bool,
}

impl Broadcast {
    /// `keyed` has two inputs, the second without a key; `subtask` is which of the operator it is.
    pub fn new(keyed: Keyed, subtask: u32) -> Broadcast {
        Broadcast { keyed, speaker: subtask == 0 }
    }
}

#[async_trait]
impl Operator for Broadcast {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.keyed.process(batch, Port::Only, outputs).await
    }

    async fn second(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let keyed = &mut self.keyed;
        let numbers = RowNumbers::after(keyed.seen);
        keyed.seen += batch.rows() as u64;
        // What one subtask passed over another might not: their states would differ from then on.
        let mut work = Work::rows(batch, numbers).whole();
        while let Some(Rows { batch, numbers, records, .. }) = keyed.failures.next_rows(&mut work) {
            let moment = work.moment(&mut keyed.moments, keyed.watermark);
            let result = {
                let mut maps = keyed.broadcast.beside(NoMaps);
                let (reads, schemas) = (&keyed.settings.inputs[1].reads, &keyed.settings.schemas);
                keyed.instance.process_broadcast(moment, &batch, reads, &mut maps, schemas, records)
            };
            let after = keyed.failures.after(&mut work, result, outputs.metrics()).await?;
            let Some(Written { emitted, states }) = after else { continue };
            keyed.broadcast.apply(&states)?;
            outputs.metrics().set_guests_replaced(keyed.instance.replaced());
            if self.speaker {
                keyed.emit(emitted, Some((&batch, Port::Second, &numbers)), outputs).await?;
            }
        }
        Ok(())
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.keyed.watermark(watermark, outputs).await
    }

    fn wake_at(&self) -> Option<i64> {
        self.keyed.wake_at()
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.keyed.wake(now_ms, outputs).await
    }

    fn moments(&mut self) -> Option<&mut Moments> {
        Some(&mut self.keyed.moments)
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        self.keyed.replace(new)
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let mut state = self.keyed.snapshot(request).await?;
        if self.speaker {
            state.operator_states = self.keyed.broadcast.snapshot();
        }
        Ok(state)
    }

    async fn copy_state(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let operator_states = self.keyed.broadcast.snapshot();
        Ok(SubtaskState { operator_states, ..self.keyed.snapshot(request).await? })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.keyed.completed(permit).await
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.keyed.aborted(checkpoint).await
    }
}
