//! From a topic of Kafka through a filter to another, exactly once; beside it the least that can be done with the same client: a loop that
//! reads records and writes as many of them, unseen, in transactions.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::measure::{cpu, rounded};
use crate::{
    connector::kafka_limit,
    control::{AllHere, Job, JobOptions, JobReport, LocalPlugins, RunError, data_runtime, prepare},
    dataflow::{Environment, MemoryExchanges, TokioSpawner},
    job,
    model::{Clock, SystemClock},
    plugin::PluginEngine,
};

/// Partitions of either topic.
const PARTITIONS: i32 = 4;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// Whom to ask, `host:port`.
    pub brokers: String,
    /// Records in the topic that is read.
    pub events: u64,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Where checkpoints go.
    pub directory: PathBuf,
}

/// What something cost.
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// Measures; one line of JSON.
pub fn kafka(run: &Kafka, engine: &PluginEngine, plugins: &Path) -> Result<String, RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let name = |what: &str| format!("wasmill-bench-{}-{what}", clock.now_ms());
    let (from, to, unseen) = (name("from"), name("to"), name("unseen"));
    let topics = [&*from, &to, &unseen];
    let runtime = data_runtime().map_err(|error| RunError::Panic(error.to_string()))?;
    runtime.block_on(kafka_limit::create_topics(&run.brokers, &topics, PARTITIONS)).map_err(RunError::Panic)?;
    let job_name = format!("bench-{}", clock.now_ms());
    let variable = |name: &str| match name {
        "NAME" => Some(job_name.clone()),
        "BROKERS" => Some(run.brokers.clone()),
        "EVENTS" => Some(run.events.to_string()),
        "PARALLELISM" => Some(run.parallelism.to_string()),
        "CHECKPOINTS" => Some(run.directory.join("checkpoints").display().to_string()),
        "FROM" => Some(from.clone()),
        "TO" => Some(to.clone()),
        _ => None,
    };
    let execute = |text: &str, file: &str| -> Result<(JobReport, Cost), RunError> {
        let spec = job::parse(text, file, &variable, plugins)?;
        let prepared = Arc::new(prepare(spec, &LocalPlugins::new(engine, false))?);
        let options = JobOptions::of(&prepared.spec)?;
        let environment = Environment {
            clock: clock.clone(),
            seed: 0,
            exchanges: Arc::new(MemoryExchanges),
            spawner: Arc::new(TokioSpawner),
        };
        let (began, began_cpu) = (clock.monotonic(), cpu());
        let report = runtime.block_on(async {
            Job::start(prepared, environment, Arc::new(AllHere), options, CancellationToken::new()).wait().await
        })?;
        Ok((report, Cost { wall: clock.monotonic() - began, cpu: cpu() - began_cpu }))
    };
    let (_, filled) = execute(include_str!("kafka-fill.yaml"), "kafka-fill.yaml")?;
    let (report, cost) = execute(include_str!("kafka.yaml"), "kafka.yaml")?;
    let records = |role: fn(&crate::control::NodeReport) -> u64, name: &str| {
        report.nodes.iter().find(|node| node.name == name).map_or(0, role)
    };
    let (read, written) = (records(|node| node.records_out, "behavior"), records(|node| node.records_in, "out"));
    let (began, began_cpu) = (clock.monotonic(), cpu());
    let copied = kafka_limit::copy(&run.brokers, &from, &unseen, run.events, written).map_err(RunError::Panic)?;
    let limit = Cost { wall: clock.monotonic() - began, cpu: cpu() - began_cpu };
    runtime.block_on(kafka_limit::delete_topics(&run.brokers, &topics)).map_err(RunError::Panic)?;
    let rate = |cost: &Cost| rounded(run.events as f64 / cost.wall.as_secs_f64(), 0);
    let figures = |cost: &Cost| -> Value {
        json!({
            "wall_s": rounded(cost.wall.as_secs_f64(), 3),
            "cpu_s": rounded(cost.cpu.as_secs_f64(), 3),
            "events_per_s": rate(cost),
        })
    };
    Ok(json!({
        "workload": "kafka",
        "events": run.events,
        "parallelism": run.parallelism,
        "read": read,
        "written": written,
        "copied": copied,
        "checkpoints": report.checkpoints.costs().len(),
        "fill": figures(&filled),
        "job": figures(&cost),
        "limit": figures(&limit),
        "ratio": rounded(limit.wall.as_secs_f64() / cost.wall.as_secs_f64(), 3),
        "cpu_ratio": rounded(limit.cpu.as_secs_f64() / cost.cpu.as_secs_f64(), 3),
    })
    .to_string())
}
