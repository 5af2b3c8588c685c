//! Rules replaced while their job runs: every payment is seen by one version, all subtasks change at the same point of the input, counts
//! go on, and nothing is lost or doubled; also when the job is killed in between.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmill::{
    control::{AllHere, ChangeError, ChangeRequest, Job, JobOptions, JobView, RunError, ShadowRequest, TrialSpec},
    dataflow::Last,
    job::PluginRef,
    model::OperatorVersion,
    plugin::Plugin,
};
use wasmill_tests::guests;

use super::jobs::{self, Variables};

const JOB: &str = "
name: payments
parallelism: ${PARALLELISM}
state: ${STATE}
checkpoints: { directory: checkpoints, interval: 20ms }
sources:
  payments:
    generator: { workload: transactions, events: ${EVENTS}${RATE} }
    format: json
    schema: { user: i64, amount: i64, timestamp: i64 }
    time: { column: timestamp }
operators:
  rules: { input: payments, key: user, keyed_process: { plugin: '${PLUGIN}', config: { limit: -1 } } }
sinks:
  out: { input: rules, file: { path: out, delivery: exactly_once } }
";

const EVENTS: u64 = 100_000;
/// Payments a second while changes are made, so that there are some left for all of them on any machine.
const RATE: &str = ", rate: 2000";

/// The longest wait for something that is to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The rules of a version, built.
fn rules(version: &str) -> PathBuf {
    guests::rust_plugin(&guests::root().join("examples/live-rules").join(format!("rules-{version}")))
}

/// Compiled once, before any job runs: a job does not wait.
fn load(version: &str) -> Arc<Plugin> {
    static LOADED: LazyLock<BTreeMap<&str, Arc<Plugin>>> = LazyLock::new(|| {
        let load = |version| (version, Plugin::load(jobs::engine(), &rules(version)).unwrap());
        ["1.0", "2.0", "2.1"].map(load).into()
    });
    LOADED[version].clone()
}

