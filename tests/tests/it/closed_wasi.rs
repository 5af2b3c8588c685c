//! A guest that imports WASI: what it finds is that of its calls, what the job grants is the host's, and what there is not stops it
//! with the name of what it called.
use std::{future::Future, path::Path, pin::Pin, sync::Arc, time::Duration};

use arrow_array::{Array, RecordBatch, StringArray, cast::AsArray};
use wasmill::{
    model::{Batch, Clock, Field, Kind, NO_WATERMARK, OperatorKind, Schema},
    plugin::{Budget, CallFailure, CallMoment, Grants, Instance, Limits, Placement, Plugin},
};
use wasmill_tests::guests;

use super::{
    cli::wasmill,
    guests::logged,
    jobs::{self, Variables},
    server::{Server, json},
};

const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    batch_time: Duration::from_secs(10),
    retire_memory_bytes: 64 << 20,
    budget: Budget { outputs_per_record: None, record_time: None, state_bytes_per_key: None },
};

/// What an instance sees before its first call, and in calls without a moment.
const START: &str = "0.000000000 0, by 0.001000000 1000000";

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now_ms(&self) -> i64 {
        98_765
    }
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(43)
    }
    fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

fn moment(processing_time: i64, seed: u64) -> CallMoment {
    CallMoment { processing_time, watermark: NO_WATERMARK, seed }
}

fn worldly(grants: Grants) -> Instance {
    let plugin = Plugin::load(jobs::engine(), &guests::c("worldly-c")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plugin.capabilities(), ["clocks", "randomness", "network"]);
    let placement = Placement { grants, ..Placement::scratch("tested") };
    plugin.instantiate(OperatorKind::Transform, "{}", placement, LIMITS).unwrap_or_else(|error| panic!("{error}"))
}

/// What it answers to these words, in one call.
fn answers(instance: &mut Instance, moment: CallMoment, words: &[&str]) -> Result<Vec<String>, CallFailure> {
    let column: Arc<dyn Array> = Arc::new(StringArray::from(words.to_vec()));
    let batch = Batch {
        timestamps: vec![0; words.len()].into(),
        columns: RecordBatch::try_from_iter([("line", column)]).unwrap(),
        arrived: Duration::ZERO,
        key_hashes: None,
    };
    let schema = Schema::new(vec![Field::new("line", Kind::Utf8)]).unwrap();
    let emitted = instance.transform(moment, &batch, &[0], &[schema], 0..words.len() as u64);
    let emitted = emitted.map_err(|error| error.failure)?;
    let answers = emitted.main.columns.column(0).as_string::<i32>().iter();
    Ok(answers.map(|answer| answer.unwrap().to_owned()).collect())
}

#[test]
fn time_and_randomness_are_those_of_the_call() {
    let words = ["clocks", "numbers", "start", "numbers", "clocks"];
    let mut instance = worldly(Grants::default());
    let first = answers(&mut instance, moment(1_234_567, 7), &words).unwrap();
    assert_eq!(first[0], "1234.567000000 1234567000000, by 0.001000000 1000000");
    assert!(first[2].starts_with(START), "{}", first[2]);
    assert_eq!(first[4], first[0]);
    assert_ne!(first[3], first[1]);
    assert_eq!(answers(&mut instance, moment(1_234_567, 7), &words).unwrap(), first);
    assert_eq!(answers(&mut worldly(Grants::default()), moment(1_234_567, 7), &words).unwrap(), first);

    let other = answers(&mut instance, moment(1_234_567, 8), &words).unwrap();
    assert_eq!((&other[0], &other[2]), (&first[0], &first[2]));
    assert!(other[1] != first[1] && other[3] != first[3], "{other:?}");
    let later = answers(&mut instance, moment(2_000_000, 7), &words).unwrap();
    assert_eq!((&*later[0], &later[1]), ("2000.000000000 2000000000000, by 0.001000000 1000000", &first[1]));
}

#[test]
fn what_is_granted_is_the_hosts_once_calls_begin() {
    let words = ["clocks", "numbers", "start"];
    let closed = answers(&mut worldly(Grants::default()), moment(1, 7), &words).unwrap();
    let mut clocks = worldly(Grants { clock: Some(Arc::new(Still)), randomness: false });
    let seen = answers(&mut clocks, moment(1, 7), &words).unwrap();
    assert_eq!(seen[0], "98.765000000 43, by 0.001000000 1000000");
    assert_eq!(seen[1..], closed[1..]);
    let mut randomness = worldly(Grants { clock: None, randomness: true });
    let seen = [(); 2].map(|()| answers(&mut randomness, moment(1, 7), &words).unwrap());
    for one in &seen {
        assert_eq!((&one[0], &one[2]), (&closed[0], &closed[2]));
        assert_ne!(one[1], closed[1]);
    }
    assert_ne!(seen[0][1], seen[1][1]);
}

