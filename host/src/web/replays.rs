//! `/v1/jobs/{job}/operators/{operator}/replay`: dead letters that are processed again.
use aide::{
    axum::{ApiRouter, routing::post_with},
    transform::TransformOperation,
};
use axum::{
    Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    AppState, Operator, Problem,
    operators::{Noted, OperatorPath, change},
};
use crate::{
    control,
    job::InputSide,
    service::{Replay, Replayed},
};

/// Dead letters, which take as long as a barrier and a checkpoint do.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new().api_route("/v1/jobs/{job}/operators/{operator}/replay", post_with(replay, describe_replay))
}

/// An input of an operator.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Input {
    /// `input`
    #[default]
    First,
    /// `second` or `broadcast`
    Second,
}

/// A row of the operator's `rejected` output. Other columns of it may be there too, and are not looked at.
#[derive(Deserialize, JsonSchema)]
struct Letter {
    /// Who has rejected it; if given, it must be this operator.
    operator: Option<String>,
    /// The row, as JSON in a text.
    record: String,
    /// Its event time, in ms since 1970-01-01 UTC.
    event_time: i64,
}

/// What is to be processed again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// An uploaded plugin that processes them, with the state of the operator: `name@1.0.0` or `sha256:` and its digest. It is not put in
    /// force. Default: the one that is.
    plugin: Option<String>,
    /// As what it is run, such as `keyed-process`; only needed where an operator runs several plugins.
    kind: Option<String>,
    /// An object. Default: the configuration in force.
    configuration: Option<Value>,
    /// Which input they are of.
    #[serde(default)]
    input: Input,
    /// From 1 to 1000.
    letters: Vec<Letter>,
}

fn describe_replay(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = change("replayDeadLetters", "Have an operator process dead letters again")(operation);
    operation.response_with::<200, Json<Replayed>, _>(|response| {
        response.description("They are processed, and a checkpoint has what came of them.")
    })
}

async fn replay(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(path): Path<OperatorPath>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Replayed>, Problem> {
    let operators = state.jobs.operators(&path.job)?;
    // A path may have its uid, letters have its name.
    let named = operators.iter().find(|it| it.uid == path.operator).map_or(&path.operator, |it| &it.operator);
    let of_others = |letter: &&Letter| letter.operator.as_ref().is_some_and(|operator| operator != named);
    if let Some(Letter { operator: Some(operator), .. }) = wanted.letters.iter().find(of_others) {
        return Err(Problem::malformed(format!("a letter is of `{operator}`, not of `{}`", path.operator)));
    }
    let Wanted { plugin, kind, configuration, input, letters } = wanted;
    let letter = |Letter { record, event_time, .. }| control::Letter { record, event_time };
    let side = match input {
        Input::First => InputSide::First,
        Input::Second => InputSide::Second,
    };
    let letters = letters.into_iter().map(letter).collect();
    let replay = Replay { plugin: plugin.clone(), kind, configuration, side, letters };
    let noted = Noted::of(&state, caller, &path, "operator.replay", plugin)?;
    let done = state.jobs.replay(&noted.job, &path.operator, replay).await;
    let by = |done: &Replayed| Some((done.by.plugin.clone(), done.by.digest.clone()));
    noted.write_other(&state, done.as_ref().map(by)).await?;
    Ok(Json(done?))
}
