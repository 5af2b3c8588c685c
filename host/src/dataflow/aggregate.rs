//! The stage that aggregates by key and window: finds the accumulators a batch touches, has the plugin fold the rows into them,
//! and emits the results of windows that are over.
use arrow_array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;

use super::{Operator, Outputs, Rejects, TaskError, moments::Moments};
use crate::{
    model::{Batch, EventTime, KeyRows, Kind, NO_WATERMARK, Schema, TimeDomain, WATERMARK_END, decode_keys},
    plugin::Instance,
    state::{OldTouched as Touched, WindowContents, WindowStore},
    window::Sliding,
};

/// How a windowed aggregate is set up.
#[derive(Debug, Clone)]
pub struct WindowedSettings {
    /// Its name in the job.
    pub node: String,
    /// Key columns in the input.
    pub key: Vec<usize>,
    /// Columns the plugin reads, in its order.
    pub reads: Vec<usize>,
    /// Which windows.
    pub windows: Sliding,
    /// By which time.
    pub time: TimeDomain,
    /// Output of rows that come too late.
    pub late: usize,
    /// Columns of the main output: key, window, results.
    pub schema: Schema,
    /// Rows in an emitted batch.
    pub batch_records: usize,
}

/// An aggregate plugin at work on windows.
pub struct Windowed {
    settings: WindowedSettings,
    key_kinds: Vec<Kind>,
    instance: Instance,
    rejects: Rejects,
    moments: Moments,
    store: WindowStore,
    watermark: EventTime,
    seen: u64,
    // Memory kept from batch to batch.
    starts: Vec<EventTime>,
    hashes: Vec<u64>,
    touched: Touched,
}

impl Windowed {
    /// With no window open.
    pub fn new(settings: WindowedSettings, instance: Instance, rejects: Rejects, moments: Moments) -> Windowed {
        let accumulator = instance.description().states[0].value;
        let key_kinds = settings.schema.fields()[..settings.key.len()].iter().map(|field| field.kind).collect();
        Windowed {
            settings,
            key_kinds,
            instance,
            rejects,
            moments,
            store: WindowStore::new(accumulator),
            watermark: NO_WATERMARK,
            seen: 0,
            starts: Vec::new(),
            hashes: Vec::new(),
            touched: Touched::default(),
        }
    }

