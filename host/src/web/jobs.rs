//! `/v1/jobs`: submitting, looking at and deleting jobs.
use std::{collections::BTreeMap, path::PathBuf};

use aide::{
    axum::{
        ApiRouter,
        routing::{get_with, post_with},
    },
    transform::TransformOperation,
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{
    AppState, Caller, Operator, Page, Problem, Viewer,
    conditional::{IfMatch, tagged},
    describe,
    page::{self, Part},
};
use crate::{
    audit::Event,
    control::ChangeError,
    registry::{InUse, RECORDS_MAX, Registry},
    service::{CheckpointInfo, JobGraph, JobInfo, Jobs, LOG_LINES_MAX, LogLine, ServiceError, Submission},
};

/// What can be looked at.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new()
        .api_route("/v1/jobs", get_with(list, describe_list))
        .api_route("/v1/jobs/{job}", get_with(get, describe_get))
        .api_route("/v1/jobs/{job}/text", get_with(text, describe_text))
        .api_route("/v1/jobs/{job}/graph", get_with(graph, look("getJobGraph", "What of a job runs, and how fast")))
        .api_route(
            "/v1/jobs/{job}/checkpoints",
            get_with(checkpoints, look("listCheckpoints", "A job's latest checkpoints and savepoints, by number")),
        )
        .api_route(
            "/v1/jobs/{job}/logs",
            get_with(logs, look("getJobLogs", "The latest a job has logged, oldest first")),
        )
}

/// The description of looking at something of a job.
fn look(
    id: &'static str,
    summary: &'static str,
) -> impl for<'t> FnOnce(TransformOperation<'t>) -> TransformOperation<'t> {
    move |operation| found(operation.id(id).tag("jobs").summary(summary))
}

/// What changes the list, and may take its time: plugins are compiled.
pub(super) fn changes() -> ApiRouter<AppState> {
    ApiRouter::new()
        .api_route("/v1/jobs", post_with(submit, describe_submit))
        .api_route("/v1/jobs/{job}", aide::axum::routing::delete_with(delete, describe_delete))
}

/// A job.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Named {
    /// Its id or, while it has not ended, its name.
    pub(super) job: String,
}

/// How much of a log.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Lines {
    /// The latest so many, up to 1000. Default 100.
    lines: Option<usize>,
}

/// Lines shown of a log, unless asked otherwise.
const LINES_DEFAULT: usize = 100;

/// A job with what belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Submitted<'a> {
    /// The job file: its text, or itself as JSON, of which the order counts.
    #[serde(borrow)]
    job: &'a RawValue,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    from_savepoint: Option<PathBuf>,
    #[serde(default)]
    allow_non_restored_state: bool,
}

/// What a job with what belongs to it looks like.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only described: the job is read as it stands")]
struct SubmittedSchema {
    /// The job file: its text, or itself as JSON.
    job: serde_json::Value,
    /// Values for `${NAME}` in it.
    variables: Option<BTreeMap<String, String>>,
    /// The folder of a savepoint on the server, to start from.
    from_savepoint: Option<String>,
    /// Whether state that the job does not ask for may be left behind. Default false.
    allow_non_restored_state: Option<bool>,
}

/// An operation on a job that may not be there.
pub(super) fn found(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    describe::fails(operation, &[(404, "There is no such job.")])
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("listJobs").tag("jobs").summary("Jobs, oldest first");
    describe::fails(operation, &[(400, "The cursor or limit makes no sense.")])
}

async fn list(State(state): State<AppState>, _: Viewer, Query(part): Query<Part>) -> Result<Page<JobInfo>, Problem> {
    let limit = page::limit(part.limit)?;
    let after = part.cursor.as_deref().map(page::place).transpose()?;
    Ok(Page::new(state.jobs.list(after.as_deref(), limit + 1), limit, |job| job.id.clone()))
}

fn describe_get(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = look("getJob", "A job")(operation);
    describe::tagged::<JobInfo>(operation, "What is known of it; `ETag` is of all of that.")
}

async fn get(
    State(state): State<AppState>,
    _: Viewer,
    headers: HeaderMap,
    Path(Named { job }): Path<Named>,
) -> Result<Response, Problem> {
    let job = state.jobs.get(&job)?;
    Ok(tagged(&headers, &tag(&job), job))
}

/// Another one once anything that is told of a job has changed.
pub(super) fn tag(job: &JobInfo) -> String {
    // Names, numbers and text always have a JSON form.
    format!("{:x}", Sha256::digest(serde_json::to_vec(job).unwrap_or_default()))
}

fn describe_text(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation =
        operation.id("getJobText").tag("jobs").summary("A job as it was submitted, its variables not filled in");
    found(describe::bytes(operation, YAML, "The job file."))
}

const YAML: &str = "application/yaml";

async fn text(State(state): State<AppState>, _: Viewer, Path(Named { job }): Path<Named>) -> Result<Response, Problem> {
    let jobs = state.jobs.clone();
    let text = tokio::task::spawn_blocking(move || jobs.text(&job)).await.map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, YAML)], text?).into_response())
}

