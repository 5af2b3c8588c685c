//! How state is written: numbers, windows, rows, and the keys of entries. The same in runs and in databases; see
//! `docs/formats/state-runs.md`.
use crate::model::{EventTime, TimeDomain, Window};

/// A row of states.
pub(super) const ROW: u8 = 1;
/// An entry of a map.
pub(super) const MAP: u8 = 2;
/// A timer.
pub(super) const TIMER: u8 = 3;
/// The open windows of a key.
pub(super) const OPEN: u8 = 4;

/// Bytes of a window.
pub(super) const WINDOW_BYTES: usize = 16;

/// Appends a number, 7 bits a byte, the lowest first.
pub(super) fn put_number(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Appends bytes after their number.
pub(super) fn put_bytes(bytes: &[u8], into: &mut Vec<u8>) {
    put_number(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

/// Takes what was written apart. Each method gives `None` where the bytes do not go on.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }
}

/// A time as bytes in its order.
pub(super) fn ordered(time: EventTime) -> [u8; 8] {
    ((time as u64) ^ (1 << 63)).to_be_bytes()
}

pub(super) fn unordered(bytes: [u8; 8]) -> EventTime {
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as EventTime
}

/// A window as bytes in its order.
pub(super) fn window_bytes(window: Window) -> [u8; WINDOW_BYTES] {
    let mut bytes = [0; WINDOW_BYTES];
    bytes[..8].copy_from_slice(&ordered(window.end));
    bytes[8..].copy_from_slice(&ordered(window.start));
    bytes
}

pub(super) fn read_window(bytes: &[u8]) -> Option<Window> {
    let mut reader = Reader(bytes);
    let end = unordered(reader.array()?);
    Some(Window { start: unordered(reader.array()?), end })
}

pub(super) fn domain_byte(domain: TimeDomain) -> u8 {
    match domain {
        TimeDomain::Event => 0,
        TimeDomain::Processing => 1,
    }
}

/// Where in an entry's full key (that of databases) the two bytes of its key group are; runs leave them out.
pub(super) fn group_at(kind: u8) -> Option<usize> {
    match kind {
        ROW | MAP => Some(1 + WINDOW_BYTES),
        TIMER => Some(10),
        OPEN => Some(1),
        _ => None,
    }
}

/// The full key of a row.
pub(super) fn row_key(window: Window, group: u16, key: &[u8], into: &mut Vec<u8>) {
    into.push(ROW);
    into.extend_from_slice(&window_bytes(window));
    into.extend_from_slice(&group.to_be_bytes());
    into.extend_from_slice(key);
}

/// What the full keys of all entries of one map begin with.
pub(super) fn map_prefix(window: Window, group: u16, state: usize, key: &[u8], into: &mut Vec<u8>) {
    into.push(MAP);
    into.extend_from_slice(&window_bytes(window));
    into.extend_from_slice(&group.to_be_bytes());
    into.extend_from_slice(&(state as u16).to_be_bytes());
    into.extend_from_slice(&(key.len() as u32).to_be_bytes());
    into.extend_from_slice(key);
}

/// Takes the key group out of a full key.
pub(super) fn split_group(full: &[u8], rest: &mut Vec<u8>) -> Option<u16> {
    let at = group_at(*full.first()?)?;
    let group = full.get(at..at + 2)?.try_into().ok()?;
    rest.clear();
    rest.extend_from_slice(&full[..at]);
    rest.extend_from_slice(&full[at + 2..]);
    Some(u16::from_be_bytes(group))
}

/// Puts a key group into the key of an entry of a run.
pub(super) fn join_group(group: u16, rest: &[u8], full: &mut Vec<u8>) -> Option<()> {
    let (head, tail) = rest.split_at_checked(group_at(*rest.first()?)?)?;
    full.clear();
    full.extend_from_slice(head);
    full.extend_from_slice(&group.to_be_bytes());
    full.extend_from_slice(tail);
    Some(())
}

/// A cell of an encoded row.
pub(super) struct Cell<'a> {
    pub(super) state: usize,
    pub(super) time: Option<i64>,
    pub(super) value: &'a [u8],
}

/// Appends the head of a cell.
pub(super) fn put_cell(state: usize, time: Option<i64>, value: &[u8], into: &mut Vec<u8>) {
    put_number((state as u64) << 1 | u64::from(time.is_some()), into);
    if let Some(time) = time {
        into.extend_from_slice(&time.to_le_bytes());
    }
    put_bytes(value, into);
}

/// The next cell of an encoded row.
pub(super) fn read_cell<'a>(reader: &mut Reader<'a>) -> Option<Cell<'a>> {
    let head = reader.number()?;
    let time = if head & 1 == 1 { Some(i64::from_le_bytes(reader.array()?)) } else { None };
    Some(Cell { state: (head >> 1) as usize, time, value: reader.bytes()? })
}

/// Appends an entry's value, with its time where entries expire.
pub(super) fn put_entry(time: Option<i64>, value: &[u8], into: &mut Vec<u8>) {
    into.push(u8::from(time.is_some()));
    if let Some(time) = time {
        into.extend_from_slice(&time.to_le_bytes());
    }
    into.extend_from_slice(value);
}

/// An entry's time and value.
pub(super) fn read_entry(bytes: &[u8]) -> Option<(Option<i64>, &[u8])> {
    let mut reader = Reader(bytes);
    let time = match reader.byte()? {
        0 => None,
        1 => Some(i64::from_le_bytes(reader.array()?)),
        _ => return None,
    };
    Some((time, reader.0))
}
