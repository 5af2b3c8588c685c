//! Commands that ask a server: who is asked, by whom, and how answers are shown. Guarantees: what a server says cannot steer the terminal. Must not
//! know HTTP.
mod audit;
mod canary;
mod job;
mod operator;
mod plugin;
mod replay;
mod rule;
mod table;

use std::{
    fs,
    io::{ErrorKind, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use serde_json::Value;

pub(super) use self::{
    audit::Audit,
    canary::{Canary, CanaryReport, CanaryShare},
    job::JobCommand,
    operator::{Discard, Promote, Rollback, Shadow, ShadowReport, Swap, Versions},
    plugin::{Delete, List, Push},
    replay::{Config, Replay},
    rule::RuleCommand,
};
use super::{CommandError, CommandResult};
use crate::{
    client::{Answer, Client, ClientError},
    model::Clock,
};

/// The server that is asked if nobody says which.
const SERVER_DEFAULT: &str = "http://127.0.0.1:8080";

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Table,
    /// As the server has sent it.
    Json,
}

/// Which server is asked, and how its answers are shown.
#[derive(Args)]
pub(super) struct Connection {
    /// The server's address. Default: WASMILL_SERVER, or else http://127.0.0.1:8080.
    #[arg(long, global = true, value_name = "URL", help_heading = "Server")]
    server: Option<String>,
    /// A file with the token. Default: the token in WASMILL_TOKEN, if there is one.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    token_file: Option<PathBuf>,
    /// Certificates that the server's is verified against, PEM. Default: the system's.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Server")]
    ca_certificate: Option<PathBuf>,
    /// How answers are shown.
    #[arg(long, global = true, value_enum, default_value = "table", help_heading = "Server")]
    output: Output,
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Unusable(_) => CommandError::CommandLine(text),
            ClientError::File { .. } => CommandError::Refused(text),
            ClientError::Problem(problem) if problem.is_refusal() => CommandError::Refused(text),
            ClientError::Problem(_) | ClientError::Unreachable { .. } | ClientError::Answer { .. } => {
                CommandError::Failed(text)
            }
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(|error| ClientError::File { path: path.clone(), error }.into())
}

impl Connection {
    /// The client these options and the environment ask for.
    fn client(&self, clock: Arc<dyn Clock>) -> Result<Client, CommandError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let server = self.server.clone().or_else(|| variable("WASMILL_SERVER"));
        let token = match &self.token_file {
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
            None => variable("WASMILL_TOKEN"),
        };
        let roots = self.ca_certificate.as_ref().map(read).transpose()?;
        let server = server.as_deref().unwrap_or(SERVER_DEFAULT);
        Ok(Client::new(server, token.as_deref(), roots.as_deref(), clock)?)
    }

    /// Asks, and shows the answer: as it is, or as `show` makes it.
    fn ask(
        &self,
        clock: Arc<dyn Clock>,
        request: impl AsyncFnOnce(&Client) -> Result<Answer, CommandError>,
        show: impl FnOnce(&Value) -> String,
    ) -> CommandResult {
        let client = self.client(clock)?;
        let answer = block_on(request(&client))?;
        say(&match self.output {
            Output::Json => answer.text,
            Output::Table => show(&answer.value),
        })
    }
}

/// Runs requests on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::Failed(format!("no requests can be made: {error}")))?;
    runtime.block_on(future)
}

/// Writes lines to stdout; nothing if there are none.
pub(super) fn say(text: &str) -> CommandResult {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => CommandError::Unread,
        _ => CommandError::Failed(format!("the output cannot be written: {error}")),
    })
}