async fn graph(
    State(state): State<AppState>,
    _: Viewer,
    Path(Named { job }): Path<Named>,
) -> Result<Json<JobGraph>, Problem> {
    Ok(Json(state.jobs.graph(&job)?))
}

async fn checkpoints(
    State(state): State<AppState>,
    _: Viewer,
    Path(Named { job }): Path<Named>,
    Query(part): Query<Part>,
) -> Result<Page<CheckpointInfo>, Problem> {
    Page::part(state.jobs.checkpoints(&job).await?, part, |_, checkpoint| checkpoint.checkpoint.to_string())
}

async fn logs(
    State(state): State<AppState>,
    _: Viewer,
    Path(Named { job }): Path<Named>,
    Query(Lines { lines }): Query<Lines>,
) -> Result<Page<LogLine>, Problem> {
    let lines = lines.unwrap_or(LINES_DEFAULT).min(LOG_LINES_MAX);
    Ok(Page { items: state.jobs.logs(&job, lines)?, next: None })
}

fn describe_submit(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation
        .id("submitJob")
        .tag("jobs")
        .summary("Submit a job and start it")
        .response_with::<201, Json<JobInfo>, _>(|response| response.description("It is starting."));
    let operation = describe::job_body::<SubmittedSchema>(operation);
    describe::fails(
        operation,
        &[
            (400, "The body cannot be read."),
            (409, "Another unfinished job has its name, or its folder for checkpoints."),
            (413, "The body is too large."),
            (415, "The body is of another media type."),
            (422, "The job cannot be run as it is written; or the idempotency key belongs to another request."),
            (507, "There are too many jobs."),
        ],
    )
}

/// Reads the body of a submission.
fn submission(headers: &HeaderMap, body: &[u8]) -> Result<Submission, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        YAML | "application/x-yaml" | "text/yaml" | "text/x-yaml" => {
            let text = String::from_utf8(body.to_vec());
            let text = text.map_err(|error| Problem::malformed(format!("the job is no UTF-8: {error}")))?;
            Ok(Submission { text, ..Submission::default() })
        }
        "application/json" => {
            let malformed = |error: serde_json::Error| Problem::malformed(error.to_string());
            let Submitted { job, variables, from_savepoint, allow_non_restored_state } =
                serde_json::from_slice(body).map_err(malformed)?;
            let text = match job.get() {
                text if text.starts_with('"') => serde_json::from_str(text).map_err(malformed)?,
                json => json.to_owned(),
            };
            Ok(Submission { text, variables, from_savepoint, allow_non_restored_state })
        }
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "R0208",
            "Unsupported media type",
            "a job is submitted as application/yaml, its text, or as application/json, an object whose `job` is its text or itself",
        )),
    }
}

async fn submit(
    State(state): State<AppState>,
    Operator(caller): Operator,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let submission = submission(&headers, &body)?;
    let digest = Some(format!("{:x}", Sha256::digest(&submission.text)));
    let from = submission.from_savepoint.as_ref().map(|folder| folder.display().to_string());
    let submitted = state.jobs.submit(submission).await;
    let subject = submitted.as_ref().map_or_else(|_| "a job".to_owned(), subject);
    let about = Event { from, digest, ..Event::default() };
    note(&state, &caller, "job.submit", subject, &submitted, about).await?;
    let job = submitted?;
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.id))];
    Ok((StatusCode::CREATED, location, Json(job)).into_response())
}

fn describe_delete(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("deleteJob").tag("jobs").summary("Forget a job that has ended, and remove its folder");
    let operation = describe::empty(operation, 204, "It is gone.");
    describe::fails(found(operation), &[(409, "It has not ended.")])
}

