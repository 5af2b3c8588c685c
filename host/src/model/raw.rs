//! Framed records as bytes: what passes between connectors and codecs.
use std::sync::Arc;

/// Framed records on their way from a source to a decoder. Reused from batch to batch.
#[derive(Debug, Default)]
pub struct RawBatch {
    /// The records' bytes one after the other, without separators.
    pub data: Vec<u8>,
    /// Where each record ends in `data`; records are at most 2 GiB in sum.
    pub ends: Vec<u32>,
    /// Event times the source itself knows, in ms since 1970-01-01 UTC: one a record, or none at all.
    pub timestamps: Vec<i64>,
    /// When the first record arrived, by the clock's monotonic reading, if the source knows better than its reader: a paced
    /// generator says when it was due.
    pub arrived: Option<std::time::Duration>,
    /// Where the first record comes from, for error messages.
    pub position: Position,
}

impl RawBatch {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
        self.timestamps.clear();
        self.arrived = None;
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of record `index`, which must be below [`len`](RawBatch::len).
    pub fn record(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.data[start..self.ends[index] as usize]
    }
}

/// A place in a source, as a person would name it: `access.log:17` for line 17 of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// File, address or topic.
    pub place: Arc<str>,
    /// Number of the record at that place, from 1 (a line number, an offset).
    pub record: u64,
}

/// Encoded records on their way from an encoder to a sink.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The records' bytes, each followed by its separator (a line feed for text formats).
    pub data: Vec<u8>,
    /// Where each record ends in `data`, its separator included.
    pub ends: Vec<usize>,
}
