//! What a job says of its state and of failures: backend, checkpoints, restarts. Plain data, defaults filled in.
use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::Place;

/// Where state is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateSpec {
    /// `state: { backend: memory }`
    #[default]
    Memory,
    /// `state: { backend: rocksdb, directory: PATH, ... }`
    RocksDb(RocksDbSpec),
}

/// State in RocksDB. Sizes are bytes of each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksDbSpec {
    /// The folder for its files; joined to the job file's folder.
    pub directory: PathBuf,
    /// Values kept in memory ahead of RocksDB, up to [`STATE_BYTES_MAX`]; 0 for none. Default 64 MiB.
    pub cache: usize,
    /// Blocks read from files, from [`STATE_BYTES_MIN`] to [`STATE_BYTES_MAX`]. Default 256 MiB.
    pub block_cache: usize,
    /// What was written and is in no file yet, from [`STATE_BYTES_MIN`] to [`STATE_BYTES_MAX`]. Default 128 MiB.
    pub write_buffers: usize,
    /// Threads that flush and compact, from 1 to [`BACKGROUND_JOBS_MAX`]. Default 2.
    pub background_jobs: u32,
    /// How blocks are compressed. Default lz4.
    pub compression: Compression,
    /// Bytes of a block before compression, from [`BLOCK_BYTES_MIN`] to [`BLOCK_BYTES_MAX`]. Default 16 KiB.
    pub block_size: usize,
    /// Bits of bloom filter a key, up to [`BLOOM_BITS_MAX`]; 0 for no filter. Default 10.
    pub bloom_bits: u32,
    /// Files it keeps open, up to [`OPEN_FILES_MAX`]; -1 for all of them. Default -1.
    pub max_open_files: i32,
}

/// The least memory a part of RocksDB gets.
pub const STATE_BYTES_MIN: usize = 1 << 20;
/// The most memory a part of RocksDB gets.
pub const STATE_BYTES_MAX: usize = 1 << 40;
/// The most threads that flush and compact.
pub const BACKGROUND_JOBS_MAX: u32 = 64;
/// The smallest block.
pub const BLOCK_BYTES_MIN: usize = 1 << 10;
/// The largest block.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// The most bits a key in a bloom filter; more have no effect worth their memory.
pub const BLOOM_BITS_MAX: u32 = 32;
/// The most files that can be asked to be kept open.
pub const OPEN_FILES_MAX: u32 = 1_000_000;

/// How RocksDB compresses blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Fast.
    #[default]
    Lz4,
    /// Small.
    Zstd,
    /// Not at all.
    None,
}

impl RocksDbSpec {
    /// All defaults, in a folder.
    pub fn new(directory: PathBuf) -> RocksDbSpec {
        RocksDbSpec {
            directory,
            cache: 64 << 20,
            block_cache: 256 << 20,
            write_buffers: 128 << 20,
            background_jobs: 2,
            compression: Compression::default(),
            block_size: 16 << 10,
            bloom_bits: 10,
            max_open_files: -1,
        }
    }
}

/// `checkpoints: { directory: PATH, interval: 10s, ... }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// Where it is defined.
    pub place: Place,
    /// The folder for them; joined to the job file's folder.
    pub directory: PathBuf,
    /// From the start of one to the start of the next, from [`CHECKPOINT_SPAN_MIN`] to [`SPAN_MAX`](super::SPAN_MAX). Default: none
    /// but when the job is stopped or ends.
    pub interval: Option<Duration>,
    /// What they promise. Default exactly once.
    pub mode: CheckpointMode,
    /// One that takes longer is given up, from [`CHECKPOINT_SPAN_MIN`] to [`SPAN_MAX`](super::SPAN_MAX). Default 10 min.
    pub timeout: Duration,
    /// At least this long from the end of one to the start of the next, up to [`SPAN_MAX`](super::SPAN_MAX). Default 0.
    pub min_pause: Duration,
    /// How many may be under way, from 1 to [`CHECKPOINTS_CONCURRENT_MAX`]. Default 1.
    pub max_concurrent: u32,
    /// How many may fail in a row before the job does, up to [`CHECKPOINT_FAILURES_MAX`]. Default 0.
    pub tolerable_failures: u32,
    /// How many complete ones are kept, from 1 to [`CHECKPOINTS_RETAINED_MAX`]. Default 2.
    pub retain: u32,
    /// What becomes of them when the job is cancelled. Default: they are kept.
    pub on_cancel: OnCancel,
}

