//! The unit of data: an Arrow record batch with an event time per row.
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_buffer::ScalarBuffer;

use super::EventTime;

/// Rows that travel together. Immutable; clones share memory.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The columns; types are those of [`Kind`](super::Kind) only.
    pub columns: RecordBatch,
    /// Event time per row, in ms since 1970-01-01 UTC; as many as there are rows.
    pub timestamps: ScalarBuffer<EventTime>,
    /// When the oldest of the records these rows stem from entered the system, by the clock's monotonic reading. Kept only to
    /// measure latency; never part of a result.
    pub arrived: Duration,
    /// [`key_hash`](super::key_hash) per row if an exchange computed it on the way; as many as there are rows.
    pub key_hashes: Option<ScalarBuffer<u64>>,
}

impl Batch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.num_rows()
    }

    /// `length` rows from `offset` on, sharing memory.
    pub fn slice(&self, offset: usize, length: usize) -> Batch {
        Batch {
            columns: self.columns.slice(offset, length),
            timestamps: self.timestamps.slice(offset, length),
            arrived: self.arrived,
            key_hashes: self.key_hashes.as_ref().map(|hashes| hashes.slice(offset, length)),
        }
    }
}
