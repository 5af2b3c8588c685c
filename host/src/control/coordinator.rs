//! One start of a job: lets barriers out, gathers what tasks leave at them, has it made durable, and then allows commits. Also
//! notices the ends of tasks. What is due when is decided by [`Schedule`], what is durable by [`checkpoint`].
mod changing;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use changing::Changing;

use super::{
    CheckpointDone, JobObserver, JobOptions, RunError,
    publish::{Header, Published, Savepoint, Target, publish_all},
    restore::Restored,
    run::{Command, Shared},
    trials::SoFar,
};
use crate::{
    checkpoint::{self, Decision, Pending, Progress, Schedule, StoreError},
    dataflow::{Barrier, Control, Environment, Last, Report, Spawned, TaskError},
    job::{CheckpointMode, CheckpointSpec},
    model::{OperatorVersion, SnapshotKind},
};

/// What a task's future came to; the outer error is a panic's message.
pub(super) struct TaskEnd {
    pub(super) task: usize,
    pub(super) result: Result<Result<(), TaskError>, String>,
}

/// A task that runs.
pub(super) struct Started {
    pub(super) controls: mpsc::Sender<Control>,
    pub(super) is_source: bool,
    /// Of a source: whether it has nothing more to read.
    pub(super) ended: bool,
    /// Whether its future has ended well.
    pub(super) done: bool,
}

/// How a start ended, if well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All sources have ended.
    Finished,
    /// It was told to stop, and somebody asked for a savepoint.
    Stopped,
    /// It was told to stop, and that was all.
    Cancelled,
}

type Done = Option<oneshot::Sender<Result<(), String>>>;

/// A checkpoint whose barrier is out.
struct InFlight {
    barrier: Barrier,
    /// None once all tasks have passed it.
    pending: Option<Pending>,
    /// What is in force after its barrier.
    versions: Vec<OperatorVersion>,
    savepoint: Option<Savepoint>,
    began: Duration,
    began_ms: i64,
    /// The latest that was complete then.
    base: Option<u64>,
    /// What versions on trial had done then.
    so_far: SoFar,
}

pub(super) struct Coordinator<'a> {
    shared: &'a Arc<Shared>,
    environment: &'a Environment,
    tasks: Vec<Started>,
    reports: mpsc::Receiver<Report>,
    ends: mpsc::Receiver<TaskEnd>,
    /// Where checkpoints go; `None` keeps none.
    target: Option<Target>,
    savepoints: super::OpenStore,
    stop_savepoint: Option<PathBuf>,
    /// What is in force for what comes after the latest barrier.
    versions: Vec<OperatorVersion>,
    changing: Option<Changing>,
    start: u64,
    /// None if there are none but the last.
    schedule: Option<Schedule>,
    progress: Progress,
    complete: Option<u64>,
    next_checkpoint: u64,
    in_flight: BTreeMap<u64, InFlight>,
    /// Who waits for checkpoints, by their numbers.
    waiting: BTreeMap<u64, oneshot::Sender<Result<u64, String>>>,
    observer: Option<Arc<dyn JobObserver>>,
    publishing: Option<(u64, Spawned)>,
    published: (mpsc::Sender<Published>, mpsc::Receiver<Published>),
    /// The barrier this start ends with, once it is out.
    last: Option<Barrier>,
    /// Whether that barrier is for a stop without a savepoint.
    cancelled: bool,
    disconnected: bool,
}

enum Event {
    End(TaskEnd),
    Report(Report),
    Published(Published),
    Command(Command),
    Stop,
    Timer,
}

