//! The `wasmill` binary: hands the command line over and turns the outcome into an exit code.
use std::process::ExitCode;

/// Batches are large and short-lived; this allocator keeps their memory instead of giving it back to the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wasmill::cli::main()
}
