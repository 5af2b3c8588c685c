//! Runs whole jobs in this process, with the real engine. Guarantees: relative paths are the job's folder's, variables come
//! from the test alone. Must not know what a job is to put out.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, OnceLock},
};

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use wasmill::{
    control::{
        AllHere, Job, JobOptions, JobReport, LocalPlugins, NodeReport, Prepared, RunError, data_runtime, prepare,
    },
    dataflow::{Environment, MemoryExchanges, TokioSpawner},
    job,
    model::SystemClock,
    plugin::PluginEngine,
};
use wasmill_tests::guests;

/// Variables of a job file.
pub type Variables = BTreeMap<&'static str, String>;

/// One engine for all tests of this process, with the cache all test processes share.
pub fn engine() -> &'static PluginEngine {
    static ENGINE: OnceLock<PluginEngine> = OnceLock::new();
    ENGINE.get_or_init(|| PluginEngine::new(Some(guests::compiled())).unwrap_or_else(|error| panic!("{error}")))
}

/// The plugin of `plugins/NAME`, built.
pub fn plugin(name: &str) -> String {
    guests::rust_plugin(&guests::root().join("plugins").join(name)).display().to_string()
}

/// The guest in C that does what no operator should.
pub fn misbehaving() -> String {
    guests::c("misbehaving-c").display().to_string()
}

/// Everything up to the start.
pub fn prepared(text: &str, base: &Path, variables: &Variables) -> Result<Arc<Prepared>, RunError> {
    let spec = job::parse(text, "job.yaml", &|name| variables.get(name).cloned(), base)?;
    Ok(Arc::new(prepare(spec, &LocalPlugins::new(engine(), false))?))
}

/// What a test's jobs see of the world.
pub fn environment() -> Environment {
    Environment {
        clock: Arc::new(SystemClock::new()),
        seed: 0,
        exchanges: Arc::new(MemoryExchanges),
        spawner: Arc::new(TokioSpawner),
    }
}

/// The data path's threads.
pub fn runtime() -> Runtime {
    data_runtime().expect("threads of the data path")
}

/// Starts a job on the current runtime.
pub fn start(prepared: Arc<Prepared>, stop: &CancellationToken) -> Job {
    Job::start(prepared, environment(), Arc::new(AllHere), JobOptions::default(), stop.clone())
}

/// Runs a job to its end.
pub fn run(text: &str, base: &Path, variables: &Variables) -> Result<JobReport, RunError> {
    let prepared = prepared(text, base, variables)?;
    runtime().block_on(async { start(prepared, &CancellationToken::new()).wait().await })
}

/// What one node has done.
pub fn node<'a>(nodes: &'a [NodeReport], name: &str) -> &'a NodeReport {
    nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node `{name}` in {nodes:?}"))
}

/// All lines a file sink has written below `directory`, sorted; none if it wrote nothing.
pub fn lines(directory: &Path) -> Vec<String> {
    let Ok(entries) = directory.read_dir() else { return Vec::new() };
    let mut lines = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        assert!(!path.to_string_lossy().ends_with(".inprogress"), "{} was left behind", path.display());
        lines.extend(std::fs::read_to_string(&path).expect("a part").lines().map(str::to_owned));
    }
    lines.sort();
    lines
}
