//! The server: what it needs is opened, routes are put together with what holds for all of them, and it runs until it is told to stop.
use std::{
    any::Any,
    future::Future,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aide::{
    axum::ApiRouter,
    openapi::{Info, OpenApi, SecurityScheme},
};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use tokio::{runtime, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    AppState, Idempotency, Metrics, Problem, ServerSettings, TlsSettings, WebError,
    audit::Unasked,
    auth::{self, Access},
    canaries, changes, connections,
    data::DataDirectory,
    describe, events,
    job_metrics::JobCollector,
    jobs::{self, JobsInUse},
    limits::{self, CHANGES_MAX, EVENT_STREAMS_MAX, REQUEST_TIME_MAX, REQUESTS_MAX, Rate, TimeLimit, UPLOAD_TIME_MAX},
    metrics, operations, operators, plugins, problem, replays, requests, rules, shadows,
};
use crate::{
    audit::AuditLog,
    dataflow::{Environment, MemoryExchanges, TokioSpawner},
    model::Clock,
    plugin::PluginEngine,
    registry::{Policy, PublicKey, Registry},
    service::{JobLogs, Jobs, JobsSettings, environment_variables},
};

/// The longest requests are waited for once the server is told to stop.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of a request's body, except uploads.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of a job with what is submitted with it.
const SUBMISSION_BYTES_MAX: usize = 4 << 20;

/// A server that can be run.
pub struct Server {
    state: AppState,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    data: DataDirectory,
}

impl Server {
    /// Opens everything and takes the address, so that callers may come, but answers nobody yet.
    /// Jobs' tasks run on `threads`, and `logs` has what they say.
    pub async fn open(
        settings: &ServerSettings,
        clock: Arc<dyn Clock>,
        threads: runtime::Handle,
        logs: JobLogs,
    ) -> Result<Server, WebError> {
        let access = Access::of(settings)?;
        let keys = settings.signature_keys.iter().map(|path| public_key(path)).collect::<Result<_, _>>()?;
        let data = DataDirectory::open(&settings.data)?;
        let engine = PluginEngine::new(Some(data.path("compiled")))?;
        let policy = Policy { upload_bytes_max: settings.upload_bytes_max, keys };
        let registry = Registry::open(&data.path("registry"), engine, policy, clock.clone())?;
        let audit = Arc::new(AuditLog::open(&data.path("audit.jsonl"), clock.clone())?);
        let tls = match &settings.tls {
            Some(files) => Some(tls(files).await?),
            None => None,
        };
        let failed = |error| WebError::Listen { address: settings.address, error };
        let listener = TcpListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let idempotency = Arc::new(Idempotency::open(&data.path("answers"), audit.left(), clock.clone())?);
        // Last: jobs begin to run.
        let jobs = open_jobs(settings, &data, &registry, &audit, clock.clone(), threads, logs).await?;
        let metrics = Arc::new(Metrics::default());
        metrics.register(|registry| registry.register_collector(Box::new(JobCollector(jobs.clone()))));
        let state = AppState {
            in_use: Arc::new(JobsInUse { jobs: jobs.clone(), registry: registry.clone() }),
            registry,
            jobs,
            audit,
            tasks: TaskTracker::new(),
            changes: Arc::new(Semaphore::new(CHANGES_MAX)),
            idempotency,
            metrics,
            ready: Arc::new(AtomicBool::new(true)),
            stopping: CancellationToken::new(),
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            access: Arc::new(access),
            rate: Arc::new(Rate::new(settings.rate, clock.clone())),
            clock,
        };
        Ok(Server { state, listener, address, tls, data })
    }

    /// Where it can be reached.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// What its handlers share.
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Answers requests until told to stop. Then nothing more is accepted, what is being answered is finished within a time, and `drain`
    /// ends what else runs.
    pub async fn run(self, stop: CancellationToken, drain: impl Future<Output = ()>) -> Result<(), WebError> {
        let Server { state, listener, tls, data, .. } = self;
        let router = router(&state).into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let stopping = async {
            stop.cancelled().await;
            state.ready.store(false, Relaxed);
            state.stopping.cancel();
            handle.graceful_shutdown(Some(STOP_TIME_MAX));
        };
        let serving = async {
            let server = connections::server(listener).map_err(WebError::Serve)?.handle(handle.clone());
            let served = match tls {
                Some(tls) => connections::encrypted(server, tls).serve(router).await,
                None => server.serve(router).await,
            };
            served.map_err(WebError::Serve)
        };
        tokio::pin!(serving);
        let served = tokio::select! {
            served = &mut serving => served,
            () = stopping => serving.await,
        };
        drain.await;
        // What was asked for is still noted, unless it hangs.
        state.tasks.close();
        tokio::select! {
            () = state.tasks.wait() => {}
            () = state.clock.sleep_until(state.clock.monotonic() + STOP_TIME_MAX) => {}
        }
        drop(data);
        served
    }
}

/// Opens the jobs, and goes on with those that are to run.
async fn open_jobs(
    settings: &ServerSettings,
    data: &DataDirectory,
    registry: &Registry,
    audit: &Arc<AuditLog>,
    clock: Arc<dyn Clock>,
    threads: runtime::Handle,
    logs: JobLogs,
) -> Result<Jobs, WebError> {
    let environment =
        Environment { clock, seed: 0, exchanges: Arc::new(MemoryExchanges), spawner: Arc::new(TokioSpawner) };
    let (secrets, variables) = (settings.secrets.clone(), environment_variables());
    let crash_at_checkpoint = settings.crash_at_checkpoint;
    let changes = Arc::new(Unasked(audit.clone()));
    let settings = JobsSettings { directory: data.path(""), secrets, variables, crash_at_checkpoint, changes };
    Ok(Jobs::open(settings, Arc::new(registry.clone()), environment, threads, logs).await?)
}

fn public_key(path: &Path) -> Result<PublicKey, WebError> {
    let failed = |what| WebError::File { path: path.to_owned(), what };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    PublicKey::parse(&text).map_err(failed)
}

async fn tls(files: &TlsSettings) -> Result<RustlsConfig, WebError> {
    // Fails if somebody has chosen one before, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let loaded = RustlsConfig::from_pem_file(&files.certificate, &files.key).await;
    let loaded = loaded.map_err(|error| WebError::Tls { path: files.certificate.clone(), what: error.to_string() })?;
    let mut config = rustls::ServerConfig::clone(&loaded.get_inner());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    loaded.reload_from_config(Arc::new(config));
    Ok(loaded)
}

/// All routes, described, with what holds for each of them.
fn router(state: &AppState) -> Router {
    let usual = TimeLimit { clock: state.clock.clone(), time: REQUEST_TIME_MAX };
    let whole = from_fn_with_state(state.clone(), changes::whole);
    let usual = |routes: ApiRouter<AppState>| {
        let routes = routes.layer(whole.clone()).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        routes.layer(from_fn_with_state(usual.clone(), limits::time))
    };
    let mut openapi = OpenApi { info: info(), ..OpenApi::default() };
    let resources = operations::routes()
        .merge(plugins::routes())
        .merge(super::audit::routes())
        .merge(jobs::routes())
        .merge(operators::routes())
        .merge(rules::routes())
        .merge(events::routes());
    let slow = TimeLimit { clock: state.clock.clone(), time: UPLOAD_TIME_MAX };
    let slow = jobs::changes()
        .merge(requests::routes())
        .merge(operators::changes())
        .merge(shadows::routes())
        .merge(replays::routes())
        .merge(canaries::routes())
        .merge(rules::changes())
        .layer(whole.clone())
        .layer(DefaultBodyLimit::max(SUBMISSION_BYTES_MAX))
        .layer(from_fn_with_state(slow, limits::time));
    let described = usual(resources).merge(slow).merge(plugins::uploads(state)).finish_api_with(&mut openapi, |api| {
        let scheme = SecurityScheme::Http {
            scheme: "bearer".into(),
            bearer_format: None,
            description: Some("A token of the server's tokens file.".into()),
            extensions: Default::default(),
        };
        api.security_scheme(describe::BEARER, scheme)
    });
    changes::describe(&mut openapi);
    // Maps of names and values always have a JSON form.
    let openapi = serde_json::to_string(&openapi).unwrap_or_default();
    let documents: Router<AppState> = operations::documents(openapi).into();
    described
        .merge(documents)
        .layer(from_fn_with_state(state.clone(), auth::authenticate))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::new(Semaphore::new(REQUESTS_MAX)), limits::open))
        .layer(from_fn_with_state(state.clone(), metrics::count))
        .layer(from_fn(problem::everywhere))
        .with_state(state.clone())
}

fn info() -> Info {
    Info {
        title: "wasmill".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        description: Some("Plugins and jobs of a wasmill server. Every error is a problem of RFC 9457.".into()),
        ..Info::default()
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    Problem::internal(text).into_response()
}