/// The rules of this version, which put `mark` on what they report.
fn request(plugin: Option<Arc<Plugin>>, mark: u64) -> ChangeRequest {
    let configuration = Some(format!(r#"{{ "limit": -1, "mark": {mark} }}"#));
    ChangeRequest { operator: "rules".into(), kind: None, plugin, configuration, trial: None, force: Vec::new() }
}

fn variables(parallelism: u32, rocksdb: bool, rate: &str, folder: &Path) -> Variables {
    let state = match rocksdb {
        true => format!("{{ backend: rocksdb, directory: '{}' }}", folder.join("state").display()),
        false => "{ backend: memory }".to_owned(),
    };
    [
        ("PARALLELISM", parallelism.to_string()),
        ("STATE", state),
        ("EVENTS", EVENTS.to_string()),
        ("RATE", rate.to_owned()),
        ("PLUGIN", rules("1.0").display().to_string()),
    ]
    .into()
}

/// Waits until rules have reported so many payments more.
async fn reported(view: &JobView, more: u64) {
    let count = || jobs::node(&view.nodes(), "rules").records_out;
    let until = count() + more;
    while count() < until && !view.has_ended() {
        tokio::task::yield_now().await;
    }
}

/// Changes back and forth between two versions, with marks from `mark` on.
async fn change_often(view: &JobView, mark: &mut u64, times: u64) {
    let versions = [load("1.0"), load("2.0")];
    reported(view, 1).await;
    for _ in 0..times {
        let plugin = Some(versions[(*mark % 2) as usize].clone());
        let ready = view.prepare_change(request(plugin, *mark)).unwrap();
        view.change(ready).await.unwrap();
        *mark += 1;
        reported(view, 50).await;
    }
}

/// Ends the job in order, with part of its input left; what was in force.
async fn stop(view: &JobView) -> Vec<OperatorVersion> {
    view.checkpoint(Last::Stop).await.unwrap();
    view.in_force()
}

/// What was reported, by number of the payment, without who reported it; and by which mark.
fn reports(folder: &Path) -> (Vec<Value>, Vec<(u64, String)>) {
    let mut by_number = BTreeMap::new();
    for line in jobs::lines(&folder.join("out")) {
        let mut report: Value = serde_json::from_str(&line).unwrap();
        let fields = report.as_object_mut().unwrap();
        let mark = fields.remove("mark").and_then(|mark| mark.as_u64()).unwrap();
        let version = fields.remove("rules").and_then(|rules| Some(rules.as_str()?.to_owned())).unwrap();
        let number = fields["timestamp"].as_i64().unwrap();
        assert!(by_number.insert(number, (report, (mark, version))).is_none(), "payment {number} twice");
    }
    by_number.into_values().unzip()
}

/// Fails unless output and order are those of one version after the other, at the same point of each source split.
fn check(folder: &Path, expected: &[Value], splits: usize) -> u64 {
    let (reports, marks) = reports(folder);
    assert_eq!(reports.len(), EVENTS as usize);
    assert!(reports == expected, "counts or payments differ");
    for split in 0..splits {
        let of_split: Vec<_> = marks.iter().skip(split).step_by(splits).collect();
        assert!(of_split.is_sorted_by_key(|(mark, _)| *mark), "a version came back");
    }
    for (mark, version) in &marks {
        assert_eq!(version, if *mark == 0 || mark % 2 == 0 { "1.0" } else { "2.0" });
    }
    marks.iter().map(|(mark, _)| *mark).collect::<std::collections::BTreeSet<_>>().len() as u64
}

fn start(
    folder: &Path,
    parallelism: u32,
    rocksdb: bool,
    rate: &str,
    versions: Vec<OperatorVersion>,
) -> Result<Job, RunError> {
    start_text(JOB, folder, &variables(parallelism, rocksdb, rate, folder), versions)
}

fn start_text(
    text: &str,
    folder: &Path,
    variables: &Variables,
    versions: Vec<OperatorVersion>,
) -> Result<Job, RunError> {
    let prepared = jobs::prepared(text, folder, variables)?;
    let source = |reference: &PluginRef| {
        let PluginRef::Digest(digest) = reference else { panic!("{reference}") };
        let plugin = ["1.0", "2.0", "2.1"].map(load).into_iter().find(|plugin| plugin.digest() == digest);
        Ok(plugin.expect("one of them"))
    };
    let options = JobOptions { versions, plugins: Some(jobs::source(source)), ..JobOptions::of(&prepared.spec)? };
    Ok(Job::start(prepared, jobs::environment(), Arc::new(AllHere), options, CancellationToken::new()))
}

fn to_end(folder: &Path, parallelism: u32, rocksdb: bool, versions: Vec<OperatorVersion>) {
    let run = async { start(folder, parallelism, rocksdb, "", versions).unwrap().wait().await };
    jobs::runtime().block_on(run).unwrap();
}

/// What is reported if nobody changes anything.
fn undisturbed() -> &'static [Value] {
    static EXPECTED: LazyLock<Vec<Value>> = LazyLock::new(|| {
        load("1.0");
        let folder = tempfile::tempdir().unwrap();
        to_end(folder.path(), 1, false, Vec::new());
        let (reports, marks) = reports(folder.path());
        assert!(marks.iter().all(|mark| *mark == (0, "1.0".to_owned())));
        reports
    });
    &EXPECTED
}

#[test]
fn rules_change_often_and_every_payment_is_reported_once() {
    let expected = undisturbed();
    for parallelism in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let mut mark = 1;
        let versions = jobs::runtime().block_on(async {
            let job = start(folder.path(), parallelism, false, RATE, Vec::new()).unwrap();
            let view = job.view();
            change_often(&view, &mut mark, 20).await;
            let versions = stop(&view).await;
            job.wait().await.unwrap();
            versions
        });
        to_end(folder.path(), parallelism, false, versions);
        assert_eq!(check(folder.path(), expected, parallelism as usize), 21);
    }
}

