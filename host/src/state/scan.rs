//! Reading windows page by page.
use super::Touched;
use crate::model::KeyRows;

/// Where a scan goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which of the windows scanned.
    pub(super) window: usize,
    /// The row of its table that is next, where the table is all there is.
    pub(super) row: usize,
    /// The key that was last, where the rest is in a database.
    pub(super) key: Option<Vec<u8>>,
}

/// Some of a window's keys.
#[derive(Clone, Debug, Default)]
pub struct WindowPage {
    /// Their rows, to be read (and changed) as those of a call.
    pub touched: Touched,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// Some of the keys of several windows.
#[derive(Clone, Debug)]
pub struct UnionPage {
    /// The keys, each once.
    pub keys: KeyRows,
    /// How many.
    pub len: usize,
    /// Their rows in each of the windows, in the order of these; null where a window has none.
    pub touched: Vec<Touched>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}
