//! What a store is made for, and what became of the states it was restored from.
use crate::model::{KeyGroups, StateDescription};

/// How rows of state are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A row a key.
    Keys,
    /// A table a window, which is forgotten as a whole: tumbling windows, slices of sliding ones.
    Windows,
    /// A row a key and window, and for each key the list of its open windows.
    Sessions,
}

/// What a store is made for.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Which of the operator's stores.
    pub name: String,
    /// The operator, by a name that is the same after a restart: letters, digits, `-`, `_`.
    pub uid: String,
    /// Which subtask of it.
    pub subtask: u32,
    /// Counts up over the starts of a job.
    pub start: u64,
    /// States by key, as declared. Those of tasks and broadcast state are not kept here; their indices stay theirs.
    pub states: Vec<StateDescription>,
    /// How rows are found.
    pub layout: Layout,
    /// The key groups of the subtask.
    pub groups: KeyGroups,
    /// Number of all key groups.
    pub max_parallelism: u32,
    /// Whether states of the snapshot that are not declared any more may be forgotten; else they are an error.
    pub drop_vanished: bool,
}

/// What was found when a store was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// States of the snapshot that nobody declares any more: forgotten.
    pub vanished: Vec<String>,
    /// Values of earlier schema versions that were made into those of the declared ones.
    pub migrated: u64,
}