#[test]
fn a_change_does_not_wait_for_a_job_that_waits_to_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{JOB}restart: {{ fixed_delay: {{ attempts: 1, delay: 1h }} }}\n");
    let checkpoints = folder.path().join("checkpoints");
    jobs::runtime().block_on(async {
        let job = start_text(&text, folder.path(), &variables(1, false, RATE, folder.path()), Vec::new()).unwrap();
        let view = job.view();
        let change = async |mark| view.change(view.prepare_change(request(None, mark)).unwrap()).await;
        reported(&view, 1).await;
        change(1).await.unwrap();
        std::fs::remove_dir_all(&checkpoints).unwrap();
        std::fs::write(&checkpoints, "no folder").unwrap();
        let mut mark = 2;
        while change(mark).await.is_ok() {
            mark += 1;
        }
        let after = tokio::time::timeout(PATIENCE, change(mark)).await.unwrap();
        assert!(matches!(after, Err(ChangeError::Ended)), "{:?}", after.err());
    });
}

#[test]
fn killed_between_changes_it_goes_on_with_what_was_in_force() {
    let expected = undisturbed();
    for rocksdb in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (mut mark, mut versions) = (1, Vec::new());
        let mut seen = Vec::new();
        for life in 0..8 {
            jobs::runtime().block_on(async {
                let job = start(folder.path(), 2, rocksdb, RATE, versions.clone()).unwrap();
                let view = job.view();
                let (_, now) = view.versions().pop().unwrap();
                assert_eq!(now.change, mark - 1, "life {life}");
                seen.push(now.plugin);
                change_often(&view, &mut mark, 3).await;
                // What was in force may or may not be in a checkpoint: it is promised in any case.
                versions = view.in_force();
            });
        }
        to_end(folder.path(), 2, rocksdb, versions);
        assert!(check(folder.path(), expected, 2) > 1);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_the_job_runs_on() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let others = ["fraud-detection", "behavior-score"]
        .map(|name| Plugin::load(jobs::engine(), jobs::plugin(name).as_ref()).unwrap());
    let versions = jobs::runtime().block_on(async {
        let job = start(folder.path(), 1, false, RATE, Vec::new()).unwrap();
        let view = job.view();
        let refused = |request: ChangeRequest| match view.prepare_change(request) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        };
        let [frauds, scores] = others.map(Some);
        let wrong = |plugin| ChangeRequest { configuration: Some("{}".into()), ..request(plugin, 0) };
        assert!(refused(wrong(frauds)).starts_with("[X0104] `rules` cannot run fraud-detection@1.0.0"));
        assert!(refused(wrong(scores)).starts_with("[X0103]"));
        let unknown = ChangeRequest { configuration: Some(r#"{"limt": 3}"#.into()), ..request(None, 0) };
        assert!(refused(unknown).contains("[P0206]"));
        let nobody = ChangeRequest { operator: "payments".into(), ..request(None, 0) };
        assert!(refused(nobody).starts_with("[X0101]"));
        reported(&view, 1).await;
        let (first, second) =
            (view.prepare_change(request(None, 1)).unwrap(), view.prepare_change(request(None, 2)).unwrap());
        view.change(first).await.unwrap();
        let error = view.change(second).await.unwrap_err();
        assert!(matches!(error, ChangeError::Overtaken), "{error}");
        let versions = stop(&view).await;
        job.wait().await.unwrap();
        let late = view.change(view.prepare_change(request(None, 3)).unwrap()).await.unwrap_err();
        assert!(matches!(late, ChangeError::Ended), "{late}");
        versions
    });
    to_end(folder.path(), 1, false, versions);
    let (reports, marks) = reports(folder.path());
    assert!(reports == expected && marks.iter().any(|mark| mark.0 == 1));
}

#[test]
fn a_version_that_fails_on_trial_is_rolled_back_and_nothing_of_it_is_seen() {
    let expected = undisturbed();
    let broken = load("2.1");
    for with_state in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let versions = jobs::runtime().block_on(async {
            let job = start(folder.path(), 2, false, RATE, Vec::new()).unwrap();
            let view = job.view();
            reported(&view, 100).await;
            let trial = Some(TrialSpec {
                time: Duration::from_secs(3600),
                with_state,
                rejected_max: None,
                failed_max: None,
                record_time_max: None,
            });
            // It stops at the first payment.
            let request = ChangeRequest { trial, ..request(Some(broken.clone()), 1) };
            // It may fail before it is in force in both subtasks.
            let change = match view.change(view.prepare_change(request).unwrap()).await {
                Ok(_) => 2,
                Err(ChangeError::Ended) => 0,
                Err(error) => panic!("{error}"),
            };
            while view.starts() < 2 && !view.has_ended() {
                tokio::task::yield_now().await;
            }
            reported(&view, 100).await;
            let (_, version) = view.versions().pop().unwrap();
            assert_eq!((version.change, version.plugin.as_str()), (change, "payment-rules@1.0.0"));
            let versions = stop(&view).await;
            job.wait().await.unwrap();
            assert_eq!(view.starts(), 2);
            versions
        });
        to_end(folder.path(), 2, false, versions);
        let (reports, marks) = reports(folder.path());
        assert!(reports == expected && marks.iter().all(|mark| *mark == (0, "1.0".to_owned())));
    }
}

