//! Jobs and their plans, as they are shown to people.
use super::{
    JOB,
    plugins::{OUT, PAID, job, planned},
    with,
};

#[track_caller]
fn check(text: &str, expected: &str) {
    let plan = planned(text).unwrap_or_else(|error| panic!("{text}\n{error}")).to_string();
    assert_eq!(plan.trim_end(), expected, "{text}");
}

#[test]
fn a_key_is_never_null_in_what_comes_of_it() {
    check(
        &job(PAID, "x: { input: paid, key: ok, window: { tumbling: 1s }, aggregate: { plugin: sum } }", OUT),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    x (aggregate sum 0.1.0 by ok) { ok: bool, window_start: i64, window_end: i64, sum: f64 }
      out (sink print) { ok: bool, window_start: i64, window_end: i64, sum: f64 }"#,
    );
}

#[test]
fn a_keyed_operator_is_fed_by_hash_from_a_chain() {
    check(
        JOB,
        r#"job word-count

task 0, 2 subtasks
  lines (source socket) { line: string }
    words (transform words 0.1.0) { word: string }
      -> task 1 counts, by word

task 1, 2 subtasks
  <- task 0 words, by word
  counts (aggregate counts 0.1.0 by word) { word: string, window_start: i64, window_end: i64, count: i64 }
    out (sink print) { word: string, window_start: i64, window_end: i64, count: i64 }"#,
    );
}

#[test]
fn a_keyed_transform_is_fed_by_hash() {
    check(
        &job(PAID, "x: { input: paid, key: user, parallelism: 4, transform: { plugin: large } }", OUT),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 1 x, by user

task 1, 4 subtasks
  <- task 0 paid, by user
  x (transform large 0.1.0 by user) { user: string, amount: f64, at: i64, ok: bool? }
    -> task 2 out, rebalanced

task 2, 1 subtask
  <- task 1 x, rebalanced
  out (sink print) { user: string, amount: f64, at: i64, ok: bool? }"#,
    );
}

#[test]
fn another_parallelism_rebalances() {
    check(
        &with("input: lines, ", "input: lines, parallelism: 1, "),
        r#"job word-count

task 0, 2 subtasks
  lines (source socket) { line: string }
    -> task 1 words, rebalanced

task 1, 1 subtask
  <- task 0 lines, rebalanced
  words (transform words 0.1.0) { word: string }
    -> task 2 counts, by word

task 2, 2 subtasks
  <- task 1 words, by word
  counts (aggregate counts 0.1.0 by word) { word: string, window_start: i64, window_end: i64, count: i64 }
    out (sink print) { word: string, window_start: i64, window_end: i64, count: i64 }"#,
    );
}

#[test]
fn at_parallelism_1_everything_is_chained() {
    check(
        &with("parallelism: 2", "parallelism: 1"),
        r#"job word-count

task 0, 1 subtask
  lines (source socket) { line: string }
    words (transform words 0.1.0) { word: string }
      counts (aggregate counts 0.1.0 by word) { word: string, window_start: i64, window_end: i64, count: i64 }
        out (sink print) { word: string, window_start: i64, window_end: i64, count: i64 }"#,
    );
}

#[test]
fn chain_false_makes_a_task_of_its_own() {
    check(
        &with("input: lines, ", "input: lines, chain: false, "),
        r#"job word-count

task 0, 2 subtasks
  lines (source socket) { line: string }
    -> task 1 words

task 1, 2 subtasks
  <- task 0 lines
  words (transform words 0.1.0) { word: string }
    -> task 2 counts, by word

task 2, 2 subtasks
  <- task 1 words, by word
  counts (aggregate counts 0.1.0 by word) { word: string, window_start: i64, window_end: i64, count: i64 }
    out (sink print) { word: string, window_start: i64, window_end: i64, count: i64 }"#,
    );
}

