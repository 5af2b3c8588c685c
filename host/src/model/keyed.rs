//! Keyed state and timers as they travel between state and guests: columns, a value a key. Pure data; must not know where state
//! is kept nor what its values mean.
use std::ops::Range;

use arrow_array::ArrayRef;
use arrow_buffer::OffsetBuffer;

use super::{EventTime, TimeDomain};

/// A window: from `start` to `end` (exclusive), both in ms since 1970-01-01 UTC. Ordered by end, so that the first is the first
/// to be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its first time.
    pub start: EventTime,
    /// The first time after it.
    pub end: EventTime,
}

impl Window {
    /// The window of all time, of what is not windowed by time.
    pub const GLOBAL: Window = Window { start: EventTime::MIN, end: EventTime::MAX };

    /// The last time in it.
    pub fn last(self) -> EventTime {
        self.end.saturating_sub(1)
    }
}

impl Ord for Window {
    fn cmp(&self, other: &Window) -> std::cmp::Ordering {
        (self.end, self.start).cmp(&(other.end, other.start))
    }
}

impl PartialOrd for Window {
    fn partial_cmp(&self, other: &Window) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The key groups of a subtask.
pub type KeyGroups = Range<u32>;

/// What one declared state holds for each key of a call.
#[derive(Clone, Debug)]
pub enum StateValues {
    /// One value a key, null where none is set.
    Single(ArrayRef),
    /// A list a key: list `i` is `values[offsets[i]..offsets[i + 1]]`.
    Many {
        /// One more than there are keys, the first 0.
        offsets: OffsetBuffer<i32>,
        /// The values of all lists.
        values: ArrayRef,
    },
    /// A map, read by [`MapReader`].
    ByImport,
}

/// A change of state. Keys are indices of the call's keys, `state` that of the declared state. Changes take effect in order.
#[derive(Clone, Debug)]
pub enum StateChange {
    /// New values; a null clears.
    Put {
        /// Which state.
        state: usize,
        /// A key a value.
        keys: Vec<u32>,
        /// As many as keys.
        values: ArrayRef,
    },
    /// New lists.
    Replace {
        /// Which state.
        state: usize,
        /// A key a list.
        keys: Vec<u32>,
        /// One more than there are keys.
        offsets: OffsetBuffer<i32>,
        /// The values of all lists.
        values: ArrayRef,
    },
    /// Values to be added to lists.
    Append {
        /// Which state.
        state: usize,
        /// A key a list.
        keys: Vec<u32>,
        /// One more than there are keys.
        offsets: OffsetBuffer<i32>,
        /// The values of all lists.
        values: ArrayRef,
    },
    /// Entries of maps; a null value removes the entry.
    PutEntries {
        /// Which state.
        state: usize,
        /// Whose map it is, per entry; empty for broadcast state.
        keys: Vec<u32>,
        /// As many as there are entries.
        map_keys: ArrayRef,
        /// As many as there are entries.
        values: ArrayRef,
    },
    /// All of the state of these keys goes.
    Clear {
        /// Which state.
        state: usize,
        /// Whose.
        keys: Vec<u32>,
    },
}

/// A timer set or deleted. A key has at most one timer per time and domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// Index of the call's key.
    pub key: u32,
    /// When, in ms since 1970-01-01 UTC.
    pub time: EventTime,
    /// By which time.
    pub domain: TimeDomain,
    /// Set if true, deleted if false.
    pub set: bool,
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Continue,
    /// It fires, and keeps what it has.
    Fire,
    /// What it has goes.
    Purge,
    /// It fires, and then what it has goes.
    FireAndPurge,
}

/// Entries of a map, in the order of their keys' bytes.
#[derive(Clone, Debug)]
pub struct MapPage {
    /// Keys of entries.
    pub map_keys: ArrayRef,
    /// Their values, none null.
    pub values: ArrayRef,
    /// Where to go on; none at the end.
    pub next: Option<Vec<u8>>,
}

/// Reads maps during a call. Keys are indices of the call's keys. Sees the state as it was before the call.
pub trait MapReader {
    /// The values of `map_keys[i]` in the map of `keys[i]`, null where there is none. Broadcast state has no keys: `keys` is empty.
    fn get(&mut self, state: usize, keys: &[u32], map_keys: &ArrayRef) -> Result<ArrayRef, String>;

    /// At most `limit` entries of one map after `after`.
    fn scan(&mut self, state: usize, key: u32, after: Option<&[u8]>, limit: usize) -> Result<MapPage, String>;
}

/// Of operators that declare no map state.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMaps;

impl MapReader for NoMaps {
    fn get(&mut self, state: usize, _: &[u32], _: &ArrayRef) -> Result<ArrayRef, String> {
        Err(format!("state {state} is no map"))
    }

    fn scan(&mut self, state: usize, _: u32, _: Option<&[u8]>, _: usize) -> Result<MapPage, String> {
        Err(format!("state {state} is no map"))
    }
}
