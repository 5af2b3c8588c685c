//! The loop of a task that reads from other tasks: takes messages in from all inputs in turn, and keeps the time.
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;

use super::{
    Alignment, Barrier, Control, Last, Link, Message, Receiver, Report, Stage, TaskError,
    watermark::{Progress, WatermarkMerge},
};
use crate::model::{Clock, EventTime};

/// One input of a task.
pub struct TaskInput {
    /// What comes in.
    pub receiver: Box<dyn Receiver>,
    /// Whether it is part of the head's second input.
    pub second: bool,
}

/// A task whose head is an operator or a sink.
pub struct OperatorTask {
    inputs: Vec<Option<TaskInput>>,
    /// Whose turn it is.
    next: usize,
    merge: WatermarkMerge,
    alignment: Alignment,
    head: Stage,
    link: Link,
    clock: Arc<dyn Clock>,
}

enum Event {
    Message(usize, Message),
    Control(Control),
    Timer,
}

impl OperatorTask {
    /// A task that reads these inputs, whose event time had come to `watermark`.
    pub fn new(
        inputs: Vec<TaskInput>,
        head: Stage,
        link: Link,
        watermark: EventTime,
        clock: Arc<dyn Clock>,
    ) -> OperatorTask {
        let merge = WatermarkMerge::new(inputs.len(), watermark);
        let alignment = Alignment::new(inputs.len());
        OperatorTask { inputs: inputs.into_iter().map(Some).collect(), next: 0, merge, alignment, head, link, clock }
    }

    /// Runs until the last barrier has passed, and what was prepared for it is committed.
    pub async fn run(mut self) -> Result<(), TaskError> {
        loop {
            let event = self.event().await?;
            let barrier = match event {
                Event::Message(input, message) => self.message(input, message).await?,
                Event::Control(control) => {
                    self.control(control).await?;
                    None
                }
                Event::Timer => None,
            };
            if let Some(barrier) = barrier {
                self.barrier(barrier).await?;
                if barrier.last != Last::No {
                    return self.end(barrier).await;
                }
            }
            let now_ms = self.clock.now_ms();
            if self.head.wake_at().is_some_and(|at| at <= now_ms) {
                self.head.wake(now_ms).await?;
            }
        }
    }

    /// Takes a message in; a barrier if it has now come on all inputs.
    async fn message(&mut self, input: usize, message: Message) -> Result<Option<Barrier>, TaskError> {
        match message {
            Message::Batch(batch) => {
                self.merge.active(input);
                match self.inputs[input].as_ref().is_some_and(|input| input.second) {
                    false => self.head.batch(batch).await?,
                    true => self.head.second(batch).await?,
                }
            }
            Message::Watermark(watermark) => {
                let progress = self.merge.advance(input, watermark);
                self.progress(progress).await?;
            }
            Message::Idle => {
                let progress = self.merge.idle(input);
                self.progress(progress).await?;
            }
            Message::Barrier(barrier) => return Ok(self.alignment.barrier(input, barrier)),
            Message::End => {
                self.inputs[input] = None;
                let progress = self.merge.end(input);
                self.progress(progress).await?;
                return Ok(self.alignment.end(input));
            }
        }
        Ok(None)
    }

    async fn barrier(&mut self, barrier: Barrier) -> Result<(), TaskError> {
        let mut left = Vec::new();
        self.head.barrier(barrier, &mut left).await?;
        if barrier.last != Last::No {
            // Now, for once all have reported those behind may be gone at any moment.
            self.head.end().await?;
        }
        self.link.report(Report::Acknowledged { task: self.link.task, checkpoint: barrier.checkpoint, left }).await
    }

    async fn control(&mut self, control: Control) -> Result<(), TaskError> {
        match control {
            Control::Completed(permit) => self.head.completed(&permit).await,
            Control::Aborted(checkpoint) => self.head.aborted(checkpoint).await,
            Control::Trigger(_) => Ok(()),
        }
    }

    /// After the last barrier: waits for its checkpoint to be complete.
    async fn end(mut self, last: Barrier) -> Result<(), TaskError> {
        loop {
            let control = self.link.next().await?;
            let done = matches!(&control, Control::Completed(permit) if permit.checkpoint() == last.checkpoint);
            self.control(control).await?;
            if done {
                return self.head.close().await;
            }
        }
    }

