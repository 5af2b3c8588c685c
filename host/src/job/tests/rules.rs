//! Rules of an operator: what may be written, what is planned of it, and how they come and go.
use std::sync::Arc;

use super::{
    plugins::{OUT, PAID, job, plan_of, planned},
    read,
};
use crate::{
    job::{CapabilitiesSpec, RULES_MAX, RuleSettings, StepSpec, check_rule, parse_rule_settings, rule_name},
    model::OperatorKind,
};

/// A job whose operator has these rules and fields.
fn with_rules(rules: &str, more: &str) -> String {
    job(PAID, &format!("x: {{ input: paid, rules: {{ {rules} }}{more} }}"), OUT)
}

#[track_caller]
fn refused(rules: &str, more: &str, expected: &str) {
    let error = planned(&with_rules(rules, more)).map(|plan| panic!("{rules} is accepted: {plan}")).unwrap_err();
    // Where it is, other tests look at.
    let shown: Vec<_> = error.to_string().lines().filter(|line| !line.contains("-->")).map(str::to_owned).collect();
    assert_eq!(shown.join("\n"), expected);
}

#[test]
fn rules_are_one_node_with_one_output() {
    let rules = "b: { keyed_process: { plugin: same } }, some: { transform: { plugin: large } }";
    let plan = planned(&with_rules(rules, ", key: user, parallelism: 4"));
    let plan = plan.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        plan.to_string().trim_end(),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 1 x, by user

task 1, 4 subtasks
  <- task 0 paid, by user
  x (rules by user) { user: string, amount: f64, at: i64, ok: bool? }
    :b (keyed-process same 0.1.0)
    :some (transform large 0.1.0)
    -> task 2 out, rebalanced

task 2, 1 subtask
  <- task 1 x, rebalanced
  out (sink print) { user: string, amount: f64, at: i64, ok: bool? }"#
    );
    let rule = plan.find("x:some").unwrap();
    assert_eq!((rule.uid.as_str(), rule.id, rule.parallelism), ("x:some", plan.find("x").unwrap().id, 4));
    assert_eq!(rule.role.plugin(OperatorKind::Transform).map(|plugin| &plugin.reads[..]), Some(&[1][..]));
    assert!(plan.find("x:none").is_none() && plan.find("out:some").is_none());
}

#[test]
fn what_rules_cannot_be_is_refused() {
    refused(
        "a: { transform: { plugin: large } }, b: { transform: { plugin: parse } }",
        "",
        r#"error[J0207]: plugin `parse` of operator `x` reads a column `line: string`, which is not there
   = help: the columns there are: { user: string, amount: f64, at: i64, ok: bool? }"#,
    );
    refused(
        "a: { transform: { plugin: large } }, b: { keyed_process: { plugin: process } }",
        ", key: user",
        r#"error[J0219]: rule `b` of operator `x` writes other columns than rule `a`
   = help: it writes { alert: string }, rule `a` has { user: string, amount: f64, at: i64, ok: bool? }; rules of one operator write the same"#,
    );
    refused(
        "a: { transform: { plugin: large } }",
        ", output: { alert: string }",
        r#"error[J0219]: rule `a` of operator `x` writes other columns than `output`
   = help: it writes { user: string, amount: f64, at: i64, ok: bool? }, `output` has { alert: string }; rules of one operator write the same"#,
    );
    refused(
        "a: { transform: { plugin: alerts } }",
        "",
        r#"error[J0205]: plugin `alerts` has side outputs, which a rule cannot have
   = help: rules write the main output of their operator, and what they reject"#,
    );
    refused(
        "a: { transform: { plugin: sum } }",
        "",
        r#"error[J0205]: rule `a` of operator `x` is `transform`, but plugin `sum` is `aggregate`
   = help: choose another plugin: a rule is `transform` or `keyed_process`"#,
    );
    refused(
        "a: { keyed_process: { plugin: process } }",
        "",
        r#"error[J0204]: the rule `a` is a `keyed_process`, but its operator has no `key`
   = help: write `key:` with the columns whose rows belong together, beside `rules:`"#,
    );
    refused(
        "a: { transform: { plugin: large } }, a: { transform: { plugin: large } }",
        "",
        "error[J0109]: `a` is given twice",
    );
    refused(
        "a: { on_error: skip }",
        "",
        r#"error[J0111]: the rule `a` runs nothing
   = help: write one of `transform` and `keyed_process`, such as `transform: { plugin: ... }`"#,
    );
    refused(
        "a: { transform: { plugin: large }, on_failure: dead_letter }",
        "",
        r#"error[J0218]: nothing reads the dead letters of `x`
   = help: read `x.rejected`, such as in a sink, or write `on_failure: skip`"#,
    );
    let many: String = (0..=RULES_MAX).map(|rule| format!("r{rule}: {{ transform: {{ plugin: large }} }},")).collect();
    let error = read(&with_rules(&many, "")).map(drop).unwrap_err();
    assert_eq!(error.message, "an operator has 1025 rules; 1024 are the most");
}

