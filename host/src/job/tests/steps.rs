//! Steps with two inputs, with several plugins and without any, and plugins of sinks: what is refused, and in which words.
use super::plugins::{OUT, PAID, job, planned, sources};

#[track_caller]
fn check(text: &str, expected: &str) {
    let error = planned(text).map(|plan| panic!("this is planned:\n{text}\n{plan}")).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn key_window_and_second_input_go_with_the_step() {
    check(
        &job(&sources(), "x: { input: paid, keyed_process: { plugin: process } }", OUT),
        r#"error[J0204]: operator `x` has `keyed_process`, but no `key`
  --> job.yaml:7:3
   = help: write `key:` with the columns whose rows belong together"#,
    );
    check(
        &job(&sources(), "x: { input: paid, key: user, connected_process: { plugin: match } }", OUT),
        r#"error[J0214]: operator `x` has `connected_process`, but no `second`
  --> job.yaml:7:3
   = help: write `second: { input: refunds, key: order }`"#,
    );
    check(
        &job(&sources(), "x: { input: paid, broadcast_process: { plugin: rules } }", OUT),
        r#"error[J0214]: operator `x` has `broadcast_process`, but no `broadcast`
  --> job.yaml:7:3
   = help: write `broadcast: { input: rules }`"#,
    );
    check(
        &job(&sources(), "x: { input: paid, second: { input: bills, key: user }, transform: { plugin: large } }", OUT),
        r#"error[J0214]: operator `x` has `second`, but `transform` has no use for it
  --> job.yaml:7:29
   = help: read both as one, `input: [a, b]`, or use `connected_process`, `window_join` or `interval_join`"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, broadcast: { input: rules }, keyed_process: { plugin: process } }",
            OUT,
        ),
        r#"error[J0214]: operator `x` has `broadcast`, but `keyed_process` has no use for it
  --> job.yaml:7:43
   = help: leave out `broadcast:`, or use `broadcast_process`"#,
    );
    check(
        &job(&sources(), "x: { input: paid, key: user, second: { input: bills, key: user }, window_join: {} }", OUT),
        r#"error[J0204]: operator `x` has `window_join`, but no `window`
  --> job.yaml:7:3
   = help: write `window: { tumbling: 5s }`"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: user }, window: { tumbling: 5s, trigger: event_time }, window_join: {} }",
            OUT,
        ),
        r#"error[J0217]: a join's window has a time or session, and fires once at its end
  --> job.yaml:7:77
   = help: write `window: { tumbling: 5s }`, `sliding` or `session`, with `offset` and `time` only"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: user }, interval_join: { lower: 1s, upper: -1s } }",
            OUT,
        ),
        r#"error[J0107]: `lower: 1s` is after `upper: -1s`
  --> job.yaml:7:93
   = help: write the earlier bound first, such as `{ lower: -5min, upper: 5min }`"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: user }, interval_join: { lower: -x, upper: 1s } }",
            OUT,
        ),
        r#"error[J0107]: `lower: x` is no duration
  --> job.yaml:7:93
   = help: write a number and a unit, such as `500ms`, `5s`, `10min`, `1h` or `1d`"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: user }, limits: {}, interval_join: { lower: -1s, upper: 1s } }",
            OUT,
        ),
        r#"error[J0204]: operator `x` has `limits`, but `interval_join` has no use for it
  --> job.yaml:7:77
   = help: leave out `limits:`: no plugin runs"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0105]: the field `key` is missing
  --> job.yaml:7:42
   = help: write `key:` with the columns whose rows belong together"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, parallelism: 4, window: { tumbling: 1s }, aggregate: { plugin: sum } }",
            OUT,
        ),
        r#"error[J0107]: `parallelism` is 4, but a window without key is in one subtask
  --> job.yaml:7:34
   = help: leave out `parallelism:`, or write `key:` with the columns whose rows belong together"#,
    );
    check(
        &job(&sources(), "x: { input: paid, window: { tumbling: 1s }, transform: { plugin: large } }", OUT),
        r#"error[J0204]: operator `x` has `window`, but `transform` has no use for it
  --> job.yaml:7:29
   = help: leave out `window:`, or write `aggregate:`, `process_window:` or `window_join:`"#,
    );
}

#[test]
fn both_inputs_have_the_key() {
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: id }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0215]: the keys of the inputs of `x` differ: `user: string` in the first, `id: i64` in the second
  --> job.yaml:7:61
   = help: rows meet by keys of the same types in the same order; their names may differ"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: bills, key: [user, id] }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0215]: the keys of the inputs of `x` differ: `user: string` in the first, `user: string, id: i64` in the second
  --> job.yaml:7:62
   = help: rows meet by keys of the same types in the same order; their names may differ"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: rules, key: user }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0207]: `x` has the key `user`, which is not there
  --> job.yaml:7:61
   = help: the columns there are: { limit: f64 }"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: at, second: { input: bills, key: id }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0207]: plugin `match` of operator `x` reads a key column `user: string`, which is not in its key
  --> job.yaml:7:84
   = help: add `user` to `key:`"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: paid, key: user }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0207]: plugin `match` of operator `x` reads a column `due: f64`, which is not there
  --> job.yaml:7:87
   = help: the columns there are: { user: string, amount: f64, at: i64, ok: bool? }"#,
    );
    check(
        &job(&sources(), "x: { input: paid, broadcast: { input: rules }, broadcast_process: { plugin: memory } }", OUT),
        r#"error[J0204]: the plugin of operator `x` keeps state `seen` per key
  --> job.yaml:7:69
   = help: write `key:` with the columns whose rows belong together"#,
    );
}

