//! `/v1/jobs/{job}/...`: what can be asked of a job.
use std::path::PathBuf;

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
use serde::{Deserialize, Serialize};

use super::{
    AppState, Operator, Problem,
    conditional::IfMatch,
    describe,
    jobs::{Named, found, note, subject, tag},
    optional::Optional,
};
use crate::{
    audit::Event,
    service::{JobInfo, Parallelism, Stop, Stopped},
};

/// What can be asked of a job, which takes as long as its checkpoints do.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new()
        .api_route(
            "/v1/jobs/{job}/stop",
            post_with(stop, |operation| {
                folder_refused(ask("stopJob", "End a job with a last checkpoint or a savepoint")(operation))
            }),
        )
        .api_route("/v1/jobs/{job}/cancel", post_with(cancel, ask("cancelJob", "End a job where it is")))
        .api_route(
            "/v1/jobs/{job}/restart",
            post_with(restart, ask("restartJob", "Start a job that has ended, from its latest checkpoint")),
        )
        .api_route(
            "/v1/jobs/{job}/savepoints",
            post_with(savepoint, |operation| {
                let operation =
                    operation.response_with::<201, Json<Savepoint>, _>(|response| response.description("It is taken."));
                folder_refused(ask("takeSavepoint", "Take a savepoint, and go on")(operation))
            }),
        )
        .api_route(
            "/v1/jobs/{job}/checkpoints",
            post_with(checkpoint, |operation| {
                let operation = operation
                    .response_with::<201, Json<Checkpoint>, _>(|response| response.description("It is durable."));
                ask("takeCheckpoint", "Take a checkpoint now")(operation)
            }),
        )
        .api_route(
            "/v1/jobs/{job}/rescale",
            post_with(rescale, |operation| {
                let operation = ask("rescaleJob", "Go on with another parallelism")(operation);
                describe::fails(operation, &[(422, "The job cannot have this parallelism.")])
            }),
        )
}

/// The description of what may name a folder.
fn folder_refused(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    describe::fails(operation, &[(422, "No savepoint can be written there.")])
}

/// The description of asking a job for something.
fn ask(
    id: &'static str,
    summary: &'static str,
) -> impl for<'t> FnOnce(TransformOperation<'t>) -> TransformOperation<'t> {
    move |operation| {
        let operation = found(operation.id(id).tag("jobs").summary(summary));
        describe::fails(operation, &[(409, "The job's state does not allow it, or it did not come about.")])
    }
}

/// Whether there is to be a savepoint, and where.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Where {
    /// Where the job's go.
    Asked(bool),
    /// In this folder of the server.
    Folder(PathBuf),
}

/// How a job is stopped.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HowToStop {
    /// True for a savepoint where the job's go, or the path of its folder on the server. Default false.
    savepoint: Option<Where>,
    /// Whether its sources end as if their input had: windows fire, and the job is finished. Default false.
    #[serde(default)]
    drain: bool,
}

async fn stop(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(Named { job }): Path<Named>,
    Optional(how): Optional<HowToStop>,
) -> Result<Json<Stopped>, Problem> {
    let job = state.jobs.get(&job)?;
    let HowToStop { savepoint, drain } = how;
    let savepoint = match savepoint {
        None | Some(Where::Asked(false)) => None,
        Some(Where::Asked(true)) => Some(None),
        Some(Where::Folder(folder)) => Some(Some(folder)),
    };
    let stopped = state.jobs.stop(&job.id, Stop { savepoint, drain }).await;
    let folder = stopped.as_ref().ok().and_then(|stopped| stopped.savepoint.as_ref());
    let to = folder.map(|folder| folder.display().to_string()).or(drain.then(|| "drained".to_owned()));
    note(&state, &caller, "job.stop", subject(&job), &stopped, Event { to, ..Event::default() }).await?;
    Ok(Json(stopped?))
}

async fn cancel(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(Named { job }): Path<Named>,
) -> Result<Json<JobInfo>, Problem> {
    let job = state.jobs.get(&job)?;
    let cancelled = state.jobs.cancel(&job.id).await;
    note(&state, &caller, "job.cancel", subject(&job), &cancelled, Event::default()).await?;
    Ok(Json(cancelled?))
}

async fn restart(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(Named { job }): Path<Named>,
) -> Result<Json<JobInfo>, Problem> {
    let job = state.jobs.get(&job)?;
    let restarted = state.jobs.restart(&job.id).await;
    note(&state, &caller, "job.restart", subject(&job), &restarted, Event::default()).await?;
    Ok(Json(restarted?))
}

/// Where a savepoint goes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Destination {
    /// A folder of the server. Default: a new one where the job's savepoints go.
    path: Option<PathBuf>,
}

/// A savepoint.
#[derive(Serialize, JsonSchema)]
struct Savepoint {
    /// Its folder on the server.
    path: PathBuf,
}

async fn savepoint(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(Named { job }): Path<Named>,
    Optional(Destination { path }): Optional<Destination>,
) -> Result<Response, Problem> {
    let job = state.jobs.get(&job)?;
    let taken = state.jobs.savepoint(&job.id, path).await;
    let to = taken.as_ref().ok().map(|folder| folder.display().to_string());
    note(&state, &caller, "job.savepoint", subject(&job), &taken, Event { to, ..Event::default() }).await?;
    Ok((StatusCode::CREATED, Json(Savepoint { path: taken? })).into_response())
}

/// A checkpoint.
#[derive(Serialize, JsonSchema)]
struct Checkpoint {
    /// Its number.
    checkpoint: u64,
}

async fn checkpoint(
    State(state): State<AppState>,
    Operator(_): Operator,
    Path(Named { job }): Path<Named>,
) -> Result<Response, Problem> {
    let checkpoint = state.jobs.checkpoint(&job).await?;
    Ok((StatusCode::CREATED, Json(Checkpoint { checkpoint })).into_response())
}

/// A parallelism, in the log of changes.
fn words(parallelism: &Parallelism) -> String {
    // Numbers by name always have a JSON form.
    serde_json::to_string(parallelism).unwrap_or_default()
}

async fn rescale(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(Named { job }): Path<Named>,
    Json(parallelism): Json<Parallelism>,
) -> Result<Json<JobInfo>, Problem> {
    let job = state.jobs.get(&job)?;
    conditions.check(&tag(&job))?;
    let rescaled = state.jobs.rescale(&job.id, parallelism).await;
    let from = Some(words(&job.parallelism));
    let to = rescaled.as_ref().ok().map(|job| words(&job.parallelism));
    note(&state, &caller, "job.rescale", subject(&job), &rescaled, Event { from, to, ..Event::default() }).await?;
    Ok(Json(rescaled?))
}