#[test]
fn without_rules_the_output_is_written() {
    let error = read(&with_rules("", "")).map(drop).unwrap_err();
    assert_eq!(error.code.as_str(), "J0105");
    let plan = planned(&with_rules("", ", output: { alert: string, n: i64? }")).unwrap();
    assert_eq!(plan.find("x").unwrap().outputs[0].schema.to_string(), "{ alert: string, n: i64? }");
}

#[test]
fn a_rule_has_what_it_says_and_else_what_its_operator_has() {
    let rules = "a: { transform: { plugin: large }, limits: { memory: 1MiB }, capabilities: [] }, b: { transform: { plugin: large }, on_error: fail }";
    let mut spec =
        read(&with_rules(rules, ", on_error: skip, limits: { memory: 2MiB }, capabilities: clocks")).unwrap();
    let memory = |name: &str| spec.operator(name).unwrap().limits.memory;
    assert_eq!((memory("x"), memory("x:a"), memory("x:b")), (2 << 20, 1 << 20, 2 << 20));
    let clocks = |name: &str| spec.operator(name).unwrap().capabilities.clocks;
    assert_eq!((clocks("x"), clocks("x:a"), clocks("x:b")), (true, false, true));
    let on_error = |name: &str| format!("{:?}", spec.operator(name).unwrap().on_error);
    assert_eq!((on_error("x:a"), on_error("x:b")), ("Skip".to_owned(), "Fail".to_owned()));
    let names: Vec<_> = spec.operators_and_rules().map(|(name, _)| name).collect();
    assert_eq!(names, ["x", "x:a", "x:b"]);

    // One more, as it is added later.
    let settings =
        parse_rule_settings(r#"{"limits": {"memory": "3MiB"}, "capabilities": ["randomness"]}"#, &spec.operators["x"])
            .unwrap();
    let RuleSettings { limits, capabilities, on_error, .. } = settings;
    assert_eq!(capabilities, CapabilitiesSpec { clocks: false, randomness: true });
    assert_eq!((limits.memory, format!("{on_error:?}")), (3 << 20, "Skip".to_owned()));
    let error = parse_rule_settings(r#"{"limit": {}}"#, &spec.operators["x"]).unwrap_err();
    assert_eq!(error.code.as_str(), "J0104");
    let StepSpec::Transform(plugin) = spec.operator("x:a").unwrap().step.clone() else { panic!("it is none") };
    let added = spec.operators["x"].rule(OperatorKind::Transform, plugin, settings);
    spec.rules_mut("x").unwrap().rules.insert("c".to_owned(), Arc::new(added));
    let plan = plan_of(&spec).unwrap();
    assert_eq!(plan.find("x").unwrap().rules().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(plan.find(&rule_name("x", "c")).unwrap().name, "x:c");
    assert!(check_rule("a-1_b").is_ok() && check_rule("a:b").is_err() && check_rule("").is_err());
}

#[test]
fn what_was_inferred_stays_when_rules_go() {
    let paid = "paid: { stdin: {}, format: json }";
    let rules = "a: { transform: { plugin: large } }, b: { transform: { plugin: maybe } }";
    let mut spec = read(&job(paid, &format!("x: {{ input: paid, rules: {{ {rules} }} }}"), OUT)).unwrap();
    let columns = |plan: crate::job::Plan| plan.find("paid").unwrap().outputs[0].schema.clone();
    let before = columns(plan_of(&spec).unwrap());
    assert_eq!(before.to_string(), "{ amount: f64, note: string? }");
    spec.sources["paid"].inferred = Some(before.fields().to_vec());
    spec.rules_mut("x").unwrap().rules.shift_remove("b");
    assert_eq!(columns(plan_of(&spec).unwrap()), before);
}
