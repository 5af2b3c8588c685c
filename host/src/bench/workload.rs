//! The workloads as job files.
use std::{path::Path, sync::Arc};

use crate::{
    control::{Prepared, RunError},
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

    /// `None` for a workload that there is no job for.
    fn job_file(self) -> Option<&'static str> {
        match self {
            Workload::W1 => Some(include_str!("w1.yaml")),
            Workload::W2 | Workload::W3 => None,
            Workload::W6 => Some(include_str!("w6.yaml")),
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
}

/// The workload's job, ready to start; `None` if it is only there in plain Rust. `plugins` is the folder the plugins' crates are in.
pub fn prepare(run: &Run, engine: &PluginEngine, plugins: &Path) -> Result<Option<Arc<Prepared>>, RunError> {
    let Some(job_file) = run.workload.job_file() else { return Ok(None) };
    let variable = |name: &str| match name {
        "EVENTS" => Some(run.events.to_string()),
        "PARALLELISM" => Some(run.parallelism.to_string()),
        "CHECKSUM" => Some(run.verify.to_string()),
        "RATE" => Some(run.rate.map_or("null".into(), |rate| rate.to_string())),
        _ => None,
    };
    let file = format!("{}.yaml", run.workload.name());
    let spec = job::parse(job_file, &file, &variable, plugins)?;
    Ok(Some(Arc::new(crate::control::prepare(spec, engine, false)?)))
}