impl<'a> Coordinator<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        environment: &'a Environment,
        options: &JobOptions,
        restored: Restored,
        tasks: Vec<Started>,
        reports: mpsc::Receiver<Report>,
        ends: mpsc::Receiver<TaskEnd>,
    ) -> Coordinator<'a> {
        let spec = shared.prepared.spec.checkpoints.as_ref();
        let retain = spec.map_or(1, |spec| spec.retain as usize);
        let durable = restored.durable;
        let target = options.checkpoints.clone().map(|store| Target { store, durable, retain });
        let coordinator = Coordinator {
            shared,
            environment,
            tasks,
            reports,
            ends,
            schedule: spec.filter(|_| target.is_some()).and_then(schedule),
            progress: Progress::new(environment.clock.monotonic()),
            complete: restored.complete,
            target,
            savepoints: options.open.clone(),
            stop_savepoint: options.savepoint_on_stop.clone(),
            versions: shared.in_force.versions(),
            changing: None,
            start: restored.start,
            next_checkpoint: restored.highest + 1,
            in_flight: BTreeMap::new(),
            waiting: BTreeMap::new(),
            observer: options.observer.clone(),
            publishing: None,
            published: mpsc::channel(1),
            last: None,
            cancelled: false,
            disconnected: false,
        };
        shared.in_force.trials().again(|operator| coordinator.counts(operator));
        coordinator
    }

    /// Until all tasks have ended, or one has failed.
    pub(super) async fn run(
        mut self,
        commands: &mut mpsc::Receiver<Command>,
        stop: &CancellationToken,
    ) -> Result<Ended, RunError> {
        loop {
            let wake = self.due()?;
            let event = self.event(wake, commands, stop).await;
            match event {
                Event::End(end) => {
                    if let Some(ended) = self.ended(end)? {
                        return Ok(ended);
                    }
                }
                Event::Report(report) => self.report(report),
                Event::Published(published) => self.published(published)?,
                // What whoever asked has given up on.
                Event::Command(Command::Savepoint { done, .. }) if done.is_closed() => {}
                Event::Command(Command::Checkpoint { done, .. }) if done.is_closed() => {}
                Event::Command(Command::Change { done, .. }) if done.is_closed() => {}
                Event::Command(Command::TakeBack(taken)) if taken.done.is_closed() => {}
                Event::Command(Command::Savepoint { directory, last, done }) => {
                    self.savepoint(directory, last, Some(done))?;
                }
                Event::Command(Command::Checkpoint { last, done }) => self.checkpoint(last, done)?,
                Event::Command(Command::Change { base, offer, purpose, done }) => {
                    self.change(&base, offer, purpose, done)?;
                }
                Event::Command(Command::TakeBack(taken)) => self.take_back(taken)?,
                Event::Stop => match self.stop_savepoint.take() {
                    Some(directory) => self.savepoint(directory, Last::Stop, None)?,
                    None => {
                        self.cancelled = true;
                        self.trigger(SnapshotKind::Checkpoint, Last::Stop, None)?;
                    }
                },
                Event::Timer => {}
            }
        }
    }

    async fn event(
        &mut self,
        wake: Option<Duration>,
        commands: &mut mpsc::Receiver<Command>,
        stop: &CancellationToken,
    ) -> Event {
        let clock = &self.environment.clock;
        let timer = async {
            match wake {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(end) = self.ends.recv() => Event::End(end),
            Some(report) = self.reports.recv() => Event::Report(report),
            Some(published) = self.published.1.recv() => Event::Published(published),
            () = stop.cancelled(), if self.last.is_none() => Event::Stop,
            Some(command) = commands.recv(), if self.last.is_none() && self.changing.is_none() => Event::Command(command),
            () = timer => Event::Timer,
        }
    }

    /// Does what is due, and says when to look again.
    fn due(&mut self) -> Result<Option<Duration>, RunError> {
        loop {
            if self.last.is_none() && self.tasks.iter().all(|task| !task.is_source || task.ended) {
                self.trigger(SnapshotKind::Checkpoint, Last::Drain, None)?;
            }
            let now = self.environment.clock.monotonic();
            let look = self.look_at_trials(now)?;
            let Some(schedule) = &self.schedule else { return Ok(look) };
            match schedule.next(now, &self.progress) {
                // Nothing comes after the last.
                Decision::Trigger if self.last.is_some() || self.holds_checkpoints() => {
                    return Ok(look.into_iter().chain(schedule.times_out(&self.progress)).min());
                }
                Decision::Trigger => self.trigger(SnapshotKind::Checkpoint, Last::No, None)?,
                Decision::Abort(checkpoint) => {
                    let timeout = humantime::format_duration(schedule.timeout);
                    self.give_up(checkpoint, format!("it was not complete after `timeout`, {timeout}"))?;
                }
                Decision::WaitUntil(until) => return Ok(look.into_iter().chain([until]).min()),
                Decision::Fail(failing) => return Err(RunError::Failing(failing)),
            }
        }
    }

    fn savepoint(&mut self, directory: PathBuf, last: Last, done: Done) -> Result<(), RunError> {
        match (self.savepoints)(&directory) {
            Ok(store) => self.trigger(SnapshotKind::Savepoint, last, Some(Savepoint { store, done })),
            Err(error) => {
                tracing::error!("no savepoint: {error}");
                if let Some(done) = done {
                    // Whoever asked may be gone.
                    let _ = done.send(Err(error.to_string()));
                }
                match last {
                    Last::No => Ok(()),
                    _ => self.trigger(SnapshotKind::Checkpoint, last, None),
                }
            }
        }
    }

    /// A checkpoint somebody asked for, who may be gone when it is done.
    fn checkpoint(&mut self, last: Last, done: oneshot::Sender<Result<u64, String>>) -> Result<(), RunError> {
        if self.target.is_none() && last == Last::No {
            drop(done.send(Err("the job keeps no checkpoints".into())));
            return Ok(());
        }
        if last == Last::No && self.holds_checkpoints() {
            drop(done.send(Err("a version is on trial with its state: none is taken until the trial is over".into())));
            return Ok(());
        }
        self.waiting.insert(self.next_checkpoint, done);
        self.trigger(SnapshotKind::Checkpoint, last, None)
    }

    /// Lets a barrier out.
    fn trigger(&mut self, kind: SnapshotKind, last: Last, savepoint: Option<Savepoint>) -> Result<(), RunError> {
        let checkpoint = self.next_checkpoint;
        self.next_checkpoint += 1;
        let mode = self.shared.prepared.spec.checkpoints.as_ref().map_or(CheckpointMode::ExactlyOnce, |spec| spec.mode);
        let aligned = mode == CheckpointMode::ExactlyOnce || last != Last::No;
        let kept = savepoint.is_some() || self.target.is_some();
        let barrier = Barrier { checkpoint, kind, kept, last, aligned, change: None };
        let (began, began_ms) = (self.environment.clock.monotonic(), self.environment.clock.now_ms());
        let pending = Some(Pending::new(checkpoint, 0..self.tasks.len()));
        let base = self.complete;
        let versions = self.versions.clone();
        let so_far = self.shared.in_force.trials().so_far(|operator| self.counts(operator));
        let in_flight = InFlight { barrier, pending, versions, savepoint, began, began_ms, base, so_far };
        self.in_flight.insert(checkpoint, in_flight);
        self.progress.triggered(checkpoint, began);
        if last != Last::No {
            self.last = Some(barrier);
        }
        tracing::debug!(checkpoint, ?last, "a barrier goes out");
        self.send(barrier)
    }

    fn send(&self, barrier: Barrier) -> Result<(), RunError> {
        let checkpoint = barrier.checkpoint;
        for task in self.tasks.iter().filter(|task| task.is_source && !task.done) {
            if task.controls.try_send(Control::Trigger(barrier)).is_err() {
                // Without it, whoever waits for this source's barrier would wait for ever.
                return Err(RunError::Checkpoint {
                    checkpoint,
                    what: "a source has not looked at earlier barriers yet".into(),
                });
            }
        }
        Ok(())
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::SourceEnded { task } => self.tasks[task].ended = true,
            Report::Acknowledged { task, checkpoint, .. }
                if self.changing.as_ref().is_some_and(|it| it.checkpoint == checkpoint) =>
            {
                self.changed(task);
            }
            Report::Acknowledged { task, checkpoint, left } => {
                if let Some(pending) = self.in_flight.get_mut(&checkpoint).and_then(|it| it.pending.as_mut()) {
                    pending.acknowledge(task, left.into_iter().map(|left| (left.uid, left.subtask, left.state)));
                }
                self.publish_next();
            }
        }
    }

    /// Has the earliest checkpoint that all tasks have passed made durable, one at a time.
    fn publish_next(&mut self) {
        if self.publishing.is_some() {
            return;
        }
        let is_complete = |it: &InFlight| it.pending.as_ref().is_some_and(Pending::is_complete);
        let Some(checkpoint) = self.in_flight.iter().find(|(_, it)| is_complete(it)).map(|(id, _)| *id) else { return };
        let others = self.in_flight.iter().filter(|(id, _)| **id != checkpoint);
        let others = others.map(|(_, it)| checkpoint::InFlight { base: it.base, ..Default::default() }).collect();
        let Some(in_flight) = self.in_flight.get_mut(&checkpoint) else { return };
        let Some(Ok(nodes)) = in_flight.pending.take().map(Pending::complete) else { return };
        let plan = &self.shared.prepared.plan;
        let header = Header {
            job: plan.name.clone(),
            start: self.start,
            created_ms: in_flight.began_ms,
            max_parallelism: plan.max_parallelism,
            versions: std::mem::take(&mut in_flight.versions),
        };
        let savepoint = in_flight.savepoint.as_ref().map(|savepoint| savepoint.store.clone());
        let work = publish_all(header, in_flight.barrier, nodes, savepoint, self.target.clone(), others);
        let published = self.published.0.clone();
        let future = async move {
            // Nobody listens once the job has failed.
            let _ = published.send(work.await).await;
        };
        self.publishing = Some((checkpoint, self.environment.spawner.spawn("publish", Box::pin(future))));
    }

    /// A checkpoint is durable, or could not be made so.
    fn published(&mut self, published: Published) -> Result<(), RunError> {
        self.publishing = None;
        let checkpoint = published.checkpoint;
        if let Some(mut in_flight) = self.in_flight.remove(&checkpoint) {
            let savepoint = in_flight.savepoint.take();
            match published.outcome {
                Err(error) => {
                    if let Some(savepoint) = savepoint {
                        savepoint.tell(Err(error.to_string()));
                    }
                    // There is nothing left to try.
                    if matches!(error, StoreError::Fenced { .. }) {
                        return Err(RunError::Store(error));
                    }
                    self.failed(in_flight.barrier, &error.to_string())?;
                }
                Ok(complete) => {
                    self.completed(&in_flight, complete);
                    if let Some(savepoint) = savepoint {
                        savepoint.tell(Ok(()));
                    }
                }
            }
        }
        self.publish_next();
        Ok(())
    }

    fn completed(&mut self, in_flight: &InFlight, complete: super::publish::Complete) {
        let (checkpoint, now) = (in_flight.barrier.checkpoint, self.environment.clock.monotonic());
        let (took, bytes) = (now - in_flight.began, complete.bytes);
        self.shared.checkpoints.completed(took, bytes);
        self.progress.completed(checkpoint, now);
        tracing::debug!(checkpoint, ?took, bytes, "complete");
        if let Some(observer) = &self.observer {
            observer.checkpoint_completed(CheckpointDone { checkpoint, kind: in_flight.barrier.kind, took, bytes });
        }
        if let (Some(target), Some(durable)) = (&mut self.target, complete.durable) {
            target.durable = durable;
            self.complete = Some(checkpoint);
        }
        if let Some(permit) = complete.permit {
            self.shared.in_force.trials().keep(&in_flight.so_far);
            self.shared.set_complete(checkpoint);
            // It holds all that earlier ones would have held.
            let earlier = self.in_flight.range(..checkpoint).filter(|(_, it)| it.savepoint.is_none());
            for id in earlier.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.in_flight.remove(&id);
                self.progress.completed(id, now);
            }
            let later = self.waiting.split_off(&(checkpoint + 1));
            for done in std::mem::replace(&mut self.waiting, later).into_values() {
                let _ = done.send(Ok(checkpoint));
            }
            self.tell_all(&Control::Completed(permit));
        }
    }

    fn give_up(&mut self, checkpoint: u64, why: String) -> Result<(), RunError> {
        // One that is being made durable may become complete nonetheless, and must not be taken for given up then.
        if self.publishing.as_ref().is_some_and(|(publishing, _)| *publishing == checkpoint) {
            self.progress.failed(checkpoint, self.environment.clock.monotonic());
            return Ok(());
        }
        match self.in_flight.remove(&checkpoint) {
            Some(mut in_flight) => {
                if let Some(savepoint) = in_flight.savepoint.take() {
                    savepoint.tell(Err(why.clone()));
                }
                self.failed(in_flight.barrier, &why)
            }
            None => Ok(()),
        }
    }

    fn failed(&mut self, barrier: Barrier, why: &str) -> Result<(), RunError> {
        let checkpoint = barrier.checkpoint;
        self.shared.checkpoints.failed();
        if let Some(observer) = &self.observer {
            observer.checkpoint_failed(checkpoint, why);
        }
        if let Some(done) = self.waiting.remove(&checkpoint) {
            let _ = done.send(Err(why.to_owned()));
        }
        self.progress.failed(checkpoint, self.environment.clock.monotonic());
        self.tell_all(&Control::Aborted(checkpoint));
        if barrier.last != Last::No {
            return Err(RunError::Checkpoint { checkpoint, what: why.to_owned() });
        }
        tracing::warn!(checkpoint, "given up: {why}");
        Ok(())
    }

    fn tell_all(&self, control: &Control) {
        for task in self.tasks.iter().filter(|task| !task.done) {
            // One that does not look at what it is told is stuck, which its next checkpoint shows.
            let _ = task.controls.try_send(control.clone());
        }
    }

    /// A task has ended; how the start has ended if it was the last.
    fn ended(&mut self, end: TaskEnd) -> Result<Option<Ended>, RunError> {
        match end.result {
            Ok(Ok(())) => self.tasks[end.task].done = true,
            // A task whose neighbour is gone fails too, and may be seen first; its neighbour knows why.
            Ok(Err(TaskError::Disconnected)) => {
                self.disconnected = true;
                self.tasks[end.task].done = true;
            }
            Ok(Err(error)) => return Err(RunError::Task(error)),
            Err(panic) => return Err(RunError::Panic(panic)),
        }
        if self.tasks.iter().any(|task| !task.done) {
            return Ok(None);
        }
        match (self.disconnected, self.last) {
            (true, _) => Err(RunError::Task(TaskError::Disconnected)),
            (_, Some(Barrier { last: Last::Stop, .. })) if self.cancelled => Ok(Some(Ended::Cancelled)),
            (_, Some(Barrier { last: Last::Stop, .. })) => Ok(Some(Ended::Stopped)),
            _ => Ok(Some(Ended::Finished)),
        }
    }
}

/// When checkpoints are due by themselves.
fn schedule(spec: &CheckpointSpec) -> Option<Schedule> {
    Some(Schedule {
        interval: spec.interval?,
        min_pause: spec.min_pause,
        max_concurrent: spec.max_concurrent,
        timeout: spec.timeout,
        tolerable_failures: spec.tolerable_failures,
    })
}
