//! What goes wrong with checkpoints, each with its code. Knows nothing of how storage works.

/// Storage failed, or what it holds is not what was put there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no blob of this name.
    #[error("[C0501] checkpoint storage: there is no `{0}`")]
    Missing(String),
    /// What was read differs from what was written.
    #[error("[C0502] checkpoint storage: `{name}` is damaged: {what}")]
    Damaged {
        /// The blob.
        name: String,
        /// How.
        what: String,
    },
    /// Reading or writing failed; whether it took effect is not known.
    #[error("[C0503] checkpoint storage: `{name}`: {what}")]
    Io {
        /// The blob, or the directory.
        name: String,
        /// What happened.
        what: String,
    },
    /// There are checkpoints, but none can be restored.
    #[error("[C0504] checkpoint storage: none of {checkpoints} checkpoints is usable; the newest: {newest}")]
    Unusable {
        /// How many were looked at.
        checkpoints: usize,
        /// What is wrong with the newest.
        newest: Box<StoreError>,
    },
    /// A manifest in a format this version does not read.
    #[error("[C0505] checkpoint storage: `{name}` has format version {found}, this wasmill reads {supported}")]
    Version {
        /// The manifest.
        name: String,
        /// Its format version.
        found: u16,
        /// What can be read.
        supported: u16,
    },
    /// A manifest or another blob that is read whole is too large for that.
    #[error("[C0506] checkpoint storage: `{name}` has {bytes} bytes, of at most {max}")]
    TooLarge {
        /// The blob.
        name: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Another run of the job has started since, and goes on from what was there then.
    #[error(
        "[C0513] checkpoint storage: another run has taken this job over: start {newer}{by} came after start {start}, which is over; \
         what this one has not committed, the other writes"
    )]
    Fenced {
        /// The start that is over.
        start: u64,
        /// The one that has taken over.
        newer: u64,
        /// Whose it is, if that is known.
        by: String,
    },
}

impl StoreError {
    /// Whether the blob itself is bad, so that trying again will not help and an older checkpoint may.
    pub fn is_loss(&self) -> bool {
        matches!(self, StoreError::Missing(_) | StoreError::Damaged { .. })
    }

    pub(super) fn damaged(name: &str, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { name: name.to_owned(), what: what.into() }
    }

    pub(super) fn io(name: &str, what: &dyn std::fmt::Display) -> StoreError {
        StoreError::Io { name: name.to_owned(), what: what.to_string() }
    }
}

/// A checkpoint is whole, but does not fit the job that is to start from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// State of nodes that the job does not have, by their uids.
    #[error("[C0507] the checkpoint has state of nodes that the job does not have: {}", .0.join(", "))]
    NonRestored(Vec<String>),
    /// Key groups are counted differently.
    #[error("[C0508] the checkpoint was taken with max_parallelism {saved}, the job has {asked}")]
    MaxParallelism {
        /// Of the checkpoint.
        saved: u32,
        /// Of the job.
        asked: u32,
    },
}

/// Too many checkpoints failed one after the other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[C0509] {failures} checkpoints in a row have failed, {tolerable} are tolerated")]
pub struct CheckpointsFailing {
    /// How many.
    pub failures: u32,
    /// How many may.
    pub tolerable: u32,
}
