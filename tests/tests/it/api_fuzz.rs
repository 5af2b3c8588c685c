//! Requests that nobody would think of, made up by Schemathesis from the server's own description of its interface, to the real server
//! with jobs that run and plugins that they could run instead. Guarantees: a 5xx fails the test, and so does a run in which hardly anything
//! was found or done. Must not know what any of the requests is for.
use std::{collections::BTreeMap, fs, path::Path, process::Command};

use reqwest::Method;
use serde_json::{Value, json};
use wasmill_tests::python;

use super::{
    payments,
    server::{self, Server, problem},
};

const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Test cases an operation has at most in the phase that makes them up at random; the phase of boundary values has its own number.
const EXAMPLES: &str = "10";
/// What is made up depends on it.
const SEED: &str = "7";
/// Requests of which fewer would say nothing.
const REQUESTS_MIN: usize = 600;
/// Requests that have to be taken, lest everything was refused at the door.
const TAKEN_MIN: usize = 100;

/// What is left out of the run: the stream of events, which has no end; and what writes a folder of any name it is given, anywhere on
/// the machine, since a server has no folder that savepoints are confined to. Those are asked for below, in folders of the test.
const LEFT_OUT: &str = "^/v1/events$|/savepoints$|/stop$";

fn job(name: &str, folder: &Path) -> String {
    format!(
        "
name: {name}
checkpoints: {{ directory: checkpoints, interval: 500ms }}
sources:
  payments:
    generator: {{ workload: transactions, rate: 100 }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules: {{ input: payments, key: user, keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: -1 }} }} }}
  alerts:
    input: payments
    key: user
    rules:
      large: {{ keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: -1 }} }} }}
      gone: {{ keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: -1 }} }} }}
sinks:
  reported: {{ input: rules, file: {{ path: '{folder}/reported' }} }}
  alerted: {{ input: alerts, file: {{ path: '{folder}/alerted' }} }}
",
        folder = folder.join(name).display()
    )
}

/// What parameters are, so that not everything is answered by 404. What ends jobs is about another.
fn configuration(spare: &str) -> String {
    format!(
        r#"
[dictionaries]
operators = {{ values = ["rules", "alerts", "alerts:large", "reported"] }}
plugins = {{ values = ["payment-rules@1.0.0", "payment-rules@2.0.0"] }}

[parameters]
"path.job" = "payments"
"path.operator" = {{ dictionary = "operators" }}
"path.rule" = "gone"
"path.name" = "payment-rules"
"path.version" = "2.1.0"
"body.plugin" = {{ dictionary = "plugins", probability = 0.7 }}

[[operations]]
include-operation-id = ["cancelJob", "restartJob", "rescaleJob", "deleteJob"]
parameters = {{ "path.job" = "{spare}" }}
"#
    )
}

/// The numbers of answers by status, and what was said of the run.
fn made_up(server: &Server, folder: &Path, spare: &str) -> (BTreeMap<u64, usize>, String) {
    fs::write(folder.join("schemathesis.toml"), configuration(spare)).unwrap();
    let har = folder.join("requests.har");
    let mut command = Command::new(python::environment("schemathesis", SCHEMATHESIS).join("schemathesis"));
    command.current_dir(folder).arg("--config-file").arg("schemathesis.toml").arg("run");
    command.arg(format!("{}/v1/openapi.json", server.url()));
    command.args(["--checks", "not_a_server_error", "--exclude-path-regex", LEFT_OUT]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED, "--no-shrink"]);
    command.args(["--continue-on-failure", "--generation-database", "none", "--warnings", "off", "--no-color"]);
    command.args(["--report", "har", "--report-har-path"]).arg(&har);
    let output = command.output().unwrap();
    let report = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{}\n{report}", output.status);
    let har: Value = serde_json::from_slice(&fs::read(&har).unwrap()).unwrap();
    let mut answers = BTreeMap::new();
    for entry in har["log"]["entries"].as_array().unwrap() {
        *answers.entry(entry["response"]["status"].as_u64().unwrap()).or_default() += 1;
    }
    (answers, report)
}

async fn submit(server: &Server, name: &str, folder: &Path) -> String {
    let request = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml");
    let job = server::json(request.body(job(name, folder)).send().await.unwrap(), 201).await;
    job["id"].as_str().unwrap().to_owned()
}

/// Waits until the job runs and has read more; it must not have ended.
async fn goes_on(server: &Server) {
    server.runs("payments").await;
    let read = async || server.count("payments", "payments", "records_out").await;
    let before = read().await;
    while read().await <= before {}
}

/// Folders that are none, or that cannot be made.
async fn check_folders(server: &Server, folder: &Path) {
    fs::write(folder.join("file"), "").unwrap();
    let long = "x".repeat(5000);
    for path in ["file", "file/below", "with\0null", &long] {
        let path = folder.join(path).display().to_string();
        for (what, body, code) in [
            ("/payments/savepoints", json!({ "path": path }), "V0114"),
            ("/payments/stop", json!({ "savepoint": path }), "V0114"),
            ("", json!({ "job": job("other", folder), "from_savepoint": path }), ""),
        ] {
            let request = server.request(Method::POST, &format!("/v1/jobs{what}")).json(&body);
            let refused = request.send().await.unwrap();
            let found = problem(refused, 422).await;
            assert!(found == code || code.is_empty(), "{what} with {path:?}: {found}");
        }
    }
}

#[tokio::test]
async fn no_request_brings_the_server_down() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&["--rate-limit", "1000000"]);
    for version in ["1.0", "2.0", "2.1"] {
        payments::push(&server, version).await;
    }
    submit(&server, "payments", folder.path()).await;
    let spare = submit(&server, "spare", folder.path()).await;
    goes_on(&server).await;

    let (answers, report) = made_up(&server, folder.path(), &spare);
    let count = |statuses: std::ops::Range<u64>| answers.range(statuses).map(|(_, count)| count).sum::<usize>();
    let all = count(0..600);
    println!("{answers:?}");
    assert_eq!(count(500..600), 0, "{answers:?}\n{report}");
    assert!(count(200..300) >= TAKEN_MIN && all >= REQUESTS_MIN, "{answers:?}\n{report}");
    check_folders(&server, folder.path()).await;
    goes_on(&server).await;
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}
