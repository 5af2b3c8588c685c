//! Versions on trial in whole jobs: one that is slow, or that its operator's `on_failure` bears with, is put back by itself if there is a bound it does
//! not keep, and is in force otherwise; what is
//! asked for just as one is put back, and dead letters that another version fails on, change nothing. A change stays in force where the latest
//! checkpoint that has it is damaged.
use std::{
    fs::{self, File},
    io::Write,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    task::Poll,
    time::Duration,
};

use futures::{future::BoxFuture, poll};
use wasmill::{
    control::{
        CanaryRequest, ChangeError, ChangeRequest, Changed, CheckpointDone, Job, JobObserver, JobOptions, JobView,
        Letter, ReplayRequest, RolledBack, RunError, TrialSpec,
    },
    dataflow::Last,
    job::InputSide,
    model::{OperatorKind, OperatorVersion, Share, key_hash},
};

use super::{
    canaries::{JOB, feed, marked, start, start_with, until},
    kill::newest,
    trials_over_http::marks,
};

/// Takes longer for an event than 100 us on any machine.
const SLOW: &str = r#"{"dawdle":2000000}"#;
const SLOW_AND_NEW: &str = r#"{"dawdle":2000000,"mark":1}"#;

/// For longer than any test.
const TRIAL: TrialSpec = TrialSpec {
    time: Duration::from_secs(3600),
    with_state: false,
    rejected_max: None,
    failed_max: None,
    record_time_max: None,
};

/// An operator with this configuration, or as it is.
fn request(operator: &str, configuration: Option<&str>) -> ChangeRequest {
    let (operator, configuration) = (operator.to_owned(), configuration.map(str::to_owned));
    ChangeRequest { operator, kind: None, plugin: None, configuration, trial: None, force: Vec::new() }
}

/// Tries a slow version with a bound for so many events, until the job has started again or has ended: how often it was started, and what is in
/// force then.
async fn tried(max: Duration, events: u64) -> (u64, OperatorVersion) {
    let folder = tempfile::tempdir().unwrap();
    feed(folder.path(), events);
    let before = OperatorVersion {
        change: 1,
        uid: "passed".into(),
        kind: OperatorKind::Transform,
        plugin: "marked@1.0.0".into(),
        digest: marked().digest().to_owned(),
        configuration: SLOW.into(),
        canary: None,
        rule: None,
    };
    let job = start(folder.path(), JOB, (1, 32), vec![before]);
    let view = job.view();
    until(&view, "passed", 1).await;
    let trial = TrialSpec { record_time_max: Some(max), ..TRIAL };
    let request = ChangeRequest { trial: Some(trial), ..request("passed", Some(SLOW_AND_NEW)) };
    view.change(view.prepare_change(request).unwrap()).await.unwrap();
    while view.starts() == 1 && !view.has_ended() {
        tokio::task::yield_now().await;
    }
    let passed = view.versions().into_iter().find(|(name, _)| name == "passed").unwrap().1;
    drop(job);
    (view.starts(), passed)
}

#[test]
fn a_version_that_takes_longer_for_a_record_than_it_may_is_put_back() {
    super::jobs::runtime().block_on(async {
        let (starts, passed) = tried(Duration::from_micros(100), 100_000).await;
        assert_eq!((starts, passed.change, passed.configuration.as_str()), (2, 3, SLOW));
        let (starts, passed) = tried(Duration::from_secs(3600), 1000).await;
        assert_eq!((starts, passed.change, passed.configuration.as_str()), (1, 2, SLOW_AND_NEW));
    });
}

/// Passes over what its calls fail on.
const BEARS: &str = r#"
name: bears
checkpoints: { directory: checkpoints, interval: 20ms }
sources:
  events: { file: { path: input.jsonl, follow: true, poll: 1ms }, format: json, schema: { id: i64, user: string }, time: { column: id } }
operators:
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}" }, on_failure: skip }
sinks:
  out: { input: sums, file: { path: out, delivery: exactly_once } }
"#;