    /// Takes late rows and rows without a key out of the batch, and notes the windows of the others.
    async fn assign(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<Batch, TaskError> {
        let windows = self.settings.windows;
        self.starts.clear();
        match self.settings.time {
            TimeDomain::Event => self.starts.extend(batch.timestamps.iter().map(|time| windows.slice_of(*time).start)),
            TimeDomain::Processing => {
                self.starts.resize(batch.rows(), windows.slice_of(self.moments.now_ms()).start);
            }
        }
        let watermark = self.watermark;
        let by_event = self.settings.time == TimeDomain::Event;
        let is_late = |start: EventTime| by_event && windows.slice_of(start).last() <= watermark;
        let keyless = |row: usize| {
            self.settings.key.iter().any(|column| {
                let column = batch.columns.column(*column);
                column.null_count() > 0 && column.is_null(row)
            })
        };
        let any_null = self.settings.key.iter().any(|column| batch.columns.column(*column).null_count() > 0);
        let earliest = self.starts.iter().copied().min().unwrap_or(WATERMARK_END);
        if !any_null && !is_late(earliest) {
            return Ok(batch);
        }
        let (mut kept, mut late, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        for (row, start) in self.starts.iter().enumerate() {
            if keyless(row) {
                rejected.push((row, "its key is null".to_owned()));
            } else if is_late(*start) {
                late.push(row as u32);
            } else {
                kept.push(row as u32);
            }
        }
        self.starts = kept.iter().map(|row| self.starts[*row as usize]).collect();
        self.rejects.rows(&batch, rejected, outputs).await?;
        outputs.metrics().add(&outputs.metrics().late, late.len());
        if outputs.is_read(self.settings.late) {
            let rows = self.take(&batch, late)?;
            outputs.emit(self.settings.late, rows).await?;
        }
        self.take(&batch, kept)
    }

    fn take(&self, batch: &Batch, rows: Vec<u32>) -> Result<Batch, TaskError> {
        let timestamps = rows.iter().map(|row| batch.timestamps[*row as usize]).collect();
        let key_hashes = batch.key_hashes.as_ref().map(|hashes| rows.iter().map(|row| hashes[*row as usize]).collect());
        let columns = take_record_batch(&batch.columns, &UInt32Array::from(rows)).map_err(|error| self.bug(error))?;
        Ok(Batch { columns, timestamps, arrived: batch.arrived, key_hashes })
    }

    fn bug(&self, what: impl ToString) -> TaskError {
        TaskError::Bug { node: self.settings.node.clone(), what: what.to_string() }
    }

    /// Emits the windows that are over at this time, the earliest first.
    async fn fire(&mut self, time: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        while self.store.first().is_some_and(|start| self.settings.windows.slice_of(start).last() <= time) {
            let Some(window) = self.store.take_first() else { break };
            let mut from = 0;
            while from < window.len() {
                let rows = self.results(&window, from)?;
                from += rows.rows();
                outputs.emit(0, rows).await?;
            }
        }
        Ok(())
    }

    fn results(&mut self, window: &WindowContents, from: usize) -> Result<Batch, TaskError> {
        let count = self.settings.batch_records;
        let accumulators = window.accumulators(from, count);
        let rows = accumulators.len();
        let end = self.settings.windows.slice_of(window.start).end;
        let mut columns = decode_keys(&self.key_kinds, window.keys(from, count)).map_err(|error| self.bug(error))?;
        for time in [window.start, end] {
            columns.push(std::sync::Arc::new(Int64Array::from_value(time, rows)) as ArrayRef);
        }
        columns.extend(self.instance.results(&accumulators, self.seen..self.seen)?);
        let columns = self.settings.schema.record_batch(columns, rows).map_err(|what| self.bug(what))?;
        let timestamps = vec![end - 1; rows].into();
        Ok(Batch { columns, timestamps, arrived: self.moments.monotonic(), key_hashes: None })
    }
}

#[async_trait]
impl Operator for Windowed {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let mut batch = self.assign(batch, outputs).await?;
        let rows = batch.rows();
        if rows == 0 {
            return Ok(());
        }
        let key: Vec<ArrayRef> = self.settings.key.iter().map(|column| batch.columns.column(*column).clone()).collect();
        let keys = KeyRows::encode(&key, rows);
        let known = batch.key_hashes.take();
        let hashes = match &known {
            Some(hashes) => &hashes[..],
            None => {
                self.hashes.clear();
                keys.hash_into(rows, &mut self.hashes);
                &self.hashes
            }
        };
        self.store.touch(&keys, hashes, &self.starts, &mut self.touched);
        let before = self.store.gather(&self.touched);
        let moment = self.moments.next(self.watermark);
        let after =
            self.instance.accumulate(moment, &batch, &self.settings.reads, &self.touched.groups, &before, records)?;
        outputs.metrics().set_guests_replaced(self.instance.replaced());
        self.store.scatter(&self.touched, &after.values);
        self.rejects.rows(&batch, after.rejections, outputs).await
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        // The end of a bounded input is the end of its windows, by whichever time they go.
        if self.settings.time == TimeDomain::Event || watermark == WATERMARK_END {
            self.fire(watermark, outputs).await?;
        }
        outputs.watermark(watermark).await
    }

    fn wake_at(&self) -> Option<i64> {
        let first = self.store.first().filter(|_| self.settings.time == TimeDomain::Processing)?;
        Some(self.settings.windows.slice_of(first).end)
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.fire(now_ms - 1, outputs).await
    }
}
