//! State on disk: RocksDB databases, one a store and subtask, which share caches, memory budget and background threads.
mod database;
mod linking;
mod restore;
mod settings;

pub(super) use database::{Db, Writes};
pub(super) use settings::Shared;
pub use settings::{Compression, RocksDbSettings};
