//! A running job, over all its starts: told to stop, asked for savepoints, waited for, looked at.
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    runtime::Runtime,
    sync::{MutexGuard, mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    CanaryReport, CanaryRequest, CanaryStep, ChangeError, ChangeRequest, Changed, CheckpointCounts, JobOptions,
    JobReport, MetricReport, NodeReport, Placement, Prepared, ReadyChange, ReadyShadow, RuleRequest, RulesReport,
    RunError, ShadowReport, ShadowRequest, TakenBack, TrialSpec,
    canary::{ready_canary, ready_step, reports},
    change::{all_versions, ready},
    in_force::InForce,
    migration::{Rehearsing, all_migrate},
    rules::{RuleCounts, ready_rule, reports as rule_reports},
    shadow::{Shadows, discard, ready_shadow},
    supervise::Supervisor,
};
use crate::{
    dataflow::{Changes, Environment, Last, LatencyHistogram, NodeMetrics, Offer, Place, Spawned},
    model::{Description, OperatorKind, OperatorVersion},
    plugin::{GUEST_STACK_BYTES_MAX, Plugin},
    state::{StateBackend, StateMigration},
};

/// Stack the host's own code may use below a guest's.
const HOST_STACK_BYTES_MAX: usize = 1 << 20;

/// Checkpoints and savepoints asked for that nobody has begun yet; whoever asks for one more waits.
const COMMANDS_MAX: usize = 16;

/// The threads of the data path: as many as there are processors, each with room for a guest's stack. Nothing else may run
/// there, since guests keep them busy.
pub fn data_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("data")
        .thread_stack_size(GUEST_STACK_BYTES_MAX + HOST_STACK_BYTES_MAX)
        .enable_all()
        .build()
}

/// What a running job is asked for.
pub(super) enum Command {
    /// A savepoint.
    Savepoint {
        /// The directory.
        directory: PathBuf,
        /// Whether the job ends with it.
        last: Last,
        /// Whether it is done.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// A checkpoint.
    Checkpoint {
        /// Whether the job ends with it.
        last: Last,
        /// Which it was, once it is durable.
        done: oneshot::Sender<Result<u64, String>>,
    },
    /// A barrier at which stages take what is laid ready for them.
    Change {
        /// What runs, for which it was laid ready.
        base: Arc<Prepared>,
        /// The number of the offers.
        offer: u64,
        purpose: Purpose,
        /// Told the barrier's number once all have taken it; dropped if it does not come to that.
        done: oneshot::Sender<u64>,
    },
    /// The end of this run, and what was before a version on trial.
    TakeBack(TakenBack),
}

/// What stages do as the barrier of a change passes them.
pub(super) enum Purpose {
    /// What cannot fail the job: copies of state are made, shadows begin and end.
    Watch,
    /// An operator, by name, is given rows again, by what may be another version than this one, which is in force.
    Replay(String, Box<OperatorVersion>),
    /// Another version comes into force.
    PutInForce(Box<NewVersion>),
}

/// What a change puts in force.
pub(super) struct NewVersion {
    pub(super) version: OperatorVersion,
    /// The job with it.
    pub(super) prepared: Arc<Prepared>,
    /// What was in force before.
    pub(super) from: OperatorVersion,
    /// The operator or sink, by name.
    pub(super) operator: String,
    pub(super) trial: Option<TrialSpec>,
}

/// What all starts of a job share, to be looked at from outside.
pub(super) struct Shared {
    pub(super) prepared: Arc<Prepared>,
    pub(super) in_force: InForce,
    pub(super) changes: Arc<Changes>,
    pub(super) shadows: Shadows,
    pub(super) environment: Environment,
    /// Where the job keeps state, while it runs.
    backend: Mutex<Option<StateBackend>>,
    /// Of the last offers.
    offers: AtomicU64,
    /// Changes are made one after the other.
    pub(super) changing: tokio::sync::Mutex<()>,
    /// False from a failure until the next start knows what it runs.
    pub(super) running: watch::Sender<bool>,
    /// The latest complete checkpoint of a start: which start, and the checkpoint.
    complete: Mutex<(u64, u64)>,
    pub(super) rule_counts: RuleCounts,
    /// Per node and subtask.
    pub(super) metrics: Vec<Vec<Arc<NodeMetrics>>>,
    pub(super) latency: Arc<LatencyHistogram>,
    pub(super) checkpoints: CheckpointCounts,
    pub(super) starts: AtomicU64,
}

/// A running job.
pub struct Job {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    done: oneshot::Receiver<Result<JobReport, RunError>>,
    _running: Spawned,
}

/// Looks at a running job. Cheap to clone.
#[derive(Clone)]
pub struct JobView {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
}

impl JobView {
    /// What each node has done so far, in the order of the plan; what was done again after a failure counts again.
    pub fn nodes(&self) -> Vec<NodeReport> {
        self.shared.nodes()
    }

