//! Operators changed over the interface of the real server, which is killed in between: every payment is reported once, by what was in force.
//! Must not know how versions are kept.
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
};

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use wasmill_tests::guests;

use super::{
    jobs,
    server::{Server, json, problem},
};

fn job(out: &Path) -> String {
    format!(
        "
name: payments
checkpoints: {{ directory: checkpoints, interval: 100ms }}
sources:
  payments:
    generator: {{ workload: transactions, rate: 5000 }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules: {{ input: payments, key: user, keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: -1 }} }} }}
sinks:
  out: {{ input: rules, file: {{ path: '{}', delivery: exactly_once }} }}
",
        out.display()
    )
}

/// Uploads a version of the rules.
pub async fn push(server: &Server, version: &str) {
    let component = guests::rust_plugin(&guests::root().join("examples/live-rules").join(format!("rules-{version}")));
    let request = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    json(request.body(fs::read(component).unwrap()).send().await.unwrap(), 201).await;
}

/// The operator of the job that is tested.
pub fn path(what: &str) -> String {
    format!("/v1/jobs/payments/operators/rules{what}")
}

async fn post(server: &Server, what: &str, body: Value) -> Response {
    server.request(Method::POST, &path(what)).json(&body).send().await.unwrap()
}

/// Plugin and number of what is in force.
async fn in_force(server: &Server) -> (String, u64) {
    let page = server.json("/v1/jobs/payments/operators").await;
    let [rules] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(rules["operator"], "rules");
    (rules["plugin"].as_str().unwrap().to_owned(), rules["change"].as_u64().unwrap())
}

/// What happens to jobs, from the first event of the server on.
pub struct Events {
    stream: Response,
    seen: String,
}

impl Events {
    pub async fn of(server: &Server) -> Events {
        let request = server.request(Method::GET, "/v1/events").header("last-event-id", "0");
        Events { stream: request.send().await.unwrap(), seen: String::new() }
    }

    /// Waits for an event of which this is a part, after all that were waited for before.
    pub async fn wait(&mut self, part: &str) {
        loop {
            let whole =
                self.seen.match_indices("\n\n").map(|(at, _)| at + 2).find(|at| self.seen[..*at].contains(part));
            if let Some(end) = whole {
                self.seen.drain(..end);
                return;
            }
            let chunk = self.stream.chunk().await.unwrap().unwrap_or_else(|| panic!("no {part}: {}", self.seen));
            self.seen += std::str::from_utf8(&chunk).unwrap();
        }
    }
}

/// Fails unless every payment up to the last is reported once, with the right count; the versions and marks of the reports.
fn check(out: &Path) -> BTreeSet<(String, i64)> {
    let mut reports: Vec<Value> = jobs::lines(out).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports.sort_by_key(|report| report["timestamp"].as_i64());
    let first = reports[0]["timestamp"].as_i64().unwrap();
    assert_eq!(first, 1_700_000_000_000);
    let mut payments = HashMap::new();
    let mut by = BTreeSet::new();
    for (report, number) in reports.iter().zip(first..) {
        assert_eq!(report["timestamp"], number, "a payment is lost or doubled");
        let count = payments.entry(report["user"].as_i64().unwrap()).or_insert(0);
        *count += 1;
        assert_eq!(report["payments"], *count, "{report}");
        by.insert((report["rules"].as_str().unwrap().to_owned(), report["mark"].as_i64().unwrap()));
    }
    by
}

