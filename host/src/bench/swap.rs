//! How long output pauses when the plugin of a running operator is replaced: every payment is reported, and what reads the reports notes when
//! they come, and which.
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arrow_array::{cast::AsArray, types::Int64Type};
use async_trait::async_trait;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::measure::rounded;
use crate::{
    connector::{CONNECTOR_FAILED, ConnectorError, Delivery, Opening, Recovery, Sink, SinkWriter},
    control::{
        AllHere, ChangeRequest, Job, JobOptions, JobView, LocalPlugins, PluginSource, Prepared, RunError, SourceError,
        data_runtime, prepare,
    },
    dataflow::{Environment, MemoryExchanges, TokioSpawner},
    job::{self, PluginRef},
    model::{Batch, Clock, Encoded, SystemClock},
    plugin::{LoadError, Plugin, PluginEngine},
};

/// From one change to the next.
const BETWEEN: Duration = Duration::from_millis(50);

/// How long after a change a gap in the output is put down to it.
const AFTER: Duration = Duration::from_millis(20);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Swap {
    /// Keys that have state, at most 100 000.
    pub keys: u64,
    /// Payments a second.
    pub rate: u64,
    /// How many times the rules are replaced.
    pub swaps: u64,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Whether state is in RocksDB.
    pub rocksdb: bool,
    /// Time between two checkpoints; none if absent.
    pub checkpoint: Option<Duration>,
    /// Where state and checkpoints go.
    pub directory: PathBuf,
    /// The folder of the two versions of the rules.
    pub rules: PathBuf,
}

/// What came out, and when.
#[derive(Debug, Default)]
struct Output {
    /// When rows came.
    times: Vec<Duration>,
    /// How often each payment was reported, by its number.
    reported: Vec<u8>,
    rows: u64,
}

#[derive(Debug, Default)]
struct Recorder(Arc<Mutex<Output>>);

/// Event time of the first payment, in ms.
const FIRST_TIME_MS: i64 = 1_700_000_000_000;

