//! A job the server knows: its record, and while it runs, what runs. Every change of state goes through here, and is told to
//! whoever listens. Must not know who asks for it, nor how jobs are run.
use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    Action, Change, ChangeLog, CheckpointInfo, EventKind, Illegal, OperatorInfo, Outcome, Phase, ServiceError, State,
    Step, Version,
    error::code,
    events::Events,
    graph::{JobGraph, Sample},
    history,
    prepare::Ready,
    record::{Folders, Record},
    spawner::Alive,
    trials::{self, KeptTrial},
};
use crate::{
    control::{Changed, CheckpointDone, JobObserver, JobView, Prepared, RolledBack, RunError},
    model::{Clock, OperatorVersion, SnapshotKind},
};

/// Checkpoints of a job that are remembered.
const CHECKPOINTS_MAX: usize = 100;

/// What is there while a job runs, or was counted since the server started.
#[derive(Default)]
pub(super) struct Live {
    /// What starts the job, waits for its end, and sees to what comes then.
    pub(super) work: Option<JoinHandle<()>>,
    pub(super) view: Option<(JobView, Arc<Prepared>)>,
    /// What it was like when it ended.
    pub(super) last: Option<JobGraph>,
    pub(super) last_operators: Vec<OperatorInfo>,
    /// Digests of plugins that are about to be put in force.
    pub(super) wanted: Vec<String>,
    pub(super) samples: VecDeque<Sample>,
    /// With what it goes on once it has stopped.
    pub(super) next: Option<Ready>,
    pub(super) checkpoints: VecDeque<CheckpointInfo>,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) restarts: u64,
}

