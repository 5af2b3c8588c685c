//! Metrics that plugins declare: each reading of a call that is taken counts once, whatever else was tried, and all of it is found where
//! Prometheus and people look for it. Must not know how readings are kept.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wasmill::plugin::{HISTOGRAM_BOUNDS, MetricValue};
use wasmill_tests::guests;

use super::{
    jobs::{self, Variables},
    payments::{Events, stop},
    server::{Server, json},
};

const FAILING: &str = r#"
name: failing
parallelism: ${PARALLELISM}
batch: { records: ${BATCH}, flush: 1min }
sources:
  events: { file: { path: input.jsonl }, format: json, schema: { id: i64, user: string, mark: i64 }, time: { column: id } }
operators:
  passed: { input: events, transform: { plugin: "${PLUGIN}" }, on_failure: skip }
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}" }, on_failure: { action: skip, retries: 1, backoff: 1ms } }
sinks:
  passed-out: { input: passed, discard: {} }
  sums-out: { input: sums, discard: {} }
"#;

#[test]
fn calls_that_fail_and_are_made_again_in_parts_count_once() {
    let events = 200;
    // The plugin fails on every eleventh.
    let (failing, sound): (Vec<u32>, Vec<u32>) = (0..events).partition(|id| id % 11 == 5);
    let folder = tempfile::tempdir().unwrap();
    let text = (0..events).fold(String::new(), |mut text, id| {
        let mark = u8::from(failing.contains(&id));
        writeln!(text, r#"{{"id":{id},"user":"u{}","mark":{mark}}}"#, id % 7).unwrap();
        text
    });
    fs::write(folder.path().join("input.jsonl"), text).unwrap();
    let values: BTreeSet<u64> = sound.iter().map(|id| u64::from(*id)).collect();
    let mut buckets = vec![0; HISTOGRAM_BOUNDS.len() + 1];
    for id in &values {
        buckets[HISTOGRAM_BOUNDS.iter().position(|bound| *id as f64 <= *bound).unwrap()] += 1;
    }
    let (sum, count) = (values.iter().sum::<u64>() as f64, values.len() as u64);
    for (parallelism, batch) in [(1, 64), (2, 7)] {
        let variables = Variables::from([
            ("PARALLELISM", parallelism.to_string()),
            ("BATCH", batch.to_string()),
            ("PLUGIN", guests::rust_plugin(&guests::root().join("tests/guests/poison")).display().to_string()),
        ]);
        let prepared = jobs::prepared(FAILING, folder.path(), &variables).unwrap_or_else(|error| panic!("{error}"));
        let measured = jobs::runtime().block_on(async {
            let job = jobs::start(prepared, &CancellationToken::new());
            let view = job.view();
            job.wait().await.unwrap_or_else(|error| panic!("{error}"));
            view.measured()
        });
        assert_eq!(measured.len(), 6);
        for report in measured {
            let of = (report.operator.as_str(), report.metric.as_str());
            match report.value {
                MetricValue::Gauge { values: latest } => {
                    assert_eq!(latest.len(), parallelism, "{of:?}");
                    // A subtask may have had no rows.
                    let known = |latest: &f64| values.contains(&(*latest as u64));
                    let mut latest = latest.into_iter().flatten().peekable();
                    assert!(latest.peek().is_some() && latest.all(|latest| known(&latest)), "{of:?}");
                }
                MetricValue::Counter { value } => assert_eq!(value, count as f64, "{of:?}"),
                found @ MetricValue::Histogram { .. } => {
                    assert_eq!(found, MetricValue::Histogram { sum, count, buckets: buckets.clone() }, "{of:?}");
                }
            }
        }
    }
}

const JOB: &str = "
name: payments
parallelism: 2
checkpoints: { directory: checkpoints, interval: 100ms }
sources:
  payments:
    generator: { workload: transactions, rate: 5000, keys: 500 }
    format: json
    schema: { user: i64, amount: i64, timestamp: i64 }
    time: { column: timestamp }
operators:
  large: { input: payments, transform: { plugin: 'payment-alerts@1.0.0', config: { limit: -1 } } }
  rules:
    input: payments
    rules:
      all: { transform: { plugin: 'payment-alerts@1.0.0', config: { limit: -1 } } }
      none: { transform: { plugin: 'payment-alerts@1.0.0', config: { limit: 1000000000 } } }
sinks:
  out: { input: large, discard: {} }
  alerts: { input: rules, discard: {} }
";

/// Series of the server by name and labels, without those of the job.
async fn series(server: &Server) -> BTreeMap<String, f64> {
    let text = server.get("/metrics").await.text().await.unwrap();
    let of = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{')?;
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}")).split(',');
        let labels: Vec<_> = labels.filter(|it| !it.starts_with("job=") && !it.starts_with("name=")).collect();
        Some((format!("{name}{{{}}}", labels.join(",")), value.parse().unwrap_or_else(|_| panic!("{line}"))))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(of).collect()
}

/// Waits until what is there has this field above 0.
async fn above_zero(server: &Server, events: &mut Events, path: &str, field: &str) {
    while server.json(path).await.pointer(field).and_then(Value::as_u64).unwrap() == 0 {
        events.wait("event: checkpoint").await;
    }
}

#[tokio::test]
async fn shadows_do_not_count_canaries_do_and_other_versions_go_on() {
    let server = Server::start(&[]);
    let component = fs::read(jobs::plugin("payment-alerts")).unwrap();
    let upload = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    json(upload.body(component).send().await.unwrap(), 201).await;
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(JOB);
    json(submitted.send().await.unwrap(), 201).await;
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    events.wait("event: checkpoint").await;

    let path = |what: &str| format!("/v1/jobs/payments/operators/large{what}");
    let other = |mark: i64| json!({ "limit": -1, "mark": mark });
    let ask = async |what: &str, body: Value, status: u16| {
        json(server.request(Method::POST, &path(what)).json(&body).send().await.unwrap(), status).await
    };
    ask("/shadow", json!({ "configuration": other(1), "ignored": ["mark"] }), 201).await;
    above_zero(&server, &mut events, &path("/shadow"), "/compared/equal").await;
    let found = series(&server).await;
    let compared = |what: &str| found[&format!(r#"wasmill_shadow_rows_total{{operator="large",compared="{what}"}}"#)];
    assert!(compared("equal") > 0.0, "{found:#?}");
    assert_eq!(["missing", "extra", "different"].map(compared), [0.0; 3]);
    assert_eq!(found[r#"wasmill_shadow_failed_total{operator="large"}"#], 0.0);
    let ended = server.request(Method::DELETE, &path("/shadow")).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    ask("/canary", json!({ "configuration": other(2), "share": 0.5, "by": ["user"] }), 201).await;
    above_zero(&server, &mut events, &path("/canary"), "/counts/canary/rows").await;

    let found = series(&server).await;
    let value = |series: &str| *found.get(series).unwrap_or_else(|| panic!("no {series}: {found:#?}"));
    for of in [r#"operator="large""#, r#"operator="rules",rule="all""#] {
        let alerts = value(&format!(r#"wasmill_operator_counter_total{{{of},metric="alerts"}}"#));
        let (name, labels) = ("wasmill_operator_histogram", format!(r#"{of},metric="amounts""#));
        let [count, sum] = ["count", "sum"].map(|what| value(&format!("{name}_{what}{{{labels}}}")));
        let all = value(&format!(r#"{name}_bucket{{le="+Inf",{labels}}}"#));
        assert!(alerts > 0.0 && count == all && sum > count, "{alerts} {count} {all} {sum}");
        for subtask in 0..2 {
            let latest = format!(r#"wasmill_operator_gauge{{{of},metric="latest",subtask="{subtask}"}}"#);
            assert!(value(&latest) > 0.0, "{latest}");
        }
    }
    for count in ["rows", "emitted", "calls", "call_us"] {
        for version in ["in_force", "canary"] {
            let of = format!(r#"wasmill_canary_{count}_total{{operator="large",version="{version}"}}"#);
            assert!(value(&of) > 0.0, "{of}");
        }
    }
    assert!(!found.keys().any(|series| series.starts_with("wasmill_shadow_rows")), "it has ended");
    // What was declared is there before it is used; a gauge only once it has a value.
    assert_eq!(value(r#"wasmill_operator_counter_total{operator="rules",rule="none",metric="alerts"}"#), 0.0);
    assert!(!found.contains_key(r#"wasmill_operator_gauge{operator="rules",rule="none",metric="latest",subtask="0"}"#));
    for (series, goes_up) in [("records_in", true), ("records_out", false), ("failed", false)] {
        let of = |rule: &str| value(&format!(r#"wasmill_rule_{series}_total{{operator="rules",rule="{rule}"}}"#));
        assert_eq!((of("none") > 0.0, of("all") > 0.0), (goes_up, series != "failed"), "{series}");
    }
    // Nothing is in two families, so that sums are right.
    assert!(found.keys().filter(|series| series.starts_with("wasmill_job_")).all(|series| !series.contains("rule=")));

    ask("/promote", json!({}), 200).await;
    ask("/swap", json!({ "configuration": other(3) }), 200).await;
    events.wait("event: checkpoint").await;
    let graph = server.json(&format!("/v1/jobs/{}/graph", stop(&server).await)).await;
    let node = graph["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "large").unwrap();
    let [alerts, amounts, latest] = ["alerts", "amounts", "latest"]
        .map(|name| node["metrics"].as_array().unwrap().iter().find(|metric| metric["metric"] == name).unwrap());
    let rows = node["records_in"].as_u64().unwrap();
    assert_eq!(*alerts, json!({ "metric": "alerts", "kind": "counter", "value": rows as f64 }));
    assert_eq!((&amounts["kind"], &amounts["count"]), (&json!("histogram"), &json!(rows)));
    assert_eq!((&latest["kind"], latest["values"].as_array().unwrap().len()), (&json!("gauge"), 2));
}
