//! `/v1/jobs/{job}/operators/{operator}/shadow`: versions tried beside those in force, and put in their place.
use aide::{
    axum::{ApiRouter, routing::post_with},
    transform::TransformOperation,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    AppState, Operator, Problem, Viewer,
    conditional::IfMatch,
    describe,
    operators::{Noted, OperatorPath, Trial, change},
    optional::Optional,
};
use crate::service::{Shadow, ShadowInfo, Swapped};

/// Versions beside those in force, which take as long as barriers do.
pub(super) fn routes() -> ApiRouter<AppState> {
    const OPERATOR: &str = "/v1/jobs/{job}/operators/{operator}";
    ApiRouter::new()
        .api_route(
            &format!("{OPERATOR}/shadow"),
            post_with(shadow, describe_shadow)
                .get_with(
                    report,
                    change("getShadow", "What is tried beside an operator, held against what is in force"),
                )
                .delete_with(end, describe_discard("endShadow", "End what is tried beside an operator")),
        )
        .api_route(
            &format!("{OPERATOR}/discard"),
            post_with(
                discard,
                describe_discard("discard", "End what is tried beside an operator, or has a share of its keys"),
            ),
        )
        .api_route(
            &format!("{OPERATOR}/promote"),
            post_with(
                promote,
                change(
                    "promote",
                    "Put in force what is tried, with the state of what is in force, or for all keys what has a share of them",
                ),
            ),
        )
}

/// What is to be tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tried {
    /// An uploaded plugin, `name@1.0.0` or `sha256:` and its digest. Default: the one there is.
    plugin: Option<String>,
    /// As what it is run, such as `keyed-process`; only needed where an operator runs several plugins.
    kind: Option<String>,
    /// An object. Default: the configuration there is.
    configuration: Option<Value>,
    /// Columns of outputs that may differ, by name.
    #[serde(default)]
    ignored: Vec<String>,
}

fn describe_shadow(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = change("startShadow", "Try another version beside that in force")(operation);
    operation.response_with::<201, Json<ShadowInfo>, _>(|response| response.description("It runs."))
}

async fn shadow(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<OperatorPath>,
    Json(tried): Json<Tried>,
) -> Result<Response, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.shadow", tried.plugin.clone())?;
    let Tried { plugin, kind, configuration, ignored } = tried;
    let shadow = Shadow { plugin, kind, configuration, ignored };
    let begun = state.jobs.shadow(&noted.job, &path.operator, shadow).await;
    let version = |info: &ShadowInfo| Some((info.version.plugin.clone(), info.version.digest.clone()));
    noted.write_other(&state, begun.as_ref().map(version)).await?;
    Ok((StatusCode::CREATED, Json(begun?)).into_response())
}

async fn report(
    State(state): State<AppState>,
    _: Viewer,
    Path(OperatorPath { job, operator }): Path<OperatorPath>,
) -> Result<Json<ShadowInfo>, Problem> {
    Ok(Json(state.jobs.shadow_report(&job, &operator)?))
}

fn describe_discard(
    id: &'static str,
    summary: &'static str,
) -> impl for<'t> FnOnce(TransformOperation<'t>) -> TransformOperation<'t> {
    move |operation| {
        let operation = change(id, summary)(operation);
        describe::empty(operation, 204, "It has ended.")
    }
}

async fn end(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
) -> Result<Response, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.discard", None)?;
    let ended = match state.jobs.shadow_report(&noted.job, &path.operator) {
        Ok(_) => state.jobs.discard(&noted.job, &path.operator, conditions.seen(), &noted.caller.name).await,
        Err(error) => Err(error),
    };
    noted.write_other(&state, ended.as_ref().map(|()| None)).await?;
    conditions.result(ended)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn discard(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
) -> Result<Response, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.discard", None)?;
    let discarded = state.jobs.discard(&noted.job, &path.operator, conditions.seen(), &noted.caller.name).await;
    noted.write_other(&state, discarded.as_ref().map(|()| None)).await?;
    conditions.result(discarded)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// How what was tried is put in force.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Promotion {
    /// If given, the version before is put back should this one fail.
    trial: Option<Trial>,
}

async fn promote(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
    Optional(Promotion { trial }): Optional<Promotion>,
) -> Result<Json<Swapped>, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.promote", None)?;
    let trial = trial.map(Trial::spec).transpose()?;
    let (seen, who) = (conditions.seen(), &noted.caller.name);
    let done = state.jobs.promote(&noted.job, &path.operator, trial, seen, who).await;
    noted.write(&state, &done).await?;
    Ok(Json(conditions.result(done)?))
}
