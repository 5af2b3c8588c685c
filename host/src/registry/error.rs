//! Why an upload is not taken, or a plugin is not there.
use std::{io, path::PathBuf};

use crate::plugin::{LoadError, build::BoundsError};

/// Why an upload is not taken, or a plugin is not there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The upload has too many bytes.
    #[error("[R0101] the upload has more than {max} bytes")]
    TooLarge {
        /// Bytes that are taken.
        max: u64,
    },
    /// No signature, or none by a key that is trusted.
    #[error("[R0102] {0}")]
    Signature(String),
    /// It would cost too much to compile.
    #[error("[R0103] the component is too large to compile: {0}")]
    Bounds(#[from] BoundsError),
    /// Compiling and trying it took too long.
    #[error("[R0104] compiling and trying the component took longer than {0} s")]
    TimedOut(u64),
    /// Other bytes have its name and version.
    #[error("[R0105] {plugin} is there already, with other content (sha256:{digest}): a version never changes")]
    Conflict {
        /// `name@version`.
        plugin: String,
        /// Of the one that is there.
        digest: String,
    },
    /// There is no such plugin.
    #[error("[R0106] there is no plugin {0}")]
    Unknown(String),
    /// Somebody still needs it.
    #[error("[R0107] {plugin} is needed by {user}")]
    InUse {
        /// `name@version`.
        plugin: String,
        /// Who.
        user: String,
    },
    /// What lies in the directory was not written by a registry.
    #[error("[R0108] {path}: {what}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("[R0109] {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Too many uploads at once, or one of them has been checked for long.
    #[error("[R0110] too many plugins are being uploaded; try again later")]
    Busy,
    /// Its name or version cannot be that of an uploaded plugin.
    #[error("[R0111] {0}")]
    Name(String),
    /// It says of its configuration what is no JSON schema.
    #[error("[R0112] the configuration schema of {operator} is no JSON schema: {what}")]
    Schema {
        /// The operator's name and kind.
        operator: String,
        /// What is wrong.
        what: String,
    },
    /// It has no room for another.
    #[error("[R0113] there are too many plugins; delete some")]
    Full,
    /// The index has no room for all it says of itself.
    #[error("[R0115] what {plugin} says of itself is {bytes} bytes as it is kept, {max} are allowed")]
    Record {
        /// `name@version`.
        plugin: String,
        /// How many.
        bytes: usize,
        /// How many it may be.
        max: usize,
    },
    /// The component itself.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A fault of this program.
    #[error("[R0114] {0}; this is a fault of wasmill, please report it")]
    Internal(String),
}

impl RegistryError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RegistryError {
        let path = path.into();
        move |error| RegistryError::Io { path, error }
    }
}
