//! Keyed state of one subtask of one operator: columns of values by key, timers, snapshots. Both backends behave the same. Must
//! not know what values mean.
use arrow_array::ArrayRef;

use super::{Cursor, Due, Restored, StateBackend, StateError, StoreSettings, Touched, UnionPage, WindowPage};
use crate::model::{
    EventTime, KeyRows, MapReader, NoMaps, SnapshotRequest, StateChange, StateValues, StoreSnapshot, TimeDomain,
    TimerChange, Window,
};

/// The keyed state of a subtask.
pub struct KeyedStore {
    settings: StoreSettings,
    restored: Restored,
}

impl KeyedStore {
    /// Opens a store with what `restored`, the snapshots of all subtasks of an earlier run with their parts' contents, hold of
    /// its key groups. States are found by name.
    pub fn open(
        backend: &StateBackend,
        settings: StoreSettings,
        restored: Vec<StoreSnapshot>,
    ) -> Result<KeyedStore, StateError> {
        todo!()
    }

    /// What became of restored states.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// Finds, or makes, the row of each key: of `keys[i]`, in `windows[i]` for [`Layout::Windows`](super::Layout) and, for sessions, if given.
    pub fn touch(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        windows: Option<&[Window]>,
        touched: &mut Touched,
    ) -> Result<(), StateError> {
        todo!()
    }

    /// Finds the rows of keys in one window without making them: `touched` has every key in order; those that are not there read as null and must not be changed.
    pub fn find(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        window: Window,
        touched: &mut Touched,
    ) -> Result<(), StateError> {
        todo!()
    }

    /// The encoded keys touched.
    pub fn keys<'a>(&'a self, touched: &'a Touched) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        todo!();
        std::iter::empty()
    }

    /// What a state holds for each key touched.
    pub fn read(&mut self, touched: &Touched, state: usize, now_ms: i64) -> Result<StateValues, StateError> {
        todo!()
    }

    /// Makes changes, in order.
    pub fn apply(&mut self, touched: &Touched, changes: &[StateChange], now_ms: i64) -> Result<(), StateError> {
        todo!()
    }

    /// Puts a value for each key touched, in their order; a null clears.
    pub fn put_column(
        &mut self,
        touched: &Touched,
        state: usize,
        values: &ArrayRef,
        now_ms: i64,
    ) -> Result<(), StateError> {
        todo!()
    }

    /// Forgets all states of the keys touched.
    pub fn clear(&mut self, touched: &Touched) -> Result<(), StateError> {
        todo!()
    }

    /// Reads maps of the keys touched.
    pub fn maps<'a>(&'a mut self, touched: &'a Touched, now_ms: i64) -> impl MapReader + 'a {
        todo!();
        NoMaps
    }

    /// Sets and deletes timers.
    pub fn change_timers(&mut self, touched: &Touched, changes: &[TimerChange]) -> Result<(), StateError> {
        todo!()
    }

    /// When the first timer is due.
    pub fn next_timer(&mut self, domain: TimeDomain) -> Option<EventTime> {
        todo!()
    }

    /// Takes timers due at `until` (inclusive) out, in time order, at most `limit`, and at most one of a key (and window), so that
    /// it may still delete or set others of its key: to be called until it gives none.
    pub fn take_due(
        &mut self,
        domain: TimeDomain,
        until: EventTime,
        limit: usize,
        due: &mut Due,
    ) -> Result<(), StateError> {
        todo!()
    }

    /// The first window by its end.
    pub fn first_window(&self) -> Option<Window> {
        todo!()
    }

    /// The windows there are, by their ends.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        todo!();
        std::iter::empty()
    }

    /// The keys of a window, page by page.
    pub fn scan_window(&mut self, window: Window, after: Cursor, limit: usize) -> Result<WindowPage, StateError> {
        todo!()
    }

    /// The keys of any of these windows, page by page, and their rows in each.
    pub fn scan_windows(&mut self, windows: &[Window], after: Cursor, limit: usize) -> Result<UnionPage, StateError> {
        todo!()
    }

    /// Forgets a window with all that is in it but timers.
    pub fn drop_window(&mut self, window: Window) -> Result<(), StateError> {
        todo!()
    }

    /// The open windows of each key touched (without windows), in the order they were put.
    pub fn open_windows(&mut self, touched: &Touched) -> Result<Vec<Vec<Window>>, StateError> {
        todo!()
    }

    /// Notes the open windows of keys: key `keys[i]` of those touched has `windows[i]`.
    pub fn put_open_windows(
        &mut self,
        touched: &Touched,
        keys: &[u32],
        windows: &[Vec<Window>],
    ) -> Result<(), StateError> {
        todo!()
    }

    /// What the store holds now.
    pub fn snapshot(&mut self, request: &SnapshotRequest) -> Result<StoreSnapshot, StateError> {
        todo!()
    }

    /// A checkpoint is complete: what it has made durable need not be sent again.
    pub fn completed(&mut self, checkpoint: u64) {
        todo!()
    }

    /// A checkpoint will never be complete.
    pub fn aborted(&mut self, checkpoint: u64) {
        todo!()
    }

    /// Number of rows in memory.
    pub fn rows(&self) -> usize {
        todo!()
    }

    /// Bytes in memory, approximately.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}