/// Has a version fail on event 15 that is on trial since event 10 and may fail on so many, and waits for so many starts: the events put out, each with the
/// mark of its version.
fn bears(failed_max: u64, starts: u64) -> Vec<(i64, i64)> {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), 0..10);
    super::jobs::runtime().block_on(async {
        let job = start(folder.path(), BEARS, (1, 32), Vec::new());
        let view = job.view();
        until(&view, "sums", 10).await;
        // All it does is undone, or nothing.
        let trial = TrialSpec { with_state: starts > 1, failed_max: Some(failed_max), ..TRIAL };
        let tried = ChangeRequest { trial: Some(trial), ..request("sums", Some(r#"{"mark":1,"trap":15}"#)) };
        view.change(view.prepare_change(tried).unwrap()).await.unwrap();
        add(folder.path(), 10..20);
        while view.starts() < starts && !view.has_ended() {
            tokio::task::yield_now().await;
        }
        add(folder.path(), 20..30);
        let seen = || super::jobs::node(&view.nodes(), "sums").watermark.is_some_and(|watermark| watermark >= 28);
        while !seen() && !view.has_ended() {
            tokio::task::yield_now().await;
        }
        view.checkpoint(Last::Stop).await.unwrap();
        job.wait().await.unwrap();
        assert_eq!(view.starts(), starts);
    });
    marks(folder.path())
}

#[test]
fn a_version_that_fails_on_more_than_it_may_is_put_back() {
    assert_eq!(bears(0, 2), (0..30).map(|id| (id, 0)).collect::<Vec<_>>());
    let borne = (0..30).filter(|id| *id != 15).map(|id| (id, i64::from(id >= 10)));
    assert_eq!(bears(1, 1), borne.collect::<Vec<_>>());
}

/// Asks for a change of an operator just as the job goes back from a version on trial.
struct Meddler {
    operator: &'static str,
    view: OnceLock<JobView>,
    rolled_back: Mutex<Option<RolledBack>>,
}

impl JobObserver for Meddler {
    fn started(&self, _: Vec<(String, Changed)>) {}

    fn restarting(&self, _: &RunError, _: Duration) {}

    fn rolled_back(&self, rolled_back: RolledBack, _: &RunError) -> BoxFuture<'_, ()> {
        *self.rolled_back.lock().unwrap() = Some(rolled_back);
        let view = self.view.get().unwrap().clone();
        let ready = view.prepare_change(request(self.operator, None)).unwrap();
        Box::pin(async move {
            let asked = poll!(Box::pin(view.change(ready)));
            assert!(matches!(asked, Poll::Ready(Err(ChangeError::Ended))), "{asked:?}");
        })
    }

    fn checkpoint_completed(&self, _: CheckpointDone) {}

    fn checkpoint_failed(&self, _: u64, _: &str) {}
}

/// Adds events of one user.
fn add(folder: &Path, events: Range<u64>) {
    let mut input = File::options().create(true).append(true).open(folder.join("input.jsonl")).unwrap();
    let text: String = events.map(|id| format!("{{\"id\":{id},\"user\":\"u\"}}\n")).collect();
    input.write_all(text.as_bytes()).unwrap();
}

/// Starts a job that goes on reading what is added to the ten events there are, once the sums have all of those.
async fn following(folder: &Path, observer: Option<Arc<dyn JobObserver>>) -> (Job, JobView) {
    add(folder, 0..10);
    let (job, view) = follow(folder, JOB, observer);
    until(&view, "sums", 10).await;
    (job, view)
}

fn follow(folder: &Path, job: &str, observer: Option<Arc<dyn JobObserver>>) -> (Job, JobView) {
    let job = job.replace("path: input.jsonl", "path: input.jsonl, follow: true, poll: 1ms");
    let job = start_with(folder, &job, (1, 1), JobOptions { observer, ..JobOptions::default() });
    let view = job.view();
    (job, view)
}

/// Ends such a job once all can be seen that comes of events up to this one: fails unless each came to one row.
async fn ended((job, view): (Job, JobView), folder: &Path, last: i64) -> Vec<i64> {
    while marks(folder).last().is_none_or(|(id, _)| *id < last) && !view.has_ended() {
        let _ = view.checkpoint(Last::No).await;
    }
    let _ = view.checkpoint(Last::Stop).await;
    job.wait().await.unwrap();
    let (ids, marks): (Vec<i64>, Vec<i64>) = marks(folder).into_iter().unzip();
    assert_eq!(ids, (0..=last).collect::<Vec<_>>());
    marks
}

fn sums(view: &JobView) -> OperatorVersion {
    view.versions().into_iter().find(|(name, _)| name == "sums").unwrap().1
}

#[test]
fn what_is_asked_for_as_a_version_is_put_back_does_not_bring_it_back() {
    // Maybe with a canary beside what is on trial, which has none of the events.
    let share = Share::from_steps(1).unwrap();
    assert!(!share.has(key_hash(b"u")));
    for (operator, beside) in [("sums", false), ("passed", true)] {
        super::jobs::runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (view, rolled_back) = (OnceLock::new(), Mutex::default());
            let observer = Arc::new(Meddler { operator, view, rolled_back });
            let (job, view) = following(folder.path(), Some(observer.clone())).await;
            observer.view.set(view.clone()).ok().unwrap();
            let tried = ChangeRequest { trial: Some(TRIAL), ..request("sums", Some(r#"{"mark":1,"trap":10}"#)) };
            view.change(view.prepare_change(tried).unwrap()).await.unwrap();
            if beside {
                let change = request("sums", Some("{}"));
                let canary = view.prepare_canary(CanaryRequest { change, share, by: Vec::new() }).unwrap();
                view.change(canary).await.unwrap();
            }
            add(folder.path(), 10..20);
            while view.starts() == 1 && !view.has_ended() {
                tokio::task::yield_now().await;
            }
            let RolledBack { from, to, of_canary, .. } = observer.rolled_back.lock().unwrap().take().unwrap();
            assert_eq!((from.canary.is_some(), of_canary), (beside, false));
            assert_eq!((&to, to.canary.as_ref(), to.configuration.as_str()), (&sums(&view), None, "{}"));
            let marks = ended((job, view), folder.path(), 19).await;
            assert!(marks[10..].iter().all(|mark| *mark == 0), "{marks:?}");
        });
    }
}

#[test]
fn a_job_that_goes_back_to_the_checkpoint_before_the_latest_has_what_was_in_force_there() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, seldom) = (folder.path(), JOB.replace("interval: 20ms", "interval: 1h"));
    super::jobs::runtime().block_on(async {
        let (_job, view) = follow(folder, &seldom, None);
        let change = request("sums", Some(r#"{"mark":1}"#));
        add(folder, 0..1);
        until(&view, "sums", 1).await;
        view.change(view.prepare_change(change).unwrap()).await.unwrap();
        for last in [10, 20] {
            add(folder, last - 9..last + 1);
            until(&view, "sums", last + 1).await;
            view.checkpoint(Last::No).await.unwrap();
        }
    });
    let checkpoints = folder.join("checkpoints");
    let [(_, blobs), (_, others)] = newest(&checkpoints);
    let blob = blobs.keys().find(|name| !others.contains_key(*name)).expect("a blob of its own");
    fs::remove_file(checkpoints.join(blob)).unwrap();
    super::jobs::runtime().block_on(async {
        // Nobody but checkpoints says what is in force.
        let (_job, view) = follow(folder, &seldom, None);
        add(folder, 21..30);
        while marks(folder).last().is_none_or(|(id, _)| *id < 29) && !view.has_ended() {
            let _ = view.checkpoint(Last::No).await;
        }
        assert_eq!((sums(&view).change, sums(&view).configuration.as_str()), (1, r#"{"mark":1}"#));
    });
    let marks = marks(folder);
    assert!(marks.len() >= 30 && marks.iter().all(|(id, mark)| *mark == i64::from(*id > 0)), "{marks:?}");
}

#[test]
fn dead_letters_that_another_version_fails_on_are_undone_and_what_is_in_force_stays() {
    for trial in [None, Some(TRIAL)] {
        super::jobs::runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (job, view) = following(folder.path(), None).await;
            let new = ChangeRequest { trial, ..request("sums", Some(r#"{"mark":1}"#)) };
            view.change(view.prepare_change(new).unwrap()).await.unwrap();
            let letters = vec![Letter { record: r#"{"id":3,"user":"u"}"#.to_owned(), event_time: 3 }];
            let by = request("sums", Some(r#"{"trap":3}"#));
            let replay = view.prepare_replay(ReplayRequest { by, side: InputSide::First, letters }).unwrap();
            let error = view.replay(replay).await.unwrap_err();
            assert!(matches!(error, ChangeError::Undone), "{error}");
            add(folder.path(), 10..20);
            let in_force = sums(&view);
            assert_eq!((in_force.change, in_force.configuration.as_str()), (1, r#"{"mark":1}"#));
            let marks = ended((job, view.clone()), folder.path(), 19).await;
            assert!(marks[10..].iter().all(|mark| *mark == 1), "{marks:?}");
            assert_eq!((view.starts(), sums(&view)), (2, in_force));
        });
    }
}
