//! Plugins that break down or break the contract, each as a whole job: the job fails with an error that says who did what to
//! which records, and the process goes on as if nothing had happened.
use std::{fmt::Write, fs, path::Path};

use wasmill::control::{JobReport, RunError};

use super::jobs::{self, Variables};

const JOB: &str = r#"
name: hostile
batch: { records: ${BATCH}, flush: 1min }
sources:
  lines: { file: { path: input.txt } }
operators:
  suspect:
    input: lines
    transform: { plugin: "${PLUGIN}", config: { do: "${DO}" } }
    limits: { memory: 64MiB, batch_time: 500ms, retire_memory: 16MiB }
sinks:
  out: { input: suspect, format: text, file: { path: "${OUT}" } }
"#;

/// What there is to do, and what the error says of it.
const BREAKDOWNS: [(&str, &[&str]); 16] = [
    ("loop", &["[P0302]", "limits.batch_time", "500ms"]),
    ("trap", &["[P0301]", "unreachable"]),
    ("memory", &["[P0303]", "limits.memory", "64.0 MiB"]),
    ("stack", &["[P0304]", "stack"]),
    ("offsets-decrease", &["[P0305]", "`line`"]),
    ("offsets-too-long", &["[P0305]", "`line`"]),
    ("wrong-count", &["[P0305]", "`line`"]),
    ("bad-utf8", &["[P0305]", "`line`", "UTF-8"]),
    ("unknown-origin", &["[P0305]", "input row 4", "the input has 4"]),
    ("too-few-columns", &["[P0305]", "columns"]),
    ("wrong-kind", &["[P0305]", "`line`", "i64", "string"]),
    ("null-where-not-nullable", &["[P0305]", "`line`", "null"]),
    ("reject-twice", &["[P0305]", "row 0 twice"]),
    ("share-reasons", &["[P0305]", "too much data"]),
    ("fault", &["[P0306]", "told to fail"]),
    ("retry", &["[P0306]", "retry", "told to ask again"]),
];

fn run(input: &str, batch: usize, action: &str) -> (Result<JobReport, RunError>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("input.txt"), input).unwrap();
    let out = directory.path().join("out");
    let variables = Variables::from([
        ("BATCH", batch.to_string()),
        ("PLUGIN", jobs::misbehaving()),
        ("DO", action.to_owned()),
        ("OUT", out.display().to_string()),
    ]);
    let result = jobs::run(JOB, directory.path(), &variables);
    let lines = if out.exists() { finished(&out) } else { Vec::new() };
    (result, lines)
}

/// What a reader of the directory may see: complete parts only.
fn finished(out: &Path) -> Vec<String> {
    for entry in out.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with(".inprogress") {
            fs::remove_file(path).unwrap();
        }
    }
    jobs::lines(out)
}

const INPUT: &str = "one\ntwo\nthree\nfour\nfive\n";

fn check_pass() {
    let (result, lines) = run(INPUT, 4, "pass");
    result.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lines, ["five", "four", "one", "three", "two"]);
}

#[test]
fn a_breakdown_is_named_and_survived() {
    for (action, parts) in BREAKDOWNS {
        let (result, lines) = run(INPUT, 4, action);
        let text = result.expect_err(action).to_string();
        let whole = ["plugin misbehaving@0.1.0", "operator `suspect`", "records 0..4"];
        for part in parts.iter().chain(&whole) {
            assert!(text.contains(part), "{action}: `{part}` is not in: {text}");
        }
        assert_eq!(lines, Vec::<String>::new(), "{action}: rows of a failed call were written");
        check_pass();
    }
}

#[test]
fn rejected_rows_end_the_job_with_the_first_of_them() {
    let (result, _) = run(INPUT, 4, "reject");
    let text = result.unwrap_err().to_string();
    for part in
        ["[R0501] suspect rejects a record: told to reject", r#"{"line":"one"}"#, "on_error: skip", "suspect.rejected"]
    {
        assert!(text.contains(part), "{text}");
    }
    check_pass();
}

#[test]
fn a_refused_configuration_is_known_before_the_start() {
    let (result, _) = run(INPUT, 4, "configure-fails");
    let error = result.unwrap_err();
    assert!(error.is_before_start());
    let text = error.to_string();
    for part in ["job.yaml:9", "operator `suspect`", "[P0206]", "told to fail"] {
        assert!(text.contains(part), "{text}");
    }
    check_pass();
}

#[test]
fn a_leak_costs_instances_and_no_rows() {
    const LINES: usize = 64;
    let input = (0..LINES).fold(String::new(), |mut text, line| {
        writeln!(text, "{line:02}").unwrap();
        text
    });
    let (result, lines) = run(&input, 1, "leak");
    let report = result.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lines, input.lines().collect::<Vec<_>>());
    // A MiB a call, 16 MiB an instance.
    let replaced = jobs::node(&report.nodes, "suspect").guests_replaced;
    assert!(replaced >= LINES as u64 / 16 - 1, "{replaced}");
}
