//! The head of a task that reads from a connector: gathers records into batches, decodes them, gives them their event time and
//! says how far that has come.
use std::{sync::Arc, time::Duration};

use arrow_array::{cast::AsArray, types::Int64Type};

use super::{
    Barrier, BoundedOutOfOrderness, Control, Last, Left, Link, Outputs, Reject, Rejects, Report, StageIdentity,
    TaskError, task::wait_until,
};
use crate::{
    codec::{Decoder, Malformed},
    connector::{BatchLimits, ReadStatus, SourceReader},
    model::{Batch, Clock, EventTime, RawBatch, SubtaskState, WATERMARK_END},
};

/// How a source is read.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Its name in the job.
    pub node: String,
    /// Column with the event time.
    pub time: Option<usize>,
    /// How far records may come behind the latest event time.
    pub out_of_orderness: Duration,
    /// After how long without records it is idle.
    pub idle: Option<Duration>,
    /// When a batch is full.
    pub limits: BatchLimits,
    /// How long a record waits for its batch to fill.
    pub flush: Duration,
}

/// A source at work.
pub struct SourceTask {
    settings: SourceSettings,
    reader: Box<dyn SourceReader>,
    decoder: Box<dyn Decoder>,
    rejects: Rejects,
    outputs: Outputs,
    identity: StageIdentity,
    link: Link,
    clock: Arc<dyn Clock>,
    /// Whether there is nothing more to read.
    ended: bool,
    times: BoundedOutOfOrderness,
    raw: RawBatch,
    /// When the first record in `raw` arrived.
    arrived: Duration,
    /// When records still in `raw` go out, or if there are none, what is behind may rest.
    flush_at: Option<Duration>,
    idle_at: Option<Duration>,
}

enum Event {
    Read(ReadStatus),
    Timer,
    Control(Control),
}

impl SourceTask {
    /// A source whose event time had come to `watermark`.
    #[expect(clippy::too_many_arguments, reason = "each is another part of a source")]
    pub fn new(
        settings: SourceSettings,
        reader: Box<dyn SourceReader>,
        decoder: Box<dyn Decoder>,
        rejects: Rejects,
        outputs: Outputs,
        identity: StageIdentity,
        link: Link,
        watermark: EventTime,
        clock: Arc<dyn Clock>,
    ) -> SourceTask {
        let times = BoundedOutOfOrderness::new(settings.out_of_orderness, watermark);
        let idle_at = settings.idle.map(|idle| clock.monotonic() + idle);
        SourceTask {
            settings,
            reader,
            decoder,
            rejects,
            outputs,
            identity,
            link,
            clock,
            ended: false,
            times,
            raw: RawBatch::default(),
            arrived: Duration::ZERO,
            flush_at: None,
            idle_at,
        }
    }

    /// Reads until the last barrier is out, and what was prepared for it is committed. At the end of the source event time ends
    /// too, and every window fires; on a stop what was read goes its way, but windows stay open.
    pub async fn run(mut self) -> Result<(), TaskError> {
        loop {
            let before = self.raw.len();
            let event = self.next().await?;
            match event {
                Event::Read(ReadStatus::More) => self.gathered(before).await?,
                Event::Read(ReadStatus::End) => {
                    self.emit().await?;
                    self.end_of_time().await?;
                    self.ended = true;
                    self.link.report(Report::SourceEnded { task: self.link.task }).await?;
                }
                Event::Control(Control::Trigger(barrier)) => {
                    self.barrier(barrier).await?;
                    if barrier.last != Last::No {
                        return self.end(barrier).await;
                    }
                }
                Event::Control(control) => self.control(control).await?,
                Event::Timer => {}
            }
            self.timers().await?;
        }
    }

    async fn end_of_time(&mut self) -> Result<(), TaskError> {
        self.idle_at = None;
        self.times.end();
        self.outputs.watermark(WATERMARK_END).await
    }

    async fn barrier(&mut self, barrier: Barrier) -> Result<(), TaskError> {
        self.emit().await?;
        if barrier.last == Last::Drain && !self.ended {
            self.end_of_time().await?;
        }
        let mut left = Vec::new();
        self.outputs.barrier(barrier, &mut left).await?;
        let state = SubtaskState {
            watermark: self.times.watermark(),
            splits: self.reader.positions(),
            ..SubtaskState::default()
        };
        left.push(Left { uid: self.identity.uid.clone(), subtask: self.identity.subtask, state });
        self.link.report(Report::Acknowledged { task: self.link.task, checkpoint: barrier.checkpoint, left }).await
    }

    async fn control(&mut self, control: Control) -> Result<(), TaskError> {
        match control {
            Control::Completed(permit) => self.outputs.completed(&permit).await,
            Control::Aborted(checkpoint) => self.outputs.aborted(checkpoint).await,
            Control::Trigger(_) => Ok(()),
        }
    }