#[test]
fn plugins_fit_where_they_are_put() {
    check(
        &job(
            &sources(),
            "x: { input: paid, window: { tumbling: 1s }, aggregate: { plugin: sum }, process_window: { plugin: median } }",
            OUT,
        ),
        r#"error[J0207]: plugin `median` of operator `x` reads a column `amount: f64`, which is not there
  --> job.yaml:7:91
   = help: the columns there are: { sum: f64 }"#,
    );
    check(
        &job(&sources(), "x: { input: paid, window: { tumbling: 1s }, process_window: { plugin: echo } }", OUT),
        r#"error[J0205]: plugin `echo` puts out rows of its input, but a `process_window` puts out what windows come to
  --> job.yaml:7:63
   = help: choose another plugin, or correct what this one says of itself"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, window: { tumbling: 1s, trigger: { plugin: sum } }, aggregate: { plugin: sum } }",
            OUT,
        ),
        r#"error[J0205]: the trigger of operator `x` needs a plugin that is `trigger`, but `sum` is `aggregate`
  --> job.yaml:7:54
   = help: choose another plugin"#,
    );
    check(
        &job(&sources(), "x: { input: paid, transform: { plugin: when } }", OUT),
        r#"error[J0205]: operator `x` is `transform`, but plugin `when` is `trigger`
  --> job.yaml:7:32
   = help: a trigger belongs into `window: { trigger: { plugin: ... } }`"#,
    );
    check(
        &job(&sources(), "x: { input: paid, transform: { plugin: lines } }", OUT),
        r#"error[J0205]: operator `x` is `transform`, but plugin `lines` is `sink`
  --> job.yaml:7:32
   = help: it belongs into a sink, beside the connector"#,
    );
    check(
        &job(&sources(), "x: { input: paid, transform: { plugin: async } }", OUT),
        r#"error[J0205]: operator `x` is `transform`, but plugin `async` is `async_function`
  --> job.yaml:7:32
   = help: choose another plugin: jobs do not run `async_function`"#,
    );
    check(
        &job(
            &sources(),
            "x: { input: paid, key: user, second: { input: [bills, rules], key: user }, connected_process: { plugin: match } }",
            OUT,
        ),
        r#"error[J0210]: the inputs of `x` have different columns
  --> job.yaml:7:57
   = help: `bills` has { user: string, due: f64, id: i64 }, `rules` has { limit: f64 }; inputs read together have the same names and types"#,
    );
    check(
        &job(
            "a: { stdin: {}, format: json, schema: { user: string, second_user: string } }",
            "x: { input: a, key: user, second: { input: a, key: user }, window: { tumbling: 1s }, window_join: {} }",
            OUT,
        ),
        r#"error[J0211]: the output of `x` would have two columns `second_user`
  --> job.yaml:5:3
   = help: rename the column before, or have the plugin call its own otherwise; the host puts the key, `window_start` and `window_end` before an aggregate's columns, and `second_` before the name of a join's column that both inputs have"#,
    );
}

#[test]
fn the_plugin_of_a_sink_decides_what_there_is_to_write() {
    check(
        &job(
            PAID,
            "y: { input: paid, transform: { plugin: large } }",
            "out: { input: y, print: {}, sink: { plugin: words } }",
        ),
        r#"error[J0205]: sink `out` needs a plugin that is `sink`, but `words` is `transform`
  --> job.yaml:7:37
   = help: choose another plugin"#,
    );
    check(
        &job(PAID, "y: { input: paid, transform: { plugin: large } }", "out: { input: y, print: {}, limits: {} }"),
        r#"error[J0204]: sink `out` has `limits`, but no plugin
  --> job.yaml:7:39
   = help: leave out `limits:`, or write `sink: { plugin: ... }`"#,
    );
    check(
        &job(
            PAID,
            "y: { input: paid, transform: { plugin: large } }",
            "out: { input: y, print: {}, sink: { plugin: lines }, columns: user }",
        ),
        r#"error[J0207]: `out` writes `user`, which is not there
  --> job.yaml:7:65
   = help: the columns there are: { text: string }"#,
    );
    check(
        &job(
            PAID,
            "y: { input: paid, transform: { plugin: large } }",
            "out: { input: y.rejected, print: {}, sink: { plugin: lines } }",
        ),
        r#"error[J0207]: plugin `lines` of sink `out` reads a column `user: string`, which is not there
  --> job.yaml:7:46
   = help: the columns there are: { operator: string, reason: string, record: string, plugin: string, position: string, event_time: i64 }"#,
    );
}
