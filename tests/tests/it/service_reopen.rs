//! What a server finds that another has left when it crashed: what was asked for is so, and what stands in the way of a job is waited for. Must
//! not know how requests come in.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use wasmill::service::{Desired, State, Stop};

use super::{
    process::Folder,
    service::{Server, half_fed, text},
};

/// A server with a job that runs, with this in its text in place of `50ms`, the interval of its checkpoints; and where it has them.
fn running(directory: &Path, folder: &Folder, interval: &str) -> (Server, String, PathBuf) {
    let server = Server::open(directory);
    let text = text(folder, "fraud", true).replace("50ms", interval);
    let id = server.submit(&format!("{text}restart: {{ fixed_delay: {{ attempts: 1000000, delay: 10ms }} }}\n"));
    server.until(&id, State::Running);
    let checkpoints = directory.join("jobs").join(&id).join("checkpoints");
    (server, id, checkpoints)
}

#[test]
fn a_job_that_was_being_cancelled_is_cancelled() {
    let (directory, (folder, _)) = (tempfile::tempdir().unwrap(), half_fed(11));
    let (server, id, checkpoints) = running(directory.path(), &folder, "50ms, on_cancel: delete");
    server.run(server.jobs.checkpoint(&id)).unwrap();
    server.crash();
    // As far as it had come.
    let path = directory.path().join("jobs").join(&id).join("record.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (record["state"], record["desired"]) = (json!("cancelling"), json!("ended"));
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    let manifests = checkpoints.join("manifests");
    assert!(manifests.read_dir().unwrap().next().is_some());
    for _ in 0..2 {
        let server = Server::open(directory.path());
        assert_eq!(server.jobs.get(&id).unwrap().state, State::Cancelled);
        assert!(!manifests.exists() || manifests.read_dir().unwrap().next().is_none());
        let record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&record["state"], &record["desired"]), (&json!("cancelled"), &json!("ended")));
    }
}

#[test]
fn a_disk_that_comes_late_is_waited_for() {
    let (directory, (folder, _)) = (tempfile::tempdir().unwrap(), half_fed(12));
    let (server, id, checkpoints) = running(directory.path(), &folder, "50ms");
    server.run(server.jobs.checkpoint(&id)).unwrap();
    server.crash();
    let away = directory.path().join("away");
    fs::rename(&checkpoints, &away).unwrap();
    fs::write(&checkpoints, "no folder").unwrap();
    let server = Server::open(directory.path());
    let job = server.run(async {
        loop {
            let job = server.jobs.get(&id).unwrap();
            if job.error.is_some() {
                return job;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!((job.state, job.code.as_deref()), (State::Starting, Some("V0114")));
    fs::remove_file(&checkpoints).unwrap();
    fs::rename(&away, &checkpoints).unwrap();
    assert_eq!(server.until(&id, State::Running).error, None);
}

#[test]
fn a_job_that_could_not_stop_runs_on() {
    let (directory, (folder, _)) = (tempfile::tempdir().unwrap(), half_fed(13));
    let (server, id, checkpoints) = running(directory.path(), &folder, "1h");
    fs::remove_dir_all(&checkpoints).unwrap();
    fs::write(&checkpoints, "no folder").unwrap();
    let error = server.run(server.jobs.stop(&id, Stop::default())).unwrap_err();
    assert_eq!(error.code(), "V0107", "{error}");
    server.crash();
    fs::remove_file(&checkpoints).unwrap();
    let server = Server::open(directory.path());
    assert_eq!(server.until(&id, State::Running).desired, Desired::Running);
}
