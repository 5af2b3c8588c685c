//! The starts of a job: what it starts from, and whether it starts again after a failure. There is one way to start: from a
//! checkpoint, be it the empty one.
use std::{sync::Arc, time::Duration};

use futures::{FutureExt, TryFutureExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Changed, JobOptions, JobReport, Placement, RunError,
    coordinator::{Coordinator, Ended, Started, TaskEnd},
    restart::Restarts,
    restore::{OwnStarts, restore},
    run::{Command, Shared},
    storage::StateStorage,
    wiring::Wiring,
};
use crate::{
    checkpoint::{check_newest, remove_all},
    connector::Recovery,
    dataflow::{Environment, REPORTS_MAX, TaskError},
    job::OnCancel,
    model::{OperatorVersion, key_hash},
};

pub(super) struct Supervisor {
    shared: Arc<Shared>,
    environment: Environment,
    placement: Arc<dyn Placement>,
    options: JobOptions,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
    /// The starts of this run of the job.
    starts: OwnStarts,
    /// Where state is kept, once a start has opened it.
    state: Option<StateStorage>,
}

impl Drop for Supervisor {
    /// Whoever still looks at the job needs no memory for its state.
    fn drop(&mut self) {
        self.shared.set_backend(None);
    }
}

impl Supervisor {
    pub(super) fn new(
        shared: Arc<Shared>,
        environment: Environment,
        placement: Arc<dyn Placement>,
        options: JobOptions,
        commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> Supervisor {
        let starts = OwnStarts::none(environment.clock.now_ms());
        Supervisor { shared, environment, placement, options, commands, stop, starts, state: None }
    }

    pub(super) async fn run(mut self) -> Result<JobReport, RunError> {
        let clock = self.environment.clock.clone();
        let began = clock.monotonic();
        let mut restarts = Restarts::new(self.shared.prepared.spec.restart);
        let mut failures = 0u64;
        loop {
            let running_since = clock.monotonic();
            let error = match self.start_once().await {
                Ok(ended) => {
                    if ended == Ended::Cancelled {
                        self.cancelled().await;
                    }
                    return Ok(self.shared.report(clock.monotonic() - began, ended != Ended::Finished));
                }
                Err(error) => error,
            };
            // A version that is taken back by request is waited for.
            if !matches!(error, RunError::TakenBack(_)) {
                self.shared.running.send_replace(false);
            }
            let now = clock.monotonic();
            if let Some(back) = self.shared.in_force.give_up(&error).filter(|_| !self.stop.is_cancelled()) {
                let OperatorVersion { uid, plugin, .. } = &back;
                // Where there was no rule there is none again.
                let before = if plugin.is_empty() { "the job without it" } else { plugin.as_str() };
                tracing::warn!(operator = uid, "it has failed during a change or a replay, {before} goes on: {error}");
                if let Some(observer) = &self.options.observer {
                    observer.restarting(&error, Duration::ZERO);
                }
                continue;
            }
            if let Some(back) = self.shared.in_force.roll_back(&error, now).filter(|_| !self.stop.is_cancelled()) {
                let (operator, plugin) = (&back.operator, &back.to.plugin);
                match back.of_canary {
                    true => tracing::warn!(operator, "the canary is dropped, {plugin} has all keys: {error}"),
                    false => tracing::warn!(operator, "the version on trial is undone, {plugin} is put back: {error}"),
                }
                let changed = Changed { from: back.from.clone(), to: back.to.clone() };
                if let Some(observer) = &self.options.observer {
                    observer.rolled_back(back, &error).await;
                }
                if let RunError::TakenBack(taken) = error {
                    // Whoever asked may be gone.
                    let _ = taken.done.send(changed);
                }
                continue;
            }
            failures += 1;
            let random = key_hash(&[self.environment.seed.to_le_bytes(), failures.to_le_bytes()].concat());
            let delay = if error.retry_helps() && !self.stop.is_cancelled() {
                restarts.next(now, running_since, random)
            } else {
                None
            };
            let Some(delay) = delay else { return Err(error) };
            let wait = humantime::format_duration(Duration::from_millis(delay.as_millis() as u64));
            tracing::warn!("the job has failed and starts again in {wait}: {error}");
            if let Some(observer) = &self.options.observer {
                observer.restarting(&error, delay);
            }
            tokio::select! {
                () = clock.sleep_until(now + delay) => {}
                () = self.stop.cancelled() => return Err(error),
            }
        }
    }

    /// From start to end or failure.
    async fn start_once(&mut self) -> Result<Ended, RunError> {
        let prepared = self.shared.prepared.clone();
        let state = match self.state.take() {
            Some(state) => state,
            None => StateStorage::open(&prepared.spec)?,
        };
        let backend = &self.state.insert(state).backend;
        self.shared.set_backend(Some(backend.clone()));
        let (now_ms, in_force) = (self.environment.clock.now_ms(), self.shared.in_force.versions());
        let mut restored = restore((&prepared, &in_force), &self.options, &mut self.starts, now_ms).await?;
        for (name, sink) in &prepared.spec.sinks {
            let uid = sink.uid.as_deref().unwrap_or(name);
            let committables = restored.committables.remove(uid).unwrap_or_default();
            let failed = |error| RunError::Task(TaskError::Connector { node: name.clone(), error });
            let recovery = Recovery {
                job: prepared.spec.name.as_str().into(),
                uid: uid.to_owned(),
                start: restored.start,
                clock: self.environment.clock.clone(),
            };
            // That checkpoint is complete: until there is another, a start without the savepoint goes on from it, and counts on what was prepared.
            let passed_over = restored.passed_over.remove(uid).unwrap_or_default();
            if !passed_over.is_empty() {
                let all = [&*passed_over, &*committables].concat();
                match sink.connector.recover(&recovery, &all).await {
                    Ok(()) => continue,
                    // It may be what the savepoint is gone back to for.
                    Err(error) => {
                        tracing::warn!(sink = name, "not all that the latest checkpoint counts on is visible: {error}")
                    }
                }
            }
            sink.connector.recover(&recovery, &committables).await.map_err(failed)?;
        }
        if restored.finished {
            tracing::info!(
                "the job has ended with its last checkpoint: there is nothing left to do. To run it again, delete its checkpoints"
            );
            return Ok(Ended::Finished);
        }
        self.shared.shadows.end_all();
        let unknown = self.shared.in_force.unknown(&restored.versions);
        let current = self.shared.in_force.start(&restored.versions, self.options.plugins.as_deref())?;
        self.shared.running.send_replace(true);
        restored.changed = self.shared.in_force.newer(&restored.versions);
        self.shared.metrics.iter().flatten().for_each(|metrics| metrics.start());
        self.shared.starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (reports, reported) = mpsc::channel(REPORTS_MAX);
        let drop_vanished = self.options.allow_non_restored_state;
        let wired =
            Wiring::new((&self.shared, &current), &self.environment, backend, drop_vanished, &mut restored, reports)
                .tasks(&*self.placement)?;
        let (ends, ended) = mpsc::channel(wired.len().max(1));
        let mut tasks = Vec::with_capacity(wired.len());
        let mut running = Vec::with_capacity(wired.len());
        for (index, task) in wired.into_iter().enumerate() {
            tracing::debug!(task = task.name, "starting");
            let ends = ends.clone();
            let future = std::panic::AssertUnwindSafe(task.future).catch_unwind();
            running.push(self.environment.spawner.spawn(
                &task.name,
                Box::pin(async move {
                    let result = future.await.map_err(panic_message);
                    // Nobody listens once the job has failed.
                    let _ = ends.send(TaskEnd { task: index, result }).await;
                }),
            ));
            tasks.push(Started { controls: task.controls, is_source: task.is_source, ended: false, done: false });
        }
        drop(ends);
        if let Some(observer) = &self.options.observer {
            observer.started(unknown);
        }
        let coordinator =
            Coordinator::new(&self.shared, &self.environment, &self.options, restored, tasks, reported, ended);
        let ended = coordinator.run(&mut self.commands, &self.stop).await;
        drop(running);
        ended
    }

    /// Deletes its checkpoints if they are not to outlive it. That it could not does not change that all was written.
    async fn cancelled(&self) {
        let on_cancel = self.shared.prepared.spec.checkpoints.as_ref().map(|spec| spec.on_cancel);
        if let (Some(OnCancel::Delete), Some(store)) = (on_cancel, &self.options.checkpoints) {
            let removed = match self.starts.latest {
                Some(start) => check_newest(&**store, start).and_then(|()| remove_all(&**store)).await,
                None => Ok(()),
            };
            match removed {
                Ok(()) => tracing::info!("the job was cancelled: its checkpoints are deleted"),
                Err(error) => {
                    tracing::error!("the job was cancelled, but not all of its checkpoints could be deleted: {error}")
                }
            }
        }
    }
}

fn panic_message(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast_ref::<&str>() {
        Some(text) => (*text).to_owned(),
        None => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
    }
}
