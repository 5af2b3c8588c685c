//! The stage that aggregates by key and window: finds the accumulators a batch touches, has the plugin fold the rows into them,
//! and emits the results of windows that are over.
use arrow_array::{Array, ArrayRef, Int64Array, UInt32Array};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;

use super::{Operator, Outputs, Rejects, TaskError, moments::Moments};
use crate::{
    model::{
        Batch, EventTime, KeyRows, Kind, MAX_PARALLELISM_DEFAULT, NO_WATERMARK, Schema, StateValues, TimeDomain,
        WATERMARK_END, Window, decode_keys,
    },
    plugin::Instance,
    state::{Cursor, KeyedStore, Layout, StateBackend, StoreSettings, Touched},
    window::Tumbling,
};

/// Which of the plugin's states is the accumulator.
const ACCUMULATOR: usize = 0;

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
    pub windows: Tumbling,
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
    store: KeyedStore,
    watermark: EventTime,
    seen: u64,
    // Memory kept from batch to batch.
    assigned: Vec<Window>,
    hashes: Vec<u64>,
    touched: Touched,
}

impl Windowed {
    /// With no window open, in memory.
    pub fn new(
        settings: WindowedSettings,
        instance: Instance,
        rejects: Rejects,
        moments: Moments,
    ) -> Result<Windowed, TaskError> {
        let store = StoreSettings {
            name: "windows".to_owned(),
            uid: settings.node.clone(),
            subtask: 0,
            start: 0,
            states: instance.description().states.clone(),
            layout: Layout::Windows,
            groups: 0..MAX_PARALLELISM_DEFAULT,
            max_parallelism: MAX_PARALLELISM_DEFAULT,
            drop_vanished: false,
        };
        let store = KeyedStore::open(&StateBackend::memory(), store, Vec::new())?;
        let key_kinds = settings.schema.fields()[..settings.key.len()].iter().map(|field| field.kind).collect();
        Ok(Windowed {
            settings,
            key_kinds,
            instance,
            rejects,
            moments,
            store,
            watermark: NO_WATERMARK,
            seen: 0,
            assigned: Vec::new(),
            hashes: Vec::new(),
            touched: Touched::default(),
        })
    }

    /// Takes late rows and rows without a key out of the batch, and notes the windows of the others.
    async fn assign(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<Batch, TaskError> {
        let windows = self.settings.windows;
        let window = |time: EventTime| {
            let start = windows.start_of(time);
            Window { start, end: windows.end_of(start) }
        };
        self.assigned.clear();
        match self.settings.time {
            TimeDomain::Event => self.assigned.extend(batch.timestamps.iter().map(|time| window(*time))),
            TimeDomain::Processing => self.assigned.resize(batch.rows(), window(self.moments.now_ms())),
        }
        let watermark = self.watermark;
        let by_event = self.settings.time == TimeDomain::Event;
        let is_late = |start: EventTime| by_event && windows.is_over(start, watermark);
        let keyless = |row: usize| {
            self.settings.key.iter().any(|column| {
                let column = batch.columns.column(*column);
                column.null_count() > 0 && column.is_null(row)
            })
        };
        let any_null = self.settings.key.iter().any(|column| batch.columns.column(*column).null_count() > 0);
        let earliest = self.assigned.iter().map(|window| window.start).min().unwrap_or(WATERMARK_END);
        if !any_null && !is_late(earliest) {
            return Ok(batch);
        }
        let (mut kept, mut late, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        for (row, window) in self.assigned.iter().enumerate() {
            if keyless(row) {
                rejected.push((row, "its key is null".to_owned()));
            } else if is_late(window.start) {
                late.push(row as u32);
            } else {
                kept.push(row as u32);
            }
        }
        self.assigned = kept.iter().map(|row| self.assigned[*row as usize]).collect();
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
        while let Some(window) = self.store.first_window().filter(|it| self.settings.windows.is_over(it.start, time)) {
            let mut after = Some(Cursor::default());
            while let Some(cursor) = after {
                let page = self.store.scan_window(window, cursor, self.settings.batch_records)?;
                if !page.touched.is_empty() {
                    let rows = self.results(window, &page.touched)?;
                    outputs.emit(0, rows).await?;
                }
                after = page.next;
            }
            self.store.drop_window(window)?;
        }
        Ok(())
    }

    fn accumulators(&mut self, touched: &Touched) -> Result<ArrayRef, TaskError> {
        let now_ms = self.moments.now_ms();
        match self.store.read(touched, ACCUMULATOR, now_ms)? {
            StateValues::Single(values) => Ok(values),
            StateValues::Many { .. } | StateValues::ByImport => Err(self.bug("its accumulator is no single value")),
        }
    }

    fn results(&mut self, window: Window, touched: &Touched) -> Result<Batch, TaskError> {
        let accumulators = self.accumulators(touched)?;
        let rows = accumulators.len();
        let mut columns = decode_keys(&self.key_kinds, self.store.keys(touched)).map_err(|error| self.bug(error))?;
        for time in [window.start, window.end] {
            columns.push(std::sync::Arc::new(Int64Array::from_value(time, rows)) as ArrayRef);
        }
        columns.extend(self.instance.results(&accumulators, self.seen..self.seen)?);
        let columns = self.settings.schema.record_batch(columns, rows).map_err(|what| self.bug(what))?;
        let timestamps = vec![window.last(); rows].into();
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
        let mut touched = std::mem::take(&mut self.touched);
        self.store.touch(&keys, hashes, Some(&self.assigned), &mut touched)?;
        let before = self.accumulators(&touched)?;
        let moment = self.moments.next(self.watermark);
        let after =
            self.instance.accumulate(moment, &batch, &self.settings.reads, &touched.groups, &before, records)?;
        outputs.metrics().set_guests_replaced(self.instance.replaced());
        self.store.put_column(&touched, ACCUMULATOR, &after.values, self.moments.now_ms())?;
        self.touched = touched;
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
        Some(self.store.first_window().filter(|_| self.settings.time == TimeDomain::Processing)?.end)
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.fire(now_ms - 1, outputs).await
    }

    async fn end(&mut self, _outputs: &mut Outputs) -> Result<(), TaskError> {
        if self.store.first_window().is_some() {
            let (operator, windows, keys) = (&self.settings.node, self.store.windows().count(), self.store.rows());
            tracing::warn!(operator, windows, keys, "stopped with windows still open; they were not emitted");
        }
        Ok(())
    }
}
