//! The right to commit what was prepared for a checkpoint: only whoever has seen its manifest durable can grant it.

/// A checkpoint is complete: its manifest is durable, so what was prepared for it may and must be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPermit {
    checkpoint: u64,
}

impl CommitPermit {
    /// For the coordinator, once the manifest is durable, or where a job keeps no checkpoints and its end needs none.
    pub(crate) fn granted(checkpoint: u64) -> CommitPermit {
        CommitPermit { checkpoint }
    }

    /// Which checkpoint.
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint
    }
}