/// A job.
pub(super) struct Entry {
    pub(super) id: String,
    record: Mutex<Record>,
    /// Held while the record is written.
    disk: Mutex<()>,
    state: watch::Sender<State>,
    /// What was promised, or is known of versions, may be more than the record on disk says.
    pub(super) unsaved: Notify,
    live: Mutex<Live>,
    pub(super) alive: Alive,
    folders: Arc<Folders>,
    events: Arc<Events>,
    changes: Arc<dyn ChangeLog>,
    clock: Arc<dyn Clock>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entry {
    pub(super) fn new(
        record: Record,
        folders: Arc<Folders>,
        events: Arc<Events>,
        changes: Arc<dyn ChangeLog>,
        clock: Arc<dyn Clock>,
    ) -> Entry {
        Entry {
            id: record.id.clone(),
            state: watch::Sender::new(record.phase.state),
            record: Mutex::new(record),
            disk: Mutex::default(),
            unsaved: Notify::new(),
            live: Mutex::default(),
            alive: Alive::default(),
            folders,
            events,
            changes,
            clock,
        }
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// Waits until the state is one of those.
    pub(super) async fn until(&self, wanted: impl Fn(State) -> bool) -> State {
        match self.state.subscribe().wait_for(|state| wanted(*state)).await {
            Ok(state) => *state,
            // The sender is here, so it does not end.
            Err(_) => self.state(),
        }
    }

    /// What a reply says, unless the state becomes one in which none is to be waited for.
    pub(super) async fn reply<T>(
        &self,
        reply: impl Future<Output = Result<T, String>>,
        in_vain: impl Fn(State) -> bool,
    ) -> Result<T, String> {
        tokio::select! {
            biased;
            reply = reply => reply,
            state = self.until(in_vain) => Err(match &self.record().error {
                Some(error) if state == State::Failed => format!("the job has failed: {error}"),
                _ => format!("the job is {state} now"),
            }),
        }
    }

    /// Takes a step, if the state allows it.
    pub(super) fn step(&self, step: Step) -> Result<Phase, Illegal> {
        let mut record = self.record();
        let before = record.phase;
        let after = before.after(step)?;
        if after != before {
            record.phase = after;
            record.changed_ms = self.clock.now_ms();
            if !after.state.is_terminal() {
                record.error = None;
            }
            self.changed(Some(before.state), after.state);
        }
        Ok(after)
    }

    /// Tells of a state. Within the record's lock, so that they are told in order.
    fn changed(&self, from: Option<State>, to: State) {
        self.state.send_replace(to);
        self.tell(EventKind::State, json!({ "from": from, "to": to }));
    }

    /// Tells of a job that is new.
    pub(super) fn created(&self) {
        let record = self.record();
        self.changed(None, record.phase.state);
    }

    /// Takes a step to a state in which the job stays, with the error that leads there. It is on disk before anybody sees it: a job
    /// that was seen to have ended does not run again after a crash.
    pub(super) async fn end(self: &Arc<Self>, step: Step, error: Option<String>) -> Result<(), Illegal> {
        let entry = self.clone();
        let ended = tokio::task::spawn_blocking(move || entry.settle(step, error)).await;
        ended.unwrap_or_else(|panic| {
            tracing::error!(job = self.id, "the job's end could not be noted: {panic}");
            Ok(())
        })
    }

    fn settle(&self, step: Step, error: Option<String>) -> Result<(), Illegal> {
        let _disk = lock(&self.disk);
        loop {
            let mut next = self.record().clone();
            let before = next.phase;
            (next.phase, next.changed_ms) = (before.after(step)?, self.clock.now_ms());
            // One that is cancelled meanwhile has not failed.
            next.error = error.clone().filter(|_| next.phase.state == State::Failed);
            if let Err(error) = self.folders.write(&next) {
                tracing::error!(job = self.id, "the job's record could not be written: {error}");
            }
            let mut record = self.record();
            // Somebody has asked for something else meanwhile.
            if record.phase != before {
                continue;
            }
            (record.phase, record.changed_ms, record.error) = (next.phase, next.changed_ms, next.error);
            if let Some(error) = &error {
                self.tell(EventKind::Failure, json!({ "code": code(error), "error": error }));
            }
            self.changed(Some(before.state), next.phase.state);
            return Ok(());
        }
    }

    /// It has failed for good.
    pub(super) async fn fail(self: &Arc<Self>, error: &ServiceError) {
        let text = error.to_string();
        tracing::error!("the job has failed: {text}");
        // One that has ended already stays as it is.
        let _ = self.end(Step::Failed, Some(text)).await;
    }

    pub(super) fn tell(&self, kind: EventKind, detail: Value) {
        self.events.add(&self.id, kind, detail);
    }

    /// Has the record as it is now written.
    pub(super) async fn persist(self: &Arc<Self>) -> Result<(), ServiceError> {
        let entry = self.clone();
        let written = tokio::task::spawn_blocking(move || {
            let _disk = lock(&entry.disk);
            let record = entry.record().clone();
            entry.folders.write(&record)
        });
        written.await.unwrap_or_else(|panic| Err(RunError::Panic(panic.to_string()).into()))
    }

    /// The same, where nobody can be told that it failed.
    pub(super) async fn persist_or_log(self: &Arc<Self>) {
        if let Err(error) = self.persist().await {
            tracing::error!(job = self.id, "the job's record could not be written: {error}");
        }
    }

    /// Has what is in force be so at every start from now on, one of it on trial. What was on trial and is not in force any more is not on trial.
    pub(super) fn promise(&self, in_force: impl IntoIterator<Item = OperatorVersion>, trial: Option<KeptTrial>) {
        let in_force: Vec<_> = in_force.into_iter().collect();
        let now_ms = self.now_ms();
        let mut record = self.record();
        record.versions = history::promise(&record.versions, &in_force);
        record.trials = trials::keep(&record.trials, trial, &record.versions, now_ms);
    }

    /// The same with all that a job runs now.
    pub(super) fn promise_all(&self, view: &JobView) {
        self.promise(view.in_force(), None);
    }

    /// Notes a change of an operator, made or refused.
    pub(super) fn note(&self, change: Change) {
        let detail = json!({
            "action": change.action,
            "who": change.who,
            "operator": change.operator,
            "from": change.from.brief(),
            "to": change.to.as_ref().map(history::Version::brief),
            "outcome": change.outcome,
            "reason": change.reason,
        });
        let mut record = self.record();
        history::remember(&mut record.history, change);
        // Within the record's lock, as states are.
        self.tell(EventKind::Swap, detail);
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn remember(&self, info: CheckpointInfo) {
        let mut live = self.live();
        if live.checkpoints.len() == CHECKPOINTS_MAX {
            live.checkpoints.pop_front();
        }
        live.checkpoints.push_back(info);
        live.completed += 1;
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl JobObserver for Arc<Entry> {
    fn started(&self, unknown: Vec<(String, Changed)>) {
        // Of a server that ended between a checkpoint and the record, or of another job with the same checkpoints.
        for (operator, Changed { from, to }) in unknown {
            let (from, uid, to) = (Version::from(&from), to.uid.clone(), Version::from(&to));
            let (time_ms, who, action, outcome) = (self.now_ms(), None, history::action(&from, &to), Outcome::InForce);
            let reason = Some("it was in force at the checkpoint the job has started from".to_owned());
            self.note(Change { time_ms, who, action, operator, uid, from, to: Some(to), outcome, reason });
        }
        // A job that is being cancelled does not care.
        let _ = self.step(Step::Started);
        self.unsaved.notify_one();
    }

    fn rolled_back(&self, rolled_back: RolledBack, error: &RunError) -> BoxFuture<'_, ()> {
        let RolledBack { operator, from, to, of_canary } = rolled_back;
        let (who, outcome, reason) = match error {
            RunError::TakenBack(taken) => (Some(taken.by.clone()), Outcome::InForce, None),
            error => (None, Outcome::RolledBack, Some(error.to_string())),
        };
        let change = Change {
            time_ms: self.clock.now_ms(),
            who,
            action: if of_canary { Action::Discard } else { Action::Rollback },
            operator,
            uid: to.uid.clone(),
            from: (&from).into(),
            to: Some((&to).into()),
            outcome,
            reason,
        };
        self.note(change.clone());
        if !of_canary {
            self.record().trials.retain(|trial| !trial.is_of(&to));
        }
        self.promise([to], None);
        let entry = self.clone();
        Box::pin(async move {
            // Whoever has asked for it notes it.
            if change.who.is_none() {
                let noting = entry.clone();
                let noted = tokio::task::spawn_blocking(move || {
                    let name = noting.record().name.clone();
                    noting.changes.note(&name, &noting.id, &change);
                });
                // A panic was told when it happened.
                let _ = noted.await;
            }
            // Only now: after a crash in between, what has failed is on trial again, and the log has it twice rather than not at all.
            entry.persist_or_log().await;
        })
    }

    fn restarting(&self, error: &RunError, pause: Duration) {
        if self.step(Step::Restarting).is_ok() {
            self.live().restarts += 1;
            self.tell(EventKind::Restart, json!({ "error": error.to_string(), "pause_ms": ms(pause) }));
        }
    }

    fn checkpoint_completed(&self, done: CheckpointDone) {
        let CheckpointDone { checkpoint, kind, took, bytes } = done;
        let savepoint = kind == SnapshotKind::Savepoint;
        let completed_ms = Some(self.clock.now_ms());
        self.remember(CheckpointInfo {
            checkpoint,
            savepoint,
            completed_ms,
            took_ms: Some(ms(took)),
            bytes: Some(bytes),
            kept: false,
        });
        if !savepoint {
            let detail = json!({ "checkpoint": checkpoint, "took_ms": ms(took), "bytes": bytes });
            self.tell(EventKind::Checkpoint, detail);
        }
    }

    fn checkpoint_failed(&self, checkpoint: u64, why: &str) {
        self.live().failed += 1;
        self.tell(EventKind::Checkpoint, json!({ "checkpoint": checkpoint, "error": why }));
    }
}