    /// What each rule has done so far, in the order of the plan and of its operator's rules; its name is that in the job.
    pub fn rule_counts(&self) -> Vec<NodeReport> {
        let plan = &self.shared.in_force.prepared().plan;
        let rules = plan.nodes.iter().flat_map(|node| node.rules().filter_map(|rule| node.rule(rule)));
        rules.map(|rule| NodeReport::of(&rule.name, &self.shared.all_counts_of(&rule), &[])).collect()
    }

    /// What operators, rules and sinks have measured so far: metrics that their plugins declare.
    pub fn measured(&self) -> Vec<MetricReport> {
        self.shared.measured()
    }

    /// How many times the job has been started.
    pub fn starts(&self) -> u64 {
        self.shared.starts.load(Relaxed)
    }

    /// What checkpoints have cost so far.
    pub fn checkpoints(&self) -> &CheckpointCounts {
        &self.shared.checkpoints
    }

    /// Takes a savepoint into a directory, and ends the job with it if asked to; its windows stay open. Fails with what is wrong.
    pub async fn savepoint(&self, directory: PathBuf, stop: bool) -> Result<(), String> {
        self.end_with_savepoint(directory, if stop { Last::Stop } else { Last::No }).await
    }

    /// The same, with a choice of how the job ends. Fails as well if the job fails meanwhile; it may then start again and go on.
    pub async fn end_with_savepoint(&self, directory: PathBuf, last: Last) -> Result<(), String> {
        self.ask(|done| Command::Savepoint { directory, last, done }).await
    }

