//! State that changes its meaning: made into that of the next version while the job runs, after a kill, and over a savepoint at another
//! parallelism and on the other backend. What comes out is what one version alone would put out; what cannot be migrated changes nothing.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmill::{
    control::{
        AllHere, ChangeError, ChangeRequest, Job, JobOptions, JobView, RunError, StartFrom, TrialLeft, TrialSpec,
    },
    dataflow::Last,
    job::PluginRef,
    model::{OperatorKind, OperatorVersion},
    plugin::Plugin,
};
use wasmill_tests::guests;

use super::jobs::{self, Variables};

const JOB: &str = "
name: purses
parallelism: ${PARALLELISM}
state: ${STATE}
checkpoints: { directory: checkpoints, interval: ${INTERVAL} }
sources:
  payments:
    generator: { workload: transactions, events: 200000, rate: 40000, keys: 5000 }
    format: json
    schema: { user: i64, amount: i64, timestamp: i64 }
    time: { column: timestamp }
operators:
  purses: { input: payments, key: user, keyed_process: { plugin: '${PLUGIN}', config: ${CONFIG} } }
sinks:
  out: { input: purses, file: { path: out, delivery: exactly_once } }
";

const EVENTS: usize = 200_000;

/// Compiled once, before any job runs: a job does not wait.
fn load(version: u32) -> Arc<Plugin> {
    static LOADED: LazyLock<BTreeMap<u32, Arc<Plugin>>> = LazyLock::new(|| {
        [1, 2].map(|version| (version, Plugin::load(jobs::engine(), path(version).as_ref()).unwrap())).into()
    });
    LOADED[&version].clone()
}

fn path(version: u32) -> String {
    guests::rust_plugin(&guests::root().join(format!("tests/guests/purse-{version}"))).display().to_string()
}

/// The job file's variables that differ.
struct Setup {
    version: u32,
    parallelism: u32,
    rocksdb: bool,
    interval: &'static str,
    config: &'static str,
}

const SETUP: Setup = Setup { version: 1, parallelism: 2, rocksdb: false, interval: "50ms", config: "{}" };

fn start(folder: &Path, setup: &Setup, options: JobOptions) -> Result<Job, RunError> {
    let state = match setup.rocksdb {
        true => format!("{{ backend: rocksdb, directory: '{}' }}", folder.join("state").display()),
        false => "{ backend: memory }".to_owned(),
    };
    let variables: Variables = [
        ("PARALLELISM", setup.parallelism.to_string()),
        ("STATE", state),
        ("INTERVAL", setup.interval.to_owned()),
        ("PLUGIN", path(setup.version)),
        ("CONFIG", setup.config.to_owned()),
    ]
    .into();
    let prepared = jobs::prepared(JOB, folder, &variables)?;
    let source = |reference: &PluginRef| {
        let PluginRef::Digest(digest) = reference else { panic!("{reference}") };
        Ok([1, 2].map(load).into_iter().find(|plugin| plugin.digest() == digest).expect("one of them"))
    };
    let checkpoints = JobOptions::of(&prepared.spec)?.checkpoints;
    let options = JobOptions { checkpoints, plugins: Some(jobs::source(source)), ..options };
    Ok(Job::start(prepared, jobs::environment(), Arc::new(AllHere), options, CancellationToken::new()))
}

/// For longer than any test.
const TRIAL: TrialSpec = TrialSpec {
    time: Duration::from_secs(600),
    with_state: true,
    rejected_max: None,
    failed_max: None,
    record_time_max: None,
};

fn to_second(force: &[&str]) -> ChangeRequest {
    ChangeRequest {
        operator: "purses".into(),
        kind: None,
        plugin: Some(load(2)),
        configuration: Some("{}".into()),
        trial: None,
        force: force.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Waits until so much more was put out.
async fn put_out(view: &JobView, more: u64) {
    let count = || jobs::node(&view.nodes(), "purses").records_out;
    let until = count() + more;
    while count() < until && !view.has_ended() {
        tokio::task::yield_now().await;
    }
}

/// What was put out, by number of the payment, without the version, and the versions.
fn spent(folder: &Path) -> (Vec<Value>, Vec<String>) {
    let mut by_number = BTreeMap::new();
    for line in jobs::lines(&folder.join("out")) {
        let mut spent: Value = serde_json::from_str(&line).unwrap();
        let version = spent.as_object_mut().unwrap().remove("version").unwrap().as_str().unwrap().to_owned();
        let number = spent["timestamp"].as_i64().unwrap();
        assert!(by_number.insert(number, (spent, version)).is_none(), "payment {number} twice");
    }
    by_number.into_values().unzip()
}

/// What the first version alone puts out.
fn undisturbed() -> &'static [Value] {
    static EXPECTED: LazyLock<Vec<Value>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let run = async { start(folder.path(), &SETUP, JobOptions::default()).unwrap().wait().await };
        jobs::runtime().block_on(run).unwrap();
        spent(folder.path()).0
    });
    load(1);
    &EXPECTED
}