    /// After the last barrier: waits for its checkpoint to be complete.
    async fn end(mut self, last: Barrier) -> Result<(), TaskError> {
        self.outputs.end().await?;
        loop {
            let control = self.link.next().await?;
            let done = matches!(&control, Control::Completed(permit) if permit.checkpoint() == last.checkpoint);
            self.control(control).await?;
            if done {
                return self.outputs.close().await;
            }
        }
    }

    async fn next(&mut self) -> Result<Event, TaskError> {
        let wake = self.outputs.wake_at().map(|at| {
            let ahead = u64::try_from(at.saturating_sub(self.clock.now_ms())).unwrap_or(0);
            self.clock.monotonic() + Duration::from_millis(ahead)
        });
        let timer = [self.flush_at, self.idle_at, wake].into_iter().flatten().min();
        let read = self.reader.read(&mut self.raw, self.settings.limits);
        tokio::select! {
            biased;
            control = self.link.next() => Ok(Event::Control(control?)),
            status = read, if !self.ended => match status {
                Ok(status) => Ok(Event::Read(status)),
                Err(error) => Err(TaskError::Connector { node: self.settings.node.clone(), error }),
            },
            () = wait_until(&*self.clock, timer) => Ok(Event::Timer),
        }
    }

    /// Records may have been added to those there were `before`.
    async fn gathered(&mut self, before: usize) -> Result<(), TaskError> {
        let limits = self.settings.limits;
        let full = self.raw.len() >= limits.records || self.raw.data.len() >= limits.bytes;
        if self.raw.len() == before {
            // Nothing was added: the next record does not continue this batch.
            return self.emit().await;
        }
        let now = self.clock.monotonic();
        if before == 0 {
            self.arrived = self.raw.arrived.unwrap_or(now);
            self.flush_at = Some(now + self.settings.flush);
        }
        self.idle_at = self.settings.idle.map(|idle| now + idle);
        if full || self.settings.flush.is_zero() {
            self.emit().await?;
            self.flush_at = Some(now + self.settings.flush);
        }
        Ok(())
    }

    /// Does what is due.
    async fn timers(&mut self) -> Result<(), TaskError> {
        let now = self.clock.monotonic();
        if self.flush_at.is_some_and(|at| at <= now) {
            if self.raw.is_empty() {
                self.flush_at = None;
                self.outputs.pause().await?;
            } else {
                self.emit().await?;
                self.flush_at = Some(now + self.settings.flush);
            }
        }
        if self.idle_at.is_some_and(|at| at <= now) {
            self.idle_at = None;
            self.outputs.idle().await?;
        }
        let now_ms = self.clock.now_ms();
        if self.outputs.wake_at().is_some_and(|at| at <= now_ms) {
            self.outputs.wake(now_ms).await?;
        }
        Ok(())
    }

    /// Sends out what was gathered.
    async fn emit(&mut self) -> Result<(), TaskError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let records = self.raw.len();
        let metrics = self.outputs.metrics();
        metrics.add(&metrics.records_in, records);
        let decoded = self.decoder.decode(&mut self.raw);
        let now_ms = self.clock.now_ms();
        self.reject(&decoded.malformed, now_ms).await?;
        let rows = decoded.rows.num_rows();
        let timestamps = match self.settings.time {
            Some(column) => decoded.rows.column(column).as_primitive::<Int64Type>().values().clone(),
            None if self.raw.timestamps.is_empty() => vec![now_ms; rows].into(),
            None => without(&mut self.raw.timestamps, &decoded.malformed).into(),
        };
        let watermark = self.times.observe(&timestamps);
        let batch = Batch { columns: decoded.rows, timestamps, arrived: self.arrived, key_hashes: None };
        self.raw.clear();
        self.outputs.emit(0, batch).await?;
        if let Some(watermark) = watermark {
            self.outputs.watermark(watermark).await?;
        }
        // A source that never waits must still let others have the thread.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn reject(&mut self, malformed: &[Malformed], now_ms: EventTime) -> Result<(), TaskError> {
        if malformed.is_empty() {
            return Ok(());
        }
        let place = self.raw.position.clone();
        let rejects = malformed
            .iter()
            .map(|malformed| (malformed, format!("{}:{}", place.place, place.record + malformed.record as u64)))
            .map(|(malformed, position)| Reject {
                reason: format!("{position}: {}", malformed.reason),
                position,
                plugin: "".into(),
                record: String::from_utf8_lossy(self.raw.record(malformed.record)).into_owned(),
                timestamp: self.raw.timestamps.get(malformed.record).copied().unwrap_or(now_ms),
            })
            .collect();
        self.rejects.records(rejects, self.arrived, &mut self.outputs).await
    }
}

/// The timestamps of the well-formed records.
fn without(timestamps: &mut Vec<i64>, malformed: &[Malformed]) -> Vec<i64> {
    let mut all = std::mem::take(timestamps);
    let mut gone = malformed.iter().map(|malformed| malformed.record).peekable();
    let mut record = 0;
    all.retain(|_| {
        let keep = gone.next_if_eq(&record).is_none();
        record += 1;
        keep
    });
    all
}