#[test]
fn there_is_nothing_around_and_nothing_to_read() {
    let mut instance = worldly(Grants::default());
    let seen = answers(&mut instance, moment(1, 7), &["surroundings", "input", "open and close"]).unwrap();
    assert_eq!(seen, ["0 0 0 0 0", "1 1 1", "100000"]);
}

#[test]
fn what_is_written_is_logged_by_lines_and_calls() {
    let mut instance = worldly(Grants::default());
    let log = logged(|| assert_eq!(answers(&mut instance, moment(1, 7), &["print"]).unwrap(), ["1"]));
    let begins = log.iter().map(|line| line.split_whitespace().next().unwrap()).collect::<Vec<_>>();
    assert_eq!(begins, ["WARN", "INFO", "INFO"], "{log:?}");
    for (line, text) in log.iter().zip(["a warning", "half a line", "and"]) {
        assert!(line.contains(&format!(" {text} ")), "`{text}` is not in: {line}");
    }
}

#[test]
fn what_there_is_not_stops_it_and_is_named() {
    for (word, what) in [
        ("network", "it called `wasi:sockets/instance-network@0.2.0#instance-network`: no network is granted"),
        ("http", "it called `wasi:http/types@0.2.0#[constructor]fields`: no network is granted"),
        ("exit", "it called `wasi:cli/exit@0.2.0#exit`: an operator cannot exit"),
        ("sleep", "it called `wasi:clocks/monotonic-clock@0.2.3#subscribe-duration`: an operator cannot wait"),
        ("write much", "it writes 4194304 bytes at once, 65536 are allowed"),
        ("random much", "it asks for 4194304 random bytes at once, 1048576 are allowed"),
    ] {
        let failure = answers(&mut worldly(Grants::default()), moment(1, 7), &[word]).unwrap_err();
        assert_eq!(failure, CallFailure::Trap(what.into()), "{word}");
    }
    for (word, what) in [("open only", "handle limit exceeded"), ("file", "unknown handle index 7")] {
        let failure = answers(&mut worldly(Grants::default()), moment(1, 7), &[word]).unwrap_err();
        assert!(matches!(&failure, CallFailure::Nonsense(text) if text.contains(what)), "{word}: {failure:?}");
    }
}

const JOB: &str = r#"
name: granted
sources:
  words: { file: { path: words.txt }, format: text }
operators:
  closed: { input: words, transform: { plugin: "${PLUGIN}" } }
  open: { input: words, transform: { plugin: "${PLUGIN}" }, capabilities: [clocks, randomness] }
  rules:
    input: words
    capabilities: randomness
    rules: { random: { transform: { plugin: "${PLUGIN}" } }, closed: { transform: { plugin: "${PLUGIN}" }, capabilities: [] } }
sinks:
  from-closed: { input: closed, format: text, file: { path: "${OUT}/closed" } }
  from-open: { input: open, format: text, file: { path: "${OUT}/open" } }
  from-rules: { input: rules, format: text, file: { path: "${OUT}/rules" } }
"#;

/// What each sink of [`JOB`] has at its end.
fn run_job(directory: &Path, run: &str) -> [Vec<String>; 3] {
    let out = directory.join(run);
    let variables =
        Variables::from([("PLUGIN", guests::c("worldly-c").display().to_string()), ("OUT", out.display().to_string())]);
    jobs::run(JOB, directory, &variables).unwrap_or_else(|error| panic!("{error}"));
    ["closed", "open", "rules"].map(|sink| jobs::lines(&out.join(sink)))
}

#[test]
fn a_job_grants_to_each_operator_and_rule_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("words.txt"), "numbers\n").unwrap();
    let [closed, open, rules] = run_job(directory.path(), "first");
    let [closed_again, open_again, rules_again] = run_job(directory.path(), "second");
    assert_eq!((closed.len(), open.len(), rules.len()), (1, 1, 2));
    assert_eq!(closed_again, closed);
    assert_ne!(open_again, open);
    let same = rules.iter().filter(|line| rules_again.contains(line)).count();
    assert_eq!(same, 1, "{rules:?} {rules_again:?}");
}

#[tokio::test]
async fn what_a_plugin_may_want_is_shown() {
    let path = guests::c("worldly-c");
    let output = wasmill().args(["plugin", "inspect"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("may want  clocks, randomness, network\n"), "{text}");
    let server = Server::start(&[]);
    let request = server.request(reqwest::Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    let uploaded = json(request.body(std::fs::read(path).unwrap()).send().await.unwrap(), 201).await;
    let wanted = serde_json::json!(["clocks", "randomness", "network"]);
    assert_eq!(uploaded["plugin"]["capabilities"], wanted);
}
