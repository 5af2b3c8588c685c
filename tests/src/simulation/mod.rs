//! Whole jobs on a simulated machine: clock, order of execution, storage and the outside follow from a seed, and so do the crashes, and runs that take a job over from one that goes on.
//! Guarantees: a seed that fails once fails again. What holds: the output is that of a sequential program, nothing is lost or doubled,
//! and event time never goes back within a start.
pub mod case;
mod executor;
mod world;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio_util::sync::CancellationToken;
use wasmill::{
    checkpoint::StoreError,
    control::{AllHere, Job, JobOptions, JobReport, JobView, LocalPlugins, Prepared, RunError, prepare},
    dataflow::{Environment, MemoryExchanges, Spawner},
    job,
    plugin::PluginEngine,
};

use crate::guests;

use self::{
    case::{CASES, Case},
    executor::{Simulator, Stuck},
    world::{SimulatedSink, SimulatedSource, SimulatedStore, Weather},
};

/// Parts of the simulated source.
const SPLITS: usize = 4;

/// Starts of the process after which a simulated job is left alone until its end.
const CRASHES_MAX: u32 = 6;

/// Once in so many times, a process is not killed: another starts beside it.
const TAKEOVER_ODDS: u32 = 4;

/// What simulations share: the engine, and where each case's component is, by its plugin's name.
pub struct Guests {
    /// Compiles each once.
    pub engine: PluginEngine,
    /// By plugin.
    pub components: BTreeMap<&'static str, PathBuf>,
}

/// Stack that a thread needs which runs simulations: guests have theirs on it.
pub const STACK_BYTES: usize = 4 << 20;

/// Builds what the cases need, or takes what was built before.
pub fn guests() -> Guests {
    let engine = PluginEngine::new(Some(guests::compiled())).unwrap_or_else(|error| panic!("{error}"));
    let component = |case: &Case| {
        let folder = guests::root().join("plugins").join(case.plugin);
        (case.plugin, guests::rust_plugin(&folder))
    };
    Guests { engine, components: CASES.iter().map(component).collect() }
}

/// What a simulation went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Experience {
    /// Times the process was killed.
    pub crashes: u32,
    /// Times another process took over while one ran.
    pub takeovers: u32,
    /// Checkpoints completed in all its lives.
    pub checkpoints: usize,
    /// How long it took, in simulated time.
    pub simulated: Duration,
    /// Lines of output.
    pub lines: usize,
}

struct Simulation<'a> {
    guests: &'a Guests,
    case: &'a Case,
    random: Rng,
    simulator: Simulator,
    source: SimulatedSource,
    sink: SimulatedSink,
    store: Arc<SimulatedStore>,
    settings: String,
}

/// Runs what the seed says; the error says what does not hold.
pub fn run(seed: u64, guests: &Guests) -> Result<Experience, String> {
    let mut random = Rng::with_seed(seed);
    let case = &CASES[random.usize(..CASES.len())];
    let simulator = Simulator::default();
    let weather = Weather::new(&simulator, &mut random);
    let mut splits = vec![Vec::new(); SPLITS];
    (case.events)(&mut random, &mut splits);
    let expected = (case.expected)(&splits);
    let (interval, concurrent) = (random.u32(10..300), random.u32(1..4));
    let settings = format!(
        "checkpoints: {{ directory: unused, interval: {interval}ms, timeout: 20s, max_concurrent: {concurrent}, \
         tolerable_failures: 1000 }}\nrestart: {{ fixed_delay: {{ attempts: 100000, delay: 10ms }} }}\nbatch: {{ records: {}, flush: 2ms }}",
        random.usize(1..20)
    );
    let mut simulation = Simulation {
        guests,
        case,
        simulator,
        source: SimulatedSource { splits: Arc::new(splits), weather: weather.clone() },
        sink: SimulatedSink::new(weather.clone()),
        store: Arc::new(SimulatedStore::new(weather)),
        settings,
        random,
    };
    let experience = simulation.live().map_err(|what| format!("{} ({}): {what}", case.name, simulation.settings))?;
    let found = simulation.sink.visible();
    if found != expected {
        return Err(format!("{}: {}", case.name, difference(&found, &expected)));
    }
    match simulation.sink.prepared() {
        0 => Ok(Experience { lines: found.len(), ..experience }),
        left => Err(format!("{}: {left} transactions were left open", case.name)),
    }
}

fn difference(found: &[String], expected: &[String]) -> String {
    let count = |lines: &[String]| {
        lines.iter().fold(BTreeMap::new(), |mut counts: BTreeMap<String, i64>, line| {
            *counts.entry(line.clone()).or_default() += 1;
            counts
        })
    };
    let (found, expected) = (count(found), count(expected));
    let more = |these: &BTreeMap<String, i64>, those: &BTreeMap<String, i64>| {
        let more = these.iter().filter(|(line, count)| those.get(*line).is_none_or(|other| *count > other));
        more.map(|(line, count)| format!("{count} x {line}")).take(5).collect::<Vec<_>>().join("\n  ")
    };
    format!("too many:\n  {}\ntoo few:\n  {}", more(&found, &expected), more(&expected, &found))
}