    async fn progress(&mut self, progress: Progress) -> Result<(), TaskError> {
        match progress {
            Progress::Watermark(watermark) => self.head.watermark(watermark).await,
            Progress::Idle => self.head.idle().await,
            // Only after the last barrier, or if a task before has failed.
            Progress::None | Progress::End => Ok(()),
        }
    }

    async fn event(&mut self) -> Result<Event, TaskError> {
        // Only if there is nothing to do at once may what is behind rest.
        if let Some(event) = poll_fn(|context| self.poll(context)).now_or_never() {
            return event;
        }
        self.head.pause().await?;
        let wake = self.head.wake_at().map(|at| {
            let ahead = u64::try_from(at.saturating_sub(self.clock.now_ms())).unwrap_or(0);
            self.clock.monotonic() + Duration::from_millis(ahead)
        });
        let clock = self.clock.clone();
        tokio::select! {
            biased;
            event = poll_fn(|context| self.poll(context)) => event,
            () = wait_until(&*clock, wake) => Ok(Event::Timer),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Event, TaskError>> {
        match self.link.controls.poll_recv(context) {
            Poll::Ready(Some(control)) => return Poll::Ready(Ok(Event::Control(control))),
            Poll::Ready(None) => return Poll::Ready(Err(TaskError::Disconnected)),
            Poll::Pending => {}
        }
        for _ in 0..self.inputs.len() {
            let at = self.next;
            self.next = (self.next + 1) % self.inputs.len();
            if self.alignment.is_blocked(at) {
                continue;
            }
            if let Some(input) = &mut self.inputs[at] {
                match input.receiver.poll(context) {
                    Poll::Ready(Some(message)) => return Poll::Ready(Ok(Event::Message(at, message))),
                    Poll::Ready(None) => return Poll::Ready(Err(TaskError::Disconnected)),
                    Poll::Pending => {}
                }
            }
        }
        Poll::Pending
    }
}

/// Completes at `deadline`; never if there is none.
pub(super) async fn wait_until(clock: &dyn Clock, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        dataflow::{Changes, Exchanges, MemoryExchanges, Operator, Outputs, Route, StageIdentity, Target},
        model::{Batch, NO_WATERMARK, SnapshotKind, SystemClock},
    };

    struct PassOn;

    #[async_trait]
    impl Operator for PassOn {
        async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
            outputs.emit(0, batch).await
        }
    }

    #[test]
    fn the_end_is_sent_before_the_last_barrier_is_reported() {
        let (mut before, receiver) = MemoryExchanges.connect("in");
        let (sender, mut behind) = MemoryExchanges.connect("out");
        let target = Target { adapt: None, route: Route::Forward(sender) };
        let identity = StageIdentity { uid: "op".into(), subtask: 0, start: 1, changes: Arc::<Changes>::default() };
        let stage = Stage::new(identity, Box::new(PassOn), Outputs::new(vec![vec![target]], Arc::default()));
        let (_said, controls) = mpsc::channel(1);
        // Nobody has taken the report before: the task has to wait with its own.
        let (reports, _waiting) = mpsc::channel(1);
        assert!(reports.try_send(Report::SourceEnded { task: 1 }).is_ok());
        let link = Link { task: 0, controls, reports };
        let inputs = vec![TaskInput { receiver, second: false }];
        let mut task =
            Box::pin(OperatorTask::new(inputs, stage, link, NO_WATERMARK, Arc::new(SystemClock::new())).run());
        let kind = SnapshotKind::Checkpoint;
        let last = Barrier { checkpoint: 1, kind, kept: false, last: Last::Drain, aligned: true, change: None };
        for message in [Message::Barrier(last), Message::End] {
            assert!(before.send(message).now_or_never().is_some_and(|sent| sent.is_ok()));
        }
        assert!(task.as_mut().now_or_never().is_none(), "it waits until its report is taken");
        let mut next = || poll_fn(|context| behind.poll(context)).now_or_never().flatten();
        assert!(matches!(next(), Some(Message::Barrier(_))));
        assert!(matches!(next(), Some(Message::End)), "those behind may be gone once it is reported");
    }
}