    /// Takes a checkpoint now, and ends the job with it if asked to. Its number, once it is durable; fails with what is wrong, and if
    /// the job keeps no checkpoints and does not end.
    pub async fn checkpoint(&self, last: Last) -> Result<u64, String> {
        self.ask(|done| Command::Checkpoint { last, done }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command) -> Result<T, String> {
        let (done, wait) = oneshot::channel();
        let gone = || "the job has ended, or failed meanwhile".to_owned();
        self.commands.send(command(done)).await.map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }

    /// Whether it has ended, well or not.
    pub fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// What every operator and sink with plugins runs now, by its name. The change of a version is 0 if it is what the job file says.
    pub fn versions(&self) -> Vec<(String, OperatorVersion)> {
        all_versions(&self.shared)
    }

    /// What a plugin says of itself where this operator or sink, by name, runs it; that it runs now if none is given.
    pub fn description(&self, operator: &str, kind: OperatorKind, plugin: Option<&Plugin>) -> Option<Description> {
        let prepared = self.shared.in_force.prepared();
        let now = prepared.plugins.get(&(operator.to_owned(), kind)).map(|bound| &*bound.plugin);
        plugin.or(now)?.description(kind).cloned()
    }

    /// Checks a change of a plugin or its configuration, and makes everything ready for it while the job runs on. Blocks as long as the
    /// plugin takes to be configured in every subtask.
    pub fn prepare_change(&self, request: ChangeRequest) -> Result<ReadyChange, ChangeError> {
        ready(&self.shared, request)
    }

    /// Checks that a rule can be added or removed, and makes everything ready for it; [`change`](JobView::change) then does it. Blocks as long as
    /// the plugin takes to be configured.
    pub fn prepare_rule(&self, request: RuleRequest) -> Result<ReadyChange, ChangeError> {
        ready_rule(&self.shared, request)
    }

    /// The rules of an operator, by name or uid.
    pub fn rules(&self, operator: &str) -> Result<RulesReport, ChangeError> {
        rule_reports(&self.shared, operator)
    }

    /// The job as it runs now.
    pub fn prepared(&self) -> Arc<Prepared> {
        self.shared.in_force.prepared()
    }

    /// What is in force in place of what the job file says, and which rules are not there any more.
    pub fn in_force(&self) -> Vec<OperatorVersion> {
        self.shared.in_force.versions()
    }

    /// Makes a change: every record before a barrier has seen the old plugin, and every one after it the new, in all subtasks. State, timers
    /// and windows stay. When this returns the change is in force, and part of every checkpoint from then on; should the job fail before the
    /// next is complete, it starts again with the change in force from where it starts.
    /// Where state has to be migrated, that is tried first with a copy of it, while the old plugin works on; then done at the barrier itself.
    pub async fn change(&self, mut ready: ReadyChange) -> Result<Changed, ChangeError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        self.is_current(&ready.base)?;
        if ready.to.canary.is_some() && self.shared.shadows.has(&ready.operator) {
            return Err(ChangeError::HasShadow(ready.operator));
        }
        if let Some(rehearsing) = ready.rehearsing.take_if(|_| ready.migrates) {
            all_migrate(&self.rehearse(&ready.base, rehearsing).await?, &ready.operator, &ready.to.plugin)?;
        }
        let ReadyChange { base, prepared, operator, from, to, trial, offers, .. } = ready;
        let name = operator.clone();
        let new = NewVersion { version: to.clone(), prepared, from: from.clone(), operator, trial };
        self.pass(&base, offers, Purpose::PutInForce(Box::new(new))).await?;
        self.shared.shadows.end(&name);
        self.shared.settle_rules();
        Ok(Changed { from, to })
    }

    /// What taking over the state would come to for this change, state by state; nothing where states are the same. Changes nothing. A copy of
    /// the state is made at a barrier, for which the operator's tasks stand still.
    pub async fn rehearse_change(&self, ready: ReadyChange) -> Result<Vec<StateMigration>, ChangeError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        self.is_current(&ready.base)?;
        match ready.rehearsing {
            Some(rehearsing) => self.rehearse(&ready.base, rehearsing).await,
            None => Ok(Vec::new()),
        }
    }

    async fn rehearse(&self, base: &Arc<Prepared>, rehearsing: Rehearsing) -> Result<Vec<StateMigration>, ChangeError> {
        let copies = Arc::default();
        self.pass(base, rehearsing.offers(&copies), Purpose::Watch).await?;
        let counted = tokio::task::spawn_blocking(move || rehearsing.count(&copies)).await;
        // Nobody aborts it, and there is nothing left to be told if the process ends.
        counted.unwrap_or(Err(ChangeError::Ended))
    }

    pub(super) fn is_current(&self, base: &Arc<Prepared>) -> Result<(), ChangeError> {
        let current = self.shared.in_force.prepared();
        if Arc::ptr_eq(base, &current) { Ok(()) } else { Err(ChangeError::Overtaken) }
    }

    /// Checks a version to be tried beside that in force as a change is checked. Blocks as long as the plugin takes to be configured.
    pub fn prepare_shadow(&self, request: ShadowRequest) -> Result<ReadyShadow, ChangeError> {
        ready_shadow(&self.shared, request)
    }