async fn delete(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(Named { job }): Path<Named>,
) -> Result<Response, Problem> {
    let info = state.jobs.get(&job)?;
    conditions.check(&tag(&info))?;
    let deleted = state.jobs.delete(&info.id).await;
    note(&state, &caller, "job.delete", subject(&info), &deleted, Event::default()).await?;
    deleted?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Jobs as those who may still need a plugin.
pub(super) struct JobsInUse {
    pub(super) jobs: Jobs,
    pub(super) registry: Registry,
}

impl InUse for JobsInUse {
    fn user(&self, digest: &str) -> Option<String> {
        let records = self.registry.list(None, None, RECORDS_MAX).into_iter().filter(|record| record.digest == digest);
        let names = records.map(|record| record.to_string()).chain([format!("sha256:{digest}"), digest.to_owned()]);
        names.into_iter().find_map(|name| self.jobs.user(&name)).map(|job| format!("job {job}"))
    }
}

/// A job, in the log of changes.
pub(super) fn subject(job: &JobInfo) -> String {
    format!("{} {}", job.name, job.id)
}

/// Notes what was asked of a job, and what came of it. `about` says what else there is to say.
pub(super) async fn note<T>(
    state: &AppState,
    caller: &Caller,
    action: &str,
    subject: String,
    done: &Result<T, ServiceError>,
    about: Event,
) -> Result<(), Problem> {
    let outcome = done.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
    let (who, action) = (caller.name.clone(), action.to_owned());
    state.note(Event { who, action, subject, outcome, ..about }).await.map(drop)
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Problem {
        let (status, title) = match &error {
            ServiceError::NoJob(_) => (StatusCode::NOT_FOUND, "No such job"),
            ServiceError::NameTaken { .. } => (StatusCode::CONFLICT, "Name taken"),
            ServiceError::CheckpointsTaken { .. } => (StatusCode::CONFLICT, "Checkpoints taken"),
            ServiceError::Illegal { .. } => (StatusCode::CONFLICT, "Not possible now"),
            ServiceError::NotDone { .. } => (StatusCode::CONFLICT, "Not done"),
            ServiceError::Parallelism(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Parallelism refused"),
            ServiceError::Configuration { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Configuration refused"),
            ServiceError::NothingBefore(_) => (StatusCode::CONFLICT, "Nothing before"),
            ServiceError::Folder(_) | ServiceError::ServersOwn(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Folder refused")
            }
            ServiceError::Request(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Request refused"),
            ServiceError::Change(ChangeError::NoOperator(_) | ChangeError::NoRules(_)) => {
                (StatusCode::NOT_FOUND, "No such operator")
            }
            ServiceError::Change(ChangeError::NoRule { .. }) => (StatusCode::NOT_FOUND, "No such rule"),
            ServiceError::Change(ChangeError::RuleThere { .. }) => (StatusCode::CONFLICT, "Name taken"),
            ServiceError::Change(ChangeError::TooManyRules(_)) => (StatusCode::CONFLICT, "Too many rules"),
            ServiceError::Change(
                ChangeError::Overtaken
                | ChangeError::Ended
                | ChangeError::Undone
                | ChangeError::NoShadow(_)
                | ChangeError::NoCanary(_)
                | ChangeError::HasCanary(_)
                | ChangeError::HasShadow(_),
            ) => (StatusCode::CONFLICT, "Not changed"),
            ServiceError::Share(_) => (StatusCode::UNPROCESSABLE_ENTITY, "No such share"),
            ServiceError::Change(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Change refused"),
            ServiceError::TooMany(_) => (StatusCode::INSUFFICIENT_STORAGE, "Too many jobs"),
            ServiceError::Closing => (StatusCode::SERVICE_UNAVAILABLE, "Stopping"),
            ServiceError::Run(error) if error.is_before_start() => (StatusCode::UNPROCESSABLE_ENTITY, "Job refused"),
            ServiceError::Run(_) | ServiceError::Records { .. } | ServiceError::InUse(_) => {
                tracing::error!("a request failed: {error}");
                (StatusCode::INTERNAL_SERVER_ERROR, "Failed")
            }
        };
        let (code, text) = (error.code(), error.to_string());
        let detail = text.strip_prefix(&format!("[{code}] ")).unwrap_or(&text);
        Problem::new(status, &code, title, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submitted(media_type: &'static str, body: &str) -> Result<Submission, u16> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type))]);
        submission(&headers, body.as_bytes()).map_err(|problem| problem.status)
    }

    #[test]
    fn a_job_is_submitted_as_text_or_as_json_that_keeps_its_order() {
        let text = |media_type, body: &str| submitted(media_type, body).map(|submission| submission.text);
        assert_eq!(text("application/yaml; charset=utf-8", "name: j"), Ok("name: j".into()));
        assert_eq!(text("application/json", r#"{"job": "name: j\n"}"#), Ok("name: j\n".into()));
        assert_eq!(text("application/json", r#"{"job": {"b": 1, "a": 2}}"#), Ok(r#"{"b": 1, "a": 2}"#.into()));
        let all = r#"{"job": "", "variables": {"A": "x"}, "from_savepoint": "s", "allow_non_restored_state": true}"#;
        let all = submitted("application/json", all).unwrap();
        assert_eq!((&*all.variables["A"], all.from_savepoint), ("x", Some(PathBuf::from("s"))));
        assert!(all.allow_non_restored_state);
        assert_eq!(text("text/plain", "name: j"), Err(415));
        assert_eq!(text("application/json", "{}"), Err(400));
        assert_eq!(text("application/json", r#"{"job": "", "variable": {}}"#), Err(400));
    }

    #[test]
    fn a_refused_job_has_the_code_of_what_is_wrong_with_it() {
        let error = crate::job::parse("nam: x", "job", &|_| None, std::path::Path::new("")).unwrap_err();
        let problem = Problem::from(ServiceError::from(error));
        assert_eq!((problem.status, &*problem.code, &*problem.kind), (422, "J0104", "/errors/J0104"));
        let problem = Problem::from(ServiceError::NoJob("x".into()));
        assert_eq!((problem.status, &*problem.code, &*problem.detail), (404, "V0101", "there is no job `x`"));
    }
}
