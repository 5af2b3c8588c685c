//! What flows between stages, in order.
use crate::model::{Batch, EventTime};

/// One thing on a stream. Its order on a channel is its meaning: a watermark speaks of all batches after it.
#[derive(Clone, Debug)]
pub enum Message {
    /// Rows.
    Batch(Batch),
    /// No row after this one has an earlier event time, or it is late.
    Watermark(EventTime),
    /// This input has nothing to say for now and holds back nobody's event time; ends with the next batch or watermark.
    Idle,
    /// Nothing comes after this.
    End,
}