    /// Tries another version beside that in force, from a barrier on: it sees the same rows, with a copy of the state there is, and what it
    /// emits is compared and thrown away. One there was before ends. Copying state takes as long as a savepoint of the operator and a start
    /// from it, for which its tasks stand still. A shadow ends with a change of its operator, and with a failure of the job.
    pub async fn shadow(&self, mut ready: ReadyShadow) -> Result<ShadowReport, ChangeError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        if self.prepared().canary(&ready.operator).is_some() {
            return Err(ChangeError::HasCanary(ready.operator));
        }
        self.is_current(&ready.base)?;
        // It is known before the barrier is out, so that a start after that ends it.
        ready.begins(&self.shared.shadows);
        let offers = std::mem::take(&mut ready.offers);
        let passed = self.pass(&ready.base, offers, Purpose::Watch).await;
        passed.inspect_err(|_| self.shared.shadows.end(&ready.operator))?;
        Ok(ready.report())
    }

    /// What is tried beside what is in force, and what came of it so far.
    pub fn shadows(&self) -> Vec<ShadowReport> {
        self.shared.shadows.reports()
    }

    /// What makes the shadow of an operator, by name or uid, the version in force, with the state of that.
    pub fn promotion(&self, operator: &str) -> Result<ChangeRequest, ChangeError> {
        self.shared.shadows.promotion(operator).ok_or_else(|| ChangeError::NoShadow(operator.to_owned()))
    }

    /// Ends the shadow of an operator, by name or uid.
    pub async fn discard(&self, operator: &str) -> Result<(), ChangeError> {
        let _one_at_a_time = self.shared.changing.lock().await;
        let base = self.prepared();
        let (name, offers) = discard(&self.shared, &base, operator)?;
        self.pass(&base, offers, Purpose::Watch).await?;
        self.shared.shadows.end(&name);
        Ok(())
    }

    /// Checks a version for a share of an operator's keys as a change is checked, and makes everything ready for it; [`change`](Self::change)
    /// then has it begin at a barrier. From then on each key is processed by one of the two, with the one state it has, until the canary is
    /// promoted or discarded; if it fails the job, it ends, and the job starts again at once. Blocks as long as the plugin takes to be
    /// configured in every subtask.
    pub fn prepare_canary(&self, request: CanaryRequest) -> Result<ReadyChange, ChangeError> {
        ready_canary(&self.shared, request)
    }

    /// Makes ready what is to become of the canary of an operator, by name or uid, at the barrier of [`change`](Self::change).
    pub fn prepare_step(&self, operator: &str, step: CanaryStep) -> Result<ReadyChange, ChangeError> {
        ready_step(&self.shared, operator, step)
    }

    /// All canaries, and what has come of them so far.
    pub fn canaries(&self) -> Vec<CanaryReport> {
        reports(&self.shared)
    }

    /// Whether no checkpoint is taken for now, lest a version on trial cannot be undone with its state.
    pub fn holds_checkpoints(&self) -> bool {
        self.shared.in_force.trials().hold_checkpoints(self.shared.environment.clock.monotonic())
    }

    /// Has the barrier of these offers, laid ready for the job as it runs with `base`, pass all tasks.
    pub(super) async fn pass(
        &self,
        base: &Arc<Prepared>,
        offers: Vec<(Place, Offer)>,
        purpose: Purpose,
    ) -> Result<u64, ChangeError> {
        let changes = &self.shared.changes;
        let number = self.shared.offers.fetch_add(1, Relaxed) + 1;
        for (place, offer) in offers {
            changes.offer(number, place, offer);
        }
        let (done, wait) = oneshot::channel();
        let command = Command::Change { base: base.clone(), offer: number, purpose, done };
        // What the next start runs is something else, so that it does not take this.
        let made = self.while_running(async {
            self.commands.send(command).await.ok()?;
            wait.await.ok()
        });
        let made = made.await;
        changes.withdraw(number);
        made.ok_or(ChangeError::Ended)
    }

    /// What comes of work that needs the job to run; `None` once it has failed.
    pub(super) async fn while_running<T>(&self, work: impl Future<Output = Option<T>>) -> Option<T> {
        let mut running = self.shared.running.subscribe();
        if !*running.borrow() {
            return None;
        }
        tokio::select! {
            biased;
            done = work => done,
            _ = running.wait_for(|running| !running) => None,
        }
    }

    /// Waits for the change that is being made, if one is; no other is made as long as what this gives is there.
    pub async fn unchanged(&self) -> MutexGuard<'_, ()> {
        self.shared.changing.lock().await
    }
}

