//! `/health`, `/metrics` and the description of everything: `/v1/openapi.json`, `/docs`, and `/errors` with what to do about each.
use std::sync::{Arc, atomic::Ordering::Relaxed};

use aide::{
    axum::{ApiRouter, routing::get_with},
    swagger::Swagger,
};
use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};
use include_dir::{Dir, include_dir};

use super::{AppState, Problem, Viewer, describe};

/// Where the description is.
pub(super) const OPENAPI: &str = "/v1/openapi.json";

/// What to do about errors, a page a code.
static ERRORS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../docs/errors");

/// The page may use what it brings, and ask this server; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is told of the server itself.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new()
        .api_route(
            "/health/live",
            get_with(live, |operation| {
                let operation = operation.id("live").tag("server").summary("Whether the server runs");
                describe::empty(operation, 204, "It does.")
            }),
        )
        .api_route(
            "/health/ready",
            get_with(ready, |operation| {
                let operation = operation.id("ready").tag("server").summary("Whether the server takes work");
                describe::fails(describe::empty(operation, 204, "It does."), &[(503, "It is stopping.")])
            }),
        )
        .api_route(
            "/metrics",
            get_with(metrics, |operation| {
                let operation = operation.id("metrics").tag("server").summary("What the server counts, for Prometheus");
                describe::bytes(operation, METRICS, "OpenMetrics text.")
            }),
        )
}

/// Whether this is the path of a question that is always answered, however busy the server is.
pub(super) fn is_health(path: &str) -> bool {
    path.starts_with("/health/")
}

/// The description of all routes, and a page to browse it.
pub(super) fn documents(openapi: String) -> ApiRouter<AppState> {
    let openapi: Arc<str> = openapi.into();
    let page: Arc<str> = Swagger::new(OPENAPI).with_title("wasmill").html().into();
    let json = move || async move { ([(header::CONTENT_TYPE, "application/json")], openapi.to_string()) };
    let html = move || async move {
        let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
        (headers, page.to_string())
    };
    ApiRouter::new()
        .route(OPENAPI, routing::get(json))
        .route("/docs", routing::get(html))
        .route("/errors/{code}", routing::get(error))
}

const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page of an error, in Markdown.
async fn error(Path(code): Path<String>) -> Result<Response, Problem> {
    let page = ERRORS.get_file(format!("{code}.md")).map(|file| file.contents());
    let unknown = || Problem::missing(format!("there is no error `{code}`"));
    Ok(([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page.ok_or_else(unknown)?).into_response())
}

async fn live() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn ready(State(state): State<AppState>) -> Result<Response, Problem> {
    if state.ready.load(Relaxed) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "R0211", "Stopping", "the server is stopping"))
}

async fn metrics(State(state): State<AppState>, _: Viewer) -> Result<Response, Problem> {
    let text = state.metrics.text().map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, METRICS)], text).into_response())
}
