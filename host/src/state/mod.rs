//! What operators remember, by key or by subtask. Batches of keys in, columns of values out; must not know wasm, tasks or where
//! checkpoints are kept.
mod access;
mod backend;
mod broadcast;
mod chain;
mod changed;
#[cfg(feature = "rocksdb")]
mod claim;
mod columns;
#[cfg(not(feature = "rocksdb"))]
#[path = "no_rocks.rs"]
mod db;
#[cfg(feature = "rocksdb")]
#[path = "rocks/mod.rs"]
mod db;
mod error;
mod files;
mod items;
mod key_table;
mod layout;
mod list;
mod lists;
mod map;
mod maps;
mod migrate;
mod records;
mod rehearse;
mod restore;
mod rows;
mod run;
mod scan;
mod schema;
mod settings;
mod snapshot;
mod store;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod timers;
mod touched;
mod union;
mod values;
mod wire;

pub use backend::StateBackend;
pub use broadcast::BroadcastMaps;
#[cfg(feature = "rocksdb")]
pub use claim::Claim;
#[cfg(feature = "rocksdb")]
pub use db::{Compression, RocksDbSettings};
pub use error::StateError;
pub use lists::OperatorLists;
pub use migrate::{MIGRATED_BYTES_MAX, MIGRATED_VALUES_MAX, MigrateError, Migrator, NoMigrator};
pub use rehearse::{CopiedState, StateMigration, UNMIGRATED_MAX, UNMIGRATED_SAMPLES_MAX, Unmigrated, rehearse};
pub use scan::{Cursor, UnionPage, WindowPage};
pub use settings::{Layout, Restored, StoreSettings};
pub use store::KeyedStore;
pub use task::{TASK_STATE_BYTES_MAX, TaskSettings};
pub use timers::Due;
pub use touched::Touched;
