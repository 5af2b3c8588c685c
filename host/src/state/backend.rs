//! Where keyed state is kept: in memory, or in RocksDB databases that share their memory. Knows nothing of what is kept.
#[cfg(feature = "rocksdb")]
use super::{
    db::{RocksDbSettings, Shared},
    error::StateError,
};

/// Where the stores of a process keep their state. Clones share caches and memory budgets.
#[derive(Clone, Debug)]
pub struct StateBackend(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Memory,
    #[cfg(feature = "rocksdb")]
    RocksDb(std::sync::Arc<Shared>),
}

impl StateBackend {
    pub(super) fn is_memory(&self) -> bool {
        matches!(self.0, Kind::Memory)
    }

    /// The same, for stores that nothing is restored from: a folder of their own has their databases, and goes with the last of them. Fails if
    /// that cannot be made.
    pub fn beside(&self) -> Result<StateBackend, super::StateError> {
        Ok(StateBackend(match &self.0 {
            Kind::Memory => Kind::Memory,
            #[cfg(feature = "rocksdb")]
            Kind::RocksDb(shared) => Kind::RocksDb(std::sync::Arc::new(shared.beside()?)),
        }))
    }

    /// All of it in memory.
    pub fn memory() -> StateBackend {
        StateBackend(Kind::Memory)
    }

    /// In RocksDB databases, with what is hot in memory. Fails if the directory cannot be made.
    #[cfg(feature = "rocksdb")]
    pub fn rocksdb(settings: RocksDbSettings) -> Result<StateBackend, StateError> {
        Ok(StateBackend(Kind::RocksDb(std::sync::Arc::new(Shared::new(settings)?))))
    }
}
