//! Plugins' descriptions for the tests, and jobs that use them.
use super::read;
use crate::{
    job::{JobError, JobSpec, KINDS, Plan, PluginRef, plan},
    model::{Description, Field, Kind, OperatorKind, Shape, SideOutput, StateDescription, StateKind},
};

/// `a: i64, b: string?` as columns.
fn columns(text: &str) -> Vec<Field> {
    let column = |part: &str| {
        let (name, kind) = part.trim().split_once(": ").unwrap();
        let kind_of = |word: &str| KINDS.into_iter().find(|kind| kind.to_string() == word).unwrap();
        match kind.strip_suffix('?') {
            Some(kind) => Field::new(name, kind_of(kind)).nullable(),
            None => Field::new(name, kind_of(kind)),
        }
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(column).collect()
}

/// What a plugin of this name says of itself: columns read, the second input's after a bar, and columns written, `=` for the
/// input's rows.
fn description(plugin: &str) -> Option<Description> {
    let (kind, reads, writes) = match plugin {
        "words" => (OperatorKind::Transform, "line: string", "word: string"),
        "counts" => (OperatorKind::Aggregate, "word: string", "count: i64"),
        "parse" => (OperatorKind::Transform, "line: string", "user: string, amount: f64?, at: i64"),
        "large" => (OperatorKind::Transform, "amount: f64", "="),
        "maybe" => (OperatorKind::Transform, "amount: f64?, note: string?", "="),
        "whole" => (OperatorKind::Transform, "amount: i64", "="),
        "sum" => (OperatorKind::Aggregate, "amount: f64", "sum: f64"),
        "clash" => (OperatorKind::Aggregate, "", "window_end: i64"),
        "keyed" => (OperatorKind::Aggregate, "amount: f64", "sum: f64"),
        "process" => (OperatorKind::KeyedProcess, "amount: f64", "alert: string"),
        "same" => (OperatorKind::KeyedProcess, "amount: f64", "="),
        "whose" => (OperatorKind::KeyedProcess, "", "user: string"),
        "taken" => (OperatorKind::Transform, "", "="),
        "alerts" => (OperatorKind::Transform, "amount: f64", "="),
        "match" => (OperatorKind::ConnectedProcess, "amount: f64 | due: f64", "user: string, open: f64"),
        "rules" => (OperatorKind::BroadcastProcess, "amount: f64 | limit: f64", "="),
        "memory" => (OperatorKind::BroadcastProcess, " | limit: f64", "="),
        "top" => (OperatorKind::ProcessWindow, "sum: f64", "user: string, best: f64"),
        "median" => (OperatorKind::ProcessWindow, "amount: f64", "median: f64"),
        "echo" => (OperatorKind::ProcessWindow, "", "="),
        "when" => (OperatorKind::Trigger, "ok: bool?", ""),
        "lines" => (OperatorKind::Sink, "user: string, amount: f64", "text: string"),
        "async" => (OperatorKind::AsyncFunction, "", ""),
        _ => return None,
    };
    let shape = if writes == "=" { Shape::InputRows } else { Shape::Columns(columns(writes)) };
    let side = |name: &str, shape| vec![SideOutput { name: name.to_owned(), shape }];
    let state = |kind| StateDescription {
        name: "seen".to_owned(),
        kind,
        schema_version: 1,
        value: Kind::Int64,
        key: None,
        time_to_live: None,
    };
    Some(Description {
        kind,
        name: plugin.to_owned(),
        version: semver::Version::new(0, 1, 0),
        inputs: reads.split('|').map(columns).collect(),
        keys: if ["keyed", "whose", "match", "top"].contains(&plugin) { columns("user: string") } else { Vec::new() },
        output: shape,
        side_outputs: match plugin {
            "taken" => side("late", Shape::InputRows),
            "alerts" => side("alerts", Shape::Columns(columns("text: string"))),
            "top" => side("rest", Shape::Columns(columns("sum: f64"))),
            _ => Vec::new(),
        },
        states: match plugin {
            "rules" => vec![state(StateKind::Broadcast)],
            "memory" => vec![state(StateKind::Value)],
            _ => Vec::new(),
        },
        metrics: Vec::new(),
        configuration: String::new(),
    })
}

/// Plans a job whose plugins are those above, by the last part of their path.
pub(super) fn planned(text: &str) -> Result<Plan, JobError> {
    plan_of(&read(text)?)
}

/// Plans a job that was read.
pub(super) fn plan_of(spec: &JobSpec) -> Result<Plan, JobError> {
    let operators = spec.operators_and_rules().flat_map(|(name, operator)| {
        operator.plugins().into_iter().map(move |(kind, plugin)| (name.clone(), kind, plugin))
    });
    let sinks =
        spec.sinks.iter().filter_map(|(name, sink)| Some((name.clone(), OperatorKind::Sink, sink.plugin.as_ref()?)));
    let described = operators.chain(sinks).filter_map(|(name, kind, plugin)| {
        let PluginRef::Path(path) = &plugin.plugin else { return None };
        Some(((name, kind), description(path.file_name()?.to_str()?)?))
    });
    plan(spec, &described.collect())
}

/// A job from its sources, operators and sinks.
pub(super) fn job(sources: &str, operators: &str, sinks: &str) -> String {
    let block = |lines: &str| lines.lines().map(|line| format!("  {}\n", line.trim())).collect::<String>();
    format!("name: test\nsources:\n{}operators:\n{}sinks:\n{}", block(sources), block(operators), block(sinks))
}

pub(super) const PAID: &str =
    "paid: { stdin: {}, format: json, schema: { user: string, amount: f64, at: i64, ok: bool? } }";
pub(super) const OUT: &str = "out: { input: x, print: {} }";

/// Three sources to be read side by side.
pub(super) fn sources() -> String {
    let bills = "bills: { stdin: {}, format: json, schema: { user: string, due: f64, id: i64 } }";
    let rules = "rules: { stdin: {}, format: json, schema: { limit: f64 } }";
    format!("{PAID}\n{bills}\n{rules}")
}
