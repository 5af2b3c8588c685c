//! Cuts a stream of bytes, which comes in chunks, into lines. A line ends with LF or CRLF; the last one also with the stream.
//! Every line is a record, an empty one too. Knows nothing of where the bytes come from.
use std::sync::Arc;

use super::{BatchLimits, CONNECTOR_FAILED, ConnectorError, ReadStatus, SourceReader};
use crate::model::{Position, RawBatch, SplitPosition};

/// The longest line there may be, in bytes without its end.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// The lines of one place, in sequence.
pub struct Lines {
    place: Arc<str>,
    /// Number of the next line, from 1.
    next: u64,
    /// The beginning of the next line.
    partial: Vec<u8>,
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it was taken.
    All,
    /// The batch has no room for what comes after so many bytes of it.
    Until(usize),
}

impl Lines {
    pub fn new(place: &str) -> Lines {
        Lines::after(place, 0)
    }

    /// Those after the first `records`.
    pub fn after(place: &str, records: u64) -> Lines {
        Lines { place: place.into(), next: records + 1, partial: Vec::new() }
    }

    /// How many were taken.
    pub fn records(&self) -> u64 {
        self.next - 1
    }

    /// Whether a line has begun.
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Forgets the line that has begun.
    pub fn drop_partial(&mut self) {
        self.partial.clear();
    }

    /// Appends the lines that end in `chunk`, and keeps what begins another. What is not taken is to be given again.
    pub fn take(&mut self, chunk: &[u8], into: &mut RawBatch, limits: BatchLimits) -> Result<Taken, ConnectorError> {
        if !self.continues(into) {
            return Ok(Taken::Until(0));
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', chunk) {
            if !self.push(&chunk[start..end], into, limits)? {
                return Ok(Taken::Until(start));
            }
            start = end + 1;
        }
        let rest = &chunk[start..];
        // One more, which may turn out to be the line's CR.
        if self.partial.len() + rest.len() > LINE_BYTES_MAX + 1 {
            return Err(self.too_long());
        }
        self.partial.extend_from_slice(rest);
        Ok(Taken::All)
    }

    /// Appends the last line if it has no end. False if there was no room for it.
    pub fn finish(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<bool, ConnectorError> {
        Ok(self.partial.is_empty() || (self.continues(into) && self.push(&[], into, limits)?))
    }

    fn continues(&self, into: &RawBatch) -> bool {
        let position = &into.position;
        into.is_empty() || (*position.place == *self.place && position.record + into.len() as u64 == self.next)
    }

    #[inline]
    fn push(&mut self, end: &[u8], into: &mut RawBatch, limits: BatchLimits) -> Result<bool, ConnectorError> {
        let last = end.last().or(self.partial.last());
        let length = self.partial.len() + end.len() - usize::from(last == Some(&b'\r'));
        if length > LINE_BYTES_MAX {
            return Err(self.too_long());
        }
        let full = into.len() >= limits.records || into.data.len() + length > limits.bytes;
        if into.is_empty() {
            into.position = Position { place: self.place.clone(), record: self.next };
        } else if full {
            return Ok(false);
        }
        let stop = into.data.len() + length;
        if !self.partial.is_empty() {
            into.data.extend_from_slice(&self.partial);
            self.partial.clear();
        }
        into.data.extend_from_slice(end);
        into.data.truncate(stop);
        into.ends.push(stop as u32);
        self.next += 1;
        Ok(true)
    }

    fn too_long(&self) -> ConnectorError {
        ConnectorError {
            place: format!("{}:{}", self.place, self.next),
            what: format!("a line of more than {LINE_BYTES_MAX} bytes: is this text, with a line a record?"),
            retry: false,
            code: CONNECTOR_FAILED,
        }
    }
}

/// A part of a source beyond those there are.
pub struct Nothing;

#[async_trait::async_trait]
impl SourceReader for Nothing {
    async fn read(&mut self, _into: &mut RawBatch, _limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        Ok(ReadStatus::End)
    }

    fn positions(&self) -> Vec<SplitPosition> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{LIMITS, records};

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\r\n\ntwo\rthree\n\r\n\xc3\xa4\nlast\r";
        for size in 1..=text.len() {
            let mut lines = Lines::new("x");
            let mut raw = RawBatch::default();
            for chunk in text.chunks(size) {
                assert_eq!(lines.take(chunk, &mut raw, LIMITS).unwrap(), Taken::All);
            }
            assert!(lines.finish(&mut raw, LIMITS).unwrap());
            assert_eq!(records(&raw), ["one", "", "two\rthree", "", "ä", "last"]);
            assert_eq!(raw.position, Position { place: "x".into(), record: 1 });
        }
    }

    #[test]
    fn a_full_batch_takes_no_more_and_only_what_continues_it() {
        let mut lines = Lines::new("x");
        let mut raw = RawBatch::default();
        let limits = BatchLimits { records: 2, bytes: 5 };
        assert_eq!(lines.take(b"long line\nb\n", &mut raw, limits).unwrap(), Taken::Until(10));
        raw.clear();
        assert_eq!(lines.take(b"abc\nd\ne\n", &mut raw, limits).unwrap(), Taken::Until(6));
        assert_eq!((records(&raw), raw.position.record), (vec!["abc".into(), "d".into()], 2));
        assert_eq!(Lines::new("y").take(b"z\n", &mut raw, LIMITS).unwrap(), Taken::Until(0));
        assert_eq!(Lines::new("x").take(b"z\n", &mut raw, LIMITS).unwrap(), Taken::Until(0));
    }

    #[test]
    fn a_line_too_long_is_named() {
        let most = [vec![b'a'; LINE_BYTES_MAX], b"\r\n".to_vec()].concat();
        let more = vec![b'a'; LINE_BYTES_MAX + 1];
        for chunk in [most.len(), 1 << 16] {
            let mut lines = Lines::new("x");
            let (mut raw, limits) = (RawBatch::default(), BatchLimits { records: 9, bytes: usize::MAX });
            for part in most.chunks(chunk) {
                assert_eq!(lines.take(part, &mut raw, limits).unwrap(), Taken::All);
            }
            assert_eq!(raw.data.len(), LINE_BYTES_MAX);
            let error =
                lines.take(&more, &mut raw, limits).and_then(|_| lines.take(b"\n", &mut raw, limits)).unwrap_err();
            assert_eq!((error.place.as_str(), error.retry), ("x:2", false));
        }
    }
}
