//! Dead letters processed again by a real server that is killed afterwards: every payment is reported once, though a version has failed on all that
//! came while it was in force. Must not know how letters get into an operator.
use std::{collections::HashMap, fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    jobs,
    operators::{Events, path, push},
    remote::{command, done},
    server::{Server, json, problem},
};

fn job(out: &Path) -> String {
    format!(
        "
name: payments
parallelism: 2
checkpoints: {{ directory: checkpoints, interval: 100ms }}
sources:
  payments:
    generator: {{ workload: transactions, rate: 1000 }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules:
    input: payments
    key: user
    keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: -1 }} }}
    on_failure: dead_letter
sinks:
  out: {{ input: rules, file: {{ path: '{out}', delivery: exactly_once }} }}
  dead: {{ input: rules.rejected, file: {{ path: '{out}-dead', delivery: exactly_once }} }}
",
        out = out.display()
    )
}

async fn swap(server: &Server, version: &str) {
    let body = json!({ "plugin": format!("payment-rules@{version}") });
    let swapped = server.request(Method::POST, &path("/swap")).json(&body).send().await.unwrap();
    json(swapped, 200).await;
}

#[tokio::test]
async fn what_a_version_has_failed_on_is_processed_by_another_once() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let dead = folder.path().join("out-dead");
    let server = Server::start(&[]);
    for version in ["1.0", "2.0", "2.1"] {
        push(&server, version).await;
    }
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(job(&out));
    json(submitted.send().await.unwrap(), 201).await;
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    swap(&server, "2.1.0").await;
    while !dead.exists() || fs::read_dir(&dead).unwrap().count() < 4 {
        events.wait("event: checkpoint").await;
    }
    swap(&server, "2.0.0").await;
    // A checkpoint that was begun after the swap.
    json(server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap(), 201).await;
    json(server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap(), 201).await;
    let letters: Vec<String> = jobs::lines(&dead);
    assert!(letters.len() > 10 && letters.iter().all(|it| it.contains("payment-rules@2.1.0")), "{letters:?}");

    // The first of them by the command line, through what is in force.
    let (first, second) = letters.split_at(letters.len() / 2);
    let file = folder.path().join("letters.jsonl");
    fs::write(&file, first.join("\n") + "\n{\"operator\":\"other\",\"record\":\"\",\"event_time\":0}\n").unwrap();
    let run = |arguments: &[&str]| done(&command(&server, None, arguments).output().unwrap());
    let replayed = run(&["replay", "payments", "rules", file.to_str().unwrap(), "--output", "json"]);
    let replayed: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!((&replayed["letters"], &replayed["by"]["plugin"]), (&json!(first.len()), &json!("payment-rules@2.0.0")));

    // The others through a version that is not, twice with one key.
    let second: Vec<Value> = second.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let replay = async |body: &Value| {
        let request = server.request(Method::POST, &path("/replay")).header("idempotency-key", "once").json(body);
        request.send().await.unwrap()
    };
    let body = json!({ "plugin": "payment-rules@1.0.0", "letters": second });
    let answers = [json(replay(&body).await, 200).await, json(replay(&body).await, 200).await];
    assert_eq!(answers[0]["by"]["plugin"], "payment-rules@1.0.0");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(server.json("/v1/jobs/payments/operators").await["items"][0]["plugin"], "payment-rules@2.0.0");

    let refused = async |body: Value| {
        let answer = server.request(Method::POST, &path("/replay")).json(&body).send().await.unwrap();
        problem(answer, 422).await
    };
    let letter = |record: &str| json!({ "record": record, "event_time": 0 });
    assert_eq!(refused(json!({ "letters": [letter("{\"user\":1}")] })).await, "X0130");
    assert_eq!(refused(json!({ "letters": [] })).await, "X0130");
    assert_eq!(refused(json!({ "letters": [letter("{}")], "input": "second" })).await, "X0130");
    assert_eq!(refused(json!({ "letters": [letter("{}")], "plugin": "nobody@1.0.0" })).await, "X0103");

    // And the configuration by the command line.
    let limit = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(limit(&run(&["config", "payments", "rules", "--output", "json"])), json!({ "limit": -1 }));
    let changed = limit(&run(&["config", "payments", "rules", "{\"mark\":7}", "--output", "json"]));
    assert_eq!(changed["to"]["configuration"], json!({ "limit": -1, "mark": 7 }));

    // What was answered outlives the server.
    let server = Server::start_in(server.kill(), &[]);
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    events.wait("event: checkpoint").await;
    json(server.request(Method::POST, "/v1/jobs/payments/stop").send().await.unwrap(), 200).await;
    let by: HashMap<i64, &str> = letters
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let letter: Value = serde_json::from_str(line).unwrap();
            (letter["event_time"].as_i64().unwrap(), if at < first.len() { "2.0" } else { "1.0" })
        })
        .collect();
    check(&out, &by);
}

/// Fails unless every payment up to the last is reported once, with counts that have no gap, and those that were replayed by the version that did.
fn check(out: &Path, replayed: &HashMap<i64, &str>) {
    let mut reports: Vec<Value> = jobs::lines(out).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports.sort_by_key(|report| report["timestamp"].as_i64());
    let mut counts: HashMap<i64, Vec<i64>> = HashMap::new();
    for (report, number) in reports.iter().zip(1_700_000_000_000_i64..) {
        assert_eq!(report["timestamp"], number, "a payment is lost or doubled");
        counts.entry(report["user"].as_i64().unwrap()).or_default().push(report["payments"].as_i64().unwrap());
        if let Some(version) = replayed.get(&number) {
            assert_eq!(report["rules"], *version, "{report}");
        }
    }
    for (user, mut counts) in counts {
        counts.sort_unstable();
        assert!(counts.iter().zip(1..).all(|(count, expected)| *count == expected), "user {user}: {counts:?}");
    }
}