impl CheckpointSpec {
    /// All defaults, in a folder, one after each interval.
    pub fn every(interval: Duration, directory: PathBuf) -> CheckpointSpec {
        CheckpointSpec {
            place: Place::default(),
            directory,
            interval: Some(interval),
            mode: CheckpointMode::default(),
            timeout: CHECKPOINT_TIMEOUT_DEFAULT,
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            tolerable_failures: 0,
            retain: CHECKPOINTS_RETAINED_DEFAULT,
            on_cancel: OnCancel::default(),
        }
    }
}

/// How long a checkpoint may take.
pub const CHECKPOINT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// Complete checkpoints that are kept.
pub const CHECKPOINTS_RETAINED_DEFAULT: u32 = 2;
/// The shortest interval and timeout of checkpoints.
pub const CHECKPOINT_SPAN_MIN: Duration = Duration::from_millis(10);
/// The most checkpoints under way at a time.
pub const CHECKPOINTS_CONCURRENT_MAX: u32 = 16;
/// The most failures in a row that can be put up with.
pub const CHECKPOINT_FAILURES_MAX: u32 = 1_000_000;
/// The most complete checkpoints that are kept.
pub const CHECKPOINTS_RETAINED_MAX: u32 = 1000;

/// What checkpoints promise of state after a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointMode {
    /// Each row has had its effect on it once.
    #[default]
    ExactlyOnce,
    /// Each row has had its effect on it, some perhaps twice; no input waits for others.
    AtLeastOnce,
}

/// What becomes of checkpoints when the job is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnCancel {
    /// They are kept.
    #[default]
    Retain,
    /// They are deleted.
    Delete,
}

/// What happens after a failure. Delays and intervals are up to [`SPAN_MAX`](super::SPAN_MAX).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartStrategy {
    /// `restart: none`: the job fails.
    None,
    /// `restart: { fixed_delay: { attempts: 3, delay: 10s } }`
    FixedDelay {
        /// Restarts in all before the job fails, from 1 to [`RESTARTS_MAX`]. Default 3.
        attempts: u32,
        /// From a failure to the restart. Default 10 s.
        delay: Duration,
    },
    /// `restart: { exponential_delay: { initial: 1s, max: 1min, multiplier: 2, reset_after: 1h, jitter: 0.1 } }`: for ever.
    ExponentialDelay {
        /// From the first failure to the restart, at least 1 ms. Default 1 s.
        initial: Duration,
        /// The longest delay, at least `initial`. Default 1 min.
        max: Duration,
        /// By which each delay is longer than the one before, from 1 to [`MULTIPLIER_MAX`]. Default 2.
        multiplier: f64,
        /// Running this long without failure starts over with `initial`. Default 1 h.
        reset_after: Duration,
        /// The part of the delay that is up to chance, more or less, from 0 to 1. Default 0.1.
        jitter: f64,
    },
    /// `restart: { failure_rate: { failures: 3, interval: 5min, delay: 10s } }`
    FailureRate {
        /// Failures within the interval at which the job is still restarted, from 1 to [`RESTARTS_MAX`]. Default 3.
        failures: u32,
        /// At least 1 ms. Default 5 min.
        interval: Duration,
        /// From a failure to the restart. Default 10 s.
        delay: Duration,
    },
}

/// The most restarts that can be counted.
pub const RESTARTS_MAX: u32 = 1_000_000;
/// The most a delay grows from failure to failure.
pub const MULTIPLIER_MAX: f64 = 100.0;

impl RestartStrategy {
    /// The default of a job with checkpoints.
    pub fn exponential_delay() -> RestartStrategy {
        RestartStrategy::ExponentialDelay {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            multiplier: 2.0,
            reset_after: Duration::from_secs(3600),
            jitter: 0.1,
        }
    }
}
