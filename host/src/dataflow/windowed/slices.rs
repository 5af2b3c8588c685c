//! The stage for windows of one length that fire once, when they are over: rows are aggregated in slices, which windows share, so
//! that a row is touched once however many windows it is in. A window fires as a whole, page by page, with no timer of any key.
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array};
use async_trait::async_trait;

use super::{
    AggregatePlugin, StateHome, WindowedSettings,
    combine::combined,
    gather::Gathering,
    intake::Intake,
    state::{single, states_of},
};
use crate::{
    checkpoint::CommitPermit,
    dataflow::{Moments, Operator, Outputs, Rejects, Replacement, TaskError},
    model::{Batch, EventTime, KeyRows, SnapshotRequest, SubtaskState, TimeDomain, WATERMARK_END, Window, decode_keys},
    state::{Cursor, KeyedStore, Layout, Touched},
    window::{Sliding, over_at},
};

/// An aggregate plugin at work on windows that fire once.
pub(super) struct Slices {
    settings: WindowedSettings,
    windows: Sliding,
    intake: Intake,
    aggregate: AggregatePlugin,
    rejects: Rejects,
    moments: Moments,
    store: KeyedStore,
    watermark: EventTime,
    seen: u64,
    // Memory kept from batch to batch.
    slices: Vec<Window>,
    hashes: Vec<u64>,
    touched: Touched,
}

/// Keys of a window that fires, and what they have in its slices.
struct Page<'a> {
    window: Window,
    keys: Vec<&'a [u8]>,
    /// How the keys' accumulators become one a key; none where each key has one accumulator, in the order of the keys.
    gathering: Option<Gathering>,
    /// In the order of the gathering.
    accumulators: ArrayRef,
}

impl Slices {
    /// With what an earlier run left.
    pub(super) fn open(
        settings: WindowedSettings,
        windows: Sliding,
        aggregate: AggregatePlugin,
        (rejects, moments): (Rejects, Moments),
        home: &StateHome,
        restored: SubtaskState,
    ) -> Result<Slices, TaskError> {
        let states = states_of("aggregate", &aggregate.instance.description().states).collect();
        let watermark = restored.watermark;
        let store = home.open("slices", states, Layout::Windows, restored)?;
        Ok(Slices {
            intake: settings.intake(),
            settings,
            windows,
            aggregate,
            rejects,
            moments,
            store,
            watermark,
            seen: 0,
            slices: Vec::new(),
            hashes: Vec::new(),
            touched: Touched::default(),
        })
    }

    /// Takes late rows and rows without a key out of the batch, and notes the slices of the others.
    async fn assign(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<Batch, TaskError> {
        let batch = self.intake.keyed(batch, &mut self.rejects, outputs).await?;
        self.slices.clear();
        if self.settings.time == TimeDomain::Processing {
            self.slices.resize(batch.rows(), self.windows.slice_of(self.moments.now_ms()));
            return Ok(batch);
        }
        let (windows, watermark) = (self.windows, self.watermark);
        // Rows mostly come in runs of one slice.
        let mut slice = Window { start: 0, end: 0 };
        let mut earliest = Window::GLOBAL;
        for time in batch.timestamps.iter() {
            if !(slice.start <= *time && *time < slice.end) {
                slice = windows.slice_of(*time);
                earliest = earliest.min(slice);
            }
            self.slices.push(slice);
        }
        let is_late = |slice: Window| windows.last_window_of(slice).last() <= watermark;
        if batch.rows() == 0 || !is_late(earliest) {
            return Ok(batch);
        }
        let (late, kept): (Vec<u32>, Vec<u32>) =
            (0..batch.rows() as u32).partition(|row| is_late(self.slices[*row as usize]));
        self.slices = kept.iter().map(|row| self.slices[*row as usize]).collect();
        self.intake.late(&batch, late, outputs).await?;
        self.intake.take(&batch, kept)
    }

    /// Emits the windows that are over at `until` and were not at `after`, the first to be over first, and forgets slices of which
    /// no window is left.
    async fn fire(&mut self, after: EventTime, until: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        // A tumbling window is forgotten as soon as it fires: any that is there has not fired.
        let after = if self.windows.is_tumbling() { EventTime::MIN } else { after };
        for window in self.windows.over_between(self.store.windows(), after, until) {
            let inside = |slice: &Window| window.start <= slice.start && slice.end <= window.end;
            let slices: Vec<Window> = self.store.windows().filter(inside).collect();
            let mut next = Some(Cursor::default());
            while let Some(cursor) = next.take() {
                let rows;
                (rows, next) = self.page(window, &slices, cursor)?;
                if let Some(rows) = rows {
                    outputs.emit(0, rows).await?;
                }
            }
        }
        let over: Vec<Window> =
            self.store.windows().filter(|slice| self.windows.last_window_of(*slice).last() <= until).collect();
        over.into_iter().try_for_each(|slice| self.store.drop_window(slice))?;
        Ok(())
    }

    /// The results of some keys of a window, and where to go on.
    fn page(
        &mut self,
        window: Window,
        slices: &[Window],
        from: Cursor,
    ) -> Result<(Option<Batch>, Option<Cursor>), TaskError> {
        let (limit, now_ms) = (self.settings.batch_records, self.moments.now_ms());
        let read = |store: &mut KeyedStore, touched: &Touched| {
            store.read(touched, 0, now_ms).map_err(TaskError::from).and_then(|values| single(values, &self.intake))
        };
        if let [slice] = slices {
            let page = self.store.scan_window(*slice, from, limit)?;
            let accumulators = read(&mut self.store, &page.touched)?;
            let keys = self.store.keys(&page.touched).collect();
            let page_of = match accumulators.null_count() {
                0 => Page { window, keys, gathering: None, accumulators },
                _ => valid(window, keys, &page.touched.groups, &accumulators, &self.intake)?,
            };
            let rows = results(&self.settings, &self.intake, &mut self.aggregate, page_of, self.seen, &self.moments)?;
            return Ok((rows, page.next));
        }
        let mut page = self.store.scan_windows(slices, from, limit)?;
        let gathering = Gathering::of(&page.owners, None, page.len);
        // Read in the order they are merged in, they need not be moved again.
        page.touched.reorder(&gathering.order);
        let accumulators = read(&mut self.store, &page.touched)?;
        let keys = (0..page.len).map(|key| page.keys.get(key)).collect();
        let page_of = match accumulators.null_count() {
            0 => Page { window, keys, gathering: Some(gathering), accumulators },
            _ => {
                let owners: Vec<u32> = gathering.order.iter().map(|at| page.owners[*at as usize]).collect();
                valid(window, keys, &owners, &accumulators, &self.intake)?
            }
        };
        let rows = results(&self.settings, &self.intake, &mut self.aggregate, page_of, self.seen, &self.moments)?;
        Ok((rows, page.next))
    }
}

/// A page without the accumulators that turn out not to be there any more.
fn valid<'a>(
    window: Window,
    keys: Vec<&'a [u8]>,
    owners: &[u32],
    accumulators: &ArrayRef,
    intake: &Intake,
) -> Result<Page<'a>, TaskError> {
    let gathering = Gathering::of(owners, accumulators.nulls(), keys.len());
    let accumulators = gathering.ordered(accumulators).map_err(|error| intake.bug(error))?;
    Ok(Page { window, keys, gathering: Some(gathering), accumulators })
}

