//! State, checkpoints and restarts.
use std::{path::Path, time::Duration};

use serde_saphyr::Spanned;

use super::MILLISECOND;
use crate::job::{
    BACKGROUND_JOBS_MAX, BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, BLOOM_BITS_MAX, CHECKPOINT_FAILURES_MAX,
    CHECKPOINT_SPAN_MIN, CHECKPOINT_TIMEOUT_DEFAULT, CHECKPOINTS_CONCURRENT_MAX, CHECKPOINTS_RETAINED_DEFAULT,
    CHECKPOINTS_RETAINED_MAX, CheckpointSpec, Code, JobError, MULTIPLIER_MAX, OPEN_FILES_MAX, RESTARTS_MAX,
    RestartStrategy, RocksDbSpec, SPAN_MAX, STATE_BYTES_MAX, STATE_BYTES_MIN, StateSpec,
    raw::{RawBackend, RawCheckpoints, RawExponentialDelay, RawFailureRate, RawFixedDelay, RawRestart, RawState},
    values::Context,
};

pub(super) fn state(context: &Context<'_>, raw: RawState, base: &Path) -> Result<StateSpec, JobError> {
    if raw.backend.value == RawBackend::Memory {
        refuse_rocksdb_settings(context, &raw)?;
        return Ok(StateSpec::Memory);
    }
    let Some(directory) = &raw.directory else {
        let message = "backend `rocksdb` has no `directory`";
        return Err(context
            .refuse(Code::MissingField, raw.backend.referenced, message)
            .help("write `directory: state`, a folder for its files"));
    };
    let mut spec = RocksDbSpec::new(context.path("directory", directory, base)?);
    let sizes = [
        ("cache", &raw.cache, 0..=STATE_BYTES_MAX, &mut spec.cache),
        ("block_cache", &raw.block_cache, STATE_BYTES_MIN..=STATE_BYTES_MAX, &mut spec.block_cache),
        ("write_buffers", &raw.write_buffers, STATE_BYTES_MIN..=STATE_BYTES_MAX, &mut spec.write_buffers),
        ("block_size", &raw.block_size, BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX, &mut spec.block_size),
    ];
    for (field, value, range, into) in sizes {
        if let Some(value) = value {
            *into = context.size(field, value, range)?;
        }
    }
    spec.background_jobs = context.number("background_jobs", &raw.background_jobs, 1..=BACKGROUND_JOBS_MAX, 2)?;
    spec.bloom_bits = context.number("bloom_bits", &raw.bloom_bits, 0..=BLOOM_BITS_MAX, spec.bloom_bits)?;
    spec.compression = raw.compression.map(|compression| compression.value).unwrap_or_default();
    if let Some(files) = &raw.max_open_files {
        let files = context.integer("max_open_files", files, -1..=i64::from(OPEN_FILES_MAX))?;
        spec.max_open_files = i32::try_from(files).unwrap_or(-1);
    }
    Ok(StateSpec::RocksDb(spec))
}

fn refuse_rocksdb_settings(context: &Context<'_>, raw: &RawState) -> Result<(), JobError> {
    let text = |value: &Option<Spanned<String>>| value.as_ref().map(|value| value.referenced);
    let number = |value: &Option<Spanned<i64>>| value.as_ref().map(|value| value.referenced);
    let given = [
        ("directory", text(&raw.directory)),
        ("cache", text(&raw.cache)),
        ("block_cache", text(&raw.block_cache)),
        ("write_buffers", text(&raw.write_buffers)),
        ("background_jobs", number(&raw.background_jobs)),
        ("compression", raw.compression.as_ref().map(|value| value.referenced)),
        ("block_size", text(&raw.block_size)),
        ("bloom_bits", number(&raw.bloom_bits)),
        ("max_open_files", number(&raw.max_open_files)),
    ];
    match given.iter().find_map(|(field, location)| Some((field, (*location)?))) {
        None => Ok(()),
        Some((field, location)) => {
            let message = format!("backend `memory` has no setting `{field}`");
            Err(context
                .refuse(Code::UnknownField, location, message)
                .help(format!("leave out `{field}:`, or write `backend: rocksdb`")))
        }
    }
}

