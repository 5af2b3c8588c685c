//! `simulate --seeds N [--start S]`: runs simulated jobs; of a seed that fails, says so and how to run it again, and exits with 1.
//! `RUST_LOG=wasmill=debug` shows what the job says while it runs.
use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use clap::Parser;
use wasmill_tests::simulation;

#[derive(Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
}

fn main() -> ExitCode {
    let Arguments { seeds, start } = Arguments::parse();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).without_time().init();
    let guests = simulation::guests();
    let (next, crashes, checkpoints) = (AtomicU64::new(start), AtomicU64::new(0), AtomicUsize::new(0));
    let failed = AtomicU64::new(u64::MAX);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let work = || {
                while failed.load(Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= start + seeds {
                        break;
                    }
                    match simulation::run(seed, &guests) {
                        Ok(experience) => {
                            crashes.fetch_add(experience.crashes.into(), Relaxed);
                            checkpoints.fetch_add(experience.checkpoints, Relaxed);
                        }
                        Err(what) => {
                            failed.fetch_min(seed, Relaxed);
                            println!("seed {seed} fails: {what}");
                        }
                    }
                }
            };
            // Guests need room on the stack.
            let thread = std::thread::Builder::new().stack_size(simulation::STACK_BYTES);
            if let Err(error) = thread.spawn_scoped(scope, work) {
                println!("no thread: {error}");
            }
        }
    });
    match failed.into_inner() {
        u64::MAX => {
            let (crashes, checkpoints) = (crashes.into_inner(), checkpoints.into_inner());
            println!("{seeds} seeds from {start} on: none fails; {crashes} crashes, {checkpoints} checkpoints");
            ExitCode::SUCCESS
        }
        seed => {
            println!("to see it again: cargo run --release --bin simulate -- --seeds 1 --start {seed}");
            ExitCode::FAILURE
        }
    }
}
