//! Why the server does not start, or stops.
use std::{io, net::SocketAddr, path::PathBuf};

use crate::{audit::AuditError, plugin::LoadError, registry::RegistryError, service::ServiceError};

/// Why the server does not start, or stops.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// Nobody has said who may do what.
    #[error(
        "[R0203] it is not said who may do what: give --tokens FILE, or --no-auth for a server that obeys every program of this machine"
    )]
    NobodyNamed,
    /// Anybody could do anything.
    #[error(
        "[R0203] {0} can be reached from other machines, so callers need tokens: give --tokens FILE, or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    /// The tokens cannot be read.
    #[error("[R0204] {path}: {what}")]
    Tokens {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another server has the data.
    #[error("[R0216] {0} is in use by another server")]
    InUse(PathBuf),
    /// Certificate or key.
    #[error("[R0217] TLS: {path}: {what}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Nobody can listen there.
    #[error("[R0218] {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A file or folder of the server's own.
    #[error("[R0219] {path}: {what}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The uploaded plugins.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The jobs.
    #[error(transparent)]
    Jobs(#[from] ServiceError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The engine of plugins.
    #[error(transparent)]
    Engine(#[from] LoadError),
    /// While it ran.
    #[error("[R0220] the server has broken down: {0}")]
    Serve(io::Error),
}

impl WebError {
    /// Whether the server never ran.
    pub fn is_before_start(&self) -> bool {
        !matches!(self, WebError::Serve(_))
    }
}
