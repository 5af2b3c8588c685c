//! The head of a task that reads from a connector: gathers records into batches, decodes them, gives them their event time and
//! says how far that has come.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use arrow_array::{BooleanArray, RecordBatch, cast::AsArray, types::Int64Type};
use arrow_select::filter::filter;

use super::{
    Barrier, Control, Last, Left, Link, Outputs, Reject, Rejects, Report, StageIdentity, TaskError,
    drift::{Drift, DriftGroup, LOOK},
    splits::SplitTimes,
    task::wait_until,
    watermark::Progress,
};
use crate::{
    codec::{Decoder, Malformed, PrepareError},
    connector::{BatchLimits, ConnectorError, ReadStatus, SourceReader},
    model::{
        Batch, Clock, EventTime, Kind, MetadataColumn, RawBatch, Schema, SplitPosition, SubtaskState, WATERMARK_END,
    },
};

/// How a source is read.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Its name in the job.
    pub node: String,
    /// Its columns: those that are decoded, then those the source itself tells.
    pub schema: Schema,
    /// The kinds of the latter.
    pub metadata: Vec<Kind>,
    /// Column with the event time.
    pub time: Option<usize>,
    /// How far records may come behind the latest event time.
    pub out_of_orderness: Duration,
    /// After how long without records a split is idle.
    pub idle: Option<Duration>,
    /// How far its splits may be apart in event time.
    pub drift: Option<(Duration, Arc<DriftGroup>)>,
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
    times: SplitTimes,
    drift: Option<Drift>,
    /// When to look at how far splits are apart again.
    look_at: Option<Duration>,
    /// What was read for checkpoints that are not known to be complete.
    positions: VecDeque<(u64, Vec<SplitPosition>)>,
    raw: RawBatch,
    /// When the first record in `raw` arrived.
    arrived: Duration,
    /// When records still in `raw` go out, or if there are none, what is behind may rest.
    flush_at: Option<Duration>,
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
        let times = SplitTimes::new(settings.out_of_orderness, settings.idle, watermark);
        let drift = settings.drift.clone();
        let drift = drift.map(|(max, group)| Drift::new(group, identity.subtask as usize, max));
        let metadata = settings.metadata.iter().filter_map(|kind| MetadataColumn::new(*kind)).collect();
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
            drift,
            look_at: None,
            positions: VecDeque::new(),
            raw: RawBatch { metadata, ..RawBatch::default() },
            arrived: Duration::ZERO,
            flush_at: None,
        }
    }

    /// Reads until the last barrier is out, and what was prepared for it is committed. At the end of the source event time ends
    /// too, and every window fires; on a stop what was read goes its way, but windows stay open.
    pub async fn run(mut self) -> Result<(), TaskError> {
        self.reader.start().await.map_err(failed(&self.settings.node))?;
        if self.reader.splits() == 0 {
            self.outputs.idle().await?;
            // Nobody is to wait for it either.
            self.align(self.clock.monotonic());
        }
        self.times.grow(self.reader.splits(), self.clock.monotonic());
        loop {
            let before = gathered(&self.raw);
            let event = self.next().await?;
            // What was read may be of a split that was found meanwhile.
            self.times.grow(self.reader.splits(), self.clock.monotonic());
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
        self.times.end();
        (self.drift, self.look_at) = (None, None);
        self.outputs.watermark(WATERMARK_END).await
    }

    async fn barrier(&mut self, barrier: Barrier) -> Result<(), TaskError> {
        self.emit().await?;
        if barrier.last == Last::Drain && !self.ended {
            self.end_of_time().await?;
        }
        let mut left = Vec::new();
        self.outputs.barrier(barrier, &mut left).await?;
        if barrier.last != Last::No {
            // Now, for once all have reported those behind may be gone at any moment.
            self.outputs.end().await?;
        }
        let splits = self.reader.positions();
        if barrier.change.is_none() {
            self.positions.push_back((barrier.checkpoint, splits.clone()));
        }
        let state = SubtaskState { watermark: self.times.watermark(), splits, ..SubtaskState::default() };
        left.push(Left { uid: self.identity.uid.clone(), subtask: self.identity.subtask, state });
        self.link.report(Report::Acknowledged { task: self.link.task, checkpoint: barrier.checkpoint, left }).await
    }

    async fn control(&mut self, control: Control) -> Result<(), TaskError> {
        match control {
            Control::Completed(permit) => {
                let complete = permit.checkpoint();
                while let Some((checkpoint, positions)) = self.positions.pop_front_if(|(at, _)| *at <= complete) {
                    if checkpoint == complete {
                        self.reader.completed(&positions);
                    }
                }
                self.outputs.completed(&permit).await
            }
            Control::Aborted(checkpoint) => {
                self.positions.retain(|(at, _)| *at != checkpoint);
                self.outputs.aborted(checkpoint).await
            }
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
                return self.outputs.close().await;
            }
        }
    }

    async fn next(&mut self) -> Result<Event, TaskError> {
        let wake = self.outputs.wake_at().map(|at| {
            let ahead = u64::try_from(at.saturating_sub(self.clock.now_ms())).unwrap_or(0);
            self.clock.monotonic() + Duration::from_millis(ahead)
        });
        let timer = [self.flush_at, self.times.idle_at(), self.look_at, wake].into_iter().flatten().min();
        let held = self.drift.as_ref().is_some_and(Drift::all_held);
        let read = self.reader.read(&mut self.raw, self.settings.limits);
        tokio::select! {
            biased;
            control = self.link.next() => Ok(Event::Control(control?)),
            status = read, if !self.ended && !held => match status {
                Ok(status) => Ok(Event::Read(status)),
                Err(error) => Err(failed(&self.settings.node)(error)),
            },
            () = wait_until(&*self.clock, timer) => Ok(Event::Timer),
        }
    }

    /// Records may have been added to those there were `before`.
    async fn gathered(&mut self, before: usize) -> Result<(), TaskError> {
        let limits = self.settings.limits;
        let full = gathered(&self.raw) >= limits.records || self.raw.data.len() >= limits.bytes;
        if gathered(&self.raw) == before {
            // Nothing was added: the next record does not continue this batch.
            return self.emit().await;
        }
        let now = self.clock.monotonic();
        if before == 0 {
            self.arrived = self.raw.arrived.unwrap_or(now);
            self.flush_at = Some(now + self.settings.flush);
        }
        self.times.active(self.raw.split, now);
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
            if gathered(&self.raw) == 0 {
                self.flush_at = None;
                self.outputs.pause().await?;
            } else {
                self.emit().await?;
                self.flush_at = Some(now + self.settings.flush);
            }
        }
        if self.times.idle_at().is_some_and(|at| at <= now) {
            let progress = self.times.tick(now);
            self.progress(progress).await?;
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.align(now);
        }
        let now_ms = self.clock.now_ms();
        if self.outputs.wake_at().is_some_and(|at| at <= now_ms) {
            self.outputs.wake(now_ms).await?;
        }
        Ok(())
    }

    /// Sends out what was gathered.
    async fn emit(&mut self) -> Result<(), TaskError> {
        let records = gathered(&self.raw);
        if records == 0 {
            return Ok(());
        }
        let metrics = self.outputs.metrics();
        metrics.add(&metrics.records_in, records);
        if let Err(error) = self.decoder.prepare(&self.raw).await {
            return Err(unprepared(&self.settings.node, error));
        }
        let decoded = self.decoder.decode(&mut self.raw);
        let now_ms = self.clock.now_ms();
        self.reject(&decoded.malformed, now_ms).await?;
        let columns = self.with_metadata(decoded.rows, &decoded.malformed)?;
        let timestamps = match self.settings.time {
            Some(column) => columns.column(column).as_primitive::<Int64Type>().values().clone(),
            None if self.raw.timestamps.is_empty() => vec![now_ms; columns.num_rows()].into(),
            None => without(&mut self.raw.timestamps, &decoded.malformed).into(),
        };
        let progress = self.times.observe(self.raw.split, &timestamps);
        self.align(self.clock.monotonic());
        let batch = Batch { columns, timestamps, arrived: self.arrived, key_hashes: None };
        self.raw.clear();
        self.outputs.emit(0, batch).await?;
        self.progress(progress).await?;
        // A source that never waits must still let others have the thread.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Has splits wait that are too far ahead, and go on that are not any more.
    fn align(&mut self, now: Duration) {
        let Some(drift) = &mut self.drift else { return };
        for (split, hold) in drift.look(self.times.reached()) {
            self.reader.hold(split, hold);
        }
        self.look_at = drift.any_held().then(|| now + LOOK);
        for split in drift.held() {
            self.times.wait(split, now);
        }
    }

    async fn progress(&mut self, progress: Progress) -> Result<(), TaskError> {
        match progress {
            Progress::Watermark(watermark) => self.outputs.watermark(watermark).await,
            Progress::Idle => self.outputs.idle().await,
            Progress::None | Progress::End => Ok(()),
        }
    }

    /// The rows with what their source tells of them.
    fn with_metadata(&mut self, rows: RecordBatch, malformed: &[Malformed]) -> Result<RecordBatch, TaskError> {
        if self.raw.metadata.is_empty() {
            return Ok(rows);
        }
        let bug = |what: String| TaskError::Bug { node: self.settings.node.clone(), what };
        let keep = (!malformed.is_empty()).then(|| {
            let mut keep = vec![true; rows.num_rows() + malformed.len()];
            malformed.iter().for_each(|malformed| keep[malformed.record] = false);
            BooleanArray::from(keep)
        });
        let (count, mut columns) = (rows.num_rows(), rows.columns().to_vec());
        for metadata in &mut self.raw.metadata {
            let column = metadata.finish();
            columns.push(match &keep {
                Some(keep) => filter(&column, keep).map_err(|error| bug(error.to_string()))?,
                None => column,
            });
        }
        self.settings.schema.record_batch(columns, count).map_err(bug)
    }

    async fn reject(&mut self, malformed: &[Malformed], now_ms: EventTime) -> Result<(), TaskError> {
        if malformed.is_empty() && self.raw.refused.is_empty() {
            return Ok(());
        }
        let place = self.raw.position.clone();
        let refused = self.raw.refused.iter().map(|refused| {
            let timestamp = refused.timestamp.unwrap_or(now_ms);
            reject(&place.place, refused.number, &refused.reason, &refused.record, timestamp)
        });
        let rejects = malformed
            .iter()
            .map(|malformed| {
                let (record, number) = (self.raw.record(malformed.record), self.raw.number(malformed.record));
                let timestamp = self.raw.timestamps.get(malformed.record).copied();
                reject(&place.place, number, &malformed.reason, record, timestamp.unwrap_or(now_ms))
            })
            .chain(refused)
            .collect();
        self.rejects.records(rejects, self.arrived, &mut self.outputs).await
    }
}

/// Records there are, good or not.
fn gathered(raw: &RawBatch) -> usize {
    raw.len() + raw.refused.len()
}

fn failed(node: &str) -> impl Fn(ConnectorError) -> TaskError + use<> {
    let node = node.to_owned();
    move |error| TaskError::Connector { node: node.clone(), error }
}

fn unprepared(node: &str, error: PrepareError) -> TaskError {
    let PrepareError { place, what, retry, code } = error;
    failed(node)(ConnectorError { place, what, retry, code })
}

fn reject(place: &str, number: u64, reason: &str, record: &[u8], timestamp: EventTime) -> Reject {
    let position = format!("{place}:{number}");
    Reject {
        reason: format!("{position}: {reason}"),
        position,
        plugin: "".into(),
        record: String::from_utf8_lossy(record).into_owned(),
        timestamp,
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
