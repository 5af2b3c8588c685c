//! Why a job does not start, or has failed.
use std::{path::PathBuf, time::Duration};

use super::TakenBack;
use crate::{
    checkpoint::{CheckpointsFailing, RestoreError, StoreError},
    dataflow::TaskError,
    job::JobError,
    plugin::{LoadError, build::BuildError},
    state::StateError,
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
    #[error("{place}: operator `{operator}`, plugin {plugin}: {error}")]
    Plugin {
        /// Where in the job file.
        place: String,
        /// The operator's name.
        operator: String,
        /// The component.
        plugin: String,
        /// What is wrong.
        error: LoadError,
    },
    /// The engine of plugins itself.
    #[error(transparent)]
    Engine(LoadError),
    /// Checkpoint storage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Where state is kept cannot be opened.
    #[error(transparent)]
    State(StateError),
    /// A program without RocksDB.
    #[error(
        "[C0512] `state: {{ backend: rocksdb }}`: this wasmill was built without RocksDB; build it with the feature `rocksdb`"
    )]
    NoRocksDb,
    /// Where a savepoint should be, there is none.
    #[error("[C0510] there is no complete savepoint in {0}")]
    NoSavepoint(PathBuf),
    /// A checkpoint that does not fit the job.
    #[error("{0}; give the operator its old `uid`, or leave the state behind with --allow-non-restored-state")]
    Restore(#[from] RestoreError),
    /// Checkpoints fail.
    #[error(transparent)]
    Failing(CheckpointsFailing),
    /// The last checkpoint of a run could not be completed.
    #[error("[C0511] the last checkpoint, {checkpoint}, could not be completed: {what}")]
    Checkpoint {
        /// Which.
        checkpoint: u64,
        /// Why.
        what: String,
    },
    /// A task.
    #[error("{0}")]
    Task(#[from] TaskError),
    /// A version on trial did not stand it.
    #[error("[X0108] `{operator}` has {what} since its version was changed, {max} are allowed while it is on trial")]
    OnTrial {
        /// The operator or sink.
        operator: String,
        /// What it has done, and how often, since the change.
        what: String,
        /// While it is on trial.
        max: u64,
    },
    /// A version on trial is too slow.
    #[error(
        "[X0128] `{operator}` has taken {} for a record in the mean of the last second, {} is allowed while it is on trial",
        humantime::format_duration(*.mean), humantime::format_duration(*.max)
    )]
    TooSlow {
        /// The operator or sink.
        operator: String,
        /// For a row, timer or window.
        mean: Duration,
        /// While it is on trial.
        max: Duration,
    },
    /// A version on trial that somebody takes back.
    #[error("{} has asked for that", .0.by)]
    TakenBack(TakenBack),
    /// A task that panicked.
    #[error("[B0603] a task panicked: {0}; this is a fault of wasmill, please report it")]
    Panic(String),
}

impl RunError {
    /// Whether the job never ran: its description is at fault, not its data or its surroundings.
    pub fn is_before_start(&self) -> bool {
        !matches!(
            self,
            RunError::Task(_)
                | RunError::Panic(_)
                | RunError::OnTrial { .. }
                | RunError::TooSlow { .. }
                | RunError::TakenBack(_)
                | RunError::Checkpoint { .. }
                | RunError::Failing(_)
                | RunError::Store(_)
        )
    }

    /// The operator or sink whose plugin is at fault, if one is.
    pub(super) fn operator(&self) -> Option<&str> {
        match self {
            RunError::OnTrial { operator, .. }
            | RunError::TooSlow { operator, .. }
            | RunError::Task(
                TaskError::Load { operator, .. }
                | TaskError::TakeOver { operator, .. }
                | TaskError::Canary { operator, .. },
            ) => Some(operator),
            RunError::TakenBack(taken) => Some(&taken.operator),
            RunError::Task(TaskError::Call(error)) => Some(&error.operator),
            RunError::Task(TaskError::Rejected { node, .. }) => Some(node),
            // It is named as its operator or sink.
            RunError::Task(TaskError::State(StateError::TooLarge { store, .. })) => Some(store),
            _ => None,
        }
    }

    /// Whether starting again may help.
    pub fn retry_helps(&self) -> bool {
        match self {
            RunError::Task(error) => error.retry_helps(),
            RunError::Panic(_) | RunError::Checkpoint { .. } | RunError::Failing(_) | RunError::TakenBack(_) => true,
            RunError::Store(error) => matches!(error, StoreError::Io { .. }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_that_is_too_large_is_a_fault_of_what_keeps_it() {
        let (store, state) = ("out".to_owned(), "kept".to_owned());
        let error = RunError::Task(TaskError::State(StateError::TooLarge { store, state, max: 1 }));
        assert_eq!(error.operator(), Some("out"));
    }
}
