//! Rules that do what none should beside a job that does what it should: on the real server, with the limits that guests have by default, and in more subtasks
//! than there are threads. Must not know how calls are kept from holding up others.
use std::{fs, thread::available_parallelism};

use reqwest::Method;
use wasmill::model::{OperatorKind, OperatorVersion};

use super::{
    canaries::{JOB, feed, marked, start},
    jobs,
    payments::{Events, OPERATOR, check_complete, push, reports, stop},
    server::{Server, json},
    swaps::payment,
};

/// Nobody is to be told to ask less often.
const ARGUMENTS: [&str; 2] = ["--rate-limit", "1000000"];
/// Checkpoints of the sound job beside the others.
const CHECKPOINTS: usize = 10;

/// A job of one rule, which does this; its failures are passed over.
fn hostile(what: &str, parallelism: u64, batch: u64) -> String {
    format!(
        "
name: {what}
parallelism: {parallelism}
batch: {{ records: {batch} }}
sources:
  lines: {{ generator: {{ workload: lines }}, format: text }}
operators:
  bad: {{ input: lines, rules: {{ bad: {{ transform: {{ plugin: 'misbehaving@0.1.0', config: {{ do: {what} }} }}, on_failure: skip }} }} }}
sinks:
  out: {{ input: bad, discard: {{}} }}
"
    )
}

#[tokio::test]
async fn rules_that_loop_eat_memory_and_trap_disturb_no_other_job() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let server = Server::start(&ARGUMENTS);
    push(&server, "1.0").await;
    let upload = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    json(upload.body(fs::read(jobs::misbehaving()).unwrap()).send().await.unwrap(), 201).await;
    let submit = async |job: String| {
        let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(job);
        json(submitted.send().await.unwrap(), 201).await;
    };
    // Seeking what it fails on in its first batch takes each subtask that loops minutes.
    let (looping, batch) = (2 * available_parallelism().unwrap().get() as u64, 64);
    submit(hostile("loop", looping, batch)).await;
    while server.count("loop", "bad", "records_in").await < looping * batch {}
    let mut failed = [0; 2];
    for (what, failed) in ["memory", "trap"].into_iter().zip(&mut failed) {
        submit(hostile(what, 2, 4)).await;
        while *failed == 0 {
            *failed = server.count(what, "bad", "failed").await;
        }
    }

    submit(OPERATOR.job_with_dead_letters(5000, &out)).await;
    let mut events = Events::of(&server).await;
    for _ in 0..CHECKPOINTS {
        // The others keep none.
        events.wait("event: checkpoint").await;
    }
    stop(&server).await;
    assert_eq!(server.count("loop", "bad", "failed").await, 0, "it has let others pass");
    for (what, before) in ["memory", "trap"].into_iter().zip(failed) {
        while server.count(what, "bad", "failed").await <= before {}
    }
    assert_eq!(server.get("/health/live").await.status(), 204);
    let reports = reports(&out);
    check_complete(&reports, 2);
    assert!(reports.len() > CHECKPOINTS);
    for report in reports {
        assert_eq!((report.user, report.amount), payment(report.number()), "payment {}", report.number());
    }
}

/// Takes longer for a batch than calls are let be on a thread that others need, on any machine.
const SLOW: &str = r#"{"dawdle":20000000}"#;

#[test]
fn calls_that_take_long_have_their_effect_once() {
    let outputs = |configuration: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        feed(folder.path(), 64);
        let kinds = [("passed", OperatorKind::Transform), ("sums", OperatorKind::KeyedProcess)];
        let version = |((uid, kind), configuration): ((&str, OperatorKind), &str)| OperatorVersion {
            change: 1,
            uid: uid.into(),
            kind,
            plugin: "marked@1.0.0".into(),
            digest: marked().digest().to_owned(),
            configuration: configuration.into(),
            canary: None,
            rule: None,
        };
        let versions = kinds.into_iter().zip(configuration.into_iter().cycle()).map(version).collect();
        jobs::runtime().block_on(async { start(folder.path(), JOB, (1, 32), versions).wait().await }).unwrap();
        jobs::lines(&folder.path().join("out"))
    };
    let expected = outputs(None);
    assert!(expected.len() > 3 * 64);
    assert_eq!(outputs(Some(SLOW)), expected);
}
