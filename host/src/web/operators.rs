//! `/v1/jobs/{job}/operators`: what runs in the place of operators, and other plugins and configurations for them.
use std::time::Duration;

use aide::{
    axum::{
        ApiRouter,
        routing::{get_with, post_with},
    },
    transform::TransformOperation,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    AppState, Caller, Operator, Page, Problem, Viewer,
    audit::words,
    conditional::{IfMatch, etag, tagged},
    describe,
    jobs::{Named, found, subject},
    page::Part,
};
use crate::{
    audit::Event,
    control::TrialSpec,
    service::{Change, OperatorInfo, ServiceError, Swap, Swapped},
};

/// The longest a version is on trial.
const TRIAL_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What can be looked at.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new()
        .api_route(
            "/v1/jobs/{job}/operators",
            get_with(list, |operation| {
                found(
                    operation.id("listOperators").tag("operators").summary("What operators and sinks with plugins run"),
                )
            }),
        )
        .api_route(
            "/v1/jobs/{job}/operators/{operator}/versions",
            get_with(versions, |operation| {
                let operation = operation.id("listOperatorVersions").tag("operators");
                let operation = operation.summary("The latest changes of an operator, oldest first, also refused ones");
                describe::fails(known(operation), &[(400, "The cursor or limit makes no sense.")])
            }),
        )
}

/// What changes operators, which takes as long as barriers do.
pub(super) fn changes() -> ApiRouter<AppState> {
    const OPERATOR: &str = "/v1/jobs/{job}/operators/{operator}";
    ApiRouter::new()
        .api_route(
            &format!("{OPERATOR}/swap"),
            post_with(swap, change("swapOperator", "Put another plugin or configuration in force")),
        )
        .api_route(
            &format!("{OPERATOR}/rollback"),
            post_with(rollback, change("rollBackOperator", "Put back what was in force before")),
        )
        .api_route(
            &format!("{OPERATOR}/config"),
            get_with(config, describe_config).patch_with(configure, describe_configure),
        )
}

/// An operation on an operator that may not be there.
pub(super) fn known(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    describe::fails(operation, &[(404, "There is no such job, or it has no such operator with a plugin.")])
}

/// The description of changing something of an operator.
pub(super) fn change(
    id: &'static str,
    summary: &'static str,
) -> impl for<'t> FnOnce(TransformOperation<'t>) -> TransformOperation<'t> {
    move |operation| {
        let operation = known(operation.id(id).tag("operators").summary(summary));
        describe::fails(
            operation,
            &[
                (
                    409,
                    "The job does not run, failed meanwhile, or was changed meanwhile; or there is nothing to change to.",
                ),
                (422, "The plugin or the configuration does not fit, for the reason given."),
            ],
        )
    }
}

/// An operator or sink of a job.
#[derive(Deserialize, JsonSchema)]
pub(super) struct OperatorPath {
    /// The job's id or, while it has not ended, its name.
    pub(super) job: String,
    /// The operator's or sink's name, or its uid.
    pub(super) operator: String,
}

/// Which plugin of an operator.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// As what the plugin is run, such as `keyed-process`; only needed where an operator runs several.
    kind: Option<String>,
}

/// How a version is tried.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Trial {
    /// For how long, such as `10m`; from 1 ms to 24 h.
    time: String,
    /// Whether going back also undoes what the version has done to state; no checkpoint is taken meanwhile. Default false.
    #[serde(default)]
    with_state: bool,
    /// More rows rejected than this are a failure. Default: any number is fine.
    rejected_max: Option<u64>,
    /// More rows, timers and windows that calls have failed on and that `on_failure` passed over than this are a failure. Default: any number is fine.
    failed_max: Option<u64>,
    /// More time than this for a row, timer or window, such as `2ms`, in the mean of all calls of any second, is a failure. Default: any is
    /// fine.
    record_time_max: Option<String>,
}

impl Trial {
    pub(super) fn spec(self) -> Result<TrialSpec, Problem> {
        let time = humantime::parse_duration(&self.time);
        let time = time.map_err(|error| Problem::malformed(format!("`time` is no time: {error}")))?;
        if !(Duration::from_millis(1)..=TRIAL_TIME_MAX).contains(&time) {
            return Err(Problem::malformed("`time` is not from 1 ms to 24 h"));
        }
        let record_time_max = self.record_time_max.as_deref().map(humantime::parse_duration).transpose();
        let record_time_max =
            record_time_max.map_err(|error| Problem::malformed(format!("`record_time_max` is no time: {error}")))?;
        let Trial { with_state, rejected_max, failed_max, .. } = self;
        Ok(TrialSpec { time, with_state, rejected_max, failed_max, record_time_max })
    }
}

/// What is to be in force.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// An uploaded plugin, `name@1.0.0` or `sha256:` and its digest. Default: the one there is.
    plugin: Option<String>,
    /// As what it is run, such as `keyed-process`; only needed where an operator runs several plugins.
    kind: Option<String>,
    /// An object. Default: the configuration there is.
    configuration: Option<Value>,
    /// If given, the version before is put back should this one fail.
    trial: Option<Trial>,
    /// States of the version in force that are discarded, by name: those the new one does not declare. Default: none, and one it does not
    /// declare is a reason to refuse it.
    #[serde(default)]
    force: Vec<String>,
    /// Whether to check only, and change nothing. Where the plugin declares other states, a copy of the state is migrated, and it is said
    /// what came of it. Default false.
    #[serde(default)]
    dry_run: bool,
}

