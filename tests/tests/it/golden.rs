//! The golden cases: each folder of `tests/golden` is a job with its input and what it must put out, at any parallelism. To add
//! a case is to add a folder:
//! - `job.yaml`, with `${PARALLELISM:1}` and a file sink at `${OUT}`; plugins are those of `plugins/` by names such as
//!   `${WORD_COUNT}`, `${EVERY_STATE}` and `${MISBEHAVING}`. Further sinks write at `${OUT}.NAME`;
//! - `expected.jsonl`, and `expected.NAME.jsonl` for a further sink: the lines, in any order; or `error.txt`: parts of the
//!   error's text, one a line;
//! - if counts matter, `counts.json`: per node, fields of its report.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use wasmill::control::{JobReport, RunError};
use wasmill_tests::guests;

use super::jobs::{self, Variables};

const PARALLELISMS: [u32; 3] = [1, 2, 4];

/// Plugins by the variables that name them; a word count is chosen by the test.
const PLUGINS: [(&str, &str); 11] = [
    ("BEHAVIOR_SCORE", "behavior-score"),
    ("BUFFERED_SINK", "buffered-sink"),
    ("DIMENSION_JOIN", "dimension-join"),
    ("EARLY_TRIGGER", "early-trigger"),
    ("FRAUD_DETECTION", "fraud-detection"),
    ("LAST_SEEN", "last-seen"),
    ("PAYMENT_ALERTS", "payment-alerts"),
    ("SESSION_ANALYSIS", "session-analysis"),
    ("SESSION_TRACKER", "session-tracker"),
    ("TRADING_MONITOR", "trading-monitor"),
    ("USER_PROFILE_MERGE", "user-profile-merge"),
];

/// The folders of all cases.
pub fn cases() -> Vec<PathBuf> {
    let folder = guests::root().join("tests/golden");
    let mut cases: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn sorted(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The variables that a case's job file may have, for output to `main`.
pub fn variables(text: &str, parallelism: u32, main: &Path, word_count: &str) -> Variables {
    let mut variables = Variables::from([
        ("PARALLELISM", parallelism.to_string()),
        ("OUT", main.display().to_string()),
        ("WORD_COUNT", word_count.to_owned()),
        ("MISBEHAVING", jobs::misbehaving()),
    ]);
    if text.contains("EVERY_STATE") {
        let guest = guests::rust_plugin(&guests::root().join("tests/guests/every-state"));
        variables.insert("EVERY_STATE", guest.display().to_string());
    }
    for (variable, plugin) in PLUGINS.into_iter().filter(|(variable, _)| text.contains(variable)) {
        variables.insert(variable, jobs::plugin(plugin));
    }
    variables
}

/// What is wrong with a case at this parallelism, if anything.
fn check(case: &Path, parallelism: u32, word_count: &str) -> Result<(), String> {
    let out = tempfile::tempdir().unwrap();
    let main = out.path().join("out");
    let text = fs::read_to_string(case.join("job.yaml")).map_err(|error| format!("job.yaml: {error}"))?;
    let variables = variables(&text, parallelism, &main, word_count);
    let result = jobs::run(&text, case, &variables);
    if case.join("error.txt").exists() {
        return refused(&sorted(&case.join("error.txt")), result);
    }
    let report = result.map_err(|error| error.to_string())?;
    compare(case, &main)?;
    counts(case, &report)
}

/// What is wrong with a case's outputs, the main one being in `main`.
pub fn compare(case: &Path, main: &Path) -> Result<(), String> {
    for (name, expected) in outputs(case) {
        let directory = if name.is_empty() { main.to_owned() } else { main.with_file_name(format!("out.{name}")) };
        let (found, expected) = (jobs::lines(&directory), sorted(&expected));
        if found != expected {
            let only = |these: &[String], those: &[String]| {
                these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>().join("\n    ")
            };
            return Err(format!(
                "output `{name}` has {} lines instead of {};\n  only found:\n    {}\n  only expected:\n    {}",
                found.len(),
                expected.len(),
                only(&found, &expected),
                only(&expected, &found)
            ));
        }
    }
    Ok(())
}

fn refused(parts: &[String], result: Result<JobReport, RunError>) -> Result<(), String> {
    let Err(error) = result else { return Err("it ran, but was to fail".into()) };
    let error = error.to_string();
    match parts.iter().find(|part| !error.contains(*part)) {
        Some(part) => Err(format!("the error does not say `{part}`: {error}")),
        None => Ok(()),
    }
}

/// Each output's name and file of expected lines.
fn outputs(case: &Path) -> Vec<(String, PathBuf)> {
    let mut outputs = Vec::new();
    for entry in case.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = file.strip_prefix("expected").and_then(|rest| rest.strip_suffix("jsonl")) else { continue };
        outputs.push((name.trim_matches('.').to_owned(), path));
    }
    assert!(!outputs.is_empty(), "{} says nothing of what is expected", case.display());
    outputs
}

fn counts(case: &Path, report: &JobReport) -> Result<(), String> {
    let Ok(text) = fs::read_to_string(case.join("counts.json")) else { return Ok(()) };
    let expected: serde_json::Map<String, Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for (name, counts) in expected {
        let node = jobs::node(&report.nodes, &name);
        let known = json!({
            "records_in": node.records_in, "records_out": node.records_out, "late": node.late, "rejected": node.rejected,
            "failed": node.failed,
        });
        for (count, expected) in counts.as_object().ok_or("counts.json: a map of maps")? {
            if known[count] != *expected {
                return Err(format!("{name}: {count} is {}, not {expected}", known[count]));
            }
        }
    }
    Ok(())
}

fn check_all(cases: &[PathBuf], word_count: &str) {
    let mut failures = Vec::new();
    for case in cases {
        for parallelism in PARALLELISMS {
            if let Err(what) = check(case, parallelism, word_count) {
                failures.push(format!("{} at parallelism {parallelism}: {what}", case.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_case_is_right_at_every_parallelism() {
    check_all(&cases(), &jobs::plugin("word-count"));
}

/// The cases that a word count in any language must get right.
fn word_counts() -> Vec<PathBuf> {
    ["word-count", "unordered"].map(|case| guests::root().join("tests/golden").join(case)).to_vec()
}

#[test]
fn word_count_in_c_is_the_same() {
    check_all(&word_counts(), &guests::c("word-count-c").display().to_string());
}

#[test]
fn word_count_in_python_is_the_same() {
    check_all(&word_counts(), &guests::python("word-count-python").display().to_string());
}