/// Fails unless all was put out as by one version, by both of them one after the other.
fn check(folder: &Path, splits: usize) {
    let (spent, versions) = spent(folder);
    assert_eq!(spent.len(), EVENTS);
    assert!(spent == undisturbed(), "state was not what it should have become");
    for split in 0..splits {
        let of_split: Vec<_> = versions.iter().skip(split).step_by(splits).collect();
        assert!(of_split.is_sorted(), "a version came back");
        assert!(of_split.iter().any(|version| *version == "1") && of_split.iter().any(|version| *version == "2"));
    }
}

#[test]
fn state_is_migrated_while_the_job_runs() {
    undisturbed();
    for rocksdb in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        jobs::runtime().block_on(async {
            let job = start(folder.path(), &Setup { rocksdb, ..SETUP }, JobOptions::default()).unwrap();
            let view = job.view();
            let change = async {
                put_out(&view, 30_000).await;
                let refused = |request| view.prepare_change(request).err().expect("refused").to_string();
                let vanished = refused(to_second(&[]));
                assert!(vanished.starts_with("[X0105]") && vanished.contains("`note`"), "{vanished}");
                let trial = TrialSpec { with_state: false, ..TRIAL };
                let tried = refused(ChangeRequest { trial: Some(trial), ..to_second(&["note"]) });
                assert!(tried.starts_with("[X0105]") && tried.contains("with_state"), "{tried}");
                let counts = view.rehearse_change(view.prepare_change(to_second(&["note"])).unwrap()).await.unwrap();
                let brief: Vec<_> = counts.iter().map(|it| (it.state.as_str(), it.values > 1000, it.failing)).collect();
                let expected = [("payments", false, 0), ("total", true, 0), ("slots", true, 0), ("last", true, 0)];
                assert_eq!(brief, expected);
                assert!(counts.iter().all(|count| count.to_migrate == count.values));
                assert!(view.versions().iter().all(|(_, version)| version.change == 0), "nothing was changed");
                let changed = view.change(view.prepare_change(to_second(&["note"])).unwrap()).await.unwrap();
                assert_eq!(changed.to.plugin, "purse@2.0.0");
                put_out(&view, 30_000).await;
                // The other way there is none: what the first version has written is older.
                let back = ChangeRequest { plugin: Some(load(1)), ..to_second(&["payments"]) };
                let back = refused(back);
                assert!(back.contains("is of schema version 2 already"), "{back}");
            };
            let (ended, ()) = tokio::join!(job.wait(), change);
            ended.unwrap();
            assert_eq!(view.starts(), 1);
        });
        check(folder.path(), 2);
        if rocksdb {
            let databases = folder.path().join("state/purses.databases/purses");
            for subtask in ["0", "1"] {
                let kept = databases.join(subtask).join("keys").read_dir().unwrap().count();
                assert_eq!(kept, 1, "the database before the change is gone");
            }
        }
    }
}

