//! A version on trial that is slow: put back by itself if there is a bound it does not keep, and in force otherwise.
use std::time::Duration;

use wasmill::{
    control::{ChangeRequest, TrialSpec},
    model::{OperatorKind, OperatorVersion},
};

use super::canaries::{JOB, feed, marked, start, until};

/// Takes longer for an event than 100 us on any machine.
const SLOW: &str = r#"{"dawdle":2000000}"#;
const SLOW_AND_NEW: &str = r#"{"dawdle":2000000,"mark":1}"#;

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
    let (operator, configuration) = ("passed".to_owned(), Some(SLOW_AND_NEW.to_owned()));
    let time = Duration::from_secs(600);
    let trial = Some(TrialSpec { time, with_state: false, rejected_max: None, record_time_max: Some(max) });
    let request = ChangeRequest { operator, kind: None, plugin: None, configuration, trial, force: Vec::new() };
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
