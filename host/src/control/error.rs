//! Why a job does not start, or has failed.
use std::path::PathBuf;

use crate::{
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
        !matches!(self, RunError::Task(_) | RunError::Panic(_))
    }
}
