//! Timers: a set of (time, key, window) in the order of times.
use crate::model::{EventTime, KeyRows, Window};

/// Timers that are due.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// When each was to fire, ascending.
    pub times: Vec<EventTime>,
    /// The window of each; [`Window::GLOBAL`] where there are none.
    pub windows: Vec<Window>,
    /// The hash of each key.
    pub hashes: Vec<u64>,
    pub(super) offsets: Vec<i32>,
    pub(super) data: Vec<u8>,
}

impl Due {
    /// How many.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether none is due.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Their encoded keys.
    pub fn keys(&self) -> KeyRows {
        todo!()
    }
}
