//! Where a job's checkpoints and savepoints are, and from which of them it starts.
use std::{path::PathBuf, sync::Arc};

use crate::{
    checkpoint::{CheckpointStore, LocalStore, StoreError},
    job::JobSpec,
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
        }
    }
}
