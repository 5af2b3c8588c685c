//! Plans of steps with two inputs, with several plugins and without any, and of sinks with plugins.
use super::plugins::{OUT, PAID, job, planned, sources};
use crate::{
    job::{Exchange, InputSide, Plan, Role},
    model::OperatorKind,
};

/// The plan of a job, checked against what is shown of it.
#[track_caller]
fn check(text: &str, expected: &str) -> Plan {
    let plan = planned(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(plan.to_string().trim_end(), expected, "{text}");
    plan
}

fn role<'a>(plan: &'a Plan, name: &str) -> &'a Role {
    &plan.nodes.iter().find(|node| node.name == name).unwrap().role
}

#[test]
fn a_keyed_process_is_fed_by_hash() {
    check(
        &job(&sources(), "x: { input: paid, key: user, parallelism: 2, keyed_process: { plugin: process } }", OUT),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 3 x, by user

task 1, 1 subtask
  bills (source stdin) { user: string, due: f64, id: i64 }

task 2, 1 subtask
  rules (source stdin) { limit: f64 }

task 3, 2 subtasks
  <- task 0 paid, by user
  x (keyed-process process 0.1.0 by user) { alert: string }
    -> task 4 out, rebalanced

task 4, 1 subtask
  <- task 3 x, rebalanced
  out (sink print) { alert: string }

warning: nothing reads `bills`: these rows are dropped
warning: nothing reads `rules`: these rows are dropped"#,
    );
}

#[test]
fn both_inputs_of_a_connected_process_are_fed_by_their_own_keys() {
    let plan = check(
        &job(
            &format!(
                "{}\nmore: {{ stdin: {{}}, format: json, schema: {{ due: f64, id: i64, user: string? }} }}",
                sources()
            ),
            "x: { input: paid, key: user, parallelism: 2, second: { input: [bills, more], key: user }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 4 x, by user

task 1, 1 subtask
  bills (source stdin) { user: string, due: f64, id: i64 }
    -> task 4 x, second input, by user

task 2, 1 subtask
  rules (source stdin) { limit: f64 }

task 3, 1 subtask
  more (source stdin) { due: f64, id: i64, user: string? }
    -> task 4 x, second input, by user

task 4, 2 subtasks
  <- task 0 paid, by user
  <- task 1 bills, second input, by user
  <- task 3 more, second input, by user
  x (connected-process match 0.1.0 by user) { user: string, open: f64 }
    -> task 5 out, rebalanced

task 5, 1 subtask
  <- task 4 x, rebalanced
  out (sink print) { user: string, open: f64 }

warning: nothing reads `rules`: these rows are dropped"#,
    );
    let x = plan.nodes.iter().find(|node| node.name == "x").unwrap();
    assert_eq!(x.second.as_ref().unwrap().to_string(), "{ user: string?, due: f64, id: i64 }");
    let Role::Operator { plugins, key, second_key, .. } = &x.role else { panic!("no operator") };
    assert_eq!((key, second_key), (&vec![0], &vec![0]));
    assert_eq!((&plugins[0].reads, &plugins[0].second_reads, &plugins[0].keys), (&vec![1], &vec![1], &vec![0]));
    let edges: Vec<_> = plan.edges.iter().filter(|edge| edge.to == x.id).collect();
    assert_eq!(
        edges.iter().map(|edge| (edge.input, edge.side)).collect::<Vec<_>>(),
        [(0, InputSide::First), (1, InputSide::Second), (2, InputSide::Second)]
    );
    assert!(edges.iter().all(|edge| edge.exchange == Exchange::Hash { key: vec![0] } && !edge.chained));
    assert_eq!((&edges[1].adapt, &edges[2].adapt), (&Some(vec![0, 1, 2]), &Some(vec![2, 0, 1])));
}

#[test]
fn every_subtask_gets_every_row_of_a_broadcast_input() {
    check(
        &job(
            &sources(),
            "x: { input: paid, parallelism: 2, broadcast: { input: rules }, broadcast_process: { plugin: rules } }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 3 x, rebalanced

task 1, 1 subtask
  bills (source stdin) { user: string, due: f64, id: i64 }

task 2, 1 subtask
  rules (source stdin) { limit: f64 }
    -> task 3 x, broadcast

task 3, 2 subtasks
  <- task 0 paid, rebalanced
  <- task 2 rules, broadcast
  x (broadcast-process rules 0.1.0) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 4 out, rebalanced

task 4, 1 subtask
  <- task 3 x, rebalanced
  out (sink print) { user: string, amount: f64, at: i64, ok: bool? }

warning: nothing reads `bills`: these rows are dropped"#,
    );
}

#[test]
fn a_window_join_has_the_columns_of_both_and_the_window() {
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: user }, window: { session: 5min }, window_join: {} }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 3 x

task 1, 1 subtask
  bills (source stdin) { user: string, due: f64, id: i64 }
    -> task 3 x, second input

task 2, 1 subtask
  rules (source stdin) { limit: f64 }

task 3, 1 subtask
  <- task 0 paid
  <- task 1 bills, second input
  x (window-join by user) { user: string, amount: f64, at: i64, ok: bool?, second_user: string, due: f64, id: i64, window_start: i64, window_end: i64 }
    out (sink print) { user: string, amount: f64, at: i64, ok: bool?, second_user: string, due: f64, id: i64, window_start: i64, window_end: i64 }

warning: nothing reads `rules`: these rows are dropped"#,
    );
}

