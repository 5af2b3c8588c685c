//! What the server counts, for Prometheus. Must not know what requests are about.
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::AppState;

/// Upper ends of the histogram's buckets, in s.
const BUCKETS_S: [f64; 10] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
}

/// What the server counts.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Answered, Counter>,
    seconds: Histogram,
    open: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Mutex::new(Registry::with_prefix("wasmill")),
            requests: Family::default(),
            seconds: Histogram::new(BUCKETS_S),
            open: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("http_requests", "Requests answered", metrics.requests.clone());
            registry.register("http_request_seconds", "Time until an answer begins", metrics.seconds.clone());
            registry.register("http_requests_open", "Requests being answered", metrics.open.clone());
        });
        metrics
    }
}

impl Metrics {
    /// Has others add theirs.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry());
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it, as Prometheus reads it.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry())?;
        Ok(text)
    }

    fn record(&self, request: Answered, time: Duration) {
        self.requests.get_or_create(&request).inc();
        self.seconds.observe(time.as_secs_f64());
    }
}

/// Counts down even if a request is given up.
struct Open(Arc<Metrics>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

/// Counts requests.
pub(super) async fn count(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let begin = state.clock.monotonic();
    // Only routes and known methods: what callers make up must not become labels.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = match request.method().as_str() {
        method @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") => method.to_owned(),
        _ => "other".to_owned(),
    };
    state.metrics.open.inc();
    let _open = Open(state.metrics.clone());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    state.metrics.record(Answered { method, route, status }, state.clock.monotonic().saturating_sub(begin));
    response
}
