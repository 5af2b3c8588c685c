//! One start of a job: lets barriers out, gathers what tasks leave at them, has it made durable, and then allows commits. Also
//! notices the ends of tasks. What is due when is decided by [`Schedule`], what is durable by [`checkpoint`].
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    CheckpointCounts, JobOptions, RunError,
    publish::{Publication, Published, Target},
    run::{Command, Shared},
    restore::Restored,
};
use crate::{
    checkpoint::{CommitPermit, Decision, Schedule},
    dataflow::{Barrier, Control, Environment, Last, Report, Spawned, TaskError},
    job::CheckpointMode,
    model::SnapshotKind,
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
    /// It was told to stop.
    Stopped,
}

/// A checkpoint whose barrier is out.
struct InFlight {
    barrier: Barrier,
    publication: Publication,
    began: Duration,
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
    start: u64,
    schedule: Schedule,
    next_checkpoint: u64,
    in_flight: BTreeMap<u64, InFlight>,
    publishing: Option<(u64, Spawned)>,
    published: (mpsc::Sender<Published>, mpsc::Receiver<Published>),
    /// The barrier this start ends with, once it is out.
    last: Option<Barrier>,
    disconnected: bool,
}

/// A savepoint somebody waits for.
type Done = oneshot::Sender<Result<(), String>>;

enum Event {
    End(TaskEnd),
    Report(Report),
    Published(Published),
    Command(Command),
    Stop,
    Timer,
}

