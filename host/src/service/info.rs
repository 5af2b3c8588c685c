//! What others see of jobs.
use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Desired, EventKind, JobGraph, Jobs, Parallelism, Request, ServiceError, State, entry::Entry, error::code,
    graph::graph, operators::operators,
};
use crate::{
    checkpoint::{CheckpointStore, LocalStore, MANIFESTS, ManifestId},
    control::{CanaryReport, JobView, MetricReport, NodeReport, RunError, ShadowReport},
};

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct JobInfo {
    /// A UUID, later jobs have higher ones.
    pub id: String,
    /// Of no other unfinished job.
    pub name: String,
    /// What it does.
    pub state: State,
    /// What it is to do when the server starts.
    pub desired: Desired,
    /// What may be asked of it.
    pub allowed: Vec<Request>,
    /// When it was submitted, in ms since 1970-01-01 UTC.
    pub created_ms: i64,
    /// When its state last changed, in ms since 1970-01-01 UTC.
    pub changed_ms: i64,
    /// Names of the variables given with it; values are not shown.
    pub variables: Vec<String>,
    /// Where it differs from the job's text.
    pub parallelism: Parallelism,
    /// The savepoint it was started from.
    pub from_savepoint: Option<PathBuf>,
    /// The latest savepoint that was asked for.
    pub savepoint: Option<PathBuf>,
    /// The code of what it has failed with.
    pub code: Option<String>,
    /// What it has failed with.
    pub error: Option<String>,
    /// How many times it has failed and started again since the server, or somebody, started it.
    pub restarts: u64,
}

/// A checkpoint or savepoint of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CheckpointInfo {
    /// Its number.
    pub checkpoint: u64,
    /// Whether it is a savepoint.
    pub savepoint: bool,
    /// When it was complete, in ms since 1970-01-01 UTC; null if that was before the server started.
    pub completed_ms: Option<i64>,
    /// From its barrier to its manifest, in ms; null if that was before the server started.
    pub took_ms: Option<u64>,
    /// Bytes written; null if that was before the server started.
    pub bytes: Option<u64>,
    /// Whether it is still where the job's checkpoints are.
    pub kept: bool,
}

/// A job's numbers, since the server started; those of its nodes since the job was last started by it.
#[derive(Clone, Debug)]
pub struct JobMetrics {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: State,
    /// How many times it has failed and started again.
    pub restarts: u64,
    /// Complete checkpoints and savepoints.
    pub checkpoints: u64,
    /// Checkpoints and savepoints that were given up.
    pub checkpoints_failed: u64,
    /// The latest complete one.
    pub latest: Option<CheckpointInfo>,
    /// Of its nodes; none if nothing of it runs.
    pub nodes: Vec<NodeReport>,
    /// Of its rules, by their names in the job, such as `rules:large`. Their operators' numbers have them too, but for rows in.
    pub rules: Vec<NodeReport>,
    /// What its plugins have measured themselves.
    pub measured: Vec<MetricReport>,
    /// What is tried beside what is in force.
    pub shadows: Vec<ShadowReport>,
    /// What has a share of the keys.
    pub canaries: Vec<CanaryReport>,
}

impl Entry {
    /// What others see of it.
    pub(super) fn info(&self) -> JobInfo {
        let restarts = self.live().restarts;
        let record = self.record();
        JobInfo {
            id: record.id.clone(),
            name: record.name.clone(),
            state: record.phase.state,
            desired: record.phase.desired,
            allowed: record.phase.state.allows().collect(),
            created_ms: record.created_ms,
            changed_ms: record.changed_ms,
            variables: record.variables.keys().cloned().collect(),
            parallelism: record.parallelism.clone(),
            from_savepoint: record.from_savepoint.clone(),
            savepoint: record.savepoint.clone(),
            code: record.error.as_deref().map(code),
            error: record.error.clone(),
            restarts,
        }
    }

    /// Its graph, as it is now or was when it ended; empty if it has not run since the server started.
    pub(super) fn graph(&self) -> JobGraph {
        let live = self.live();
        match &live.view {
            Some((view, _)) => graph(&view.prepared().plan, (view.nodes(), view.measured()), &live.samples),
            None => live.last.clone().unwrap_or_default(),
        }
    }

    /// Nothing of it runs any more: notes what it was like.
    pub(super) fn close(&self) {
        let mut live = self.live();
        live.samples = VecDeque::new();
        if let Some((view, _)) = live.view.take() {
            live.last = Some(graph(&view.prepared().plan, (view.nodes(), view.measured()), &live.samples));
            live.last_operators = operators(&view);
            drop(live);
            self.promise_all(&view);
        }
    }

