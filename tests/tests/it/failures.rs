//! Calls that fail, in whole jobs: whatever a plugin does not fail on comes out as if the rest had never been there, and what it fails on
//! is read once, at any size of batches and any parallelism.
use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use tokio_util::sync::CancellationToken;
use wasmill::control::{ChangeRequest, JobReport, RunError};
use wasmill_tests::guests;

use super::{
    canaries,
    jobs::{self, Variables},
};

const JOB: &str = r#"
name: poison
parallelism: ${PARALLELISM}
batch: { records: ${BATCH}, flush: 1min }
sources:
  events: { file: { path: input.jsonl }, format: json, schema: { id: i64, user: string, mark: i64 }, time: { column: id } }
operators:
  passed: { input: events, transform: { plugin: "${PLUGIN}" }, on_failure: dead_letter }
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}" }, on_failure: { action: dead_letter, retries: 1, backoff: 1ms } }
  slices: { input: events, key: user, window: { sliding: { size: 60ms, slide: 20ms } }, aggregate: { plugin: "${PLUGIN}" }, on_failure: dead_letter }
  panes:
    input: events
    key: user
    window: { sliding: { size: 60ms, slide: 20ms }, allowed_lateness: 5ms }
    aggregate: { plugin: "${PLUGIN}" }
    on_failure: dead_letter
  rows: { input: events, key: user, window: { tumbling: 50ms }, process_window: { plugin: "${PLUGIN}" }, on_failure: dead_letter }
sinks:
  passed-out: { input: passed, file: { path: "${OUT}/passed" } }
  sums-out: { input: sums, file: { path: "${OUT}/sums" } }
  slices-out: { input: slices, file: { path: "${OUT}/slices" } }
  panes-out: { input: panes, file: { path: "${OUT}/panes" } }
  rows-out: { input: rows, file: { path: "${OUT}/rows" } }
  dead: { input: [passed.rejected, sums.rejected, slices.rejected, panes.rejected, rows.rejected], columns: [operator, record, plugin], file: { path: "${OUT}/dead" } }
"#;

const OPERATORS: [&str; 5] = ["passed", "sums", "slices", "panes", "rows"];

/// An event.
#[derive(Clone)]
struct Event {
    id: i64,
    user: String,
    mark: i64,
}

