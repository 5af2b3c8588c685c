//! State on disk: RocksDB databases, one a store and subtask, which share caches, memory budget and background threads.
mod db;
mod settings;

pub(super) use db::{Db, Writes};
pub(super) use settings::Shared;
pub use settings::{Compression, RocksDbSettings};
