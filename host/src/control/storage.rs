//! Where a job's checkpoints and savepoints are, from which of them it starts, and where it keeps state meanwhile.
use std::{path::PathBuf, sync::Arc};

use super::{JobObserver, PluginSource, RunError, TrialLeft};
#[cfg(feature = "rocksdb")]
use crate::state::{Claim, Compression, RocksDbSettings};
use crate::{
    checkpoint::{CheckpointStore, LocalStore, StoreError},
    job::{JobSpec, StateSpec},
    model::OperatorVersion,
    state::StateBackend,
};

/// Opens the store of a directory: of savepoints, which may be anywhere.
pub type OpenStore = Arc<dyn Fn(&std::path::Path) -> Result<Arc<dyn CheckpointStore>, StoreError> + Send + Sync>;

/// What a job starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The latest checkpoint in the job's directory; from nothing if there is none.
    #[default]
    Latest,
    /// A savepoint.
    Savepoint(PathBuf),
}

/// How a job is run.
#[derive(Clone)]
pub struct JobOptions {
    /// Where checkpoints are kept; none keeps no checkpoints.
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
    /// Opens directories of savepoints.
    pub open: OpenStore,
    /// What it starts from.
    pub from: StartFrom,
    /// Whether state that no node of the job asks for may be left behind.
    pub allow_non_restored_state: bool,
    /// Whether an interrupted job leaves a savepoint, and where.
    pub savepoint_on_stop: Option<PathBuf>,
    /// Who hears what happens.
    pub observer: Option<Arc<dyn JobObserver>>,
    /// Changes of plugins in earlier runs of the job, whether a checkpoint has them or not: they are in force from the start.
    pub versions: Vec<OperatorVersion>,
    /// Which of them were on trial, and are for some time still.
    pub trials: Vec<TrialLeft>,
    /// Where plugins are found that a checkpoint names and the job file does not.
    pub plugins: Option<Arc<dyn PluginSource>>,
}

impl JobOptions {
    /// With checkpoints where the job's specification says, if it does. Fails if that directory cannot be made or read.
    pub fn of(spec: &JobSpec) -> Result<JobOptions, StoreError> {
        let store =
            spec.checkpoints.as_ref().map(|checkpoints| LocalStore::open(&checkpoints.directory)).transpose()?;
        let checkpoints = store.map(|store| Arc::new(store) as Arc<dyn CheckpointStore>);
        Ok(JobOptions { checkpoints, ..JobOptions::default() })
    }
}

impl Default for JobOptions {
    fn default() -> JobOptions {
        JobOptions {
            checkpoints: None,
            open: Arc::new(|path| Ok(Arc::new(LocalStore::open(path)?))),
            from: StartFrom::default(),
            allow_non_restored_state: false,
            savepoint_on_stop: None,
            observer: None,
            versions: Vec::new(),
            trials: Vec::new(),
            plugins: None,
        }
    }
}

/// Where all starts of a run keep state.
pub(super) struct StateStorage {
    pub(super) backend: StateBackend,
    /// While it is held, no other process takes the databases for left behind.
    #[cfg(feature = "rocksdb")]
    _claim: Option<Claim>,
}

impl StateStorage {
    /// Memory, or the folder of this job's databases, of which those of earlier runs are removed: checkpoints are what a job goes on
    /// from. Fails if another process uses it.
    pub(super) fn open(spec: &JobSpec) -> Result<StateStorage, RunError> {
        match &spec.state {
            StateSpec::Memory => Ok(StateStorage {
                backend: StateBackend::memory(),
                #[cfg(feature = "rocksdb")]
                _claim: None,
            }),
            #[cfg(feature = "rocksdb")]
            StateSpec::RocksDb(settings) => {
                // Of its own, so that what is removed is nobody else's.
                let directory = settings.directory.join(format!("{}.databases", spec.name));
                let claim = Claim::of(&directory).map_err(RunError::State)?;
                let backend = StateBackend::rocksdb(rocksdb(settings, directory)).map_err(RunError::State)?;
                Ok(StateStorage { backend, _claim: Some(claim) })
            }
            #[cfg(not(feature = "rocksdb"))]
            StateSpec::RocksDb(_) => Err(RunError::NoRocksDb),
        }
    }
}

#[cfg(feature = "rocksdb")]
fn rocksdb(spec: &crate::job::RocksDbSpec, directory: PathBuf) -> RocksDbSettings {
    RocksDbSettings {
        directory,
        cache_bytes: spec.cache,
        block_cache_bytes: spec.block_cache,
        write_buffer_bytes: spec.write_buffers,
        background_jobs: spec.background_jobs,
        compression: match spec.compression {
            crate::job::Compression::None => Compression::None,
            crate::job::Compression::Lz4 => Compression::Lz4,
            crate::job::Compression::Zstd => Compression::Zstd,
        },
        block_bytes: spec.block_size,
        bloom_bits_per_key: spec.bloom_bits,
        max_open_files: spec.max_open_files,
    }
}
