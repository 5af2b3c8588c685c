//! What a format does: bytes of records to columns and back. Knows nothing of where the bytes come from or go to.
use arrow_array::RecordBatch;
use async_trait::async_trait;

use crate::model::{Encoded, RawBatch};

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Its index in the raw batch.
    pub record: usize,
    /// What is wrong with it, and where in it.
    pub reason: String,
}

/// What came of decoding a batch.
#[derive(Debug)]
pub struct Decoded {
    /// The well-formed records, in order.
    pub rows: RecordBatch,
    /// The others, in order.
    pub malformed: Vec<Malformed>,
}

/// What a decoder needs from outside cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct PrepareError {
    /// Where it was looked for.
    pub place: String,
    /// What failed, and what to do about it.
    pub what: String,
    /// Whether trying again may help.
    pub retry: bool,
    /// Its stable code: `docs/errors/CODE.md` says what to do.
    pub code: &'static str,
}

/// Decodes the records of one task. May remember what it saw to decode the next ones faster, never to decode them differently.
#[async_trait]
pub trait Decoder: Send {
    /// Before [`decode`](Decoder::decode) of the same batch: gets what that needs from outside. Fails if it cannot be had for any record
    /// at all; what is wrong with some of them is `decode`'s to say.
    async fn prepare(&mut self, _raw: &RawBatch) -> Result<(), PrepareError> {
        Ok(())
    }

    /// Decodes all records of `raw`. May take away `raw.data`, unless a record is malformed: then every record can still be read
    /// from `raw`. Records that are no data (the header of a file, whose records have no metadata) are removed from `raw` with their ends
    /// and timestamps; everything else of `raw` stays, so that its timestamps less those of the malformed records are the rows'.
    fn decode(&mut self, raw: &mut RawBatch) -> Decoded;
}

/// Encodes the records of one task.
pub trait Encoder: Send {
    /// Replaces the content of `into` by the encoded rows.
    fn encode(&mut self, rows: &RecordBatch, into: &mut Encoded);
}