    /// A savepoint is complete.
    pub(super) fn saved(&self, path: PathBuf) {
        self.tell(EventKind::Savepoint, serde_json::json!({ "path": path }));
        self.record().savepoint = Some(path);
    }

    /// What is remembered of its checkpoints, and those that are there, by number.
    pub(super) async fn checkpoints(&self) -> Result<Vec<CheckpointInfo>, ServiceError> {
        let directory = self.record().checkpoints.clone();
        let names = match directory.is_dir() {
            true => {
                LocalStore::open(&directory).map_err(RunError::from)?.list(MANIFESTS).await.map_err(RunError::from)?
            }
            false => Vec::new(),
        };
        let mut found: Vec<_> = self.live().checkpoints.iter().cloned().collect();
        for checkpoint in names.iter().filter_map(|name| Some(ManifestId::of(name)?.checkpoint)) {
            match found.iter_mut().find(|info| info.checkpoint == checkpoint) {
                Some(info) => info.kept = true,
                None => found.push(CheckpointInfo {
                    checkpoint,
                    savepoint: false,
                    completed_ms: None,
                    took_ms: None,
                    bytes: None,
                    kept: true,
                }),
            }
        }
        found.sort_by_key(|info| info.checkpoint);
        Ok(found)
    }

    fn metrics(&self) -> JobMetrics {
        let record = self.record();
        let (id, name, state) = (record.id.clone(), record.name.clone(), record.phase.state);
        drop(record);
        let live = self.live();
        let view = live.view.as_ref().map(|(view, _)| view);
        JobMetrics {
            id,
            name,
            state,
            restarts: live.restarts,
            checkpoints: live.completed,
            checkpoints_failed: live.failed,
            latest: live.checkpoints.back().cloned(),
            nodes: view.map(JobView::nodes).unwrap_or_default(),
            rules: view.map(JobView::rule_counts).unwrap_or_default(),
            measured: view.map(JobView::measured).unwrap_or_default(),
            shadows: view.map(JobView::shadows).unwrap_or_default(),
            canaries: view.map(JobView::canaries).unwrap_or_default(),
        }
    }
}

impl Jobs {
    /// A job, by its id or, if it is unfinished, its name.
    pub fn get(&self, job: &str) -> Result<JobInfo, ServiceError> {
        Ok(self.0.find(job)?.info())
    }

    /// Jobs in the order of their ids, the first `limit` after the one whose id is `after`.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<JobInfo> {
        let after = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let entries = self.0.entries();
        let some: Vec<_> = entries.range::<str, _>((after, std::ops::Bound::Unbounded)).take(limit).collect();
        some.into_iter().map(|(_, entry)| entry.info()).collect()
    }

    /// The text of a job as it was submitted, its variables not filled in.
    pub fn text(&self, job: &str) -> Result<String, ServiceError> {
        self.0.folders.text(&self.0.find(job)?.id)
    }

    /// A job's graph, as it is now or was when it ended; empty if it has not run since the server started.
    pub fn graph(&self, job: &str) -> Result<JobGraph, ServiceError> {
        Ok(self.0.find(job)?.graph())
    }

    /// A job's checkpoints and savepoints, by number: those of late, and all that are kept.
    pub async fn checkpoints(&self, job: &str) -> Result<Vec<CheckpointInfo>, ServiceError> {
        self.0.find(job)?.checkpoints().await
    }

    /// Numbers of all jobs.
    pub fn metrics(&self) -> Vec<JobMetrics> {
        self.0.entries().values().map(|entry| entry.metrics()).collect()
    }

    /// A job that is being submitted, runs or may start again, and needs a plugin: one by the digest of its component, or an uploaded one as jobs
    /// name it, such as `word-count@1.0.0` or `sha256:` and a digest. In words.
    pub fn user(&self, plugin: &str) -> Option<String> {
        // One that is being submitted is among the others before it is not among these any more.
        let submitted = self.0.wants(plugin).map(|name| format!("{name}, which is being submitted"));
        submitted.or_else(|| {
            let entries = self.0.entries();
            let needs = |entry: &&Arc<Entry>| entry.state() != State::Finished && entry.needs(plugin);
            entries.values().find(needs).map(|entry| format!("{} {}", entry.record().name, entry.id))
        })
    }
}
