//! Versions for a share of the keys in whole jobs: rows of one input or two, and timers, are of the version of their key, whatever the size of
//! batches and the parallelism, and come to what one version alone makes of them.
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use arrow_array::{ArrayRef, StringArray};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmill::{
    control::{
        AllHere, CanaryRequest, CanaryStep, ChangeError, ChangeRequest, Job, JobOptions, JobView, ShadowRequest,
    },
    job::PluginRef,
    model::{CanaryVersion, OperatorKind, OperatorVersion, Share, key_hash, row_hashes},
    plugin::Plugin,
};
use wasmill_tests::guests;

use super::jobs::{self, Variables};

/// All kinds of operator that can have a canary, with one plugin.
pub const JOB: &str = r#"
name: marked
parallelism: ${PARALLELISM}
batch: { records: ${BATCH}, flush: 1min }
checkpoints: { directory: checkpoints, interval: 20ms }
sources:
  events: { file: { path: input.jsonl }, format: json, schema: { id: i64, user: string }, time: { column: id } }
operators:
  passed: { input: events, transform: { plugin: "${PLUGIN}" } }
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}" } }
  both: { input: events, key: user, second: { input: events, key: user }, connected_process: { plugin: "${PLUGIN}" } }
sinks:
  out: { input: [passed, sums, both], file: { path: out, delivery: exactly_once } }
"#;

const OPERATORS: [(&str, OperatorKind); 3] = [
    ("passed", OperatorKind::Transform),
    ("sums", OperatorKind::KeyedProcess),
    ("both", OperatorKind::ConnectedProcess),
];

/// Compiled once, before any job runs.
pub fn marked() -> Arc<Plugin> {
    static LOADED: LazyLock<Arc<Plugin>> =
        LazyLock::new(|| Plugin::load(jobs::engine(), path("marked").as_ref()).unwrap());
    LOADED.clone()
}

fn path(guest: &str) -> String {
    guests::rust_plugin(&guests::root().join("tests/guests").join(guest)).display().to_string()
}

/// That a canary with this configuration has this share of the keys of an operator, since a change.
fn version(change: u64, (uid, kind): (&str, OperatorKind), share: f64, configuration: &str) -> OperatorVersion {
    let (plugin, digest) = ("marked@1.0.0".to_owned(), marked().digest().to_owned());
    let by = if kind == OperatorKind::Transform { vec!["user".to_owned()] } else { Vec::new() };
    let canary = CanaryVersion {
        plugin: plugin.clone(),
        digest: digest.clone(),
        configuration: configuration.into(),
        share: Share::of(share).unwrap(),
        by,
    };
    let configuration = "{}".to_owned();
    OperatorVersion { change, uid: uid.into(), kind, plugin, digest, configuration, canary: Some(canary), rule: None }
}

/// Starts the job of a folder, with these versions in force.
pub fn start(folder: &Path, job: &str, size: (u32, usize), versions: Vec<OperatorVersion>) -> Job {
    start_with(folder, job, size, JobOptions { versions, ..JobOptions::default() })
}

/// The same with other options, but where checkpoints are and plugins come from.
pub fn start_with(folder: &Path, job: &str, (parallelism, batch): (u32, usize), options: JobOptions) -> Job {
    let variables = Variables::from([
        ("PARALLELISM", parallelism.to_string()),
        ("BATCH", batch.to_string()),
        ("PLUGIN", path("marked")),
        ("POISON", path("poison")),
        ("PURSE", path("purse-1")),
    ]);
    let prepared = jobs::prepared(job, folder, &variables).unwrap_or_else(|error| panic!("{error}"));
    let source = |reference: &PluginRef| {
        assert_eq!(reference.to_string(), format!("sha256:{}", marked().digest()));
        Ok(marked())
    };
    let JobOptions { checkpoints, .. } = JobOptions::of(&prepared.spec).unwrap_or_else(|error| panic!("{error}"));
    let options = JobOptions { checkpoints, plugins: Some(jobs::source(source)), ..options };
    Job::start(prepared, jobs::environment(), Arc::new(AllHere), options, CancellationToken::new())
}

