//! Why a job does not start, or has failed.
use std::path::PathBuf;

use crate::{
    checkpoint::StoreError,
    dataflow::TaskError,
    job::JobError,
    plugin::{LoadError, build::BuildError},
};

/// Why a job does not start, or has failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The job file.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A plugin that cannot be built.
    #[error("{place}: operator `{operator}`: {error}")]
    Build {
        /// Where in the job file.
        place: String,
        /// The operator's name.
        operator: String,
        /// What is wrong.
        error: BuildError,
    },
    /// A plugin that cannot be used.
    #[error("{place}: operator `{operator}`, plugin {path}: {error}")]
    Plugin {
        /// Where in the job file.
        place: String,
        /// The operator's name.
        operator: String,
        /// The component.
        path: PathBuf,
        /// What is wrong.
        error: LoadError,
    },
    /// The engine of plugins itself.
    #[error(transparent)]
    Engine(LoadError),
    /// Checkpoint storage.
    #[error(transparent)]
    Store(StoreError),
    /// Where a savepoint should be, there is none.
    #[error("[C0510] there is no complete savepoint in {0}")]
    NoSavepoint(PathBuf),
    /// State would be left behind.
    #[error(
        "[C0511] the checkpoint has state of `{}`, which this job has not; give the operator its old `uid`, or start with \
         --allow-non-restored-state to leave the state behind", .uids.join("`, `")
    )]
    NonRestoredState {
        /// Whose.
        uids: Vec<String>,
    },
    /// Keys would be looked for where they are not.
    #[error("[C0512] the checkpoint was taken with `max_parallelism: {was}`, the job has {is}; it cannot change once there is state")]
    MaxParallelism {
        /// In the checkpoint.
        was: u32,
        /// In the job.
        is: u32,
    },
    /// Too many checkpoints were given up.
    #[error("[C0513] checkpoint {checkpoint} was given up, one more than `tolerable_failures` allows: {what}")]
    Checkpoint {
        /// Which.
        checkpoint: u64,
        /// Why.
        what: String,
    },
    /// A task.
    #[error("{0}")]
    Task(#[from] TaskError),
    /// A task that panicked.
    #[error("[B0603] a task panicked: {0}; this is a fault of wasmill, please report it")]
    Panic(String),
}

impl RunError {
    /// Whether the job never ran: its description is at fault, not its data or its surroundings.
    pub fn is_before_start(&self) -> bool {
        !matches!(
            self,
            RunError::Task(_) | RunError::Panic(_) | RunError::Checkpoint { .. } | RunError::Store(_)
        )
    }

    /// Whether starting again may help.
    pub fn retry_helps(&self) -> bool {
        match self {
            RunError::Task(error) => error.retry_helps(),
            RunError::Panic(_) | RunError::Checkpoint { .. } => true,
            RunError::Store(error) => matches!(error, StoreError::Io { .. }),
            _ => false,
        }
    }
}