type Outcome = Arc<Mutex<Option<Result<JobReport, RunError>>>>;

impl Simulation<'_> {
    /// Starts the job again and again, with this or that parallelism, until it has ended.
    fn live(&mut self) -> Result<Experience, String> {
        let mut experience = Experience::default();
        let mut taken_over: Vec<Outcome> = Vec::new();
        loop {
            let parallelism = [1, 2, 3, 4][self.random.usize(..4)];
            let prepared = self.prepare(parallelism).map_err(|error| error.to_string())?;
            let crash_after = (experience.crashes + experience.takeovers < CRASHES_MAX).then(|| {
                let most = [60, 600, 6000][self.random.usize(..3)];
                self.random.u64(1..most)
            });
            let (job, outcome) = self.start(prepared);
            let ended = self.watch(&job, &outcome, crash_after)?;
            experience.checkpoints += job.checkpoints().costs().len();
            experience.simulated = self.simulator.now();
            match ended {
                true => {
                    let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
                    self.simulator.crash();
                    for other in taken_over {
                        match other.lock().unwrap_or_else(PoisonError::into_inner).take() {
                            Some(Err(error)) if !matches!(error, RunError::Store(StoreError::Fenced { .. })) => {
                                return Err(format!("a run that was taken over failed otherwise: {error}"));
                            }
                            _ => {}
                        }
                    }
                    return match outcome {
                        Some(Ok(_)) => Ok(experience),
                        Some(Err(error)) => Err(format!("the job failed: {error}")),
                        None => Err("the job has ended without an outcome".into()),
                    };
                }
                // One that has not started yet would take over itself.
                false if job.starts() > 0 && self.random.u32(..TAKEOVER_ODDS) == 0 => {
                    experience.takeovers += 1;
                    taken_over.push(outcome);
                }
                false => {
                    experience.crashes += 1;
                    self.simulator.crash();
                }
            }
        }
    }

    fn prepare(&self, parallelism: u32) -> Result<Arc<Prepared>, RunError> {
        let Case { operator, source, plugin, .. } = self.case;
        let text = format!(
            "name: simulated\nparallelism: {parallelism}\n{}\nsources:\n  events: {{ stdin: {{}}, delivery: at_most_once, format: json, {source} }}\n\
             operators:\n  work: {{ input: events, {operator} }}\nsinks:\n  out: {{ input: work, discard: {{}} }}\n",
            self.settings
        );
        let component = self.guests.components[plugin].display().to_string();
        let variable = |_: &str| Some(component.clone());
        let mut spec = job::parse(&text, "simulated.yaml", &variable, std::path::Path::new(""))?;
        spec.sources["events"].connector = Arc::new(self.source.clone());
        spec.sinks["out"].connector = Arc::new(self.sink.clone());
        Ok(Arc::new(prepare(spec, &LocalPlugins::new(&self.guests.engine, false))?))
    }

    fn start(&mut self, prepared: Arc<Prepared>) -> (JobView, Outcome) {
        let environment = Environment {
            clock: Arc::new(self.simulator.clone()),
            seed: self.random.u64(..),
            exchanges: Arc::new(MemoryExchanges),
            spawner: Arc::new(self.simulator.clone()),
        };
        let options = JobOptions { checkpoints: Some(self.store.clone()), ..JobOptions::default() };
        let job = Job::start(prepared, environment, Arc::new(AllHere), options, CancellationToken::new());
        let view = job.view();
        let outcome = Outcome::default();
        let ended = outcome.clone();
        let waiting = self.simulator.spawn(
            "wait",
            Box::pin(async move {
                let result = job.wait().await;
                *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            }),
        );
        // It runs until it ends or the machine crashes.
        std::mem::forget(waiting);
        (view, outcome)
    }

    /// Runs until the job has ended (true) or it is time to crash (false).
    fn watch(&mut self, job: &JobView, outcome: &Outcome, crash_after: Option<u64>) -> Result<bool, String> {
        let mut steps = 0;
        let mut watermarks: BTreeMap<(u64, String), i64> = BTreeMap::new();
        let mut fault = None;
        let ended = AtomicBool::new(false);
        let result = self.simulator.run_until(&mut self.random, || {
            steps += 1;
            ended.store(outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some(), Relaxed);
            if steps % 64 == 0 {
                for node in job.nodes() {
                    let Some(watermark) = node.watermark else { continue };
                    let known = watermarks.entry((job.starts(), node.name.clone())).or_insert(watermark);
                    if watermark < *known {
                        fault = Some(format!("the watermark of {} went back from {known} to {watermark}", node.name));
                    }
                    *known = watermark;
                }
            }
            ended.load(Relaxed) || fault.is_some() || crash_after.is_some_and(|after| steps > after)
        });
        match (result, fault) {
            (Err(Stuck), _) => Err(format!(
                "the job is stuck after {steps} steps, {} starts, {} checkpoints, {:?}",
                job.starts(),
                job.checkpoints().costs().len(),
                self.simulator.now()
            )),
            (Ok(()), Some(fault)) => Err(fault),
            (Ok(()), None) => Ok(ended.load(Relaxed)),
        }
    }
}
