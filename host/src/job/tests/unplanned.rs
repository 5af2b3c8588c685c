//! Jobs that cannot be planned, and in which words that is said.
use super::{
    plugins::{OUT, PAID, job, planned},
    with,
};

#[track_caller]
fn check(text: &str, expected: &str) {
    let error = planned(text).map(|plan| panic!("this is planned:\n{text}\n{plan}")).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn a_plugin_must_be_of_the_kind_of_its_step() {
    check(
        &job(PAID, "x: { input: paid, transform: { plugin: sum } }", OUT),
        r#"error[J0205]: operator `x` is `transform`, but plugin `sum` is `aggregate`
  --> job.yaml:5:32
   = help: write `aggregate: { plugin: ... }`, or choose another plugin"#,
    );
    check(
        &job(PAID, "x: { input: paid, transform: { plugin: process } }", OUT),
        r#"error[J0205]: operator `x` is `transform`, but plugin `process` is `keyed_process`
  --> job.yaml:5:32
   = help: write `keyed_process: { plugin: ... }`, or choose another plugin"#,
    );
    check(
        &job(PAID, "x: { input: paid, transform: { plugin: taken } }", OUT),
        r#"error[J0205]: plugin `taken` cannot have a side output `late`
  --> job.yaml:5:32
   = help: side outputs have distinct names, and `late` and `rejected` are the host's own"#,
    );
    check(
        &job(PAID, "x: { input: paid, transform: { plugin: nobody } }", OUT),
        r#"error[J0205]: the plugin of operator `x` is not described
  --> job.yaml:5:32"#,
    );
}

#[test]
fn a_plugin_must_find_the_columns_it_reads() {
    check(
        &job(PAID, "x: { input: paid, transform: { plugin: words } }", OUT),
        r#"error[J0207]: plugin `words` of operator `x` reads a column `line: string`, which is not there
  --> job.yaml:5:32
   = help: the columns there are: { user: string, amount: f64, at: i64, ok: bool? }"#,
    );
    check(
        &job(PAID, "x: { input: paid, transform: { plugin: whole } }", OUT),
        r#"error[J0208]: plugin `whole` of operator `x` reads a column `amount: i64`, but it is `amount: f64`
  --> job.yaml:5:32
   = help: the columns there are: { user: string, amount: f64, at: i64, ok: bool? }"#,
    );
    check(
        &job(
            "a: { stdin: {} }",
            "p: { input: a, transform: { plugin: parse } }\nx: { input: p, transform: { plugin: large } }",
            OUT,
        ),
        r#"error[J0208]: plugin `large` of operator `x` reads a column `amount: f64`, but it is `amount: f64?`
  --> job.yaml:6:29
   = help: the plugin takes no nulls: have it read a nullable column, or remove the rows with null before"#,
    );
    check(
        &job(PAID, "x: { input: paid, key: at, window: { tumbling: 1s }, aggregate: { plugin: keyed } }", OUT),
        r#"error[J0207]: plugin `keyed` of operator `x` reads a key column `user: string`, which is not in its key
  --> job.yaml:5:67
   = help: add `user` to `key:`"#,
    );
}

#[test]
fn a_source_without_schema_needs_readers_that_agree() {
    check(
        &job("a: { stdin: {}, format: json }", "", "out: { input: a, print: {} }"),
        r#"error[J0206]: the columns of source `a` are not known: no plugin that reads it names any
  --> job.yaml:3:3
   = help: write its columns and their types, such as `schema: { id: i64, name: string? }`"#,
    );
    check(
        &job(
            "a: { stdin: {}, format: json }",
            "w: { input: a, transform: { plugin: whole } }\nx: { input: [a, w], transform: { plugin: large } }",
            OUT,
        ),
        r#"error[J0208]: operators disagree on a column of source `a`: `w` reads `amount: i64`, `x` reads `amount: f64`
  --> job.yaml:3:3
   = help: have one of the plugins read a column of another name, or put a transform before it"#,
    );
    check(
        &job(
            "a: { stdin: {}, format: json }",
            "x: { input: a, transform: { plugin: large } }",
            "out: { input: x, print: {}, columns: [amount, user] }",
        ),
        r#"error[J0207]: `out` writes `user`, which is not there
  --> job.yaml:7:49
   = help: the columns there are: { amount: f64 }; source `a` has only the columns the plugins that read it name: write its `schema:` for more"#,
    );
    check(
        &job(
            "a: { stdin: {}, format: json }",
            "x: { input: a, key: user, window: { tumbling: 1s }, aggregate: { plugin: sum } }",
            OUT,
        ),
        r#"error[J0207]: `x` has the key `user`, which is not there
  --> job.yaml:5:23
   = help: the columns there are: { amount: f64 }; source `a` has only the columns the plugins that read it name: write its `schema:` for more"#,
    );
}

#[test]
fn a_time_column_has_times() {
    check(
        &job("a: { stdin: {}, time: { column: at } }", "x: { input: a, transform: { plugin: parse } }", OUT),
        r#"error[J0207]: `a` has the time column `at`, which is not there
  --> job.yaml:3:35
   = help: the columns there are: { line: string }"#,
    );
    check(
        &job(
            "a: { stdin: {}, format: json, schema: { amount: f64 }, time: { column: amount } }",
            "x: { input: a, transform: { plugin: large } }",
            OUT,
        ),
        r#"error[J0212]: the time column of source `a` is `amount: f64`, but must be `i64`
  --> job.yaml:3:74
   = help: event times are milliseconds since 1970-01-01 UTC, without nulls"#,
    );
    check(
        &job(
            "a: { stdin: {}, format: json, schema: { amount: f64, at: i64? }, time: { column: at } }",
            "x: { input: a, transform: { plugin: large } }",
            OUT,
        ),
        r#"error[J0212]: the time column of source `a` is `at: i64?`, but must be `i64`
  --> job.yaml:3:84
   = help: event times are milliseconds since 1970-01-01 UTC, without nulls"#,
    );
}

#[test]
fn columns_of_an_output_are_distinct() {
    check(
        &job(PAID, "x: { input: paid, key: user, window: { tumbling: 1s }, aggregate: { plugin: clash } }", OUT),
        r#"error[J0211]: the output of `x` would have two columns `window_end`
  --> job.yaml:5:3
   = help: rename the column before, or have the plugin call its own otherwise; the host puts the key, `window_start` and `window_end` before an aggregate's columns, and `second_` before the name of a join's column that both inputs have"#,
    );
}

#[test]
fn formats_must_fit_the_columns() {
    check(
        &job("a: { stdin: {}, schema: { amount: f64 } }", "x: { input: a, transform: { plugin: large } }", OUT),
        r#"error[J0213]: source `a` cannot be read in its format
  --> job.yaml:3:3
   = help: format `text` has exactly one `string` column, not { amount: f64 }: pick it by `columns:`, or use format `json` or `csv`"#,
    );
    check(
        &with("print: {}", "print: {}, format: text"),
        r#"error[J0213]: sink `out` cannot be written in its format
  --> job.yaml:9:3
   = help: format `text` has exactly one `string` column, not { word: string, window_start: i64, window_end: i64, count: i64 }: pick it by `columns:`, or use format `json` or `csv`"#,
    );
}

#[test]
fn inputs_read_together_have_the_same_columns() {
    check(
        &job(PAID, "x: { input: [paid, paid.rejected], transform: { plugin: large } }", OUT),
        r#"error[J0210]: the inputs of `x` have different columns
  --> job.yaml:5:22
   = help: `paid` has { user: string, amount: f64, at: i64, ok: bool? }, `paid.rejected` has { operator: string, reason: string, record: string, plugin: string, position: string, event_time: i64 }; inputs read together have the same names and types"#,
    );
}

#[test]
fn inputs_that_do_not_exist_are_refused() {
    check(
        &with("input: lines", "input: line"),
        r#"error[J0201]: there is no source or operator `line`
  --> job.yaml:6:19
   = help: did you mean `lines`?"#,
    );
    check(
        &with("input: lines", "input: zebra"),
        r#"error[J0201]: there is no source or operator `zebra`
  --> job.yaml:6:19
   = help: the sources and operators are `lines`, `words` and `counts`"#,
    );
    check(
        &with("input: lines", "input: out"),
        r#"error[J0201]: `out` is a sink, which has no output to read
  --> job.yaml:6:19
   = help: the sources and operators are `lines`, `words` and `counts`"#,
    );
    check(
        &with("input: lines", "input: lines.late"),
        r#"error[J0202]: `lines` has no side output `late`
  --> job.yaml:6:19
   = help: the side outputs it has are `rejected`"#,
    );
    check(
        &with("input: counts", "input: counts.lat"),
        r#"error[J0202]: `counts` has no side output `lat`
  --> job.yaml:9:17
   = help: did you mean `late`?"#,
    );
}

#[test]
fn key_window_and_step_go_together() {
    check(
        &job(PAID, "x: { input: paid, key: user, aggregate: { plugin: sum } }", OUT),
        r#"error[J0204]: operator `x` has `aggregate`, but no `window`
  --> job.yaml:5:3
   = help: write `window: { tumbling: 5s }`"#,
    );
}

#[test]
fn keys_exist_and_are_of_key_types() {
    check(
        &job(PAID, "x: { input: paid, key: userr, window: { tumbling: 1s }, aggregate: { plugin: sum } }", OUT),
        r#"error[J0207]: `x` has the key `userr`, which is not there
  --> job.yaml:5:26
   = help: did you mean `user`? The columns there are: { user: string, amount: f64, at: i64, ok: bool? }"#,
    );
    check(
        &job(PAID, "x: { input: paid, key: amount, window: { tumbling: 1s }, aggregate: { plugin: sum } }", OUT),
        r#"error[J0209]: operator `x` has the key `amount: f64`
  --> job.yaml:5:26
   = help: numbers with a fraction are no keys: use a bool, i64, string or bytes column"#,
    );
}

#[test]
fn nothing_feeds_itself() {
    check(
        &with("input: lines", "input: words"),
        r#"error[J0203]: `words` reads its own output
  --> job.yaml:6:3
   = help: read from a source or an operator further up"#,
    );
    check(
        &with("input: lines", "input: counts"),
        r#"error[J0203]: these feed each other in a circle: counts -> words -> counts
  --> job.yaml:6:3
   = help: read from a source or an operator further up"#,
    );
    check(
        &with("input: lines", "input: [lines, counts.rejected]"),
        r#"error[J0203]: these feed each other in a circle: counts -> words -> counts
  --> job.yaml:6:3
   = help: read from a source or an operator further up"#,
    );
}

#[test]
fn sinks_pick_columns_that_exist() {
    check(
        &with("print: {}", "print: {}, columns: [cuont]"),
        r#"error[J0207]: `out` writes `cuont`, which is not there
  --> job.yaml:9:46
   = help: did you mean `count`? The columns there are: { word: string, window_start: i64, window_end: i64, count: i64 }"#,
    );
}