#[tokio::test]
async fn operators_change_over_http_and_what_is_in_force_outlives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let server = Server::start(&[]);
    for version in ["1.0", "2.0", "2.1"] {
        push(&server, version).await;
    }
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(job(&out));
    json(submitted.send().await.unwrap(), 201).await;
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    events.wait("event: checkpoint").await;

    let version = |number: &str| format!("payment-rules@{number}");
    let dry = post(&server, "/swap", json!({ "plugin": version("2.0.0"), "dry_run": true })).await;
    let dry = json(dry, 200).await;
    assert_eq!((&dry["from"]["change"], &dry["to"]["plugin"]), (&json!(0), &json!(version("2.0.0"))));
    assert!(dry["in_force"] == false && in_force(&server).await == (version("1.0.0"), 0), "{dry}");
    assert_eq!(problem(post(&server, "/swap", json!({ "plugin": "nobody@1.0.0" })).await, 422).await, "X0103");
    assert_eq!(problem(post(&server, "/rollback", json!({})).await, 409).await, "V0112");
    let swapped = json(post(&server, "/swap", json!({ "plugin": version("2.0.0") })).await, 200).await;
    assert_eq!((&swapped["to"]["change"], &swapped["to"]["configuration"]), (&json!(1), &json!({ "limit": -1 })));
    events.wait(r#""outcome":"in_force""#).await;

    let patch = async |tag: &str, patch: Value| {
        let request = server.request(Method::PATCH, &path("/config")).header("if-match", tag).json(&patch);
        request.header("content-type", "application/merge-patch+json").send().await.unwrap()
    };
    assert_eq!(server.get(&path("/config")).await.headers()["etag"], "\"1\"");
    assert_eq!(problem(patch("\"0\"", json!({ "mark": 7 })).await, 412).await, "R0214");
    assert_eq!(problem(patch("\"1\"", json!({ "mark": "x" })).await, 422).await, "V0111");
    let patched = patch("\"1\"", json!({ "mark": 7 })).await;
    assert_eq!(patched.headers()["etag"], "\"2\"");
    assert_eq!(json(patched, 200).await["to"]["configuration"], json!({ "limit": -1, "mark": 7 }));
    events.wait("event: checkpoint").await;

    let shadow = json!({ "plugin": version("1.0.0"), "ignored": ["rules"] });
    json(post(&server, "/shadow", shadow).await, 201).await;
    let compared = loop {
        let report = server.json(&path("/shadow")).await;
        if report["compared"]["equal"].as_u64().unwrap() > 0 {
            break report["compared"].clone();
        }
        events.wait("event: checkpoint").await;
    };
    assert_eq!((&compared["different"], &compared["missing"]), (&json!(0), &json!(0)), "{compared}");
    let promoted = json(post(&server, "/promote", json!({})).await, 200).await;
    assert_eq!((&promoted["from"]["change"], &promoted["to"]["plugin"]), (&json!(2), &json!(version("1.0.0"))));
    assert_eq!(problem(server.get(&path("/shadow")).await, 409).await, "X0110");
    json(post(&server, "/rollback", json!({})).await, 200).await;
    assert_eq!(in_force(&server).await, (version("2.0.0"), 4));

    let trial = json!({ "plugin": version("2.1.0"), "trial": { "time": "1h" } });
    loop {
        let answer = post(&server, "/swap", trial.clone()).await;
        if answer.status().is_success() {
            break;
        }
        // It has failed before it was in force: the job starts again as after any failure.
        assert_eq!(problem(answer, 409).await, "X0107");
        events.wait("event: restart").await;
        events.wait(r#""to":"running""#).await;
    }
    events.wait(r#""outcome":"rolled_back""#).await;
    events.wait("event: checkpoint").await;
    assert_eq!(in_force(&server).await, (version("2.0.0"), 6));
    let needed = server.request(Method::DELETE, "/v1/plugins/payment-rules/2.0.0").send().await.unwrap();
    assert_eq!(problem(needed, 409).await, "R0107");

    let server = Server::start_in(server.kill(), &[]);
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    events.wait("event: checkpoint").await;
    assert_eq!(in_force(&server).await, (version("2.0.0"), 6));
    let history = server.json(&path("/versions")).await;
    let history = history["items"].as_array().unwrap().iter();
    let history: Vec<_> = history.map(|it| (it["action"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect();
    assert_eq!(history[..3], [("swap", "refused"), ("swap", "in_force"), ("config", "refused")]);
    let made: Vec<_> = history.into_iter().filter(|(_, outcome)| *outcome != "refused").collect();
    let expected = [
        ("swap", "in_force"),
        ("config", "in_force"),
        ("promote", "in_force"),
        ("rollback", "in_force"),
        ("swap", "in_force"),
        ("rollback", "rolled_back"),
    ];
    assert_eq!(made, expected);
    let audit = server.json("/v1/audit?limit=100").await;
    let of_operators = |entry: &&Value| entry["action"].as_str().unwrap().starts_with("operator.");
    let trial = audit["items"].as_array().unwrap().iter().rfind(of_operators).unwrap();
    assert_eq!((&trial["action"], &trial["outcome"]), (&json!("operator.swap"), &json!("done")), "{trial}");

    let stop = server.request(Method::POST, "/v1/jobs/payments/stop").send().await.unwrap();
    let id = json(stop, 200).await["job"]["id"].as_str().unwrap().to_owned();
    let ended = server.request(Method::POST, &format!("/v1/jobs/{id}/operators/rules/rollback")).send().await.unwrap();
    assert_eq!((ended.status(), problem(ended, 409).await.as_str()), (StatusCode::CONFLICT, "V0103"));
    let by = check(&out);
    for (version, mark) in [("1.0", 0), ("2.0", 7)] {
        assert!(by.contains(&(version.to_owned(), mark)), "{by:?}");
    }
}
