//! `wasmill serve`.
use std::{
    io::Write,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Args;
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{CommandError, CommandResult};
use crate::{
    control::data_runtime,
    model::Clock,
    registry::UPLOAD_BYTES_DEFAULT,
    service::JobLogs,
    web::{Server, ServerSettings, TlsSettings, WebError},
};

/// Threads that answer requests; those that run jobs are others, which guests keep busy.
const THREADS: usize = 2;

/// Arguments of `serve`.
#[derive(Args)]
pub(super) struct Serve {
    /// Where to listen; port 0 takes any that is free.
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Where to keep plugins, jobs and the audit log.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Who may do what: lines of a token's SHA-256 in hexadecimal digits, a name, and `viewer`, `operator` or `admin`. Either this or
    /// --no-auth.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Let whoever is on this machine do anything, without tokens; only on an address of this machine.
    #[arg(long, conflicts_with = "tokens")]
    no_auth: bool,
    /// Serve HTTPS with this certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Take only plugins signed by this ed25519 public key, PEM or base64; may be given several times.
    #[arg(long, value_name = "KEYFILE")]
    require_signature: Vec<PathBuf>,
    /// The largest plugin that is taken.
    #[arg(long, value_name = "BYTES", default_value_t = ByteSize(UPLOAD_BYTES_DEFAULT))]
    upload_limit: ByteSize,
    /// Files of values for `${NAME}` in jobs, each named like its variable.
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// The longest jobs are waited for when the server stops, each to take a last checkpoint.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    stop_time: Duration,
    /// Crash once so many checkpoints of a job are complete, before its sinks commit: for tests.
    #[arg(long, value_name = "NUMBER", hide = true)]
    crash_at_checkpoint: Option<NonZeroU64>,
    /// Requests a second of one caller.
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    rate_limit: NonZeroU32,
}

impl From<WebError> for CommandError {
    fn from(error: WebError) -> Self {
        let text = error.to_string();
        if error.is_before_start() { CommandError::Refused(text) } else { CommandError::Failed(text) }
    }
}

impl Serve {
    pub(super) fn execute(self, clock: Arc<dyn Clock>, logs: JobLogs) -> CommandResult {
        let tls = self.tls_certificate.zip(self.tls_key).map(|(certificate, key)| TlsSettings { certificate, key });
        let settings = ServerSettings {
            address: self.address,
            data: self.data,
            tokens: self.tokens,
            no_auth: self.no_auth,
            tls,
            signature_keys: self.require_signature,
            upload_bytes_max: self.upload_limit.as_u64(),
            secrets: self.secrets,
            rate: self.rate_limit,
            crash_at_checkpoint: self.crash_at_checkpoint,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("web")
            .worker_threads(THREADS)
            .enable_all()
            .build()
            .map_err(|error| CommandError::Failed(format!("no threads can be started: {error}")))?;
        let data =
            data_runtime().map_err(|error| CommandError::Failed(format!("no threads can be started: {error}")))?;
        let result = runtime.block_on(until_stopped(settings, self.stop_time, clock, data.handle().clone(), logs));
        // What did not end in its time ends with the process.
        runtime.shutdown_background();
        data.shutdown_background();
        result
    }
}

async fn until_stopped(
    settings: ServerSettings,
    stop_time: Duration,
    clock: Arc<dyn Clock>,
    data: Handle,
    logs: JobLogs,
) -> CommandResult {
    let signals = |kind| signal(kind).map_err(|error| CommandError::Failed(format!("no signals: {error}")));
    let (mut terminate, mut interrupt) = (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
    let server = Server::open(&settings, clock, data, logs).await?;
    let jobs = server.state().jobs.clone();
    let stop = CancellationToken::new();
    println!("listening on {}", server.url());
    // Whoever started the server waits for the line; without a reader it runs all the same.
    let _ = std::io::stdout().flush();
    let run = server.run(stop.clone(), async move { jobs.shutdown(stop_time).await });
    tokio::pin!(run);
    loop {
        tokio::select! {
            result = &mut run => return Ok(result?),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.is_cancelled() {
            return Err(CommandError::Interrupted);
        }
        tracing::info!("stopping; a second signal stops at once");
        stop.cancel();
    }
}