#[test]
fn a_shadow_sees_what_the_version_in_force_sees_and_changes_nothing() {
    let expected = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let next = load("2.0");
    let versions = jobs::runtime().block_on(async {
        let job = start(folder.path(), 2, false, RATE, Vec::new()).unwrap();
        let view = job.view();
        let shadow = |limit: i64, ignored: &[&str]| {
            let configuration = Some(format!(r#"{{ "limit": {limit}, "mark": 0 }}"#));
            let change = ChangeRequest { configuration, ..request(Some(next.clone()), 0) };
            let ignored = ignored.iter().map(|name| (*name).to_owned()).collect();
            view.shadow(view.prepare_shadow(ShadowRequest { change, ignored }).unwrap())
        };
        let compared = || view.shadows().pop().unwrap().compared;
        reported(&view, 1000).await;
        // Its state is a copy: it counts on from where the other was.
        shadow(-1, &["rules"]).await.unwrap();
        reported(&view, 1000).await;
        let same = compared();
        assert!(same.equal > 500, "{same:?}");
        assert_eq!((same.missing, same.extra, same.different, same.failed), (0, 0, 0, 0), "{same:?}");
        // It names its version, and reports less.
        shadow(50_000, &[]).await.unwrap();
        reported(&view, 1000).await;
        let other = compared();
        assert!(other.equal == 0 && other.different > 0 && other.missing > other.different, "{other:?}");
        assert_eq!(other.extra, 0);
        let sample = other.samples.iter().find(|sample| sample.shadow.is_some()).unwrap();
        assert!(sample.in_force.as_ref().unwrap().contains(r#""rules":"1.0""#), "{sample:?}");
        assert!(sample.shadow.as_ref().unwrap().contains(r#""rules":"2.0""#), "{sample:?}");
        view.discard("rules").await.unwrap();
        assert!(view.shadows().is_empty());
        assert!(matches!(view.discard("rules").await, Err(ChangeError::NoShadow(_))));
        shadow(-1, &["rules"]).await.unwrap();
        let promotion = view.prepare_change(view.promotion("rules").unwrap()).unwrap();
        let changed = view.change(promotion).await.unwrap();
        assert_eq!(changed.to.plugin, "payment-rules@2.0.0");
        assert!(view.shadows().is_empty());
        reported(&view, 100).await;
        let versions = stop(&view).await;
        job.wait().await.unwrap();
        versions
    });
    to_end(folder.path(), 2, false, versions);
    let (reports, marks) = reports(folder.path());
    assert!(reports == expected);
    let versions: Vec<&str> = marks.iter().map(|(_, version)| version.as_str()).collect();
    assert!(versions.contains(&"1.0") && versions.contains(&"2.0"));
    for split in 0..2 {
        assert!(versions.iter().skip(split).step_by(2).is_sorted());
    }
}
