//! Why state could not be read, written, or taken over from an earlier run.
use std::path::PathBuf;

/// Why a keyed store failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A part of a snapshot is not what was written.
    #[error("[S0701] part `{part}` of a snapshot is damaged: {what}")]
    Damaged {
        /// Its name.
        part: String,
        /// What was found.
        what: String,
    },
    /// The database failed.
    #[error("[S0702] the RocksDB database in `{directory}` failed: {what}")]
    Database {
        /// Where it is.
        directory: PathBuf,
        /// What it says.
        what: String,
    },
    /// A declared state is not what it was when the snapshot was taken.
    #[error("[S0703] {store}: state `{state}` was {was} in the snapshot and is {is} now")]
    Incompatible {
        /// The store.
        store: String,
        /// The declared state.
        state: String,
        /// Its kind in the snapshot.
        was: String,
        /// Its kind now.
        is: String,
    },
    /// A declared state has values of another schema version than in the snapshot.
    #[error("[S0709] {store}: state `{state}` has schema version {was} in the snapshot and {is} now")]
    Version {
        /// The store.
        store: String,
        /// The declared state.
        state: String,
        /// Its version in the snapshot.
        was: u32,
        /// Its version now.
        is: u32,
    },
    /// A value of an earlier schema version that nobody can make into one of the declared one.
    #[error(
        "[S0710] {store}: state `{state}`, key {key}: its value of schema version {was} cannot be made into one of version {is}: {what}"
    )]
    Migration {
        /// The store.
        store: String,
        /// The declared state.
        state: String,
        /// Its version in the snapshot.
        was: u32,
        /// Its version now.
        is: u32,
        /// The key, as text, and of a map's entry the map's.
        key: String,
        /// Why.
        what: String,
        /// Whether it may go well another time.
        retry: bool,
    },
    /// States of the snapshot that nobody declares any more.
    #[error("[S0704] {store}: the snapshot has state nobody declares any more: {}", .states.join(", "))]
    Vanished {
        /// The store.
        store: String,
        /// Their names.
        states: Vec<String>,
    },
    /// A snapshot that this store cannot read.
    #[error("[S0705] {store}: the snapshot cannot be read here: {what}")]
    Unreadable {
        /// The store.
        store: String,
        /// Why.
        what: String,
    },
    /// State that belongs to a subtask, and so must fit into memory and into manifests.
    #[error("[S0707] {store}: state `{state}` has grown beyond the {max} bytes that state of a subtask may have")]
    TooLarge {
        /// Whose it is.
        store: String,
        /// The declared state that grew last.
        state: String,
        /// How many bytes all of them together may have.
        max: usize,
    },
    /// The machine's files.
    #[error("[S0706] `{path}`: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// Another process keeps state where this one would.
    #[error("[S0708] `{folder}` is in use by another process: a job's state is kept by one process at a time")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// What cannot be, was.
    #[error("[B0601] {store}: {what}; this is a fault of wasmill, please report it")]
    Bug {
        /// The store.
        store: String,
        /// What was found.
        what: String,
    },
}

impl StateError {
    /// For `map_err`: an error of a file at this path.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> StateError {
        |error| StateError::File { path: path.into(), error }
    }

    /// A damaged part.
    pub(super) fn damaged(part: &str, what: impl Into<String>) -> StateError {
        StateError::Damaged { part: part.to_owned(), what: what.into() }
    }
}