#[test]
fn a_version_on_trial_that_migrates_is_undone_with_its_state() {
    undisturbed();
    for rocksdb in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        jobs::runtime().block_on(async {
            // A checkpoint is due whenever one may be taken, also while state is migrated.
            let setup = Setup { rocksdb, interval: "10ms", ..SETUP };
            let job = start(folder.path(), &setup, JobOptions::default()).unwrap();
            let view = job.view();
            let change = async {
                put_out(&view, 30_000).await;
                let mut refused = 0;
                let configuration = Some(r#"{"payments":10000}"#.to_owned());
                let request = ChangeRequest { trial: Some(TRIAL), configuration, ..to_second(&["note"]) };
                loop {
                    assert!(!view.has_ended(), "it is never in force");
                    let changed = match view.prepare_change(request.clone()) {
                        Ok(ready) => view.change(ready).await,
                        Err(error) => Err(error),
                    };
                    match changed {
                        Ok(changed) => {
                            assert_eq!(changed.to.plugin, "purse@2.0.0");
                            break (changed.to.change, refused);
                        }
                        // One subtask has failed before the other had it.
                        Err(ChangeError::Ended | ChangeError::Overtaken) => {
                            refused += 1;
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            };
            let (ended, (tried, refused)) = tokio::join!(job.wait(), change);
            ended.unwrap();
            assert!(view.starts() == 2 || refused > 0, "{} starts", view.starts());
            let (_, version) = view.versions().pop().unwrap();
            assert_eq!((version.change, version.plugin.as_str()), (tried + 1, "purse@1.0.0"));
        });
        let (spent, versions) = spent(folder.path());
        assert!(spent == undisturbed() && versions.iter().all(|version| version == "1"));
    }
}

#[test]
fn a_version_on_trial_that_migrates_can_be_taken_back_with_its_state() {
    undisturbed();
    let folder = tempfile::tempdir().unwrap();
    jobs::runtime().block_on(async {
        // No checkpoint is due but that before the change.
        let setup = Setup { interval: "1h", ..SETUP };
        let job = start(folder.path(), &setup, JobOptions::default()).unwrap();
        let view = job.view();
        let change = async {
            put_out(&view, 30_000).await;
            let request = ChangeRequest { trial: Some(TRIAL), ..to_second(&["note"]) };
            view.change(view.prepare_change(request).unwrap()).await.unwrap();
            put_out(&view, 10_000).await;
            // It may still be on its way to the disk.
            while view.checkpoints().costs().is_empty() && !view.has_ended() {
                tokio::task::yield_now().await;
            }
            assert!(view.can_be_taken_back("purses", OperatorKind::KeyedProcess));
            let other = view.take_back("purses", (OperatorKind::KeyedProcess, 7), "ann").await;
            assert!(matches!(other, Err(ChangeError::Overtaken)), "{other:?}");
            let changed = view.take_back("purses", (OperatorKind::KeyedProcess, 1), "ann").await.unwrap();
            assert_eq!((changed.from.change, changed.to.change), (1, 2));
            assert!(!view.can_be_taken_back("purses", OperatorKind::KeyedProcess));
        };
        let (ended, ()) = tokio::join!(job.wait(), change);
        assert_eq!(ended.unwrap().checkpoints.costs().len(), 2, "that and the last");
        assert_eq!((view.starts(), view.versions()[0].1.plugin.as_str()), (2, "purse@1.0.0"));
    });
    let (spent, versions) = spent(folder.path());
    assert!(spent == undisturbed() && versions.iter().all(|version| version == "1"));
}

#[test]
fn killed_after_the_change_it_migrates_what_its_checkpoint_has() {
    undisturbed();
    for rocksdb in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let setup = Setup { rocksdb, interval: "1h", ..SETUP };
        let mut versions: Vec<OperatorVersion> = Vec::new();
        jobs::runtime().block_on(async {
            let job = start(folder.path(), &setup, JobOptions::default()).unwrap();
            let view = job.view();
            put_out(&view, 30_000).await;
            view.checkpoint(Last::No).await.unwrap();
            put_out(&view, 10_000).await;
            view.change(view.prepare_change(to_second(&["note"])).unwrap()).await.unwrap();
            put_out(&view, 10_000).await;
            versions = view.versions().into_iter().map(|(_, version)| version).collect();
        });
        assert_eq!(versions[0].change, 1);
        let options = JobOptions { versions, ..JobOptions::default() };
        jobs::runtime().block_on(async { start(folder.path(), &setup, options).unwrap().wait().await }).unwrap();
        check(folder.path(), 2);
    }
}

#[test]
fn a_version_on_trial_that_cannot_take_over_the_state_at_a_later_start_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { config: "{ rich: 7 }", ..SETUP };
    load(1);
    jobs::runtime().block_on(async {
        let job = start(folder.path(), &setup, JobOptions::default()).unwrap();
        put_out(&job.view(), 60_000).await;
        job.view().checkpoint(Last::No).await.unwrap();
    });
    let version = |version: u32, change, configuration: &str| OperatorVersion {
        change,
        uid: "purses".into(),
        kind: OperatorKind::KeyedProcess,
        plugin: format!("purse@{version}.0.0"),
        digest: load(version).digest().to_owned(),
        configuration: configuration.into(),
        canary: None,
        rule: None,
    };
    // As if it had been put in force before the user was rich.
    let trials = vec![TrialLeft { change: 1, spec: TRIAL, back: version(1, 0, r#"{"rich":7}"#) }];
    let options = JobOptions { versions: vec![version(2, 1, "{}")], trials, ..JobOptions::default() };
    jobs::runtime().block_on(async {
        let job = start(folder.path(), &setup, options).unwrap();
        let view = job.view();
        job.wait().await.unwrap();
        assert_eq!(view.in_force(), [version(1, 2, r#"{"rich":7}"#)]);
    });
    let (spent, versions) = spent(folder.path());
    assert!(spent.len() == EVENTS && versions.iter().all(|version| version == "1"));
}

#[test]
fn a_savepoint_is_migrated_at_another_parallelism_and_on_the_other_backend() {
    undisturbed();
    for (rocksdb, parallelism) in [(false, 1), (true, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let savepoint = folder.path().join("savepoint");
        jobs::runtime().block_on(async {
            let job = start(folder.path(), &Setup { rocksdb, ..SETUP }, JobOptions::default()).unwrap();
            put_out(&job.view(), 50_000).await;
            job.view().savepoint(savepoint.clone(), true).await.unwrap();
            job.wait().await.unwrap();
        });
        let options = |allow_non_restored_state| JobOptions {
            from: StartFrom::Savepoint(savepoint.clone()),
            allow_non_restored_state,
            ..JobOptions::default()
        };
        let next = Setup { version: 2, parallelism, rocksdb: !rocksdb, ..SETUP };
        let run =
            |options| jobs::runtime().block_on(async { start(folder.path(), &next, options).unwrap().wait().await });
        let vanished = run(options(false)).unwrap_err().to_string();
        assert!(vanished.starts_with("[S0704]") && vanished.contains("note"), "{vanished}");
        run(options(true)).unwrap();
        check(folder.path(), 2);
    }
}

#[test]
fn what_cannot_be_migrated_is_told_and_the_job_goes_on_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { config: "{ rich: 7 }", ..SETUP };
    let savepoint = folder.path().join("savepoint");
    load(1);
    jobs::runtime().block_on(async {
        let job = start(folder.path(), &setup, JobOptions::default()).unwrap();
        let view = job.view();
        let change = async {
            put_out(&view, 60_000).await;
            let ready = || view.prepare_change(to_second(&["note"])).unwrap();
            let counts = view.rehearse_change(ready()).await.unwrap();
            let total = counts.iter().find(|count| count.state == "total").unwrap();
            assert_eq!((total.failing, total.samples[0].key.as_str()), (1, "7"));
            assert!(total.samples[0].reason.contains("so many cents are no number"), "{total:?}");
            let error = view.change(ready()).await.unwrap_err();
            assert!(matches!(error, ChangeError::Migration { .. }), "{error}");
            let error = error.to_string();
            assert!(error.starts_with("[X0111] purse@2.0.0 cannot take over the state of `purses`: 1 of "), "{error}");
            assert!(error.contains("`total` cannot be migrated; key 7: "), "{error}");
            view.savepoint(savepoint.clone(), false).await.unwrap();
        };
        let (ended, ()) = tokio::join!(job.wait(), change);
        ended.unwrap();
        assert_eq!(view.starts(), 1);
    });
    let (spent, versions) = spent(folder.path());
    assert!(spent.len() == EVENTS && versions.iter().all(|version| version == "1"));

    let from = StartFrom::Savepoint(savepoint);
    let options = JobOptions { from, allow_non_restored_state: true, ..JobOptions::default() };
    let next = Setup { version: 2, ..SETUP };
    let run = async { start(folder.path(), &next, options).unwrap().wait().await };
    let error = jobs::runtime().block_on(run).unwrap_err().to_string();
    assert!(error.starts_with("[S0710] keys: state `total`, key 7:"), "{error}");
}
