//! Versions on trial on the real server, which is killed meanwhile: the trial goes on, and a version that fails after that is put back; unless the
//! trial had ended before.
use std::{
    fs::{self, File},
    io::Write,
    ops::Range,
    path::Path,
};

use reqwest::Method;
use serde_json::{Value, json};
use wasmill::model::{Share, key_hash};
use wasmill_tests::guests;

use super::{
    payments::{Events, OPERATOR, stop},
    server::{Server, json},
};

/// Nobody is to be told to ask less often.
const ARGUMENTS: [&str; 2] = ["--rate-limit", "1000000"];

fn job(folder: &Path, on_failure: &str) -> String {
    format!(
        "
name: payments
checkpoints: {{ directory: checkpoints, interval: 50ms }}
sources:
  payments:
    file: {{ path: '{folder}/input.jsonl', follow: true, poll: 10ms }}
    format: json
    schema: {{ id: i64, user: string }}
    time: {{ column: id }}
operators:
  rules: {{ input: payments, key: user, keyed_process: {{ plugin: 'marked@1.0.0' }}, on_failure: {on_failure} }}
sinks:
  out: {{ input: rules, file: {{ path: '{folder}/out', delivery: exactly_once }} }}
",
        folder = folder.display()
    )
}

/// Adds payments, and waits until the rules have been given so many since the server was started.
async fn feed(folder: &Path, payments: Range<u64>, server: &Server, seen: u64) {
    let mut input = File::options().create(true).append(true).open(folder.join("input.jsonl")).unwrap();
    let text: String = payments.map(|id| format!("{{\"id\":{id},\"user\":\"u\"}}\n")).collect();
    input.write_all(text.as_bytes()).unwrap();
    while server.count("payments", "rules", "records_in").await < seen {}
}

/// The payments for which something can be seen, and the mark of each.
pub fn marks(folder: &Path) -> Vec<(i64, i64)> {
    let Ok(files) = folder.join("out").read_dir() else { return Vec::new() };
    let visible =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
    let lines =
        visible.flat_map(|path| fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    let rows = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap()).filter(|line| line["what"] == "row");
    let mut marks: Vec<(i64, i64)> =
        rows.map(|row| (row["id"].as_i64().unwrap(), row["mark"].as_i64().unwrap())).collect();
    marks.sort_unstable();
    marks
}

/// A server with the job, which has been given 10 payments.
async fn started(folder: &Path, on_failure: &str) -> (Server, Events) {
    let server = Server::start(&ARGUMENTS);
    let component = guests::rust_plugin(&guests::root().join("tests/guests/marked"));
    let pushed = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    json(pushed.body(fs::read(component).unwrap()).send().await.unwrap(), 201).await;
    fs::write(folder.join("input.jsonl"), "").unwrap();
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml");
    json(submitted.body(job(folder, on_failure)).send().await.unwrap(), 201).await;
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    feed(folder, 0..10, &server, 10).await;
    (server, events)
}

