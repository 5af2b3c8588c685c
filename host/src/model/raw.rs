//! Framed records as bytes: what passes between connectors and codecs.
use std::sync::Arc;

use arrow_array::{
    ArrayRef,
    builder::{BinaryBuilder, Int64Builder, StringBuilder},
};

use super::Kind;

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
    /// The number of each record at its place, where they do not follow each other without gaps; else empty.
    pub numbers: Vec<u64>,
    /// Of which of its reader's splits all of it is.
    pub split: usize,
    /// What the source was asked to tell of each record beside its bytes: a column each, with a value a record.
    pub metadata: Vec<MetadataColumn>,
    /// What came between the records and is none that could be decoded.
    pub refused: Vec<RefusedRecord>,
}

/// What a source tells of each record beside its bytes.
#[derive(Debug)]
pub enum MetadataColumn {
    /// Numbers.
    Int64(Int64Builder),
    /// Texts.
    Utf8(StringBuilder),
    /// Bytes.
    Binary(BinaryBuilder),
}

impl MetadataColumn {
    /// An empty one. Sources have nothing of other kinds to tell.
    pub fn new(kind: Kind) -> Option<MetadataColumn> {
        Some(match kind {
            Kind::Int64 => MetadataColumn::Int64(Int64Builder::new()),
            Kind::Utf8 => MetadataColumn::Utf8(StringBuilder::new()),
            Kind::Binary => MetadataColumn::Binary(BinaryBuilder::new()),
            Kind::Boolean | Kind::Float64 => return None,
        })
    }

    /// Takes its values out.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            MetadataColumn::Int64(values) => Arc::new(values.finish()),
            MetadataColumn::Utf8(values) => Arc::new(values.finish()),
            MetadataColumn::Binary(values) => Arc::new(values.finish()),
        }
    }
}

/// A record that its source refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// What there is of it.
    pub record: Vec<u8>,
    /// Why.
    pub reason: String,
    /// Its number at the place.
    pub number: u64,
    /// Its time, if it has one.
    pub timestamp: Option<i64>,
}

impl RawBatch {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.ends.clear();
        self.timestamps.clear();
        self.arrived = None;
        self.numbers.clear();
        self.metadata.iter_mut().for_each(|column| drop(column.finish()));
        self.refused.clear();
    }

    /// The number of record `index`, which must be below [`len`](RawBatch::len), at its place.
    pub fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(self.position.record + index as u64)
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
    /// How many bytes at the end of each record are its separator.
    pub separator: usize,
}
