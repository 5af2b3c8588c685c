//! Tests of job files and plans: tables of job files, each with what comes of it.
mod failures;
mod fields;
mod pages;
mod plan;
mod plugins;
mod processes;
mod refused;
mod rules;
mod settings;
mod steps;
mod structure;
mod syntax;
mod unplanned;
mod windows;

use std::path::Path;

use super::{JobError, JobSpec, parse};

/// A job that reads, counts and prints words; the rows of the tests change single lines of it.
const JOB: &str = r#"name: word-count
parallelism: 2
sources:
  lines: { socket: { address: "localhost:9999" }, format: text }
operators:
  words: { input: lines, transform: { plugin: ../plugins/words } }
  counts: { input: words, key: word, window: { tumbling: 5s }, aggregate: { plugin: ../plugins/counts } }
sinks:
  out: { input: counts, print: {} }
"#;

/// Reads a job in the folder `/jobs`, with the environment variables `PORT=9999` and `LINES` of two lines.
fn read(text: &str) -> Result<JobSpec, JobError> {
    let env = |name: &str| match name {
        "PORT" => Some("9999".to_owned()),
        "LINES" => Some("a\nb".to_owned()),
        _ => None,
    };
    parse(text, "job.yaml", &env, Path::new("/jobs"))
}

/// [`JOB`] with a part of it replaced, which must occur in it.
fn with(old: &str, new: &str) -> String {
    assert!(JOB.contains(old), "the job has no {old:?}");
    JOB.replacen(old, new, 1)
}

/// Rows of: a part of the job, what stands there instead, the error.
#[track_caller]
fn check_refused(rows: &[(&str, &str, &str)]) {
    for (old, new, expected) in rows {
        let error = read(&with(old, new)).map(|spec| panic!("{new:?} is accepted: {spec:?}")).unwrap_err();
        assert_eq!(error.to_string(), *expected);
    }
}