impl Event {
    fn line(&self) -> String {
        format!(r#"{{"id":{},"user":"{}","mark":{}}}"#, self.id, self.user, self.mark)
    }
}

fn poison() -> String {
    guests::rust_plugin(&guests::root().join("tests/guests/poison")).display().to_string()
}

/// Runs a job on events: its report, and what it has written, by folder.
fn run(
    job: &str,
    events: &[Event],
    parallelism: u32,
    batch: usize,
) -> (Result<JobReport, RunError>, BTreeMap<String, Vec<String>>) {
    let directory = tempfile::tempdir().unwrap();
    let input = events.iter().fold(String::new(), |mut text, event| {
        writeln!(text, "{}", event.line()).unwrap();
        text
    });
    fs::write(directory.path().join("input.jsonl"), input).unwrap();
    let out = directory.path().join("out");
    let variables = Variables::from([
        ("PARALLELISM", parallelism.to_string()),
        ("BATCH", batch.to_string()),
        ("PLUGIN", poison()),
        ("OUT", out.display().to_string()),
    ]);
    let result = jobs::run(job, directory.path(), &variables);
    let folders = OPERATORS.into_iter().chain(["dead"]);
    (result, folders.map(|folder| (folder.to_owned(), jobs::lines(&out.join(folder)))).collect())
}

/// What is read of something an operator fails on.
fn letter(operator: &str, record: &str) -> String {
    let record = record.replace('"', r#"\""#);
    format!(r#"{{"operator":"{operator}","record":"{record}","plugin":"poison@1.0.0"}}"#)
}

#[test]
fn what_is_not_poison_comes_out_as_if_the_rest_had_never_come() {
    let mut random = fastrand::Rng::with_seed(17);
    for (parallelism, batch) in [(1, 64), (2, 64), (1, random.usize(1..20)), (2, random.usize(1..20))] {
        let events: Vec<Event> = (0..200)
            .map(|id| Event { id, user: format!("u{}", random.u8(0..6)), mark: i64::from(random.u8(0..16) == 0) })
            .collect();
        let (sound, marked): (Vec<Event>, Vec<Event>) = events.iter().cloned().partition(|event| event.mark == 0);
        assert!(!marked.is_empty());
        let (result, mut found) = run(JOB, &events, parallelism, batch);
        let report = result.unwrap_or_else(|error| panic!("{error}"));
        let (result, mut expected) = run(JOB, &sound, parallelism, batch);
        result.unwrap_or_else(|error| panic!("{error}"));
        // Rows are kept for windows unseen: nothing fails on them.
        let failing = &OPERATORS[..4];
        let mut letters: Vec<String> =
            failing.iter().flat_map(|operator| marked.iter().map(|event| letter(operator, &event.line()))).collect();
        letters.sort();
        assert_eq!(found.remove("dead").unwrap(), letters, "parallelism {parallelism}, batches of {batch}");
        assert!(expected.remove("dead").unwrap().is_empty());
        for operator in failing {
            let node = jobs::node(&report.nodes, operator);
            assert_eq!((node.failed, node.rejected), (marked.len() as u64, 0), "{operator}");
            assert!(!expected[*operator].is_empty());
            assert_eq!(found[*operator], expected[*operator], "{operator} at {parallelism}, batches of {batch}");
        }
        assert_eq!(jobs::node(&report.nodes, "rows").failed, 0);
    }
}

#[test]
fn timers_and_windows_that_fail_are_found_among_others() {
    let event = |id: i64| {
        let user = if id % 40 == 7 { format!("poison{id}") } else { format!("u{}", id % 9) };
        Event { id, user, mark: 0 }
    };
    let events: Vec<Event> = (0..120).map(event).collect();
    for parallelism in [1, 2] {
        let (result, mut found) = run(JOB, &events, parallelism, 64);
        result.unwrap_or_else(|error| panic!("{error}"));
        let sound: Vec<Event> = events.iter().filter(|event| !event.user.starts_with("poison")).cloned().collect();
        let (result, expected) = run(JOB, &sound, parallelism, 64);
        result.unwrap_or_else(|error| panic!("{error}"));
        let mut letters = Vec::new();
        for id in [7_i64, 47, 87] {
            let key = format!(r#"{{"key":{{"user":"poison{id}"}}"#);
            let window =
                |start: i64, size: i64| format!(r#"{key},"window_start":{start},"window_end":{}}}"#, start + size);
            letters.push(letter("sums", &format!(r#"{key},"timer":1000000}}"#)));
            letters.push(letter("rows", &window(id / 50 * 50, 50)));
            for start in [0, 20, 40].map(|back| id / 20 * 20 - back) {
                letters.extend(["slices", "panes"].map(|operator| letter(operator, &window(start, 60))));
            }
        }
        letters.sort();
        assert_eq!(found.remove("dead").unwrap(), letters, "parallelism {parallelism}");
        for operator in ["slices", "panes", "rows"] {
            assert_eq!(found[operator], expected[operator], "{operator}");
        }
        // Their rows were fine: only their timers are not.
        let others: Vec<&String> = found["sums"].iter().filter(|line| !line.contains("poison")).collect();
        assert_eq!(others, expected["sums"].iter().collect::<Vec<_>>());
        assert_eq!(found["sums"].len(), others.len() + 3);
    }
}

const LIMITED: &str = r#"
name: limited
parallelism: ${PARALLELISM}
batch: { records: ${BATCH}, flush: 1min }
sources:
  events: { file: { path: input.jsonl }, format: json, schema: { id: i64, user: string, mark: i64 }, time: { column: id } }
operators:
  passed: { input: events, transform: { plugin: "${PLUGIN}" }, on_failure: dead_letter, limits: { outputs_per_record: 2 } }
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}" }, on_failure: dead_letter, limits: { state_per_key: 1000B } }
sinks:
  passed-out: { input: passed, discard: {} }
  sums-out: { input: sums, discard: {} }
  dead: { input: [passed.rejected, sums.rejected], columns: [operator, reason, position], file: { path: "${OUT}/dead" } }
"#;

#[test]
fn rows_beyond_the_budget_of_a_call_are_dead_letters_with_its_code() {
    let event = |id: i64| Event { id, user: format!("u{id}"), mark: if id == 5 { 2000 } else { 0 } };
    let events: Vec<Event> = (0..10).map(event).collect();
    let (result, found) = run(LIMITED, &events, 1, 10);
    result.unwrap_or_else(|error| panic!("{error}"));
    let [passed, sums] = &found["dead"][..] else { panic!("{found:?}") };
    for part in ["passed", "[P0307] it put out 2000 rows", "allows 1024", "subtask 0, row 5"] {
        assert!(passed.contains(part), "`{part}` is not in {passed}");
    }
    for part in ["sums", "[P0308] it wrote 2008 bytes", "allows 1000", "subtask 0, row 5"] {
        assert!(sums.contains(part), "`{part}` is not in {sums}");
    }
}

const HOSTILE: &str = r#"
name: hostile
batch: { records: 8, flush: 1min }
sources:
  lines: { file: { path: input.txt } }
operators:
  loops: { input: lines, transform: { plugin: "${BAD}", config: { do: loop } }, on_failure: skip, limits: { batch_time: 1s, record_time: 1ms } }
  hungry: { input: lines, transform: { plugin: "${BAD}", config: { do: memory } }, on_failure: skip, limits: { memory: 32MiB } }
  traps: { input: lines, transform: { plugin: "${BAD}", config: { do: trap } }, on_failure: { action: skip, circuit_breaker: { failures: 2, within: 1h, open: 1h } } }
sinks:
  nothing: { input: [loops, hungry, traps], format: text, discard: {} }
"#;

const GOOD: &str = r#"
name: good
parallelism: 2
batch: { records: 8 }
sources:
  lines: { file: { path: input.txt } }
operators:
  words: { input: lines, transform: { plugin: "${WORD_COUNT}" } }
  counts: { input: words, key: word, window: { tumbling: 5s }, aggregate: { plugin: "${WORD_COUNT}" } }
sinks:
  out: { input: counts, columns: [word, count], file: { path: "${OUT}" } }
"#;

#[test]
fn a_job_full_of_bad_plugins_does_not_disturb_another_in_the_process() {
    const LINES: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let input: String = (0..LINES).map(|line| format!("a b{} c{}\n", line % 3, line % 7)).collect();
    fs::write(directory.path().join("input.txt"), input).unwrap();
    let prepared = |job: &str, out: &Path| {
        let variables = Variables::from([
            ("BAD", jobs::misbehaving()),
            ("WORD_COUNT", jobs::plugin("word-count")),
            ("OUT", out.display().to_string()),
        ]);
        jobs::prepared(job, directory.path(), &variables).unwrap_or_else(|error| panic!("{error}"))
    };
    // Windows of event time would part with the arrival of lines.
    let sum = |out: &Path| {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for line in jobs::lines(out) {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            *counts.entry(line["word"].to_string()).or_default() += line["count"].as_i64().unwrap();
        }
        counts
    };
    let (alone, beside) = (directory.path().join("alone"), directory.path().join("beside"));
    let stop = CancellationToken::new();
    let (hostile, good) = (prepared(HOSTILE, &alone), prepared(GOOD, &beside));
    let hostile = jobs::runtime().block_on(async {
        let (hostile, good) = (jobs::start(hostile, &stop), jobs::start(good, &stop));
        let (hostile, good) = tokio::join!(hostile.wait(), good.wait());
        good.unwrap_or_else(|error| panic!("{error}"));
        hostile.unwrap_or_else(|error| panic!("{error}"))
    });
    jobs::runtime().block_on(async { jobs::start(prepared(GOOD, &alone), &stop).wait().await.unwrap() });
    assert_eq!(sum(&beside), sum(&alone));
    assert_eq!(sum(&alone)["\"a\""], LINES as i64);
    for operator in ["loops", "hungry", "traps"] {
        let node = jobs::node(&hostile.nodes, operator);
        assert_eq!((node.records_in, node.records_out, node.failed), (LINES, 0, LINES), "{operator}");
    }
    assert_eq!(jobs::node(&hostile.nodes, "traps").circuits_opened, 1);
}

const CIRCUIT: &str = r#"
name: circuit
batch: { records: 4 }
sources:
  events: { file: { path: input.jsonl, follow: true, poll: 1ms }, format: json, schema: { id: i64, user: string }, time: { column: id } }
operators:
  passed: { input: events, transform: { plugin: "${PLUGIN}", config: { trap: 0 } }, on_failure: { action: skip, circuit_breaker: { failures: 1, within: 1h, open: 1h } } }
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}", config: { trap: 0 } }, on_failure: { action: skip, circuit_breaker: { failures: 1, within: 1h, open: 1h } } }
sinks:
  out: { input: [passed, sums], discard: {} }
"#;

#[test]
fn a_circuit_that_is_open_is_none_of_the_next_version() {
    let folder = tempfile::tempdir().unwrap();
    let events = |ids: std::ops::Range<u32>| {
        let events = ids.map(|id| format!("{{\"id\":{id},\"user\":\"u\"}}\n")).collect::<String>();
        let mut input = fs::File::options().create(true).append(true).open(folder.path().join("input.jsonl")).unwrap();
        std::io::Write::write_all(&mut input, events.as_bytes()).unwrap();
    };
    events(0..4);
    jobs::runtime().block_on(async {
        let job = canaries::start(folder.path(), CIRCUIT, (1, 4), Vec::new());
        let view = job.view();
        // What each has failed on and put out, once that is so many.
        let dealt_with = async |count: u64| loop {
            let nodes = view.nodes();
            let of = |name| jobs::node(&nodes, name);
            let done = ["passed", "sums"].map(|name| (of(name).failed, of(name).records_out));
            if done.iter().all(|(failed, out)| failed + out >= count) || view.has_ended() {
                return done;
            }
            tokio::task::yield_now().await;
        };
        dealt_with(4).await;
        events(4..8);
        let [passed, sums] = dealt_with(8).await;
        assert!(passed.0 > 4 && sums.0 > 4, "{passed:?}, {sums:?}: nothing was held back");
        for operator in ["passed", "sums"] {
            let (operator, configuration) = (operator.to_owned(), Some("{}".to_owned()));
            let change =
                ChangeRequest { operator, kind: None, plugin: None, configuration, trial: None, force: Vec::new() };
            view.change(view.prepare_change(change).unwrap()).await.unwrap();
        }
        events(8..12);
        assert_eq!(dealt_with(12).await, [passed, sums].map(|(failed, out)| (failed, out + 4)));
    });
}
