//! `/v1/jobs/{job}/operators/{operator}/rules`: the rules of an operator, added and removed one by one.
use aide::{
    axum::{
        ApiRouter,
        routing::{delete_with, get_with, post_with},
    },
    transform::TransformOperation,
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    AppState, Operator, Page, Problem, Viewer, describe,
    operators::{Noted, OperatorPath, change, known},
    page::Part,
};
use crate::service::{AddedRule, RuleInfo};

const RULES: &str = "/v1/jobs/{job}/operators/{operator}/rules";

/// What can be looked at.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new().api_route(RULES, get_with(list, describe_list))
}

/// What changes rules, which takes as long as barriers do.
pub(super) fn changes() -> ApiRouter<AppState> {
    ApiRouter::new()
        .api_route(RULES, post_with(add, describe_add))
        .api_route(&format!("{RULES}/{{rule}}"), delete_with(remove, describe_remove))
}

/// A rule of an operator of a job.
#[derive(Deserialize, JsonSchema)]
struct RulePath {
    /// The job's id or, while it has not ended, its name.
    job: String,
    /// The operator's name, or its uid.
    operator: String,
    /// The rule's name.
    rule: String,
}

/// A rule that is to be added.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRule {
    /// A letter, then letters, digits, `-` and `_`; no other rule of the operator has it.
    name: String,
    /// An uploaded plugin, `name@1.0.0` or `sha256:` and its digest.
    plugin: String,
    /// As what it is run, `keyed-process` or `transform`; only needed where the plugin can be both.
    kind: Option<String>,
    /// An object. Default: empty.
    configuration: Option<Value>,
    /// Limits on its plugin, as in a job file, such as `{"memory": "16MiB"}`. Default: those of the operator.
    limits: Option<Map<String, Value>>,
    /// What its plugin is granted, of `clocks` and `randomness`. Default: what the operator's are.
    capabilities: Option<Vec<String>>,
    /// What becomes of calls that fail, as in a job file: `"skip"`, or `{"action": "dead_letter", "retries": 3}`. Default: that of the operator.
    on_failure: Option<Value>,
    /// What becomes of rows it rejects, `fail` or `skip`. Default: that of the operator.
    on_error: Option<String>,
}

impl NewRule {
    fn asked(self) -> AddedRule {
        let NewRule { name, plugin, kind, configuration, limits, capabilities, on_failure, on_error } = self;
        let settings = [
            ("limits", limits.map(Value::Object)),
            ("capabilities", capabilities.map(Value::from)),
            ("on_failure", on_failure),
            ("on_error", on_error.map(Value::String)),
        ];
        let settings = settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        AddedRule { name, plugin, kind, configuration, settings }
    }
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation =
        operation.id("listRules").tag("operators").summary("The rules of an operator, and what each has done");
    describe::fails(known(operation), &[(409, "The job does not run.")])
}

async fn list(
    State(state): State<AppState>,
    _: Viewer,
    Path(OperatorPath { job, operator }): Path<OperatorPath>,
    Query(part): Query<Part>,
) -> Result<Page<RuleInfo>, Problem> {
    Page::part(state.jobs.rules(&job, &operator)?, part, |_, rule| rule.rule.clone())
}

fn describe_add(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = change("addRule", "Add a rule to those of an operator, from a barrier on")(operation);
    operation.response_with::<201, Json<RuleInfo>, _>(|response| response.description("It is in force."))
}

async fn add(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<OperatorPath>,
    Json(new): Json<NewRule>,
) -> Result<Response, Problem> {
    let plugin = Some(new.plugin.clone());
    let noted = Noted::of(&state, caller, &rule_of(&path, &new.name), "rule.add", plugin)?;
    let location = format!("/v1/jobs/{}/operators/{}/rules/{}", noted.job, path.operator, new.name);
    let added = state.jobs.add_rule(&noted.job, &path.operator, new.asked(), &noted.caller.name).await;
    let version = |added: &RuleInfo| Some((added.version.plugin.clone(), added.version.digest.clone()));
    noted.write_other(&state, added.as_ref().map(version)).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(added?)).into_response())
}

/// A rule as one of a job's operators.
fn rule_of(path: &OperatorPath, rule: &str) -> OperatorPath {
    OperatorPath { job: path.job.clone(), operator: format!("{}:{rule}", path.operator) }
}

fn describe_remove(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = change("removeRule", "Remove a rule of an operator with its state, from a barrier on")(operation);
    let operation = describe::empty(operation, 204, "It is gone.");
    describe::fails(operation, &[(404, "There is no such job, operator or rule.")])
}

async fn remove(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(RulePath { job, operator, rule }): Path<RulePath>,
) -> Result<Response, Problem> {
    let path = OperatorPath { job, operator };
    let noted = Noted::of(&state, caller, &rule_of(&path, &rule), "rule.remove", None)?;
    let removed = state.jobs.remove_rule(&noted.job, &path.operator, &rule, &noted.caller.name).await;
    noted.write_other(&state, removed.as_ref().map(|()| None)).await?;
    removed?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
