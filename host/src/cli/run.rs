//! `wasmill run` and `wasmill check`.
use std::{path::PathBuf, sync::Arc};

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult, engine, progress::Progress};
use crate::{
    control::{AllHere, Job, JobReport, Prepared, RunError, data_runtime, prepare},
    dataflow::{Environment, MemoryExchanges},
    job,
    model::SystemClock,
};

/// Arguments of `run`.
#[derive(Args)]
pub(super) struct Run {
    /// The job file, YAML or JSON.
    job: PathBuf,
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
        let report = execute(Arc::new(prepared), true)?;
        Progress::last(&report);
        Ok(())
    }
}

fn prepared(path: &std::path::Path, verbose: bool) -> Result<Prepared, CommandError> {
    let spec = job::load(path).map_err(RunError::from)?;
    Ok(prepare(spec, &engine()?, verbose)?)
}

fn warn(prepared: &Prepared) {
    for warning in &prepared.plan.warnings {
        tracing::warn!("{warning}");
    }
}

/// Runs a job to its end. The first Ctrl-C stops it in order, the second at once.
pub(super) fn execute(prepared: Arc<Prepared>, show_progress: bool) -> Result<JobReport, CommandError> {
    let runtime =
        data_runtime().map_err(|error| CommandError::Failed(format!("no threads can be started: {error}")))?;
    let stop = CancellationToken::new();
    let environment =
        Environment { clock: Arc::new(SystemClock::new()), seed: 0, exchanges: Arc::new(MemoryExchanges) };
    let result = runtime.block_on(async {
        let clock = environment.clock.clone();
        let job = Job::start(prepared, environment, &AllHere, stop.clone())?;
        let progress = show_progress.then(|| tokio::spawn(Progress::show(job.view(), clock)));
        let wait = job.wait();
        tokio::pin!(wait);
        let mut interrupted = false;
        let result = loop {
            tokio::select! {
                report = &mut wait => break report.map_err(CommandError::from),
                signal = tokio::signal::ctrl_c() => {
                    if signal.is_err() || interrupted {
                        break Err(CommandError::Interrupted);
                    }
                    interrupted = true;
                    tracing::info!("stopping; press Ctrl-C again to stop at once");
                    stop.cancel();
                }
            }
        };
        if let Some(progress) = progress {
            progress.abort();
            // It ends at once, cancelled.
            let _ = progress.await;
        }
        result
    });
    // Whatever still blocks (a read of stdin) ends with the process.
    runtime.shutdown_background();
    result
}
