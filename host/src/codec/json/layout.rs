//! What records of a stream look like: the bytes between scalars, and what each scalar is for. Reading a record by a layout
//! gives exactly what the general decoder gives, or nothing.
//!
//! Why it is exact: the bytes between scalars are those of a record the general decoder took, and a scalar is only exchanged
//! for another well-formed scalar, so the record is well-formed, has the same members in the same places, and lacks the same.
use base64::{Engine, prelude::BASE64_STANDARD};

use super::scan;
use crate::codec::columns::Column;

/// Bytes that must follow a batch's data so that words can be read at its end.
pub const PADDING_BYTES: usize = 32;

/// Bytes to compare with, 16 at a time.
#[derive(Debug)]
pub struct Literal {
    length: usize,
    /// Words, and which of their bits count.
    first: (u128, u128),
    rest: Vec<(u128, u128)>,
}

impl Literal {
    pub fn new(bytes: &[u8]) -> Literal {
        let mut words = bytes.chunks(16).map(|chunk| {
            let (mut word, mut mask) = ([0; 16], [0; 16]);
            word[..chunk.len()].copy_from_slice(chunk);
            mask[..chunk.len()].fill(0xff);
            (u128::from_le_bytes(word), u128::from_le_bytes(mask))
        });
        let first = words.next().unwrap_or_default();
        Literal { length: bytes.len(), first, rest: words.collect() }
    }

    /// Where it ends, if it is what is found at `at`.
    #[inline]
    fn skip(&self, buffer: &[u8], at: usize) -> Option<usize> {
        let differs = |(word, mask): &(u128, u128), at: usize| {
            let found = u128::from_le_bytes(*buffer.get(at..at + 16)?.first_chunk()?);
            Some((found ^ word) & mask != 0)
        };
        if differs(&self.first, at)? {
            return None;
        }
        for (i, expected) in self.rest.iter().enumerate() {
            if differs(expected, at + 16 * (i + 1))? {
                return None;
            }
        }
        Some(at + self.length)
    }
}

/// What a scalar is for: a column by its number and kind, or nothing.
#[derive(Clone, Copy, Debug)]
pub enum Slot {
    Boolean(usize),
    Int64(usize),
    Float64(usize),
    Utf8(usize),
    Binary(usize),
    Skip,
}

#[derive(Debug)]
pub struct Layout {
    /// Bytes and the scalar after them.
    pub steps: Vec<(Literal, Slot)>,
    /// Bytes after the last scalar.
    pub tail: Literal,
    /// Columns without a member, all nullable.
    pub absent: Vec<usize>,
    /// Whether it was ever of use.
    pub used: bool,
}

impl Layout {
    /// Reads the record that is `buffer[start..end]` into row `row`. If `None`, the row is to be written again.
    #[inline]
    pub fn read(&self, buffer: &[u8], start: usize, end: usize, columns: &mut [Column], row: usize) -> Option<()> {
        let mut at = start;
        for (literal, slot) in &self.steps {
            at = literal.skip(buffer, at)?;
            at = match *slot {
                Slot::Int64(column) => match scan::integer(buffer, at) {
                    Some((value, end)) => {
                        columns[column].set_i64(row, value);
                        end
                    }
                    None => null(buffer, at, &mut columns[column], row)?,
                },
                Slot::Utf8(column) => utf8(buffer, at, &mut columns[column], row)?,
                Slot::Float64(column) => float64(buffer, at, &mut columns[column], row)?,
                Slot::Boolean(column) => boolean(buffer, at, &mut columns[column], row)?,
                Slot::Binary(column) => binary(buffer, at, &mut columns[column], row)?,
                Slot::Skip => skip(buffer, at)?,
            };
        }
        // Records follow each other without a gap, so any of the above may have read on into the next one.
        if self.tail.skip(buffer, at)? != end {
            return None;
        }
        for column in &self.absent {
            columns[*column].set_null(row);
        }
        Some(())
    }
}

#[inline]
fn word_end(buffer: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    buffer.get(at..)?.starts_with(word).then_some(at + word.len())
}

#[cold]
fn null(buffer: &[u8], at: usize, column: &mut Column, row: usize) -> Option<usize> {
    let end = word_end(buffer, at, b"null").filter(|_| column.field.nullable)?;
    column.set_null(row);
    Some(end)
}

#[inline]
fn utf8(buffer: &[u8], at: usize, column: &mut Column, row: usize) -> Option<usize> {
    if *buffer.get(at)? != b'"' {
        return null(buffer, at, column, row);
    }
    let first = at + 1;
    let (end, ascii) = scan::string_end(buffer, first)?;
    if ascii {
        column.set_ascii(row, &buffer[first..], end - first);
    } else {
        column.set_str(row, std::str::from_utf8(&buffer[first..end]).ok()?);
    }
    Some(end + 1)
}

fn float64(buffer: &[u8], at: usize, column: &mut Column, row: usize) -> Option<usize> {
    let Some(end) = scan::number_end(buffer, at) else {
        return null(buffer, at, column, row);
    };
    let value: f64 = std::str::from_utf8(&buffer[at..end]).ok()?.parse().ok()?;
    // Out of range is for the general decoder to refuse.
    if !value.is_finite() {
        return None;
    }
    column.set_f64(row, value);
    Some(end)
}

fn boolean(buffer: &[u8], at: usize, column: &mut Column, row: usize) -> Option<usize> {
    for (word, value) in [(&b"true"[..], true), (b"false", false)] {
        if let Some(end) = word_end(buffer, at, word) {
            column.set_bool(row, value);
            return Some(end);
        }
    }
    null(buffer, at, column, row)
}

fn binary(buffer: &[u8], at: usize, column: &mut Column, row: usize) -> Option<usize> {
    if *buffer.get(at)? != b'"' {
        return null(buffer, at, column, row);
    }
    let (end, _) = scan::string_end(buffer, at + 1)?;
    column.set_bytes(row, &BASE64_STANDARD.decode(&buffer[at + 1..end]).ok()?);
    Some(end + 1)
}

fn skip(buffer: &[u8], at: usize) -> Option<usize> {
    match buffer.get(at)? {
        b'"' => {
            let (end, ascii) = scan::string_end(buffer, at + 1)?;
            (ascii || std::str::from_utf8(&buffer[at + 1..end]).is_ok()).then_some(end + 1)
        }
        b't' => word_end(buffer, at, b"true"),
        b'f' => word_end(buffer, at, b"false"),
        b'n' => word_end(buffer, at, b"null"),
        _ => scan::number_end(buffer, at),
    }
}
