//! What can be wrong with an audit log.
use std::{io, path::PathBuf};

/// What can be wrong with an audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// An entry is not what was written.
    #[error("[R0301] {path}: entry {entry}: {what}")]
    Chain {
        /// The log.
        path: PathBuf,
        /// The entry's number, from 0.
        entry: u64,
        /// What is wrong.
        what: String,
    },
    /// The file cannot be read or written.
    #[error("[R0302] {path}: {error}")]
    Io {
        /// The log.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// An entry could neither be written nor taken back.
    #[error("[R0303] {path} could not be written before; nothing is added until the server was started again")]
    Broken {
        /// The log.
        path: PathBuf,
    },
}

impl AuditError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl Fn(io::Error) -> AuditError {
        let path = path.into();
        move |error| AuditError::Io { path: path.clone(), error }
    }
}