#[test]
fn inputs_read_together_are_adapted_to_the_first() {
    check(
        &job(
            "a: { stdin: {}, format: json, schema: { amount: f64, b: i64 } }\nb: { stdin: {}, format: json, schema: { b: i64?, amount: f64 } }",
            "x: { input: [a, b], transform: { plugin: large } }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  a (source stdin) { amount: f64, b: i64 }
    -> task 2 x

task 1, 1 subtask
  b (source stdin) { b: i64?, amount: f64 }
    -> task 2 x

task 2, 1 subtask
  <- task 0 a
  <- task 1 b
  x (transform large 0.1.0) { amount: f64, b: i64? }
    out (sink print) { amount: f64, b: i64? }"#,
    );
}

#[test]
fn late_rows_have_the_columns_of_the_input() {
    check(
        &job(
            "a: { stdin: {}, format: json }",
            "x: { input: a, key: user, window: { tumbling: 1s }, aggregate: { plugin: keyed } }",
            "out: { input: x, print: {} }\nlate: { input: x.late, print: {} }",
        ),
        r#"job test

task 0, 1 subtask
  a (source stdin) { amount: f64, user: string } as its readers ask for
    x (aggregate keyed 0.1.0 by user) { user: string, window_start: i64, window_end: i64, sum: f64 }
      out (sink print) { user: string, window_start: i64, window_end: i64, sum: f64 }
      .late: late (sink print) { amount: f64, user: string }"#,
    );
}

#[test]
fn side_outputs_and_rejected_records_go_their_own_ways() {
    check(
        &job(
            PAID,
            "x: { input: paid, transform: { plugin: alerts } }",
            "out: { input: x.alerts, print: {}, format: text }\ndead: { input: [paid.rejected, x.rejected], print: {} }",
        ),
        r#"job test

task 0, 1 subtask
  paid (source stdin) { user: string, amount: f64, at: i64, ok: bool? }
    .rejected -> task 1 dead
    x (transform alerts 0.1.0) { user: string, amount: f64, at: i64, ok: bool? }
      .rejected -> task 1 dead
      .alerts: out (sink print) { text: string }

task 1, 1 subtask
  <- task 0 paid.rejected
  <- task 0 x.rejected
  dead (sink print) { operator: string, reason: string, record: string, plugin: string, position: string, event_time: i64 }

warning: nothing reads `x`: these rows are dropped"#,
    );
}

#[test]
fn sinks_write_the_columns_picked_in_their_order() {
    check(
        &with("print: {}", "print: {}, format: text, columns: [word]"),
        r#"job word-count

task 0, 2 subtasks
  lines (source socket) { line: string }
    words (transform words 0.1.0) { word: string }
      -> task 1 counts, by word

task 1, 2 subtasks
  <- task 0 words, by word
  counts (aggregate counts 0.1.0 by word) { word: string, window_start: i64, window_end: i64, count: i64 }
    out (sink print) { word: string }"#,
    );
}

#[test]
fn what_a_plugin_passes_on_its_readers_ask_for_too() {
    check(
        &job(
            "a: { stdin: {}, format: json, time: { column: at } }",
            "f: { input: a, transform: { plugin: maybe } }\nx: { input: f, transform: { plugin: large } }",
            OUT,
        ),
        r#"job test

task 0, 1 subtask
  a (source stdin) { amount: f64, note: string?, at: i64 } as its readers ask for
    f (transform maybe 0.1.0) { amount: f64, note: string?, at: i64 }
      x (transform large 0.1.0) { amount: f64, note: string?, at: i64 }
        out (sink print) { amount: f64, note: string?, at: i64 }"#,
    );
}

#[test]
fn what_nobody_reads_and_what_cannot_be_split_is_warned_of() {
    check(
        &job(
            "a: { stdin: {}, parallelism: 3 }",
            "x: { input: a, transform: { plugin: parse } }",
            "out: { input: a, print: {} }",
        ),
        r#"job test

task 0, 3 subtasks
  a (source stdin) { line: string }
    -> task 1 x, rebalanced
    -> task 2 out, rebalanced

task 1, 1 subtask
  <- task 0 a, rebalanced
  x (transform parse 0.1.0) { user: string, amount: f64?, at: i64 }

task 2, 1 subtask
  <- task 0 a, rebalanced
  out (sink print) { line: string }

warning: source `a` can be read in at most 1 part(s), so that of its 3 subtasks the others get nothing
warning: nothing reads `x`: these rows are dropped"#,
    );
}