/// Events of some users.
pub fn feed(folder: &Path, events: u64) {
    let mut random = fastrand::Rng::with_seed(5);
    let text = (0..events).fold(String::new(), |mut text, id| {
        writeln!(text, r#"{{"id":{id},"user":"u{}"}}"#, random.u8(0..40)).unwrap();
        text
    });
    fs::write(folder.join("input.jsonl"), text).unwrap();
}

/// What was put out, without marks, and without sums where they depend on when event time went on among the rows; and the mark of each.
fn outputs(folder: &Path) -> (Vec<String>, Vec<(String, String, i64)>) {
    let mut outputs: Vec<(String, (String, String, i64))> = jobs::lines(&folder.join("out"))
        .iter()
        .map(|line| {
            let mut output: Value = serde_json::from_str(line).unwrap();
            let mark = output.as_object_mut().unwrap().remove("mark").and_then(|mark| mark.as_i64()).unwrap();
            let [what, user] = ["what", "user"].map(|field| output[field].as_str().unwrap().to_owned());
            if what == "timer" {
                output["sum"].take();
            }
            (output.to_string(), (what, user, mark))
        })
        .collect();
    outputs.sort();
    outputs.into_iter().unzip()
}

/// Whether a share has the events of a user, as far as this is concerned.
fn has(share: Share, what: &str, user: &str) -> bool {
    let column: ArrayRef = Arc::new(StringArray::from(vec![user]));
    let hash = if what == "passed" { row_hashes(&[column], 1)[0] } else { key_hash(user.as_bytes()) };
    share.has(hash)
}

#[test]
fn rows_and_timers_are_of_the_version_of_their_key_and_come_to_the_same() {
    const EVENTS: u64 = 1500;
    for setup in [(1, 1000), (2, 64), (1, 7), (3, 23)] {
        let alone = tempfile::tempdir().unwrap();
        feed(alone.path(), EVENTS);
        jobs::runtime().block_on(async { start(alone.path(), JOB, setup, Vec::new()).wait().await }).unwrap();
        let (expected, marks) = outputs(alone.path());
        assert!(marks.iter().all(|(.., mark)| *mark == 0) && expected.len() > 5 * EVENTS as usize);
        for part in [0.1, 0.5] {
            let folder = tempfile::tempdir().unwrap();
            feed(folder.path(), EVENTS);
            let versions = (1..).zip(OPERATORS).map(|(change, of)| version(change, of, part, r#"{"mark":1}"#));
            let versions: Vec<OperatorVersion> = versions.collect();
            let reports = jobs::runtime().block_on(async {
                let job = start(folder.path(), JOB, setup, versions.clone());
                let view = job.view();
                job.wait().await.unwrap();
                assert_eq!(view.versions().into_iter().map(|(_, version)| version.change).max(), Some(3));
                view.canaries()
            });
            let (found, marks) = outputs(folder.path());
            assert!(found == expected, "{setup:?}: {} outputs, not {}", found.len(), expected.len());
            let share = Share::of(part).unwrap();
            for (what, user, mark) in &marks {
                assert_eq!(*mark == 1, has(share, what, user), "{what} of {user} at {part}, {setup:?}");
            }
            for what in ["passed", "row", "timer", "first", "second", "both"] {
                let of: std::collections::BTreeSet<i64> =
                    marks.iter().filter(|mark| mark.0 == what).map(|(.., mark)| *mark).collect();
                assert_eq!(of.len(), 2, "{what} at {part}");
            }
            for report in reports {
                let rows = if report.operator == "both" { 2 * EVENTS } else { EVENTS };
                assert_eq!(report.in_force.rows + report.canary.rows, rows, "{report:?}");
                let (of, canary) = ([&report.in_force, &report.canary], &report.canary);
                assert!(of.iter().all(|it| it.calls > 0 && it.emitted >= it.rows && it.failed == 0), "{report:?}");
                assert_eq!(canary.emitted, canary.rows + canary.timers, "{report:?}");
            }
        }
    }
}

#[test]
fn a_canary_that_stops_is_dropped_and_what_it_had_is_done_again_without_it() {
    const EVENTS: u64 = 20_000;
    // An event of a key that it has.
    let share = Share::of(0.3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    feed(folder.path(), EVENTS);
    let text = fs::read_to_string(folder.path().join("input.jsonl")).unwrap();
    let trap = text.lines().skip(EVENTS as usize / 2).map(|line| serde_json::from_str::<Value>(line).unwrap());
    let trap = trap.into_iter().find(|event| has(share, "row", event["user"].as_str().unwrap())).unwrap();
    let configuration = format!(r#"{{"mark":1,"trap":{}}}"#, trap["id"]);
    let versions = vec![version(1, OPERATORS[1], 0.3, &configuration)];
    jobs::runtime().block_on(async {
        let job = start(folder.path(), JOB, (2, 64), versions);
        let view = job.view();
        job.wait().await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(view.starts(), 2);
        assert!(view.canaries().is_empty());
        let sums = view.versions().into_iter().find(|(name, _)| name == "sums").unwrap().1;
        assert_eq!((sums.change, sums.canary, sums.configuration.as_str()), (2, None, "{}"));
    });
    let alone = tempfile::tempdir().unwrap();
    feed(alone.path(), EVENTS);
    jobs::runtime().block_on(async { start(alone.path(), JOB, (2, 64), Vec::new()).wait().await }).unwrap();
    let rows = |folder: &Path| -> BTreeMap<String, usize> {
        let rows = outputs(folder).0.into_iter().filter(|output| !output.contains(r#""timer""#));
        rows.fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row).or_default() += 1;
            counts
        })
    };
    // When a timer fires among the rows depends on the batches, which begin elsewhere after a restart.
    assert!(rows(folder.path()) == rows(alone.path()), "rows are lost or doubled");
}

/// Waits until an operator has put out so much.
pub async fn until(view: &JobView, operator: &str, rows: u64) {
    while jobs::node(&view.nodes(), operator).records_out < rows && !view.has_ended() {
        tokio::task::yield_now().await;
    }
}

/// It does not end by itself.
const ENDLESS: &str = r#"
name: endless
sources:
  events: { file: { path: input.jsonl, follow: true }, format: json, schema: { id: i64, user: string, mark: i64 }, time: { column: id } }
  payments:
    generator: { workload: transactions, rate: 1000 }
    format: json
    schema: { user: i64, amount: i64, timestamp: i64 }
    time: { column: timestamp }
operators:
  passed: { input: events, transform: { plugin: "${PLUGIN}" } }
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}" } }
  both: { input: events, key: user, second: { input: events, key: user }, connected_process: { plugin: "${PLUGIN}" } }
  slices: { input: events, key: user, window: { tumbling: 1h }, aggregate: { plugin: "${POISON}" } }
  purses: { input: payments, key: user, keyed_process: { plugin: "${PURSE}" } }
sinks:
  out: { input: [passed, sums, both], discard: {} }
  sliced: { input: slices, discard: {} }
  spent: { input: purses, discard: {} }
"#;

#[test]
fn what_can_have_no_canary_or_has_another_in_the_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("input.jsonl"), "{\"id\":1,\"user\":\"a\",\"mark\":0}\n").unwrap();
    let purse = Plugin::load(jobs::engine(), path("purse-2").as_ref()).unwrap();
    jobs::runtime().block_on(async {
        let running = start(folder.path(), ENDLESS, (1, 64), Vec::new());
        let view = running.view();
        until(&view, "payments", 1).await;
        let change = |operator: &str, plugin: Option<Arc<Plugin>>| {
            let configuration = Some(r#"{"mark":1}"#.to_owned());
            let (operator, configuration) = (operator.to_owned(), configuration.filter(|_| plugin.is_none()));
            ChangeRequest { operator, kind: None, plugin, configuration, trial: None, force: Vec::new() }
        };
        let request = |operator: &str, plugin: Option<Arc<Plugin>>, by: &[&str]| CanaryRequest {
            change: change(operator, plugin),
            share: Share::of(0.1).unwrap(),
            by: by.iter().map(|name| (*name).to_owned()).collect(),
        };
        let refused = |operator: &str, plugin: Option<Arc<Plugin>>, by: &[&str]| {
            let refused = view.prepare_canary(request(operator, plugin, by)).err().expect("it is refused");
            refused.to_string()[1..6].to_owned()
        };
        assert_eq!(refused("slices", None, &[]), "X0120");
        assert_eq!(refused("purses", Some(purse), &[]), "X0123");
        assert_eq!(refused("sums", None, &["user"]), "X0124");
        assert_eq!(refused("passed", None, &["name"]), "X0124");
        assert_eq!(refused("nobody", None, &[]), "X0101");
        let code = |error: ChangeError| error.to_string()[1..6].to_owned();
        let none = view.prepare_step("sums", CanaryStep::Discard).err().map(code);
        assert_eq!(none.as_deref(), Some("X0126"));

        let shadow = |operator| ShadowRequest { change: change(operator, None), ignored: Vec::new() };
        let (first, late) =
            (view.prepare_canary(request("sums", None, &[])).unwrap(), view.prepare_shadow(shadow("sums")).unwrap());
        let begun = view.change(first).await.unwrap();
        assert_eq!(begun.to.canary.as_ref().map(|canary| canary.configuration.as_str()), Some(r#"{"mark":1}"#));
        assert_eq!(begun.from, OperatorVersion { canary: None, change: 0, ..begun.to.clone() });
        assert_eq!(refused("sums", None, &[]), "X0121");
        assert_eq!(view.prepare_change(change("sums", None)).err().map(code).as_deref(), Some("X0121"));
        assert_eq!(view.shadow(late).await.err().map(code).as_deref(), Some("X0121"));
        // Of another operator.
        view.shadow(view.prepare_shadow(shadow("both")).unwrap()).await.unwrap();
        assert_eq!(refused("both", None, &[]), "X0122");
        view.change(view.prepare_canary(request("passed", None, &[])).unwrap()).await.unwrap();
        let by = view.canaries().into_iter().find_map(|report| report.version.canary.filter(|it| !it.by.is_empty()));
        assert_eq!(by.map(|canary| canary.by), Some(vec!["id".to_owned(), "user".to_owned()]));
        // A change of another operator keeps it.
        view.change(view.prepare_change(change("both", None)).unwrap()).await.unwrap();
        assert_eq!(view.canaries().len(), 2);
        let promoted = view.prepare_step("sums", CanaryStep::Promote(None)).unwrap();
        let discarded = view.prepare_step("passed", CanaryStep::Discard).unwrap();
        let promoted = view.change(promoted).await.unwrap();
        assert_eq!((promoted.to.canary, promoted.to.configuration.as_str()), (None, r#"{"mark":1}"#));
        assert_eq!(view.change(discarded).await.err().map(code).as_deref(), Some("X0106"));
        view.change(view.prepare_step("passed", CanaryStep::Discard).unwrap()).await.unwrap();
        assert!(view.canaries().is_empty());
    });
}
