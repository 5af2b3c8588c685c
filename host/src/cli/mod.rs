//! The command line: what can be asked, and how answers and errors are shown. The only place that prints.
mod bench;
mod plugin;
mod progress;
mod remote;
mod run;
mod serve;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    control::RunError,
    model::{Clock, SystemClock},
    plugin::{PluginEngine, build},
    service::JobLogs,
};

/// The job, or the command, failed while it ran.
const EXIT_FAILED: u8 = 1;
/// The command line is wrong; clap's as well.
const EXIT_COMMAND_LINE: u8 = 2;
/// Nothing was run: the job file or a plugin is wrong, or the server refuses the request.
const EXIT_REFUSED: u8 = 3;
/// Interrupted a second time, before the stop in order was done.
const EXIT_INTERRUPTED: u8 = 130;

/// A stream processor whose operators are WebAssembly components.
///
/// Exit codes: 0 done, 1 failed while running or the server does not answer, 2 wrong command line, 3 wrong job file or plugin, or refused
/// by the server (nothing was run), 130 interrupted twice. WASMILL_LOG sets what is logged, such as `debug` or `info,guest=debug`; default `info`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a job until its sources end, or Ctrl-C.
    Run(run::Run),
    /// Check a job and show how it would run.
    Check(run::Check),
    /// Run a server: plugins and jobs over HTTP.
    Serve(serve::Serve),
    /// Make and look at plugins, and those of a server.
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    /// Jobs of a server.
    Job(remote::JobCommand),
    /// Change an operator of a running job: its plugin, its configuration, or both.
    Swap(remote::Swap),
    /// Have another plugin do an operator's work beside it, and compare.
    Shadow(remote::Shadow),
    /// Show how a shadow compares.
    ShadowReport(remote::ShadowReport),
    /// Have another plugin process a share of an operator's keys.
    Canary(remote::Canary),
    /// Give a canary another share of the keys.
    CanaryShare(remote::CanaryShare),
    /// Show what a canary and the version in force have done.
    CanaryReport(remote::CanaryReport),
    /// Change an operator to the plugin of its shadow or its canary.
    Promote(remote::Promote),
    /// End a shadow or a canary.
    Discard(remote::Discard),
    /// Go back to the version before.
    Rollback(remote::Rollback),
    /// Show the configuration of an operator of a running job, or change some of it.
    Config(remote::Config),
    /// Have an operator of a running job process dead letters again.
    Replay(remote::Replay),
    /// Rules of an operator of a running job: list, add and remove them.
    Rule(remote::RuleCommand),
    /// Show which versions of plugins operators run and have run.
    Versions(remote::Versions),
    /// Show who has changed what on a server, oldest first.
    Audit(remote::Audit),
    /// Print a script that completes commands in a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Measure a workload: one JSON line.
    Bench(bench::Bench),
}

/// Why a command ends.
enum CommandError {
    /// The command line makes no sense.
    CommandLine(String),
    /// Before anything was run.
    Refused(String),
    /// While it ran.
    Failed(String),
    /// Ctrl-C, twice.
    Interrupted,
    /// Whoever has read the output has enough.
    Unread,
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        let text = error.to_string();
        if error.is_before_start() { CommandError::Refused(text) } else { CommandError::Failed(text) }
    }
}

type CommandResult = Result<(), CommandError>;

/// What the binary does.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("WASMILL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let logs = JobLogs::new(clock.clone());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish()
        .with(logs.clone())
        .init();
    let result = match arguments.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Serve(serve) => serve.execute(clock, logs),
        Command::Plugin(plugin) => plugin.execute(clock),
        Command::Job(job) => job.execute(clock),
        Command::Swap(swap) => swap.execute(clock),
        Command::Shadow(shadow) => shadow.execute(clock),
        Command::ShadowReport(report) => report.execute(clock),
        Command::Canary(canary) => canary.execute(clock),
        Command::CanaryShare(share) => share.execute(clock),
        Command::CanaryReport(report) => report.execute(clock),
        Command::Promote(promote) => promote.execute(clock),
        Command::Discard(discard) => discard.execute(clock),
        Command::Rollback(rollback) => rollback.execute(clock),
        Command::Config(config) => config.execute(clock),
        Command::Replay(replay) => replay.execute(clock),
        Command::Rule(rule) => rule.execute(clock),
        Command::Versions(versions) => versions.execute(clock),
        Command::Audit(audit) => audit.execute(clock),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "wasmill", &mut script);
            remote::say(&String::from_utf8_lossy(&script))
        }
        Command::Bench(bench) => bench.execute(),
    };
    let (code, text) = match result {
        Ok(()) | Err(CommandError::Unread) => return ExitCode::SUCCESS,
        Err(CommandError::CommandLine(text)) => (EXIT_COMMAND_LINE, text),
        Err(CommandError::Refused(text)) => (EXIT_REFUSED, text),
        Err(CommandError::Failed(text)) => (EXIT_FAILED, text),
        Err(CommandError::Interrupted) => (EXIT_INTERRUPTED, "interrupted".into()),
    };
    eprintln!("{}{text}", if text.starts_with("error") { "" } else { "error: " });
    ExitCode::from(code)
}

/// The engine every command uses, with its cache of compiled code.
fn engine() -> Result<PluginEngine, CommandError> {
    PluginEngine::new(PluginEngine::default_cache()).map_err(|error| CommandError::Failed(error.to_string()))
}

/// A `.wasm` file as it is, a crate's directory built.
fn component(path: PathBuf, verbose: bool) -> Result<PathBuf, CommandError> {
    if !path.is_dir() {
        return Ok(path);
    }
    build::build(&path, &build::Options::from_environment(verbose))
        .map_err(|error| CommandError::Refused(error.to_string()))
}
