//! The shape of what a job says of its state and of failures.
use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::job::{CheckpointMode, Compression, OnCancel};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { backend: rocksdb, directory: state }")]
pub(in crate::job) struct RawState {
    pub backend: Spanned<RawBackend>,
    pub directory: Option<Spanned<String>>,
    pub cache: Option<Spanned<String>>,
    pub block_cache: Option<Spanned<String>>,
    pub write_buffers: Option<Spanned<String>>,
    pub background_jobs: Option<Spanned<i64>>,
    pub compression: Option<Spanned<Compression>>,
    pub block_size: Option<Spanned<String>>,
    pub bloom_bits: Option<Spanned<i64>>,
    pub max_open_files: Option<Spanned<i64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::job) enum RawBackend {
    Memory,
    RocksDb,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { directory: checkpoints, interval: 10s }")]
pub(in crate::job) struct RawCheckpoints {
    pub directory: Spanned<String>,
    pub interval: Option<Spanned<String>>,
    pub mode: Option<CheckpointMode>,
    pub timeout: Option<Spanned<String>>,
    pub min_pause: Option<Spanned<String>>,
    pub max_concurrent: Option<Spanned<i64>>,
    pub tolerable_failures: Option<Spanned<i64>>,
    pub retain: Option<Spanned<i64>>,
    pub on_cancel: Option<OnCancel>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::job) enum RawRestart {
    None,
    FixedDelay(RawFixedDelay),
    ExponentialDelay(RawExponentialDelay),
    FailureRate(RawFailureRate),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { attempts: 3, delay: 10s }")]
pub(in crate::job) struct RawFixedDelay {
    pub attempts: Option<Spanned<i64>>,
    pub delay: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { initial: 1s, max: 1min }")]
pub(in crate::job) struct RawExponentialDelay {
    pub initial: Option<Spanned<String>>,
    pub max: Option<Spanned<String>>,
    pub multiplier: Option<Spanned<f64>>,
    pub reset_after: Option<Spanned<String>>,
    pub jitter: Option<Spanned<f64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { failures: 3, interval: 5min, delay: 10s }")]
pub(in crate::job) struct RawFailureRate {
    pub failures: Option<Spanned<i64>>,
    pub interval: Option<Spanned<String>>,
    pub delay: Option<Spanned<String>>,
}
