//! Dead letters processed again by a real server that is killed afterwards: every payment is reported once, though a version has failed on all that
//! came while it was in force. Must not know how letters get into an operator.
use std::{collections::HashMap, fs, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    payments::{OPERATOR, RULE, Slot, check_complete, killed, reports, started, stop},
    remote::{command, done},
    server::{Server, json, problem},
};

async fn swap(slot: &Slot, server: &Server, version: &str) {
    let body = json!({ "plugin": format!("payment-rules@{version}") });
    json(slot.ask(server, Method::POST, "/swap", body).await, 200).await;
}

#[tokio::test]
async fn what_a_version_has_failed_on_is_processed_by_another_once() {
    processed_once(&OPERATOR).await;
}

#[tokio::test]
async fn what_a_rule_has_failed_on_is_processed_by_its_next_version_once() {
    processed_once(&RULE).await;
}

/// Of files that are visible. Others may be there, and also one that has just become visible. None before the folder is.
fn visible_lines(folder: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(folder) else { return Vec::new() };
    let files = files.map(|entry| entry.unwrap().path());
    let visible = files.filter(|path| !path.to_string_lossy().ends_with(".inprogress"));
    let mut lines: Vec<String> = visible
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

async fn processed_once(slot: &Slot) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let dead = folder.path().join("out-dead");
    let (server, mut events) = started(slot.job_with_dead_letters(100, &out)).await;
    swap(slot, &server, "2.1.0").await;
    while visible_lines(&dead).len() <= 10 {
        events.wait("event: checkpoint").await;
    }
    swap(slot, &server, "2.0.0").await;
    // Nothing fails any more. What has becomes visible after a checkpoint that was begun after the swap.
    let failed = server.count("payments", "dead", "records_in").await;
    let mut letters = visible_lines(&dead);
    while (letters.len() as u64) < failed {
        json(server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap(), 201).await;
        letters = visible_lines(&dead);
    }
    assert!(letters.iter().all(|it| it.contains("payment-rules@2.1.0")), "{letters:?}");

    // The first of them by the command line, through what is in force.
    let (first, second) = letters.split_at(letters.len() / 2);
    let file = folder.path().join("letters.jsonl");
    fs::write(&file, first.join("\n") + "\n{\"operator\":\"other\",\"record\":\"\",\"event_time\":0}\n").unwrap();
    let run = |arguments: &[&str]| done(&command(&server, None, arguments).output().unwrap());
    let replayed = run(&["replay", "payments", slot.name, file.to_str().unwrap(), "--output", "json"]);
    let replayed: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!((&replayed["letters"], &replayed["by"]["plugin"]), (&json!(first.len()), &json!("payment-rules@2.0.0")));

    // The others through a version that is not, twice with one key.
    let second: Vec<Value> = second.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let replay = async |body: &Value| {
        let request = server.request(Method::POST, &slot.path("/replay")).header("idempotency-key", "once").json(body);
        request.send().await.unwrap()
    };
    let body = json!({ "plugin": "payment-rules@1.0.0", "letters": second });
    let answers = [json(replay(&body).await, 200).await, json(replay(&body).await, 200).await];
    assert_eq!(answers[0]["by"]["plugin"], "payment-rules@1.0.0");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(server.json("/v1/jobs/payments/operators").await["items"][0]["plugin"], "payment-rules@2.0.0");

    let refused = async |body: Value| problem(slot.ask(&server, Method::POST, "/replay", body).await, 422).await;
    let letter = |record: &str| json!({ "record": record, "event_time": 0 });
    assert_eq!(refused(json!({ "letters": [letter("{\"user\":1}")] })).await, "X0130");
    assert_eq!(refused(json!({ "letters": [] })).await, "X0130");
    assert_eq!(refused(json!({ "letters": [letter("{}")], "input": "second" })).await, "X0130");
    assert_eq!(refused(json!({ "letters": [letter("{}")], "plugin": "nobody@1.0.0" })).await, "X0103");

    // And the configuration by the command line.
    let limit = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(limit(&run(&["config", "payments", slot.name, "--output", "json"])), json!({ "limit": -1 }));
    let changed = limit(&run(&["config", "payments", slot.name, "{\"mark\":7}", "--output", "json"]));
    assert_eq!(changed["to"]["configuration"], json!({ "limit": -1, "mark": 7 }));

    // What was answered outlives the server.
    let (server, _) = killed(server).await;
    stop(&server).await;
    let by: HashMap<u64, &str> = letters
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let letter: Value = serde_json::from_str(line).unwrap();
            (letter["event_time"].as_u64().unwrap() - 1_700_000_000_000, if at < first.len() { "2.0" } else { "1.0" })
        })
        .collect();
    let reports = reports(&out);
    check_complete(&reports, 2);
    for report in &reports {
        assert_eq!(by.get(&report.number()).copied().unwrap_or(&report.rules), report.rules, "{report:?}");
    }
}