async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Path(Named { job }): Path<Named>,
    Query(part): Query<Part>,
) -> Result<Page<OperatorInfo>, Problem> {
    // One may have several plugins.
    let key = |before: &[OperatorInfo], operator: &OperatorInfo| {
        let same = before.iter().filter(|other| other.operator == operator.operator).count();
        format!("{} {same}", operator.operator)
    };
    Page::part(state.jobs.operators(&job)?, part, key)
}

async fn versions(
    State(state): State<AppState>,
    _: Viewer,
    Path(OperatorPath { job, operator }): Path<OperatorPath>,
    Query(part): Query<Part>,
) -> Result<Page<Change>, Problem> {
    // Several may have the same time.
    let key = |before: &[Change], change: &Change| {
        let same = before.iter().filter(|other| other.time_ms == change.time_ms).count();
        format!("{} {same}", change.time_ms)
    };
    Page::part(state.jobs.versions(&job, &operator)?, part, key)
}

async fn swap(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Swapped>, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.swap", wanted.plugin.clone())?;
    let Wanted { plugin, kind, configuration, trial, force, dry_run } = wanted;
    let trial = trial.map(Trial::spec).transpose()?;
    let swap = Swap { plugin, kind, configuration, trial, force, dry_run, seen: conditions.seen() };
    let swapped = state.jobs.swap(&noted.job, &path.operator, swap, &noted.caller.name).await;
    if !dry_run {
        noted.write(&state, &swapped).await?;
    }
    Ok(Json(conditions.result(swapped)?))
}

async fn rollback(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
    Query(Which { kind }): Query<Which>,
) -> Result<Json<Swapped>, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.rollback", None)?;
    let (kind, seen, who) = (kind.as_deref(), conditions.seen(), &noted.caller.name);
    let done = state.jobs.rollback(&noted.job, &path.operator, kind, seen, who).await;
    noted.write(&state, &done).await?;
    Ok(Json(conditions.result(done)?))
}

fn describe_config(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("getOperatorConfiguration").tag("operators").summary("The configuration in force");
    let what = "An object; `ETag` is the number of the change that put it in force.";
    let operation = describe::tagged::<Value>(operation, what);
    describe::fails(
        known(operation),
        &[(409, "The job does not run."), (422, "The operator runs several plugins: `kind` has to be given.")],
    )
}

async fn config(
    State(state): State<AppState>,
    _: Viewer,
    headers: HeaderMap,
    Path(OperatorPath { job, operator }): Path<OperatorPath>,
    Query(Which { kind }): Query<Which>,
) -> Result<Response, Problem> {
    let version = state.jobs.operator(&job, &operator, kind.as_deref())?.version;
    Ok(tagged(&headers, &version.change.to_string(), version.configuration))
}

fn describe_configure(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = change("configureOperator", "Change the configuration by a JSON merge patch (RFC 7396)")(operation);
    let operation = operation.response_with::<200, Json<Swapped>, _>(|response| {
        response.description("It is in force; `ETag` is the number of the change.")
    });
    describe::patch_body(operation)
}

async fn configure(
    State(state): State<AppState>,
    Operator(caller): Operator,
    conditions: IfMatch,
    Path(path): Path<OperatorPath>,
    Query(Which { kind }): Query<Which>,
    Json(patch): Json<Value>,
) -> Result<Response, Problem> {
    let noted = Noted::of(&state, caller, &path, "operator.config", None)?;
    let (kind, seen, who) = (kind.as_deref(), conditions.seen(), &noted.caller.name);
    let done = state.jobs.configure(&noted.job, &path.operator, kind, patch, seen, who).await;
    noted.write(&state, &done).await?;
    let swapped = conditions.result(done)?;
    Ok(([(header::ETAG, etag(&swapped.to.change.to_string()))], Json(swapped)).into_response())
}

/// A change of an operator, for the log of changes.
pub(super) struct Noted {
    /// The job's id.
    pub(super) job: String,
    pub(super) caller: Caller,
    event: Event,
}

impl Noted {
    /// What is asked for; `to` is what whoever asks calls it. Fails if there is no such job.
    pub(super) fn of(
        state: &AppState,
        caller: Caller,
        path: &OperatorPath,
        action: &str,
        to: Option<String>,
    ) -> Result<Noted, Problem> {
        let job = state.jobs.get(&path.job)?;
        let mut before = state.jobs.operators(&job.id)?.into_iter();
        let before = before.find(|it| it.operator == path.operator || it.uid == path.operator);
        let event = Event {
            who: caller.name.clone(),
            action: action.to_owned(),
            subject: format!("{} {}", subject(&job), path.operator),
            from: before.map(|it| words(&it.version)),
            to,
            ..Event::default()
        };
        Ok(Noted { job: job.id, caller, event })
    }

    /// Writes what came of a change.
    pub(super) async fn write(self, state: &AppState, done: &Result<Swapped, ServiceError>) -> Result<(), Problem> {
        let Noted { mut event, .. } = self;
        match done {
            Ok(Swapped { from, to, .. }) => {
                (event.from, event.to) = (Some(words(from)), Some(words(to)));
                (event.digest, event.outcome) = (Some(to.digest.clone()), "done".to_owned());
            }
            Err(error) => event.outcome = error.to_string(),
        }
        state.note(event).await.map(drop)
    }

    /// Writes what came of anything else, with the plugin it was about and its digest.
    pub(super) async fn write_other(
        self,
        state: &AppState,
        done: Result<Option<(String, String)>, &ServiceError>,
    ) -> Result<(), Problem> {
        let Noted { mut event, .. } = self;
        match done {
            Ok(version) => {
                (event.to, event.digest) = version.unzip();
                event.outcome = "done".to_owned();
            }
            Err(error) => event.outcome = error.to_string(),
        }
        state.note(event).await.map(drop)
    }
}