/// The rows that come of a page.
fn results(
    settings: &WindowedSettings,
    intake: &Intake,
    aggregate: &mut AggregatePlugin,
    page: Page<'_>,
    seen: u64,
    moments: &Moments,
) -> Result<Option<Batch>, TaskError> {
    let Page { window, mut keys, gathering, mut accumulators } = page;
    if let Some(gathering) = gathering {
        keys = gathering.keys.iter().map(|key| keys[*key as usize]).collect();
        let merge = |first: &ArrayRef, others: &ArrayRef, groups: &[u32]| {
            aggregate.instance.merge(first, others, groups, seen..seen).map_err(TaskError::from)
        };
        accumulators = gathering.merged(&accumulators, merge, |error| intake.bug(error))?;
    }
    let rows = accumulators.len();
    if rows == 0 {
        return Ok(None);
    }
    let mut columns = decode_keys(&settings.key_kinds, keys.iter().copied()).map_err(|error| intake.bug(error))?;
    for time in [window.start, window.end] {
        columns.push(Arc::new(Int64Array::from_value(time, rows)));
    }
    columns.extend(aggregate.instance.results(&accumulators, seen..seen)?);
    let columns = settings.schema.record_batch(columns, rows).map_err(|what| intake.bug(what))?;
    let timestamps = vec![window.last(); rows].into();
    Ok(Some(Batch { columns, timestamps, arrived: moments.monotonic(), key_hashes: None }))
}

#[async_trait]
impl Operator for Slices {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let came = self.settings.combined.then(|| combined(&batch).1.iter().sum::<i64>());
        let mut batch = self.assign(batch, outputs).await?;
        if let Some(came) = came {
            // Of each late accumulator one row was counted.
            let late = came - combined(&batch).1.iter().sum::<i64>();
            let counted = (records.end - records.start) as usize - batch.rows();
            outputs.metrics().add(&outputs.metrics().late, late as usize - counted);
        }
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
        self.store.touch(&keys, hashes, Some(&self.slices), &mut self.touched)?;
        let moment = self.moments.next(self.watermark);
        let now_ms = moment.processing_time;
        let before = single(self.store.read(&self.touched, 0, now_ms)?, &self.intake)?;
        let AggregatePlugin { instance, reads } = &mut self.aggregate;
        if self.settings.combined {
            let after = instance.merge(&before, &combined(&batch).0, &self.touched.groups, records)?;
            return Ok(self.store.put_column(&self.touched, 0, &after, now_ms)?);
        }
        let after = instance.accumulate(moment, &batch, reads, &self.touched.groups, &before, records)?;
        outputs.metrics().set_guests_replaced(instance.replaced());
        self.store.put_column(&self.touched, 0, &after.values, now_ms)?;
        self.rejects.rows(&batch, after.rejections, outputs).await
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        let before = std::mem::replace(&mut self.watermark, watermark);
        match self.settings.time {
            TimeDomain::Event => self.fire(before, watermark, outputs).await?,
            // The end of a bounded input is the end of its windows, by whichever time they go.
            TimeDomain::Processing if watermark == WATERMARK_END => {
                self.fire(EventTime::MIN, watermark, outputs).await?;
            }
            TimeDomain::Processing => {}
        }
        outputs.watermark(watermark).await
    }

    fn wake_at(&self) -> Option<i64> {
        let first = self.store.first_window().filter(|_| self.settings.time == TimeDomain::Processing)?;
        Some(over_at(first.end, TimeDomain::Processing))
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.fire(EventTime::MIN, now_ms - 1, outputs).await
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        self.aggregate = AggregatePlugin { instance: new.instance, reads: new.reads };
        Ok(())
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let stores = vec![self.store.snapshot(request)?];
        Ok(SubtaskState { watermark: self.watermark, stores, ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.store.completed(permit.checkpoint());
        Ok(self.aggregate.instance.checkpoint_completed(permit.checkpoint())?)
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.store.aborted(checkpoint);
        Ok(self.aggregate.instance.checkpoint_aborted(checkpoint)?)
    }
}
