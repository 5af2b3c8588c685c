//! What can go wrong with a plugin, in words for the person who runs the job.
use std::{fmt, path::PathBuf, time::Duration};

use crate::model::beginning;

/// Why a component cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read or written.
    #[error("[P0201] {path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not a component, or a broken one.
    #[error("[P0202] {0}")]
    Invalid(String),
    /// It speaks another contract.
    #[error("[P0203] {0}")]
    Contract(String),
    /// It imports what the host does not give.
    #[error("[P0204] the component imports `{import}`, which operators are not given; they may import {granted}")]
    Import {
        /// What it imports.
        import: String,
        /// What it may import.
        granted: String,
    },
    /// It misbehaves before it gets any data.
    #[error("[P0205] {0}")]
    Start(String),
    /// It refuses its configuration.
    #[error("[P0206] the plugin refuses its configuration: {0}")]
    Configuration(String),
    /// Its configuration has a variable that is not set.
    #[error("[J0102] {0}")]
    Variable(String),
    /// Nobody has it.
    #[error("[P0208] {0}")]
    Unknown(String),
    /// Its file is no longer what was uploaded.
    #[error(
        "[P0209] {0} has other bytes than were uploaded; restore it from a backup, or delete the plugin and upload it again"
    )]
    Altered(PathBuf),
    /// It says of itself what cannot be.
    #[error("[P0207] the plugin's description is invalid: {0}")]
    Description(String),
}

/// Bytes of what a plugin says of a failure; the rest is cut off, for it is kept and shown.
const WORDS_BYTES_MAX: usize = 8 << 10;

/// What a plugin says of a failure, as much of it as is kept.
pub(super) fn words(said: String) -> String {
    beginning(said, WORDS_BYTES_MAX)
}

/// Why a call failed. Nothing of it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailure {
    /// An unreachable instruction, an access out of bounds, a division by zero, a panic.
    Trap(String),
    /// It ran longer than it may.
    Deadline(Duration),
    /// It ran longer than its rows may take.
    RecordTime {
        /// How many it was given.
        records: usize,
        /// How long they may take together.
        time: Duration,
    },
    /// It wanted more memory than it may have, in bytes.
    Memory(usize),
    /// Its calls were nested too deeply.
    Stack,
    /// It returned what breaks the contract.
    Nonsense(String),
    /// It put out more rows than it may for what it was given.
    Outputs {
        /// How many.
        rows: usize,
        /// How many it may.
        max: usize,
    },
    /// It wrote more state for one key than it may, in bytes.
    State {
        /// How many.
        bytes: usize,
        /// How many it may.
        max: usize,
    },
    /// It said that the call failed; whether it may succeed if tried again.
    Fault {
        /// Whether it may succeed later.
        retry: bool,
        /// Its words.
        message: String,
    },
}

impl CallFailure {
    /// Whether it is time that has run out.
    pub fn is_late(&self) -> bool {
        matches!(self, CallFailure::Deadline(_) | CallFailure::RecordTime { .. })
    }

    /// The stable code, with a page under `docs/errors`.
    pub fn code(&self) -> &'static str {
        match self {
            CallFailure::Trap(_) => "P0301",
            CallFailure::Deadline(_) => "P0302",
            CallFailure::Memory(_) => "P0303",
            CallFailure::Stack => "P0304",
            CallFailure::Nonsense(_) => "P0305",
            CallFailure::Fault { .. } => "P0306",
            CallFailure::Outputs { .. } => "P0307",
            CallFailure::State { .. } => "P0308",
            CallFailure::RecordTime { .. } => "P0309",
        }
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallFailure::Trap(what) => write!(f, "it trapped: {what}"),
            CallFailure::Deadline(limit) => {
                write!(f, "it ran longer than `limits.batch_time`, {}", humantime::format_duration(*limit))
            }
            CallFailure::Memory(limit) => {
                write!(
                    f,
                    "it wanted more memory than `limits.memory`, {}",
                    bytesize::ByteSize(*limit as u64).display().iec()
                )
            }
            CallFailure::Stack => f.write_str("its calls nested too deeply: the stack is full"),
            CallFailure::Nonsense(what) => write!(f, "it returned what breaks the contract: {what}"),
            CallFailure::RecordTime { records, time } => write!(
                f,
                "it ran longer than {}, which `limits.record_time` gives it for {records} rows",
                humantime::format_duration(*time)
            ),
            CallFailure::Outputs { rows, max } => {
                write!(f, "it put out {rows} rows; `limits.outputs_per_record` allows {max} for what it was given")
            }
            CallFailure::State { bytes, max } => {
                write!(f, "it wrote {bytes} bytes of state for one key; `limits.state_per_key` allows {max}")
            }
            CallFailure::Fault { retry: true, message } => write!(f, "it failed, and says a retry may help: {message}"),
            CallFailure::Fault { retry: false, message } => write!(f, "it failed: {message}"),
        }
    }
}

/// A failed call, with everything needed to find it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("[{}] plugin {plugin}, operator `{operator}` (subtask {subtask}), records {}..{}: {failure}", .failure.code(), .records.start, .records.end)]
pub struct CallError {
    /// `name@version`.
    pub plugin: String,
    /// The operator's name in the job.
    pub operator: String,
    /// Which of its subtasks.
    pub subtask: u32,
    /// The rows of the failed call, counted from 0 since the subtask started.
    pub records: std::ops::Range<u64>,
    /// What happened.
    pub failure: CallFailure,
}