impl Shared {
    /// A checkpoint of the latest start is complete.
    pub(super) fn set_complete(&self, checkpoint: u64) {
        *self.complete.lock().unwrap_or_else(PoisonError::into_inner) = (self.starts.load(Relaxed), checkpoint);
    }

    /// Whether a start has had a complete checkpoint after a barrier of this number, as far as that is known: not after the next has one.
    pub(super) fn has_complete(&self, start: u64, barrier: u64) -> bool {
        let (of, checkpoint) = *self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        of == start && checkpoint > barrier
    }

    /// Where the job keeps state; nothing unless it runs.
    pub(super) fn backend(&self) -> Option<StateBackend> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_backend(&self, backend: Option<StateBackend>) {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = backend;
    }

    fn nodes(&self) -> Vec<NodeReport> {
        let nodes = self.prepared.plan.nodes.iter().zip(&self.metrics);
        nodes
            .map(|(node, subtasks)| NodeReport::of(&node.name, subtasks, &self.rule_counts.of_all(&node.uid)))
            .collect()
    }

    pub(super) fn report(&self, elapsed: std::time::Duration, stopped: bool) -> JobReport {
        let latency = LatencyHistogram::default();
        latency.merge(&self.latency);
        let sinks = self.prepared.spec.sinks.iter().filter_map(|(name, sink)| {
            Some(super::SinkReport { name: name.clone(), summary: sink.connector.summary()? })
        });
        let checkpoints = self.checkpoints.clone();
        JobReport { nodes: self.nodes(), sinks: sinks.collect(), latency, elapsed, stopped, checkpoints }
    }
}

impl Job {
    /// Starts all of a job's subtasks that run here, from what `options` says, and starts them again after failures as the job's
    /// restart strategy says. Cancelling `stop` ends it in order: sources stop reading, what was read is processed and written,
    /// windows stay open, and a last checkpoint is taken.
    pub fn start(
        prepared: Arc<Prepared>,
        environment: Environment,
        placement: Arc<dyn Placement>,
        options: JobOptions,
        stop: CancellationToken,
    ) -> Job {
        let metrics = |parallelism: u32| (0..parallelism).map(|_| Arc::default()).collect();
        let shared = Arc::new(Shared {
            metrics: prepared.plan.nodes.iter().map(|node| metrics(node.parallelism)).collect(),
            latency: Arc::default(),
            checkpoints: CheckpointCounts::default(),
            starts: AtomicU64::new(0),
            in_force: InForce::new(
                prepared.clone(),
                options.versions.clone(),
                (&options.trials, environment.clock.monotonic()),
            ),
            changes: Arc::default(),
            shadows: Shadows::default(),
            rule_counts: RuleCounts::default(),
            environment: environment.clone(),
            backend: Mutex::default(),
            offers: AtomicU64::new(0),
            changing: tokio::sync::Mutex::default(),
            running: watch::Sender::new(true),
            complete: Mutex::default(),
            prepared,
        });
        let (commands, asked) = mpsc::channel(COMMANDS_MAX);
        let (end, done) = oneshot::channel();
        let spawner = environment.spawner.clone();
        let supervisor = Supervisor::new(shared.clone(), environment, placement, options, asked, stop);
        let running = spawner.spawn("job", Box::pin(async move { drop(end.send(supervisor.run().await)) }));
        Job { shared, commands, done, _running: running }
    }

    /// To look at it while it runs.
    pub fn view(&self) -> JobView {
        JobView { shared: self.shared.clone(), commands: self.commands.clone() }
    }

    /// Waits for its end. Dropping the future, or the job, ends the job where it is.
    pub async fn wait(self) -> Result<JobReport, RunError> {
        let Job { done, _running, .. } = self;
        done.await.unwrap_or_else(|_| Err(RunError::Panic("whoever runs the job is gone".into())))
    }
}
