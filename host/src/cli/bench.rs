//! `wasmill bench`: measures a workload and prints one JSON line.
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{CommandError, CommandResult, engine, run::execute};
use crate::bench::{self, Measured, Run, Workload};

/// Arguments of `bench`.
#[derive(Args)]
pub(super) struct Bench {
    /// What to run.
    workload: WorkloadName,
    /// Number of events.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Number of parallel subtasks.
    #[arg(long, default_value_t = 1)]
    parallelism: u32,
    /// Run the same logic in plain Rust instead: the limit.
    #[arg(long)]
    native: bool,
    /// Compute the checksum of the output; without it outputs are only counted.
    #[arg(long)]
    verify: bool,
    /// Events a second over all subtasks; default: as fast as it goes.
    #[arg(long)]
    rate: Option<u64>,
    /// Where the plugins are: the `plugins` folder of a checkout.
    #[arg(long, default_value = "plugins")]
    plugins: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum WorkloadName {
    /// Word count: lines of ten words, counted in windows of 5 s of event time.
    W1,
    /// What users did in the last hour, every 5 min: behaviours counted, items told apart. Only with `--native`.
    W2,
    /// Fraud: payments, with state and a timer for each user. Only with `--native`.
    W3,
    /// JSON in, filter and score, JSON out.
    W6,
}

impl Bench {
    pub(super) fn execute(self) -> CommandResult {
        let run = Run {
            workload: match self.workload {
                WorkloadName::W1 => Workload::W1,
                WorkloadName::W2 => Workload::W2,
                WorkloadName::W3 => Workload::W3,
                WorkloadName::W6 => Workload::W6,
            },
            events: self.events,
            parallelism: self.parallelism,
            verify: self.verify,
            rate: self.rate,
        };
        let measured: Measured = if self.native {
            bench::native(&run)
        } else {
            let prepared = bench::prepare(&run, &engine()?, &self.plugins)?
                .ok_or_else(|| CommandError::Refused("this workload is only there with --native".into()))?;
            let start = bench::Start::now();
            let report = execute(prepared, false)?;
            start
                .end(&run, &report)
                .ok_or_else(|| CommandError::Failed("the job has no count of its outputs".into()))?
        };
        println!("{}", measured.json(&run));
        Ok(())
    }
}
