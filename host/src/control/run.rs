//! A running job: its tasks on the data path's threads, told to stop, waited for, looked at.
use std::sync::Arc;

use tokio::{runtime::Runtime, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{JobReport, NodeReport, Placement, Prepared, RunError, SinkReport, wiring::Wiring};
use crate::{
    dataflow::{Environment, LatencyHistogram, NodeMetrics, TaskError},
    plugin::GUEST_STACK_BYTES_MAX,
};

/// Stack the host's own code may use below a guest's.
const HOST_STACK_BYTES_MAX: usize = 1 << 20;

/// The threads of the data path: as many as there are processors, each with room for a guest's stack. Nothing else may run
/// there, since guests keep them busy.
pub fn data_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("data")
        .thread_stack_size(GUEST_STACK_BYTES_MAX + HOST_STACK_BYTES_MAX)
        .enable_all()
        .build()
}

/// A running job.
pub struct Job {
    prepared: Arc<Prepared>,
    environment: Environment,
    started: std::time::Duration,
    tasks: JoinSet<Result<(), TaskError>>,
    stop: CancellationToken,
    metrics: Arc<Vec<Vec<Arc<NodeMetrics>>>>,
    latency: Arc<LatencyHistogram>,
}

/// Looks at a running job. Cheap to clone.
#[derive(Clone)]
pub struct JobView {
    prepared: Arc<Prepared>,
    metrics: Arc<Vec<Vec<Arc<NodeMetrics>>>>,
}

impl JobView {
    /// What each node has done so far, in the order of the plan.
    pub fn nodes(&self) -> Vec<NodeReport> {
        let nodes = self.prepared.plan.nodes.iter().zip(&*self.metrics);
        nodes.map(|(node, subtasks)| NodeReport::of(&node.name, subtasks)).collect()
    }
}

impl Job {
    /// Starts all of a job's subtasks that run here, on the current runtime. Cancelling `stop` ends it in order: sources stop
    /// reading, what was read is processed and written, windows stay open.
    pub fn start(
        prepared: Arc<Prepared>,
        environment: Environment,
        placement: &dyn Placement,
        stop: CancellationToken,
    ) -> Result<Job, RunError> {
        let mut wiring = Wiring::new(&prepared, &environment, stop.clone());
        let wired = wiring.tasks(placement)?;
        let (metrics, latency) = (Arc::new(std::mem::take(&mut wiring.metrics)), wiring.latency.clone());
        drop(wiring);
        let started = environment.clock.monotonic();
        let mut tasks = JoinSet::new();
        for task in wired {
            tracing::debug!(task = task.name, "starting");
            tasks.spawn(task.future);
        }
        Ok(Job { prepared, environment, started, tasks, stop, metrics, latency })
    }

    /// To look at it while it runs.
    pub fn view(&self) -> JobView {
        JobView { prepared: self.prepared.clone(), metrics: self.metrics.clone() }
    }

    /// Waits for its end. If a task fails, the others are dropped where they are, and the first cause is the error.
    pub async fn wait(mut self) -> Result<JobReport, RunError> {
        let mut failed: Option<RunError> = None;
        while let Some(ended) = self.tasks.join_next().await {
            let error = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => RunError::Task(error),
                Err(error) if error.is_cancelled() => continue,
                Err(error) => RunError::Panic(panic_message(error)),
            };
            // A task whose neighbour is gone fails too, and may be seen first; its neighbour knows why.
            if failed.as_ref().is_none_or(|known| matches!(known, RunError::Task(TaskError::Disconnected))) {
                failed = Some(error);
            }
            if !matches!(failed, Some(RunError::Task(TaskError::Disconnected))) {
                self.tasks.abort_all();
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(self.report()),
        }
    }

    fn report(&self) -> JobReport {
        let latency = LatencyHistogram::default();
        latency.merge(&self.latency);
        let sinks = self
            .prepared
            .spec
            .sinks
            .iter()
            .filter_map(|(name, sink)| Some(SinkReport { name: name.clone(), summary: sink.connector.summary()? }));
        JobReport {
            nodes: self.view().nodes(),
            sinks: sinks.collect(),
            latency,
            elapsed: self.environment.clock.monotonic() - self.started,
            stopped: self.stop.is_cancelled(),
        }
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
        },
        Err(error) => error.to_string(),
    }
}
