//! Why a task failed: what, where, and whether trying again may help.
use crate::{
    connector::ConnectorError,
    model::split_rule,
    plugin::{CallError, CallFailure, LoadError},
    state::StateError,
};

/// Whose fault a failure is, which decides whether a restart may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// A plugin or a record: the same input fails again.
    Operator,
    /// A limit was reached: may pass.
    Resource,
    /// The outside: may pass.
    Connector,
    /// Ours.
    Bug,
}

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A call into a plugin.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A plugin that does not start.
    #[error("operator `{operator}`: {error}")]
    Load {
        /// Its name in the job.
        operator: String,
        /// What is wrong.
        error: LoadError,
    },
    /// A new version of an operator that does not get along with the state there is.
    #[error("[X0112] the new version of `{operator}` could not take over its state: {error}")]
    TakeOver {
        /// Its name in the job.
        operator: String,
        /// Why.
        error: Box<TaskError>,
    },
    /// A canary: the version of an operator that has a share of its keys.
    #[error("[X0127] the canary of `{operator}` has failed: {error}")]
    Canary {
        /// Its name in the job.
        operator: String,
        /// Why.
        error: Box<TaskError>,
    },
    /// A connector.
    #[error("[{}] {node}: {error}", .error.code)]
    Connector {
        /// Name of the source or sink in the job.
        node: String,
        /// What is wrong.
        error: ConnectorError,
    },
    /// Its state.
    #[error("{0}")]
    State(#[from] StateError),
    /// A record no one wants.
    #[error(
        "[R0501] {node} rejects a record: {reason} (record: {record}). To go on without such records set `on_error: skip`{}",
        elsewhere(.node, *.readable)
    )]
    Rejected {
        /// Name of the source or operator in the job.
        node: String,
        /// Why.
        reason: String,
        /// The record, as text, shortened.
        record: String,
        /// Whether the node has an output of such records.
        readable: bool,
    },
    /// What cannot be, was.
    #[error("[B0601] {node}: {what}; this is a fault of wasmill, please report it")]
    Bug {
        /// Name of the node in the job.
        node: String,
        /// What was found.
        what: String,
    },
    /// The task at the other end of an exchange is gone: its own error says why.
    #[error("[B0602] another task of the job has failed")]
    Disconnected,
}

fn elsewhere(node: &str, readable: bool) -> String {
    // A rule's rejects are its operator's.
    let node = split_rule(node).map_or(node, |(operator, _)| operator);
    if readable { format!(", or read them from `{node}.rejected`") } else { String::new() }
}

impl TaskError {
    /// Whose fault it is.
    pub fn class(&self) -> FailureClass {
        match self {
            TaskError::Call(CallError { failure, .. })
                if failure.is_late() || matches!(failure, CallFailure::Memory(_)) =>
            {
                FailureClass::Resource
            }
            TaskError::Call(_) | TaskError::Load { .. } | TaskError::Rejected { .. } => FailureClass::Operator,
            TaskError::TakeOver { error, .. } | TaskError::Canary { error, .. } => error.class(),
            TaskError::State(StateError::Database { .. } | StateError::File { .. }) => FailureClass::Resource,
            TaskError::State(StateError::Bug { .. }) => FailureClass::Bug,
            TaskError::State(_) => FailureClass::Operator,
            TaskError::Connector { .. } => FailureClass::Connector,
            TaskError::Bug { .. } | TaskError::Disconnected => FailureClass::Bug,
        }
    }

    /// Whether starting again from the last checkpoint may help.
    pub fn retry_helps(&self) -> bool {
        match self {
            TaskError::Call(CallError { failure: CallFailure::Fault { retry, .. }, .. }) => *retry,
            TaskError::Connector { error, .. } => error.retry,
            TaskError::State(StateError::Migration { retry, .. }) => *retry,
            TaskError::TakeOver { error, .. } | TaskError::Canary { error, .. } => error.retry_helps(),
            // A fault of ours may be one of timing.
            _ => self.class() != FailureClass::Operator,
        }
    }
}