#[test]
fn an_interval_join_has_the_columns_of_both() {
    let plan = check(
        &job(
            &sources(),
            "x: { input: paid, key: [at, user], second: { input: bills, key: [id, user] }, parallelism: 2, interval_join: { lower: -5min, upper: 0s } }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 3 x, by at, user

task 1, 1 subtask
  bills (source stdin) { user: string, due: f64, id: i64 }
    -> task 3 x, second input, by id, user

task 2, 1 subtask
  rules (source stdin) { limit: f64 }

task 3, 2 subtasks
  <- task 0 paid, by at, user
  <- task 1 bills, second input, by id, user
  x (interval-join by at, user) { user: string, amount: f64, at: i64, ok: bool?, second_user: string, due: f64, id: i64 }
    -> task 4 out, rebalanced

task 4, 1 subtask
  <- task 3 x, rebalanced
  out (sink print) { user: string, amount: f64, at: i64, ok: bool?, second_user: string, due: f64, id: i64 }

warning: nothing reads `rules`: these rows are dropped"#,
    );
    let Role::Operator { plugins, key, second_key, .. } = role(&plan, "x") else { panic!("no operator") };
    assert_eq!((plugins.len(), key, second_key), (0, &vec![2, 0], &vec![2, 0]));
}

#[test]
fn what_an_aggregate_comes_to_goes_to_a_process_window() {
    let plan = check(
        &job(
            PAID,
            "x: { input: paid, key: user, window: { count: 100 }, aggregate: { plugin: sum }, process_window: { plugin: top } }",
            "out: { input: [x.rest], print: {} }",
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    x (aggregate sum 0.1.0, process-window top 0.1.0 by user) { user: string, best: f64 }
      .rest: out (sink print) { sum: f64 }

warning: nothing reads `x`: these rows are dropped"#,
    );
    let x = role(&plan, "x");
    let (sum, top) = (x.plugin(OperatorKind::Aggregate).unwrap(), x.plugin(OperatorKind::ProcessWindow).unwrap());
    // The sum is the second column of the input, and the only one that the aggregate declares.
    assert_eq!((&sum.reads, &sum.keys, &top.reads, &top.keys), (&vec![1], &vec![], &vec![0], &vec![0]));
    assert_eq!(top.side, 1);
    // A window of a number of rows has none that are late.
    let outputs: Vec<_> = plan.nodes[1].outputs.iter().map(|port| port.name.as_deref()).collect();
    assert_eq!(outputs, [None, Some("rest"), Some("rejected")]);
}

#[test]
fn a_window_without_key_has_one_subtask() {
    let plan = check(
        &job(
            PAID,
            "x: { input: paid, window: { tumbling: 1s, trigger: { plugin: when } }, process_window: { plugin: median } }",
            "out: { input: x, print: {}, parallelism: 2 }",
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    x (process-window median 0.1.0, trigger when 0.1.0) { median: f64 }
      -> task 1 out, rebalanced

task 1, 2 subtasks
  <- task 0 x, rebalanced
  out (sink print) { median: f64 }"#,
    );
    assert_eq!(role(&plan, "x").plugin(OperatorKind::Trigger).unwrap().reads, [3]);
}

#[test]
fn a_plugin_shapes_what_a_sink_writes() {
    let plan = check(
        &job(
            PAID,
            "x: { input: paid, transform: { plugin: large } }",
            "out: { input: x, print: {}, sink: { plugin: lines, config: {} }, on_error: skip, format: text }",
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    x (transform large 0.1.0) { user: string, amount: f64, at: i64, ok: bool? }
      out (sink print, lines 0.1.0) { text: string }"#,
    );
    let Role::Sink { plugin: Some(plugin), shaped, writes, .. } = role(&plan, "out") else { panic!("no plugin") };
    assert_eq!((&plugin.reads, shaped.to_string().as_str(), writes), (&vec![0, 1], "{ text: string }", &vec![0]));
}

#[test]
fn a_key_a_plugin_asks_for_is_asked_of_both_inputs() {
    check(
        &job(
            "a: { stdin: {}, format: json }\nb: { stdin: {}, format: json }",
            "x: { input: a, key: user, second: { input: b, key: name }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  a (source stdin) { amount: f64, user: string } as its readers ask for
    -> task 2 x

task 1, 1 subtask
  b (source stdin) { due: f64, name: string } as its readers ask for
    -> task 2 x, second input

task 2, 1 subtask
  <- task 0 a
  <- task 1 b, second input
  x (connected-process match 0.1.0 by user) { user: string, open: f64 }
    out (sink print) { user: string, open: f64 }"#,
    );
}

#[test]
fn late_rows_of_joins_are_not_shown() {
    let late = |step: &str| {
        let text = format!("x: {{ input: paid, key: user, window: {{ session: 5min }}, {step} }}");
        planned(&job(&sources(), &text, OUT)).unwrap().nodes.iter().any(|node| node.late_output().is_some())
    };
    assert!(late("process_window: { plugin: median }"));
    assert!(!late("second: { input: bills, key: user }, window_join: {}"));
}
