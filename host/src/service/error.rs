//! Why a server does not do what it is asked to with a job, each with its code.
use std::path::PathBuf;

use super::{Illegal, Request};
use crate::{
    checkpoint::StoreError,
    control::{ChangeError, RunError},
    job::JobError,
};

/// Why a request is refused, or has failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no such job.
    #[error("[V0101] there is no job `{0}`")]
    NoJob(String),
    /// An unfinished job has this name.
    #[error(
        "[V0102] the job `{name}` is not finished, its id is {id}: stop or cancel it first, or give this one another name"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Of the job that has it.
        id: String,
    },
    /// The job's state does not allow it.
    #[error("[V0103] the job is {}: {request} is not possible, only {}", .illegal.state, allowed(.illegal))]
    Illegal {
        /// What was asked for.
        request: Request,
        /// In which state.
        illegal: Illegal,
    },
    /// What is kept of jobs cannot be read or written.
    #[error("[V0104] {path}: {error}")]
    Records {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// Two jobs would write the same checkpoints.
    #[error(
        "[V0105] the unfinished job {id} has its checkpoints in {directory} too: each job needs a folder of its own"
    )]
    CheckpointsTaken {
        /// The folder.
        directory: PathBuf,
        /// Of the job that uses it.
        id: String,
    },
    /// A parallelism that the job cannot have.
    #[error("[V0106] {0}")]
    Parallelism(String),
    /// It was begun, and did not come about.
    #[error("[V0107] {request}: {what}")]
    NotDone {
        /// What was asked for.
        request: Request,
        /// What happened instead.
        what: String,
    },
    /// There are too many jobs.
    #[error("[V0108] there are {0} jobs, as many as are kept: delete some")]
    TooMany(usize),
    /// The server ends.
    #[error("[V0109] the server is shutting down")]
    Closing,
    /// Another process has the jobs.
    #[error("[V0110] {0} is in use by another server")]
    InUse(PathBuf),
    /// A configuration that a plugin cannot have.
    #[error("[V0111] `{operator}`: {what}")]
    Configuration {
        /// The operator or sink.
        operator: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is nothing to go back to.
    #[error("[V0112] of `{0}` nothing is known that was in force before")]
    NothingBefore(String),
    /// A request that no plugin could fulfil.
    #[error("[V0113] {0}")]
    Request(String),
    /// A folder of the caller's choice that cannot be one.
    #[error("[V0114] nothing can be written there: {0}")]
    Folder(StoreError),
    /// A file or folder of the caller's choice that is another job's, or the server's.
    #[error("[V0114] {0} is in the server's own folder, of which a job writes no part but its own")]
    ServersOwn(PathBuf),
    /// A share that there is not.
    #[error("[X0125] {0} is no share of the keys: it is from 0.0001 to 0.99, in steps of 0.0001")]
    Share(f64),
    /// The change cannot be made, or was not.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The job cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
}

fn allowed(illegal: &Illegal) -> String {
    match illegal.state.allows().map(|request| request.to_string()).collect::<Vec<_>>() {
        none if none.is_empty() => "to wait".to_owned(),
        some => some.join(", "),
    }
}

impl ServiceError {
    /// The stable code, with a page under `docs/errors`.
    pub fn code(&self) -> String {
        code(&self.to_string())
    }

    /// Whether it may pass by itself, as what a disk says does.
    pub(super) fn retry_helps(&self) -> bool {
        match self {
            ServiceError::Run(error) => error.retry_helps(),
            ServiceError::Folder(error) => matches!(error, StoreError::Io { .. }),
            ServiceError::Records { .. } => true,
            _ => false,
        }
    }
}

impl From<JobError> for ServiceError {
    fn from(error: JobError) -> ServiceError {
        ServiceError::Run(error.into())
    }
}

/// The code in a message, the first in brackets. Empty if there is none.
pub(super) fn code(message: &str) -> String {
    let is_code = |word: &&str| {
        word.len() == 5
            && word.starts_with(|c: char| c.is_ascii_uppercase())
            && word[1..].bytes().all(|b| b.is_ascii_digit())
    };
    message.split(['[', ']']).find(is_code).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::State;

    #[test]
    fn an_illegal_request_names_the_state_and_what_is_allowed() {
        let refused = |request, state| ServiceError::Illegal { request, illegal: Illegal { state } };
        let error = refused(Request::Stop, State::Stopped);
        assert_eq!(error.to_string(), "[V0103] the job is stopped: stop is not possible, only restart, delete");
        assert_eq!(error.code(), "V0103");
        let error = refused(Request::Stop, State::Cancelling);
        assert!(error.to_string().ends_with("only to wait"), "{error}");
    }

    #[test]
    fn the_code_of_a_message_is_found_wherever_it_is() {
        assert_eq!(code("job.yaml:1:2: operator `a`, plugin b: [P0202] no [B0603]"), "P0202");
        assert_eq!(code("error[J0104]: unknown field"), "J0104");
        assert_eq!(code("a [1234] b [A12é]"), "");
    }
}