/// A server with the data of one that is killed, once the job runs.
async fn killed(server: Server) -> (Server, Events) {
    let server = Server::start_in(server.kill(), &ARGUMENTS);
    let mut events = Events::of(&server).await;
    events.wait(r#""to":"running""#).await;
    (server, events)
}

async fn post(server: &Server, what: &str, body: Value) {
    let answer = OPERATOR.ask(server, Method::POST, what, body).await;
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// A version that stops at payment 20.
fn stopping(trial: Option<Value>) -> Value {
    json!({ "plugin": "marked@1.0.0", "configuration": { "mark": 1, "trap": 20 }, "trial": trial })
}

/// Has a version fail at payment 20 that is on trial since payment 10, after the server was killed; the marks of all payments.
async fn tried(with_state: bool, on_failure: &str) -> Vec<(i64, i64)> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (server, _) = started(folder, on_failure).await;
    post(&server, "/swap", stopping(Some(json!({ "time": "1h", "with_state": with_state, "failed_max": 0 })))).await;
    feed(folder, 10..20, &server, 20).await;
    let checkpoint = server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap();
    assert_eq!(checkpoint.status().is_success(), !with_state, "{checkpoint:?}");

    let (server, mut events) = killed(server).await;
    feed(folder, 20..30, &server, 0).await;
    events.wait(r#""outcome":"rolled_back""#).await;
    seen(&server, folder).await
}

/// Ends the job once all 30 payments can be seen; their marks.
async fn seen(server: &Server, folder: &Path) -> Vec<(i64, i64)> {
    while marks(folder).last().is_none_or(|(id, _)| *id < 29) {
        server.state("payments").await;
        let checkpoint = server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap();
        checkpoint.bytes().await.unwrap();
    }
    stop(server).await;
    marks(folder)
}

/// What was made of changes: the action of each, and what came of it.
async fn history(server: &Server) -> Vec<(String, String)> {
    // It may have ended, and is known by its id only.
    let jobs = server.json("/v1/jobs").await;
    let history = format!("/v1/jobs/{}/operators/rules/versions", jobs["items"][0]["id"].as_str().unwrap());
    let history = server.json(&history).await;
    let text = |change: &Value, field: &str| change[field].as_str().unwrap().to_owned();
    history["items"].as_array().unwrap().iter().map(|it| (text(it, "action"), text(it, "outcome"))).collect()
}

#[tokio::test]
async fn a_version_on_trial_that_fails_after_the_server_was_killed_is_put_back() {
    let marks = tried(false, "fail").await;
    let expected: Vec<(i64, i64)> = (0..30).map(|id| (id, i64::from((10..20).contains(&id)))).collect();
    assert_eq!(marks, expected);
}

#[tokio::test]
async fn and_all_it_has_done_is_undone_if_it_was_on_trial_with_its_state() {
    assert_eq!(tried(true, "fail").await, (0..30).map(|id| (id, 0)).collect::<Vec<_>>());
}

#[tokio::test]
async fn so_it_is_if_it_fails_on_more_than_it_may_of_what_is_passed_over() {
    assert_eq!(tried(true, "skip").await, (0..30).map(|id| (id, 0)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_ends_in_order_leaves_a_trial_with_its_state_as_it_is_and_a_rollback_undoes_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (server, _) = started(folder, "fail").await;
    post(&server, "/swap", stopping(Some(json!({ "time": "1h", "with_state": true })))).await;
    feed(folder, 10..20, &server, 20).await;
    let (status, data) = server.stop();
    assert!(status.success(), "{status}");
    let server = Server::start_in(data, &ARGUMENTS);
    Events::of(&server).await.wait(r#""to":"running""#).await;
    post(&server, "/rollback", json!({})).await;
    feed(folder, 20..30, &server, 0).await;
    assert_eq!(seen(&server, folder).await, (0..30).map(|id| (id, 0)).collect::<Vec<_>>());
    let in_force = |action: &str| (action.to_owned(), "in_force".to_owned());
    assert_eq!(history(&server).await, [in_force("swap"), in_force("rollback")]);
}

#[tokio::test]
async fn a_trial_that_has_ended_does_not_come_back_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = started(folder.path(), "fail").await;
    post(&server, "/swap", stopping(Some(json!({ "time": "1h" })))).await;
    post(&server, "/rollback", json!({})).await;
    post(&server, "/swap", stopping(None)).await;
    let id = server.json("/v1/jobs/payments").await["id"].as_str().unwrap().to_owned();
    let (server, mut events) = killed(server).await;
    feed(folder.path(), 20..30, &server, 0).await;
    events.wait("it trapped").await;
    // Nothing was put back, for it was trusted.
    assert_eq!(server.json(&format!("/v1/jobs/{id}")).await["state"], "failed");
}

#[tokio::test]
async fn a_canary_that_is_dropped_leaves_the_trial_beside_it_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (server, mut events) = started(folder, "fail").await;
    post(&server, "/swap", stopping(Some(json!({ "time": "1h" })))).await;
    assert!(Share::of(0.9).unwrap().has(key_hash(b"u")));
    post(&server, "/canary", json!({ "configuration": { "trap": 15 }, "share": 0.9 })).await;
    feed(folder, 10..20, &server, 0).await;
    events.wait(r#""action":"discard""#).await;
    // The next start comes after that is on disk.
    events.wait("event: checkpoint").await;
    let (server, mut events) = killed(server).await;
    feed(folder, 20..30, &server, 0).await;
    events.wait(r#""action":"rollback""#).await;
    let marks = seen(&server, folder).await;
    assert!(marks.iter().map(|(id, _)| *id).eq(0..30) && marks[20..].iter().all(|(_, mark)| *mark == 0), "{marks:?}");
    let expected =
        [("swap", "in_force"), ("canary", "in_force"), ("discard", "rolled_back"), ("rollback", "rolled_back")];
    assert_eq!(history(&server).await, expected.map(|(action, outcome)| (action.to_owned(), outcome.to_owned())));
}

#[tokio::test]
async fn a_change_that_only_a_checkpoint_has_is_in_the_history_and_can_be_gone_back_from() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = started(folder.path(), "fail").await;
    post(&server, "/swap", json!({ "configuration": { "mark": 1 } })).await;
    let checkpoint = server.request(Method::POST, "/v1/jobs/payments/checkpoints").send().await.unwrap();
    let id = server.json("/v1/jobs/payments").await["id"].as_str().unwrap().to_owned();
    json(checkpoint, 201).await;
    let data = server.kill();
    // As if it had been killed before the record was written.
    let path = data.path().join("jobs").join(id).join("record.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (record["versions"], record["history"]) = (json!([]), json!([]));
    fs::write(&path, record.to_string()).unwrap();
    let server = Server::start_in(data, &ARGUMENTS);
    Events::of(&server).await.wait(r#""to":"running""#).await;
    let of = |action: &str| (action.to_owned(), "in_force".to_owned());
    assert_eq!(history(&server).await, [of("config")]);
    post(&server, "/rollback", json!({})).await;
    assert_eq!(history(&server).await, [of("config"), of("rollback")]);
    let operators = server.json("/v1/jobs/payments/operators").await;
    assert_eq!((&operators["items"][0]["change"], &operators["items"][0]["configuration"]), (&json!(2), &json!({})));
}
