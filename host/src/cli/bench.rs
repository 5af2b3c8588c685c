//! `wasmill bench`: measures a workload and prints one JSON line.
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use super::{CommandError, CommandResult, engine, run::execute};
use crate::{
    bench::{self, Kafka, LargeState, Measured, Run, Swap, Workload},
    control::{JobOptions, RunError},
};

/// Of `swap`, in events a second.
const SWAP_RATE_DEFAULT: u64 = 200_000;

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
    /// Where state is kept.
    #[arg(long, value_enum, default_value = "memory")]
    state: StateName,
    /// Time between two checkpoints, such as 10s, into a temporary directory; default: none.
    #[arg(long, value_parser = humantime::parse_duration)]
    checkpoint: Option<std::time::Duration>,
    /// Of `state`: bytes of keys and values.
    #[arg(long, default_value = "1GiB")]
    bytes: ByteSize,
    /// Of `state`: share of the keys that change between two checkpoints, in percent.
    #[arg(long, default_value = "1%", value_parser = percent)]
    changed: f64,
    /// Of `state`: number of checkpoints after the first.
    #[arg(long, default_value_t = 5)]
    checkpoints: u32,
    /// Of `swap`: number of keys, at most 100000.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: u64,
    /// Of `swap`: how many times the plugin is replaced.
    #[arg(long, default_value_t = 200)]
    swaps: u64,
    /// Of `kafka`: where a broker is, as host:port.
    #[arg(long, env = "WASMILL_KAFKA", default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Where the plugins are: the `plugins` folder of a checkout.
    #[arg(long, default_value = "plugins")]
    plugins: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum WorkloadName {
    /// Word count: lines of ten words, counted in windows of 5 s of event time.
    W1,
    /// What users did in the last hour, every 5 min: behaviours counted, items told apart.
    W2,
    /// Fraud: payments, with state and a timer for each user.
    W3,
    /// JSON in, filter and score, JSON out.
    W6,
    /// Large keyed state, its checkpoints and going back to one.
    State,
    /// From a topic of Kafka through a filter to another, beside a bare loop of the same client.
    Kafka,
    /// A plugin replaced again and again while its job runs: how long output pauses.
    Swap,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StateName {
    /// In memory.
    Memory,
    /// In RocksDB, in a temporary directory.
    Rocksdb,
}

impl Bench {
    pub(super) fn execute(self) -> CommandResult {
        let directory = tempfile::tempdir()
            .map_err(|error| CommandError::Failed(format!("there is no temporary directory: {error}")))?;
        let workload = match self.workload {
            WorkloadName::W1 => Workload::W1,
            WorkloadName::W2 => Workload::W2,
            WorkloadName::W3 => Workload::W3,
            WorkloadName::W6 => Workload::W6,
            WorkloadName::State => return self.large_state(directory.path().to_owned()),
            WorkloadName::Kafka => return self.kafka(directory.path().to_owned()),
            WorkloadName::Swap => return self.swap(directory.path().to_owned()),
        };
        let run = Run {
            workload,
            events: self.events,
            parallelism: self.parallelism,
            verify: self.verify,
            rate: self.rate,
            directory: directory.path().to_owned(),
            rocksdb: self.state == StateName::Rocksdb,
            checkpoint: self.checkpoint,
        };
        let measured: Measured = if self.native {
            bench::native(&run)
        } else {
            let prepared = bench::prepare(&run, &engine()?, &self.plugins)?;
            let start = bench::Start::now();
            let options = JobOptions::of(&prepared.spec).map_err(RunError::from)?;
            let report = execute(prepared, options, false)?;
            start
                .end(&run, &report)
                .ok_or_else(|| CommandError::Failed("the job has no count of its outputs".into()))?
        };
        println!("{}", measured.json(&run));
        Ok(())
    }

    fn swap(&self, directory: PathBuf) -> CommandResult {
        let run = Swap {
            keys: self.keys,
            rate: self.rate.unwrap_or(SWAP_RATE_DEFAULT),
            swaps: self.swaps,
            parallelism: self.parallelism,
            rocksdb: self.state == StateName::Rocksdb,
            checkpoint: self.checkpoint,
            directory,
            rules: self.plugins.join("../examples/live-rules"),
        };
        println!("{}", bench::swap(&run, &engine()?)?);
        Ok(())
    }

    fn kafka(&self, directory: PathBuf) -> CommandResult {
        let (brokers, events, parallelism) = (self.brokers.clone(), self.events, self.parallelism);
        let run = Kafka { brokers, events, parallelism, directory };
        println!("{}", bench::kafka(&run, &engine()?, &self.plugins)?);
        Ok(())
    }

    fn large_state(&self, directory: PathBuf) -> CommandResult {
        let run = LargeState {
            bytes: self.bytes.as_u64(),
            changed: self.changed,
            parallelism: self.parallelism,
            checkpoints: self.checkpoints,
            directory,
            rocksdb: self.state == StateName::Rocksdb,
        };
        println!("{}", bench::large_state(&run)?);
        Ok(())
    }
}

/// A share from `1%`, or `1`, above 0 and up to 100.
fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("a percentage above 0 and up to 100 is expected, such as 1%".to_owned()),
    }
}