impl<'a> Coordinator<'a> {
    #[expect(clippy::too_many_arguments, reason = "each is another end of a line")]
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
        let target = options.checkpoints.clone().map(|store| Target::new(store, restored.durable));
        Coordinator {
            shared,
            environment,
            tasks,
            reports,
            ends,
            schedule: Schedule::new(spec.map(|spec| spec.schedule()), environment.clock.monotonic()),
            target,
            savepoints: options.open.clone(),
            stop_savepoint: options.savepoint_on_stop.clone(),
            start: restored.start,
            next_checkpoint: restored.checkpoint + 1,
            in_flight: BTreeMap::new(),
            publishing: None,
            published: mpsc::channel(1),
            last: None,
            disconnected: false,
        }
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
                Event::Report(report) => self.report(report)?,
                Event::Published(published) => self.complete(published)?,
                Event::Command(Command::Savepoint { directory, stop, done }) => {
                    let last = if stop { Last::Stop } else { Last::No };
                    self.savepoint(directory, last, Some(done))?;
                }
                Event::Stop => match self.stop_savepoint.take() {
                    Some(directory) => self.savepoint(directory, Last::Stop, None)?,
                    None => self.trigger(SnapshotKind::Checkpoint, Last::Stop, None)?,
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
            Some(command) = commands.recv(), if self.last.is_none() => Event::Command(command),
            () = timer => Event::Timer,
        }
    }

    /// Does what is due, and says when to look again.
    fn due(&mut self) -> Result<Option<Duration>, RunError> {
        loop {
            let now = self.environment.clock.monotonic();
            if self.last.is_none() && self.tasks.iter().all(|task| !task.is_source || task.ended) {
                self.trigger(SnapshotKind::Checkpoint, Last::Drain, None)?;
            }
            let in_flight: Vec<(u64, Duration)> = self.in_flight.iter().map(|(id, it)| (*id, it.began)).collect();
            match self.schedule.next(now, &in_flight, self.last.is_none()) {
                Decision::Trigger => self.trigger(SnapshotKind::Checkpoint, Last::No, None)?,
                Decision::Abort(checkpoint) => {
                    let timeout = humantime::format_duration(self.schedule.timeout());
                    self.give_up(checkpoint, format!("it was not complete after `timeout`, {timeout}"))?;
                }
                Decision::Wait(until) => return Ok(until),
            }
        }
    }

    fn savepoint(&mut self, directory: PathBuf, last: Last, done: Option<Done>) -> Result<(), RunError> {
        match (self.savepoints)(&directory) {
            Ok(store) => self.trigger(SnapshotKind::Savepoint, last, Some((store, done))),
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

    /// Lets a barrier out.
    fn trigger(
        &mut self,
        kind: SnapshotKind,
        last: Last,
        savepoint: Option<(Arc<dyn crate::checkpoint::CheckpointStore>, Option<Done>)>,
    ) -> Result<(), RunError> {
        let checkpoint = self.next_checkpoint;
        self.next_checkpoint += 1;
        let mode = self.shared.prepared.spec.checkpoints.as_ref().map_or(CheckpointMode::ExactlyOnce, |spec| spec.mode);
        let aligned = mode == CheckpointMode::ExactlyOnce || last != Last::No;
        let barrier = Barrier { checkpoint, kind, last, aligned };
        let began = self.environment.clock.monotonic();
        let publication = Publication::new(&self.shared.prepared, self.start, barrier, self.tasks.len(), savepoint);
        self.in_flight.insert(checkpoint, InFlight { barrier, publication, began });
        if last != Last::No {
            self.last = Some(barrier);
        }
        tracing::debug!(checkpoint, ?last, "a barrier goes out");
        for task in self.tasks.iter().filter(|task| task.is_source && !task.done) {
            if task.controls.try_send(Control::Trigger(barrier)).is_err() {
                // Without it, whoever waits for this source's barrier would wait for ever.
                return Err(RunError::Checkpoint { checkpoint, what: "a source has not looked at earlier barriers yet".into() });
            }
        }
        Ok(())
    }

    fn report(&mut self, report: Report) -> Result<(), RunError> {
        match report {
            Report::SourceEnded { task } => self.tasks[task].ended = true,
            Report::Acknowledged { task, checkpoint, left } => {
                if let Some(in_flight) = self.in_flight.get_mut(&checkpoint) {
                    in_flight.publication.acknowledge(task, left);
                }
                self.publish_next();
            }
        }
        Ok(())
    }

    /// Has the earliest checkpoint that all tasks have passed made durable, one at a time.
    fn publish_next(&mut self) {
        if self.publishing.is_some() {
            return;
        }
        let Some((checkpoint, in_flight)) = self.in_flight.iter_mut().find(|(_, it)| it.publication.is_complete())
        else {
            return;
        };
        let checkpoint = *checkpoint;
        let publication = in_flight.publication.take(self.target.clone(), self.environment.clock.now_ms());
        let published = self.published.0.clone();
        let future = async move {
            let done = publication.publish(checkpoint).await;
            // Nobody listens once the job has failed.
            let _ = published.send(done).await;
        };
        self.publishing = Some((checkpoint, self.environment.spawner.spawn("publish", Box::pin(future))));
    }

    /// A checkpoint is durable, or could not be made so.
    fn complete(&mut self, published: Published) -> Result<(), RunError> {
        self.publishing = None;
        let checkpoint = published.checkpoint;
        let Some(in_flight) = self.in_flight.remove(&checkpoint) else {
            self.publish_next();
            return Ok(());
        };
        let done = in_flight.publication.done;
        match published.outcome {
            Err(error) => {
                if let Some(done) = done {
                    let _ = done.send(Err(error.to_string()));
                }
                self.failed(in_flight.barrier, error.to_string())?;
            }
            Ok(durable) => {
                let took = self.environment.clock.monotonic() - in_flight.began;
                self.shared.checkpoints.completed(took, published.bytes);
                tracing::debug!(checkpoint, ?took, bytes = published.bytes, "complete");
                if let (Some(target), Some(durable)) = (&mut self.target, durable) {
                    target.durable = durable;
                }
                let commits = in_flight.barrier.kind == SnapshotKind::Checkpoint || in_flight.barrier.last != Last::No;
                if commits {
                    self.schedule.completed(checkpoint, self.environment.clock.monotonic());
                    // It holds all that earlier ones would have held.
                    self.in_flight.retain(|earlier, _| *earlier > checkpoint);
                    self.tell_all(&Control::Completed(CommitPermit::granted(checkpoint)));
                }
                if let Some(done) = done {
                    let _ = done.send(Ok(()));
                }
            }
        }
        self.publish_next();
        Ok(())
    }

    fn give_up(&mut self, checkpoint: u64, why: String) -> Result<(), RunError> {
        if self.publishing.as_ref().is_some_and(|(publishing, _)| *publishing == checkpoint) {
            self.publishing = None;
        }
        match self.in_flight.remove(&checkpoint) {
            Some(in_flight) => self.failed(in_flight.barrier, why),
            None => Ok(()),
        }
    }

    fn failed(&mut self, barrier: Barrier, why: String) -> Result<(), RunError> {
        let checkpoint = barrier.checkpoint;
        self.shared.checkpoints.failed();
        self.tell_all(&Control::Aborted(checkpoint));
        let savepoint = barrier.kind == SnapshotKind::Savepoint;
        if barrier.last != Last::No || !savepoint && !self.schedule.failed(checkpoint) {
            return Err(RunError::Checkpoint { checkpoint, what: why });
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
            (_, Some(Barrier { last: Last::Stop, .. })) => Ok(Some(Ended::Stopped)),
            _ => Ok(Some(Ended::Finished)),
        }
    }
}
