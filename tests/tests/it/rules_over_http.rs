//! Rules added, changed and removed one by one over the interface of the real server, which is killed in between: every payment has passed the
//! rules that were in force at its place in the input, and those only. Must not know how rules are kept.
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{
    jobs,
    server::{self, Server, json, problem},
};

/// Nobody is to be told to ask less often.
const ARGUMENTS: [&str; 2] = ["--rate-limit", "1000000"];
const FIRST_TIME_MS: i64 = 1_700_000_000_000;
/// The span in which payments are counted: all that there are.
const WITHIN_MS: i64 = 1_000_000_000_000_000;
/// Payments between one change and the next.
const PROGRESS: u64 = 300;

/// In the order in which they were put in force: the rule, its mark, and whether the rule was there before with another mark.
const MARKS: [(&str, i64, bool); 7] = [
    ("keep", 1, false),
    ("gone", 2, false),
    ("extra", 3, false),
    ("big", 4, false),
    ("extra", 5, true),
    ("extra", 6, false),
    ("keep", 7, true),
];

fn configuration(rule: &str, mark: i64) -> Value {
    json!({ "name": rule, "mark": mark, "limit": -1, "max": 0, "within_ms": WITHIN_MS })
}

fn job(out: &Path) -> String {
    let rule = |kind: &str, name: &str, mark| {
        format!("{name}: {{ {kind}: {{ plugin: 'payment-alerts@1.0.0', config: {} }} }}", configuration(name, mark))
    };
    format!(
        "
name: payments
parallelism: 2
checkpoints: {{ directory: checkpoints, interval: 100ms }}
sources:
  payments:
    generator: {{ workload: transactions, rate: 5000, keys: 500 }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules:
    input: payments
    key: user
    rules:
      {}
      {}
sinks:
  out: {{ input: rules, file: {{ path: '{}', delivery: exactly_once }} }}
",
        rule("keyed_process", "keep", 1),
        rule("transform", "gone", 2),
        out.display()
    )
}

fn path(what: &str) -> String {
    format!("/v1/jobs/payments/operators/{what}")
}

async fn ask(server: &Server, method: Method, what: &str, body: Value) -> Response {
    server.request(method, &path(what)).json(&body).send().await.unwrap()
}

async fn add(server: &Server, rule: &str, mark: i64, kind: &str) -> Value {
    let configuration = configuration(rule, mark);
    let body = json!({
        "name": rule, "plugin": "payment-alerts@1.0.0", "kind": kind, "configuration": configuration,
        "limits": { "memory": "16MiB" }, "on_failure": { "action": "skip", "retries": 1 }, "on_error": "skip",
    });
    json(ask(server, Method::POST, "rules/rules", body).await, 201).await
}

async fn change_mark(server: &Server, rule: &str, mark: i64) -> Value {
    let request = server.request(Method::PATCH, &path(&format!("rules:{rule}/config"))).json(&json!({ "mark": mark }));
    let request = request.header("content-type", "application/merge-patch+json");
    json(request.send().await.unwrap(), 200).await
}

async fn remove(server: &Server, rule: &str) {
    let removed = server.request(Method::DELETE, &path(&format!("rules/rules/{rule}"))).send().await.unwrap();
    assert_eq!(removed.status(), 204, "{}", removed.text().await.unwrap());
}

/// Waits until the job runs, has done so much more, and has a checkpoint of it.
async fn settle(server: &Server) {
    server.runs("payments").await;
    let count = async || server.count("payments", "rules", "records_in").await;
    let until = count().await + PROGRESS;
    while count().await < until {}
    let taken = server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap();
    json(taken, 201).await;
}

/// Names and marks of the rules there are.
async fn rules(server: &Server) -> Vec<(String, i64)> {
    let page = server.json(&path("rules/rules")).await;
    let rule =
        |rule: &Value| (rule["rule"].as_str().unwrap().to_owned(), rule["configuration"]["mark"].as_i64().unwrap());
    page["items"].as_array().unwrap().iter().map(rule).collect()
}

fn named(rules: &[(&str, i64)]) -> Vec<(String, i64)> {
    rules.iter().map(|(rule, mark)| ((*rule).to_owned(), *mark)).collect()
}

async fn check_refused(server: &Server) {
    let wanted = |name: &str, more: Value| {
        let mut body = json!({ "name": name, "plugin": "payment-alerts@1.0.0", "kind": "transform" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (operator, body, status, code) in [
        ("rules", wanted("keep", json!({})), 409, "X0115"),
        ("rules", wanted("a b", json!({})), 422, "J0108"),
        ("rules", wanted("new", json!({ "limits": { "memory": "1" } })), 422, "J0107"),
        ("rules", wanted("new", json!({ "on_failure": "dead_letter" })), 422, "X0104"),
        ("rules", wanted("new", json!({ "kind": null })), 422, "X0102"),
        ("rules", wanted("new", json!({ "configuration": { "marc": 1 } })), 422, "V0111"),
        ("rules", wanted("new", json!({ "plugin": "word-count@1.0.0" })), 422, "X0104"),
        ("out", wanted("new", json!({})), 404, "X0113"),
        ("nobody", wanted("new", json!({})), 404, "X0101"),
    ] {
        let refused = ask(server, Method::POST, &format!("{operator}/rules"), body).await;
        assert_eq!(problem(refused, status).await, code);
    }
    let missing = server.request(Method::DELETE, &path("rules/rules/nobody")).send().await.unwrap();
    assert_eq!(problem(missing, 404).await, "X0114");
}

/// Alerts as time, rule, mark, user, amount, and number of payments; sorted.
fn found(out: &Path) -> Vec<(i64, String, i64, i64, i64, i64)> {
    let alert = |line: String| {
        let line: Value = serde_json::from_str(&line).unwrap();
        let number = |field: &str| line[field].as_i64().unwrap();
        let rule = line["rule"].as_str().unwrap().to_owned();
        (
            number("timestamp") - FIRST_TIME_MS,
            rule,
            number("mark"),
            number("user"),
            number("amount"),
            number("payments"),
        )
    };
    let mut alerts: Vec<_> = jobs::lines(out).into_iter().map(alert).collect();
    alerts.sort();
    alerts
}

/// Fails unless every payment has passed the rules in force at its place, and no others.
fn check(out: &Path) {
    let found = found(out);
    // From the first payment to the last with a mark, of each split of the source.
    let mut spans: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    let (mut payments, mut next) = (Vec::new(), [0, 1]);
    for (number, rule, mark, user, amount, _) in &found {
        let (number, split) = (*number, *number % 2);
        let (_, last) = spans.entry((*mark, split)).or_insert((number, number));
        *last = number;
        if rule == "keep" {
            assert_eq!(number, next[split as usize], "a payment is lost or doubled");
            next[split as usize] += 2;
            payments.push((number, *user, *amount));
        }
    }
    for (place, (rule, mark, goes_on)) in MARKS.into_iter().enumerate() {
        for split in 0..2 {
            let (first, last) = spans[&(mark, split)];
            let before = MARKS[..place].iter().rfind(|(other, ..)| *other == rule);
            let ended = before.map(|(_, mark, _)| spans[&(*mark, split)].1);
            match (goes_on, ended) {
                (true, Some(ended)) => assert_eq!(first, ended + 2, "mark {mark}"),
                (false, Some(ended)) => assert!(first > ended + 2, "mark {mark}"),
                (_, None) => assert_eq!(first == split, mark <= 2, "mark {mark}"),
            }
            let is_last = !MARKS[place + 1..].iter().any(|(other, ..)| *other == rule);
            assert_eq!(last == next[split as usize] - 2, is_last && rule != "gone", "mark {mark}");
        }
    }
    // Of each rule since it was last added.
    let mut counts: HashMap<(i64, i64), i64> = HashMap::new();
    let mut expected = Vec::new();
    for (number, user, amount) in payments {
        for (rule, mark, goes_on) in MARKS {
            let (first, last) = spans[&(mark, number % 2)];
            if !(first..=last).contains(&number) {
                continue;
            }
            let began = match (rule, goes_on) {
                ("keep", _) => 1,
                ("extra", true) => 3,
                _ => mark,
            };
            let count = counts.entry((began, user)).or_default();
            *count += 1;
            let payments = if matches!(rule, "gone" | "big") { 1 } else { *count };
            expected.push((number, rule.to_owned(), mark, user, amount, payments));
        }
    }
    expected.sort();
    assert!(found == expected, "{} alerts, {} expected", found.len(), expected.len());
}

async fn push(server: &Server, name: &str) {
    let component = fs::read(jobs::plugin(name)).unwrap();
    let request = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    json(request.body(component).send().await.unwrap(), 201).await;
}

#[tokio::test]
async fn rules_come_and_go_and_what_is_in_force_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let server = Server::start(&ARGUMENTS);
    for plugin in ["payment-alerts", "word-count"] {
        push(&server, plugin).await;
    }
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(job(&out));
    server::json(submitted.send().await.unwrap(), 201).await;
    settle(&server).await;

    check_refused(&server).await;
    let added = add(&server, "extra", 3, "keyed-process").await;
    assert_eq!((&added["added"], &added["operator"]), (&json!(1), &json!("rules:extra")), "{added}");
    let nothing_before = ask(&server, Method::POST, "rules:extra/rollback", json!({})).await;
    assert_eq!(problem(nothing_before, 409).await, "V0112");
    add(&server, "big", 4, "transform").await;
    remove(&server, "gone").await;
    settle(&server).await;
    let changed = change_mark(&server, "extra", 5).await;
    assert_eq!(changed["from"]["change"], 1, "{changed}");
    // Without a checkpoint of it.
    let server = Server::start_in(server.kill(), &ARGUMENTS);
    settle(&server).await;
    assert_eq!(rules(&server).await, named(&[("keep", 1), ("extra", 5), ("big", 4)]));
    let needed = server.request(Method::DELETE, "/v1/plugins/payment-alerts/1.0.0").send().await.unwrap();
    assert_eq!(problem(needed, 409).await, "R0107");

    remove(&server, "extra").await;
    let server = Server::start_in(server.kill(), &ARGUMENTS);
    settle(&server).await;
    assert_eq!(rules(&server).await, named(&[("keep", 1), ("big", 4)]));
    add(&server, "extra", 6, "keyed-process").await;
    // Without a checkpoint that has it: it begins where the latest is.
    let server = Server::start_in(server.kill(), &ARGUMENTS);
    settle(&server).await;
    change_mark(&server, "keep", 7).await;
    settle(&server).await;
    assert_eq!(rules(&server).await, named(&[("keep", 7), ("big", 4), ("extra", 6)]));

    let history = server.json(&path("rules:extra/versions")).await;
    let made = history["items"].as_array().unwrap().iter().filter(|change| change["outcome"] == "in_force");
    let made: Vec<_> = made.map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(made, ["add", "config", "remove", "add"]);
    let audit = server.json("/v1/audit?limit=500").await;
    let of = |action: &str| audit["items"].as_array().unwrap().iter().filter(|it| it["action"] == action).count();
    assert_eq!((of("rule.remove"), of("rule.add")), (3, 12), "{audit}");
    let stop = server.request(Method::POST, "/v1/jobs/payments/stop").send().await.unwrap();
    json(stop, 200).await;
    check(&out);
}
