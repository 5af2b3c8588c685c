//! The stage of broadcast processes: a keyed stage, or one without keys, whose calls read what rows of a second input, of which every
//! subtask gets every one, have left behind. All subtasks make the same of that input, so what is said of it is said once. Must not
//! know how rows get to every subtask.
use async_trait::async_trait;

use super::{Keyed, Operator, Outputs, Replacement, TaskError, keyed::Port};
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
        let records = keyed.seen..keyed.seen + batch.rows() as u64;
        keyed.seen = records.end;
        let moment = keyed.moments.next(keyed.watermark);
        let reads = &keyed.settings.inputs[1].reads;
        let mut maps = keyed.broadcast.beside(NoMaps);
        let schemas = &keyed.settings.schemas;
        let Written { emitted, states } =
            keyed.instance.process_broadcast(moment, &batch, reads, &mut maps, schemas, records)?;
        drop(maps);
        keyed.broadcast.apply(&states)?;
        outputs.metrics().set_guests_replaced(keyed.instance.replaced());
        match self.speaker {
            true => keyed.emit(emitted, Some((&batch, Port::Second)), outputs).await,
            false => Ok(()),
        }
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

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.keyed.completed(permit).await
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.keyed.aborted(checkpoint).await
    }
}
