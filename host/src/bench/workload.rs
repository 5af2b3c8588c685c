//! The workloads as job files.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    control::{LocalPlugins, Prepared, RunError},
    job,
    plugin::PluginEngine,
};

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Word count.
    W1,
    /// What users did, in sliding windows.
    W2,
    /// State and timers by user.
    W3,
    /// JSON in, filter, JSON out.
    W6,
}

impl Workload {
    /// As it is called on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Workload::W1 => "w1",
            Workload::W2 => "w2",
            Workload::W3 => "w3",
            Workload::W6 => "w6",
        }
    }

    fn job_file(self) -> &'static str {
        match self {
            Workload::W1 => include_str!("w1.yaml"),
            Workload::W2 => include_str!("w2.yaml"),
            Workload::W3 => include_str!("w3.yaml"),
            Workload::W6 => include_str!("w6.yaml"),
        }
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which workload.
    pub workload: Workload,
    /// Number of events.
    pub events: u64,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Whether outputs are summed up, not only counted.
    pub verify: bool,
    /// Events a second; as fast as it goes if absent.
    pub rate: Option<u64>,
    /// Where state and checkpoints go, which is deleted by whoever gave it.
    pub directory: PathBuf,
    /// Whether state is in RocksDB.
    pub rocksdb: bool,
    /// Time between two checkpoints; none if absent.
    pub checkpoint: Option<Duration>,
}

/// The workload's job, ready to start. `plugins` is the folder the plugins' crates are in.
pub fn prepare(run: &Run, engine: &PluginEngine, plugins: &Path) -> Result<Arc<Prepared>, RunError> {
    let variable = |name: &str| match name {
        "EVENTS" => Some(run.events.to_string()),
        "PARALLELISM" => Some(run.parallelism.to_string()),
        "CHECKSUM" => Some(run.verify.to_string()),
        "STATE" => Some(state(run.rocksdb, &run.directory)),
        "CHECKPOINTS" => Some(checkpoints(run.checkpoint, &run.directory)),
        "RATE" => Some(run.rate.map_or("null".into(), |rate| rate.to_string())),
        _ => None,
    };
    let file = format!("{}.yaml", run.workload.name());
    let spec = job::parse(run.workload.job_file(), &file, &variable, plugins)?;
    Ok(Arc::new(crate::control::prepare(spec, &LocalPlugins::new(engine, false))?))
}

/// Of a job file: where state is kept.
pub(super) fn state(rocksdb: bool, directory: &Path) -> String {
    match rocksdb {
        false => "{ backend: memory }".into(),
        true => format!("{{ backend: rocksdb, directory: {:?} }}", directory.join("state")),
    }
}

/// Of a job file: when checkpoints are taken.
pub(super) fn checkpoints(interval: Option<Duration>, directory: &Path) -> String {
    interval.map_or("null".into(), |interval| {
        let (directory, interval) = (directory.join("checkpoints"), interval.as_millis());
        format!("{{ directory: {directory:?}, interval: {interval}ms }}")
    })
}
