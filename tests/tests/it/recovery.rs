//! The golden cases again, killed at random moments, restored, and spread over other numbers of subtasks on the way (1, 3, 2): on
//! either backend the output is the same as that of a run nobody disturbed.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use wasmill::{
    checkpoint::LocalStore,
    control::{AllHere, Job, JobOptions, LocalPlugins, RunError, prepare},
    job,
};
use wasmill_tests::gate::{Gate, GateStore, Gated};

use super::{golden, jobs};

/// The parallelism of each life of a job; the last lives to the end.
const LIVES: [u32; 3] = [1, 3, 2];
/// Runs a case through all its lives.
fn live(case: &Path, rocksdb: bool, seed: u64, out: &Path) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let store = out.join("checkpoints");
    let mut text = std::fs::read_to_string(case.join("job.yaml")).map_err(|error| error.to_string())?;
    text += &format!("\ncheckpoints: {{ directory: '{}', interval: 1s }}\nrestart: none\n", store.display());
    if rocksdb {
        text += &format!("state: {{ backend: rocksdb, directory: '{}' }}\n", out.join("state").display());
    }
    for (life, parallelism) in LIVES.into_iter().enumerate() {
        let variables = golden::variables(&text, parallelism, &out.join("out"), &jobs::plugin("word-count"));
        let mut spec = job::parse(&text, "job.yaml", &|name| variables.get(name).cloned(), case)
            .map_err(|error| error.to_string())?;
        // As soon as may be.
        if let Some(checkpoints) = &mut spec.checkpoints {
            checkpoints.interval = Some(Duration::from_millis(1));
        }
        let gate = Arc::new(Gate::default());
        for source in spec.sources.values_mut() {
            let inner = std::mem::replace(&mut source.connector, Arc::new(wasmill_tests::gate::Nothing));
            source.connector = Arc::new(Gated { inner, gate: gate.clone(), records: random.usize(1..4) });
        }
        let prepared =
            Arc::new(prepare(spec, &LocalPlugins::new(jobs::engine(), false)).map_err(|error| error.to_string())?);
        let last = life + 1 == LIVES.len();
        let kill_after = (!last).then(|| random.usize(1..6));
        jobs::runtime().block_on(async {
            let checkpoints = LocalStore::open(&store).map_err(|error| error.to_string())?;
            let checkpoints = GateStore { inner: checkpoints, gate: gate.clone() };
            let options = JobOptions { checkpoints: Some(Arc::new(checkpoints)), ..JobOptions::default() };
            let job = Job::start(prepared, jobs::environment(), Arc::new(AllHere), options, CancellationToken::new());
            let killed = async {
                match kill_after {
                    Some(portions) => gate.given(portions).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = job.wait() => ended.map(|_| ()).map_err(|error: RunError| error.to_string()),
                // The job is dropped where it is.
                () = killed => Ok(()),
            }
        })?;
    }
    Ok(())
}

fn check(case: &Path, rocksdb: bool, seed: u64) -> Result<(), String> {
    let out = tempfile::tempdir().map_err(|error| error.to_string())?;
    live(case, rocksdb, seed, out.path())?;
    golden::compare(case, &out.path().join("out"))
}

/// Cases with an outcome and a source that can be read again.
fn cases() -> Vec<PathBuf> {
    let replayable = |case: &PathBuf| !case.join("error.txt").exists() && !case.join("once").exists();
    golden::cases().into_iter().filter(replayable).collect()
}

fn check_all(rocksdb: bool, seeds: std::ops::Range<u64>) {
    let mut failures = Vec::new();
    for case in cases() {
        for seed in seeds.clone() {
            if let Err(what) = check(&case, rocksdb, seed) {
                failures.push(format!("{} with seed {seed}: {what}", case.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn killed_restored_and_rescaled_every_case_is_right_in_memory() {
    check_all(false, 0..2);
}

#[test]
fn killed_restored_and_rescaled_every_case_is_right_on_rocksdb() {
    check_all(true, 2..3);
}
