//! The loop of a task that reads from other tasks: takes messages in from all inputs in turn, and keeps the time.
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;

use super::{
    Message, Receiver, Stage, TaskError,
    watermark::{Progress, WatermarkMerge},
};
use crate::model::Clock;

/// A task whose head is an operator or a sink.
pub struct OperatorTask {
    inputs: Vec<Option<Box<dyn Receiver>>>,
    /// Whose turn it is.
    next: usize,
    merge: WatermarkMerge,
    head: Stage,
    clock: Arc<dyn Clock>,
}

enum Event {
    Message(usize, Message),
    Timer,
}

impl OperatorTask {
    /// A task that reads these inputs.
    pub fn new(inputs: Vec<Box<dyn Receiver>>, head: Stage, clock: Arc<dyn Clock>) -> OperatorTask {
        let merge = WatermarkMerge::new(inputs.len());
        OperatorTask { inputs: inputs.into_iter().map(Some).collect(), next: 0, merge, head, clock }
    }

    /// Runs until all inputs have ended.
    pub async fn run(mut self) -> Result<(), TaskError> {
        loop {
            let event = self.event().await?;
            match event {
                Event::Message(input, Message::Batch(batch)) => {
                    self.merge.active(input);
                    self.head.batch(batch).await?;
                }
                Event::Message(input, Message::Watermark(watermark)) => {
                    let progress = self.merge.advance(input, watermark);
                    self.progress(progress).await?;
                }
                Event::Message(input, Message::Idle) => {
                    let progress = self.merge.idle(input);
                    self.progress(progress).await?;
                }
                Event::Message(input, Message::End) => {
                    self.inputs[input] = None;
                    match self.merge.end(input) {
                        Progress::End => return self.head.end().await,
                        progress => self.progress(progress).await?,
                    }
                }
                Event::Timer => {}
            }
            let now_ms = self.clock.now_ms();
            if self.head.wake_at().is_some_and(|at| at <= now_ms) {
                self.head.wake(now_ms).await?;
            }
        }
    }

    async fn progress(&mut self, progress: Progress) -> Result<(), TaskError> {
        match progress {
            Progress::Watermark(watermark) => self.head.watermark(watermark).await,
            Progress::Idle => self.head.idle().await,
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
        for _ in 0..self.inputs.len() {
            let at = self.next;
            self.next = (self.next + 1) % self.inputs.len();
            if let Some(input) = &mut self.inputs[at] {
                match input.poll(context) {
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
