//! `/v1/jobs/{job}/operators/{operator}/canary`: versions for a share of an operator's keys.
use aide::{
    axum::{ApiRouter, routing::post_with},
    transform::TransformOperation,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    AppState, Operator, Problem, Viewer,
    conditional::{self, IfMatch, etag},
    describe,
    operators::{Noted, OperatorPath, change},
};
use crate::service::{Canary, CanaryInfo, ServiceError};

/// Versions for a share of the keys, which take as long as barriers do. `promote` and `discard` are those of shadows.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new().api_route(
        "/v1/jobs/{job}/operators/{operator}/canary",
        post_with(begin, describe_begin)
            .get_with(report, describe_report)
            .patch_with(share, describe_share)
            .delete_with(discard, describe_discard),
    )
}

/// What is to have a share of the keys.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// An uploaded plugin, `name@1.0.0` or `sha256:` and its digest. Default: the one there is.
    plugin: Option<String>,
    /// As what it is run, such as `keyed-process`; there is no need to say it.
    kind: Option<String>,
    /// An object. Default: the configuration there is.
    configuration: Option<Value>,
    /// Of the keys, as a part of 1: from 0.0001 to 0.99, in steps of 0.0001.
    share: f64,
    /// Columns of the input by which rows are divided, for an operator without key. Default: those that the version in force reads.
    #[serde(default)]
    by: Vec<String>,
}

/// Another share.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Of the keys, as a part of 1: from 0.0001 to 0.99, in steps of 0.0001.
    share: f64,
}

fn described(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation.response_with::<200, Json<CanaryInfo>, _>(|response| {
        response.description("What is in force, with its canary; `ETag` is the number of the change.")
    })
}

fn describe_begin(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation =
        change("startCanary", "Have another version process a share of the keys, with the state there is")(operation);
    operation
        .response_with::<201, Json<CanaryInfo>, _>(|response| response.description("It has its share of the keys."))
}

fn describe_report(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation =
        change("getCanary", "What has a share of the keys, and what it and the version in force have done")(operation);
    let operation = describe::header::<String>(described(operation), "if-none-match", "The `ETag` the caller has");
    describe::empty(
        operation,
        304,
        "The versions and the share are what the caller has; what they have done may not be.",
    )
}

fn describe_share(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    described(change("shareCanary", "Give the canary another share of the keys")(operation))
}

fn describe_discard(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = change("endCanary", "Give all keys back to the version in force")(operation);
    describe::empty(operation, 204, "It has none any more.")
}

fn tagged(status: StatusCode, info: CanaryInfo) -> Response {
    (status, [(header::ETAG, etag(&info.version.change.to_string()))], Json(info)).into_response()
}

/// Plugin and digest of a canary, for the log of changes.
fn noted(done: &Result<CanaryInfo, ServiceError>) -> Result<Option<(String, String)>, &ServiceError> {
    let of = |info: &CanaryInfo| {
        let canary = info.version.canary.as_ref()?;
        Some((format!("{} for {} of the keys", canary.plugin, canary.share), canary.digest.clone()))
    };
    done.as_ref().map(of)
}

async fn begin(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<OperatorPath>,
    Json(wanted): Json<Wanted>,
) -> Result<Response, Problem> {
    let asked = Noted::of(&state, caller, &path, "operator.canary", wanted.plugin.clone())?;
    let Wanted { plugin, kind, configuration, share, by } = wanted;
    let canary = Canary { plugin, kind, configuration, share, by };
    let begun = state.jobs.canary(&asked.job, &path.operator, canary, &asked.caller.name).await;
    asked.write_other(&state, noted(&begun)).await?;
    Ok(tagged(StatusCode::CREATED, begun?))
}

async fn report(
    State(state): State<AppState>,
    _: Viewer,
    headers: HeaderMap,
    Path(OperatorPath { job, operator }): Path<OperatorPath>,
) -> Result<Response, Problem> {
    let info = state.jobs.canary_report(&job, &operator)?;
    Ok(conditional::tagged(&headers, &info.version.change.to_string(), info))
}

async fn share(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
    Json(Part { share }): Json<Part>,
) -> Result<Response, Problem> {
    let asked = Noted::of(&state, caller, &path, "operator.share", Some(share.to_string()))?;
    let (seen, who) = (conditions.seen(), &asked.caller.name);
    let given = state.jobs.canary_share(&asked.job, &path.operator, share, seen, who).await;
    asked.write_other(&state, noted(&given)).await?;
    Ok(tagged(StatusCode::OK, conditions.result(given)?))
}

async fn discard(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
) -> Result<Response, Problem> {
    let asked = Noted::of(&state, caller, &path, "operator.discard", None)?;
    let discarded = match state.jobs.canary_report(&asked.job, &path.operator) {
        Ok(_) => state.jobs.discard(&asked.job, &path.operator, conditions.seen(), &asked.caller.name).await,
        Err(error) => Err(error),
    };
    asked.write_other(&state, discarded.as_ref().map(|()| None)).await?;
    conditions.result(discarded)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