#[async_trait]
impl Sink for Recorder {
    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    async fn recover(&self, _recovery: &Recovery, _committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn open(&self, opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        Ok(Box::new(RecordingWriter { output: self.0.clone(), clock: opening.clock.clone() }))
    }
}

struct RecordingWriter {
    output: Arc<Mutex<Output>>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl SinkWriter for RecordingWriter {
    async fn write(&mut self, rows: &Batch, _encoded: &Encoded) -> Result<(), ConnectorError> {
        let wrong = || ConnectorError {
            place: "bench".into(),
            what: "reports have no timestamp".into(),
            retry: false,
            code: CONNECTOR_FAILED,
        };
        let timestamps = rows.columns.column_by_name("timestamp").ok_or_else(wrong)?;
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.times.push(self.clock.monotonic());
        output.rows += rows.rows() as u64;
        for time in timestamps.as_primitive::<Int64Type>().values() {
            let number = usize::try_from(time - FIRST_TIME_MS).map_err(|_| wrong())?;
            if output.reported.len() <= number {
                output.reported.resize(number + 1, 0);
            }
            output.reported[number] = output.reported[number].saturating_add(1);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn prepare(&mut self, _checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn commit(&mut self, _committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Runs the job, replaces its rules, and says what that cost: one line of JSON.
pub fn swap(run: &Swap, engine: &PluginEngine) -> Result<String, RunError> {
    let source = LocalPlugins::new(engine, false);
    let output = Arc::new(Mutex::new(Output::default()));
    let prepared = Arc::new(prepared(run, &source, &output)?);
    let versions = ["rules-1.0", "rules-2.0"].map(|name| load(&source, &run.rules.join(name)));
    let [first, second] = versions;
    let versions = [first?, second?];
    let options = JobOptions::of(&prepared.spec)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let environment = Environment {
        clock: clock.clone(),
        seed: 0,
        exchanges: Arc::new(MemoryExchanges),
        spawner: Arc::new(TokioSpawner),
    };
    let runtime = data_runtime().map_err(|error| RunError::Panic(error.to_string()))?;
    let stop = CancellationToken::new();
    let (made, changes) = runtime.block_on(async {
        let job = Job::start(prepared, environment, Arc::new(AllHere), options, stop.clone());
        let view = job.view();
        let changes = async {
            let changes = change_often(run, &view, &versions, &*clock).await;
            stop.cancel();
            changes
        };
        let (report, changes) = tokio::join!(job.wait(), changes);
        Ok::<_, RunError>((report?.nodes.first().map_or(0, |source| source.records_out), changes?))
    })?;
    let output = std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(line(run, &output, made, &changes))
}

fn prepared(run: &Swap, source: &LocalPlugins, output: &Arc<Mutex<Output>>) -> Result<Prepared, RunError> {
    let variable = |name: &str| match name {
        "PARALLELISM" => Some(run.parallelism.to_string()),
        "KEYS" => Some(run.keys.to_string()),
        "RATE" => Some(run.rate.to_string()),
        "STATE" => Some(super::workload::state(run.rocksdb, &run.directory)),
        "CHECKPOINTS" => Some(super::workload::checkpoints(run.checkpoint, &run.directory)),
        _ => None,
    };
    let mut spec = job::parse(include_str!("swap.yaml"), "swap.yaml", &variable, &run.rules)?;
    for sink in spec.sinks.values_mut() {
        sink.connector = Arc::new(Recorder(output.clone()));
    }
    prepare(spec, source)
}

fn load(source: &LocalPlugins, path: &Path) -> Result<Arc<Plugin>, RunError> {
    source.load(&PluginRef::Path(path.to_owned())).map_err(|error| {
        let error = match error {
            SourceError::Load(error) => error,
            SourceError::Build(error) => LoadError::Invalid(error.to_string()),
        };
        RunError::Plugin { place: "bench".into(), operator: "rules".into(), plugin: path.display().to_string(), error }
    })
}

/// Of each change: when it was asked for, and when it was in force.
async fn change_often(
    run: &Swap,
    view: &JobView,
    versions: &[Arc<Plugin>; 2],
    clock: &dyn Clock,
) -> Result<Vec<(Duration, Duration)>, RunError> {
    let failed = |error: crate::control::ChangeError| RunError::Panic(error.to_string());
    let mut at = clock.monotonic();
    // Most keys have state by then.
    while view.nodes().first().is_some_and(|source| source.records_out < 2 * run.keys) && !view.has_ended() {
        at += BETWEEN;
        clock.sleep_until(at).await;
    }
    let mut changes = Vec::new();
    for number in 0..run.swaps {
        at = at.max(clock.monotonic()) + BETWEEN;
        clock.sleep_until(at).await;
        let began = clock.monotonic();
        let request = ChangeRequest {
            operator: "rules".to_owned(),
            kind: None,
            plugin: Some(versions[(number + 1) as usize % 2].clone()),
            configuration: Some(json!({ "limit": -1, "mark": number + 1 }).to_string()),
            trial: None,
            force: Vec::new(),
        };
        // As on a server: not on the threads of the data path.
        let of_request = view.clone();
        let ready = tokio::task::spawn_blocking(move || of_request.prepare_change(request)).await;
        let ready = ready.map_err(|error| RunError::Panic(error.to_string()))?;
        view.change(ready.map_err(failed)?).await.map_err(failed)?;
        changes.push((began, clock.monotonic()));
    }
    clock.sleep_until(clock.monotonic() + BETWEEN).await;
    Ok(changes)
}

fn line(run: &Swap, output: &Output, made: u64, changes: &[(Duration, Duration)]) -> String {
    let mut times = output.times.clone();
    times.sort_unstable();
    let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = gaps.clone();
    sorted.sort_unstable();
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    // The longest gaps, each from the time of a change, or so long after it, and beyond the usual.
    let pauses = |later: Duration| {
        let longest = |(began, ended): &(Duration, Duration)| {
            let from = times.partition_point(|time| *time < *began + later).saturating_sub(1);
            let to = times.partition_point(|time| *time <= *ended + later + AFTER).min(gaps.len());
            gaps[from.min(to)..to].iter().max().copied().unwrap_or_default().saturating_sub(usual)
        };
        let mut pauses: Vec<Duration> = changes.iter().map(longest).collect();
        pauses.sort_unstable();
        pauses
    };
    let (at_changes, between) = (pauses(Duration::ZERO), pauses(BETWEEN / 2));
    let mut took: Vec<Duration> = changes.iter().map(|(began, ended)| *ended - *began).collect();
    took.sort_unstable();
    let distinct = output.reported.iter().filter(|times| **times > 0).count() as u64;
    json!({
        "workload": "swap",
        "keys": run.keys,
        "rate": run.rate,
        "parallelism": run.parallelism,
        "state": if run.rocksdb { "rocksdb" } else { "memory" },
        "swaps": changes.len(),
        "pause_ms_p50": quantile(&at_changes, 0.5),
        "pause_ms_p99": quantile(&at_changes, 0.99),
        "pause_ms_max": quantile(&at_changes, 1.0),
        "between_ms_p50": quantile(&between, 0.5),
        "between_ms_p99": quantile(&between, 0.99),
        "between_ms_max": quantile(&between, 1.0),
        "usual_gap_ms": rounded(usual.as_secs_f64() * 1e3, 3),
        "swap_ms_p50": quantile(&took, 0.5),
        "swap_ms_p99": quantile(&took, 0.99),
        "outputs": output.rows,
        "lost": made.saturating_sub(distinct),
        "doubled": output.rows - distinct,
    })
    .to_string()
}

/// In ms, of sorted durations.
fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    rounded(sorted.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3, 3)
}
