//! Plugins' descriptions for the tests, and jobs that use them.
use std::collections::BTreeMap;

use super::read;
use crate::{
    job::{JobError, JobSpec, KINDS, OperatorSpec, Plan, plan},
    model::{Description, Field, OperatorKind, Shape, SideOutput},
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

/// What a plugin of this name says of itself: columns read, and columns written, `=` for the input's rows.
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
        "process" => (OperatorKind::KeyedProcess, "", ""),
        "taken" => (OperatorKind::Transform, "", "="),
        "alerts" => (OperatorKind::Transform, "amount: f64", "="),
        _ => return None,
    };
    let shape = if writes == "=" { Shape::InputRows } else { Shape::Columns(columns(writes)) };
    let side = |name: &str, shape| vec![SideOutput { name: name.to_owned(), shape }];
    Some(Description {
        kind,
        name: plugin.to_owned(),
        version: semver::Version::new(0, 1, 0),
        inputs: vec![columns(reads)],
        keys: if plugin == "keyed" { columns("user: string") } else { Vec::new() },
        output: shape,
        side_outputs: match plugin {
            "taken" => side("late", Shape::InputRows),
            "alerts" => side("alerts", Shape::Columns(columns("text: string"))),
            _ => Vec::new(),
        },
        states: Vec::new(),
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
    let describe = |(name, operator): (&String, &OperatorSpec)| {
        let plugin = operator.step.plugin().plugin.file_name()?.to_str()?;
        Some((name.clone(), description(plugin)?))
    };
    let descriptions: BTreeMap<String, Description> = spec.operators.iter().filter_map(describe).collect();
    plan(spec, &descriptions)
}

/// A job from its sources, operators and sinks.
pub(super) fn job(sources: &str, operators: &str, sinks: &str) -> String {
    let block = |lines: &str| lines.lines().map(|line| format!("  {}\n", line.trim())).collect::<String>();
    format!("name: test\nsources:\n{}operators:\n{}sinks:\n{}", block(sources), block(operators), block(sinks))
}

pub(super) const PAID: &str =
    "paid: { stdin: {}, format: json, schema: { user: string, amount: f64, at: i64, ok: bool? } }";
pub(super) const OUT: &str = "out: { input: x, print: {} }";
