//! `wasmill run` and `wasmill check`.
use std::{num::NonZeroU64, path::PathBuf, sync::Arc};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult, engine, progress::Progress};
use crate::{
    control::{
        AllHere, CrashAtCheckpoint, Job, JobOptions, JobReport, JobView, LocalPlugins, Prepared, RunError, StartFrom,
        data_runtime, prepare,
    },
    dataflow::{Environment, MemoryExchanges, TokioSpawner},
    job,
    model::SystemClock,
};

/// Arguments of `run`.
#[derive(Args)]
pub(super) struct Run {
    /// The job file, YAML or JSON.
    job: PathBuf,
    /// Start from this savepoint instead of the latest checkpoint.
    #[arg(long, value_name = "DIRECTORY")]
    from_savepoint: Option<PathBuf>,
    /// Leave behind state of operators that the job no longer has.
    #[arg(long)]
    allow_non_restored_state: bool,
    /// Leave a savepoint here when told to stop, by Ctrl-C or SIGTERM.
    #[arg(long, value_name = "DIRECTORY")]
    savepoint_on_stop: Option<PathBuf>,
    /// Crash once so many checkpoints are complete, before sinks commit: for tests.
    #[arg(long, value_name = "NUMBER", hide = true)]
    crash_at_checkpoint: Option<NonZeroU64>,
    /// Show the compiler at work where plugins are built.
    #[arg(long, short)]
    verbose: bool,
}

/// Arguments of `check`.
#[derive(Args)]
pub(super) struct Check {
    /// The job file, YAML or JSON.
    job: PathBuf,
    /// Show the compiler at work where plugins are built.
    #[arg(long, short)]
    verbose: bool,
}

impl Check {
    pub(super) fn execute(self) -> CommandResult {
        let prepared = prepared(&self.job, self.verbose)?;
        print!("{}", prepared.plan);
        warn(&prepared);
        Ok(())
    }
}

impl Run {
    pub(super) fn execute(self) -> CommandResult {
        let prepared = prepared(&self.job, self.verbose)?;
        warn(&prepared);
        let crash = self.crash_at_checkpoint.map(|number| CrashAtCheckpoint::new(number, None));
        let options = JobOptions {
            observer: crash.map(|crash| Arc::new(crash) as _),
            from: self.from_savepoint.map_or(StartFrom::Latest, StartFrom::Savepoint),
            allow_non_restored_state: self.allow_non_restored_state,
            savepoint_on_stop: self.savepoint_on_stop,
            ..JobOptions::of(&prepared.spec).map_err(RunError::from)?
        };
        let report = execute(Arc::new(prepared), options, true)?;
        Progress::last(&report);
        Ok(())
    }
}

fn prepared(path: &std::path::Path, verbose: bool) -> Result<Prepared, CommandError> {
    let spec = job::load(path).map_err(RunError::from)?;
    Ok(prepare(spec, &LocalPlugins::new(&engine()?, verbose))?)
}

fn warn(prepared: &Prepared) {
    for warning in &prepared.plan.warnings {
        tracing::warn!("{warning}");
    }
}

/// Runs a job to its end. The first Ctrl-C or SIGTERM stops it in order, the second at once. SIGUSR1 has it take a savepoint where
/// `savepoints` of the job file says.
pub(super) fn execute(
    prepared: Arc<Prepared>,
    options: JobOptions,
    show_progress: bool,
) -> Result<JobReport, CommandError> {
    let runtime =
        data_runtime().map_err(|error| CommandError::Failed(format!("no threads can be started: {error}")))?;
    let environment = Environment {
        clock: Arc::new(SystemClock::new()),
        seed: 0,
        exchanges: Arc::new(MemoryExchanges),
        spawner: Arc::new(TokioSpawner),
    };
    let result = runtime.block_on(until_end(prepared, environment, options, show_progress));
    // Whatever still blocks (a read of stdin) ends with the process.
    runtime.shutdown_background();
    result
}

async fn until_end(
    prepared: Arc<Prepared>,
    environment: Environment,
    options: JobOptions,
    show_progress: bool,
) -> Result<JobReport, CommandError> {
    let signals = |kind| signal(kind).map_err(|error| CommandError::Failed(format!("no signals: {error}")));
    let (mut terminate, mut savepoint) = (signals(SignalKind::terminate())?, signals(SignalKind::user_defined1())?);
    let (clock, stop) = (environment.clock.clone(), CancellationToken::new());
    let savepoints = prepared.spec.savepoints.clone();
    let job = Job::start(prepared, environment, Arc::new(AllHere), options, stop.clone());
    let view = job.view();
    let progress = show_progress.then(|| tokio::spawn(Progress::show(job.view(), clock.clone())));
    let wait = job.wait();
    tokio::pin!(wait);
    let result = loop {
        let asked = tokio::select! {
            report = &mut wait => break report.map_err(CommandError::from),
            interrupted = tokio::signal::ctrl_c() => interrupted.is_ok(),
            _ = terminate.recv() => true,
            _ = savepoint.recv() => {
                tokio::spawn(take_savepoint(view.clone(), savepoints.clone(), clock.now_ms()));
                continue;
            }
        };
        if !asked || stop.is_cancelled() {
            break Err(CommandError::Interrupted);
        }
        tracing::info!("stopping; press Ctrl-C again to stop at once");
        stop.cancel();
    };
    if let Some(progress) = progress {
        progress.abort();
        // It ends at once, cancelled.
        let _ = progress.await;
    }
    result
}

/// Into a folder named by the time.
async fn take_savepoint(view: JobView, savepoints: Option<PathBuf>, now_ms: i64) {
    let Some(savepoints) = savepoints else {
        tracing::error!("no savepoint: the job file does not say where (`savepoints: DIRECTORY`)");
        return;
    };
    let directory = savepoints.join(format!("savepoint-{now_ms}"));
    match view.savepoint(directory.clone(), false).await {
        Ok(()) => tracing::info!("savepoint taken: {}", directory.display()),
        Err(error) => tracing::error!("no savepoint: {error}"),
    }
}