pub(super) fn checkpoints(
    context: &Context<'_>,
    raw: Spanned<RawCheckpoints>,
    base: &Path,
) -> Result<CheckpointSpec, JobError> {
    let place = context.place(raw.referenced);
    let raw = raw.value;
    let span = CHECKPOINT_SPAN_MIN..=SPAN_MAX;
    let interval = raw.interval.as_ref().map(|value| context.duration("interval", value, span.clone())).transpose()?;
    let failures = &raw.tolerable_failures;
    Ok(CheckpointSpec {
        place,
        directory: context.path("directory", &raw.directory, base)?,
        interval,
        mode: raw.mode.unwrap_or_default(),
        timeout: context.duration_or("timeout", &raw.timeout, span, CHECKPOINT_TIMEOUT_DEFAULT)?,
        min_pause: context.duration_or("min_pause", &raw.min_pause, Duration::ZERO..=SPAN_MAX, Duration::ZERO)?,
        max_concurrent: context.number("max_concurrent", &raw.max_concurrent, 1..=CHECKPOINTS_CONCURRENT_MAX, 1)?,
        tolerable_failures: context.number("tolerable_failures", failures, 0..=CHECKPOINT_FAILURES_MAX, 0)?,
        retain: context.number("retain", &raw.retain, 1..=CHECKPOINTS_RETAINED_MAX, CHECKPOINTS_RETAINED_DEFAULT)?,
        on_cancel: raw.on_cancel.unwrap_or_default(),
    })
}

pub(super) fn restart(context: &Context<'_>, raw: RawRestart) -> Result<RestartStrategy, JobError> {
    match raw {
        RawRestart::None => Ok(RestartStrategy::None),
        RawRestart::FixedDelay(raw) => fixed_delay(context, raw),
        RawRestart::ExponentialDelay(raw) => exponential_delay(context, raw),
        RawRestart::FailureRate(raw) => failure_rate(context, raw),
    }
}

fn fixed_delay(context: &Context<'_>, raw: RawFixedDelay) -> Result<RestartStrategy, JobError> {
    let delay = context.duration_or("delay", &raw.delay, Duration::ZERO..=SPAN_MAX, Duration::from_secs(10))?;
    let attempts = context.number("attempts", &raw.attempts, 1..=RESTARTS_MAX, 3)?;
    Ok(RestartStrategy::FixedDelay { attempts, delay })
}

fn exponential_delay(context: &Context<'_>, raw: RawExponentialDelay) -> Result<RestartStrategy, JobError> {
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    let initial = context.duration_or("initial", &raw.initial, MILLISECOND..=SPAN_MAX, Duration::from_secs(1))?;
    Ok(RestartStrategy::ExponentialDelay {
        initial,
        max: context.duration_or("max", &raw.max, initial..=SPAN_MAX, minute.max(initial))?,
        multiplier: context.fraction("multiplier", &raw.multiplier, 1.0..=MULTIPLIER_MAX, 2.0)?,
        reset_after: context.duration_or("reset_after", &raw.reset_after, Duration::ZERO..=SPAN_MAX, hour)?,
        jitter: context.fraction("jitter", &raw.jitter, 0.0..=1.0, 0.1)?,
    })
}

fn failure_rate(context: &Context<'_>, raw: RawFailureRate) -> Result<RestartStrategy, JobError> {
    let seconds = Duration::from_secs;
    Ok(RestartStrategy::FailureRate {
        failures: context.number("failures", &raw.failures, 1..=RESTARTS_MAX, 3)?,
        interval: context.duration_or("interval", &raw.interval, MILLISECOND..=SPAN_MAX, seconds(300))?,
        delay: context.duration_or("delay", &raw.delay, Duration::ZERO..=SPAN_MAX, seconds(10))?,
    })
}
