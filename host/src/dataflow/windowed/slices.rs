//! The stage for windows of one length that fire once, when they are over: rows are aggregated in slices, which windows share, so
//! that a row is touched once however many windows it is in. A window fires as a whole, page by page, with no timer of any key.
use std::{borrow::Cow, ops::Range, sync::Arc};

use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_buffer::NullBuffer;
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
    dataflow::{
        Failures, Guests, Moments, Operator, Outputs, Rejects, Replacement, RowNumbers, TaskError,
        failures::{OfKey, Rows, Work},
    },
    model::{
        Batch, EventTime, KeyRows, OperatorKind, SnapshotRequest, SubtaskState, TimeDomain, WATERMARK_END, Window,
        decode_keys,
    },
    plugin::CallMoment,
    state::{Cursor, KeyedStore, Layout, StateError, Touched},
    window::{Sliding, over_at},
};

/// An aggregate plugin at work on windows that fire once.
pub(super) struct Slices {
    settings: WindowedSettings,
    windows: Sliding,
    intake: Intake,
    aggregate: AggregatePlugin,
    rejects: Rejects,
    failures: Failures,
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
struct Page {
    window: Window,
    keys: PageKeys,
    /// Number of keys.
    len: usize,
    /// Of which key each accumulator is; none where each key has one accumulator, in the order of the keys.
    owners: Option<Vec<u32>>,
    /// How the accumulators become one a key, if they are of several slices.
    gathering: Option<Gathering>,
    /// In the order of the gathering, unlike the owners, if there is one.
    accumulators: ArrayRef,
}

enum PageKeys {
    /// Still in the store.
    Touched(Touched),
    /// Taken out of it.
    Encoded(KeyRows),
}

impl Page {
    fn keys<'a>(&'a self, store: &'a KeyedStore) -> Vec<&'a [u8]> {
        match &self.keys {
            PageKeys::Touched(touched) => store.keys(touched).collect(),
            PageKeys::Encoded(keys) => (0..self.len).map(|key| keys.get(key)).collect(),
        }
    }
}

impl Slices {
    /// With what an earlier run left.
    pub(super) fn open(
        settings: WindowedSettings,
        windows: Sliding,
        mut aggregate: AggregatePlugin,
        (rejects, failures, moments): (Rejects, Failures, Moments),
        home: &StateHome,
        restored: SubtaskState,
    ) -> Result<Slices, TaskError> {
        let states = states_of(OperatorKind::Aggregate, &aggregate.instance.description().states).collect();
        let watermark = restored.watermark;
        let mut guests = Guests::new(&settings.key_kinds).with(0, Some(&mut aggregate.instance));
        let store = home.open("slices", states, Layout::Windows, restored, &mut guests)?;
        if let Some(other) = store.windows().find(|window| windows.slice_of(window.start) != *window) {
            // They would be part of no window any more.
            let now = windows.slice_of(other.start);
            let of =
                |window: Window| format!("of {} ms from {}", window.end.saturating_sub(window.start), window.start);
            let (store, state) = (settings.intake().node, "windows".to_owned());
            return Err(StateError::Incompatible { store, state, was: of(other), is: of(now) }.into());
        }
        Ok(Slices {
            intake: settings.intake(),
            settings,
            windows,
            aggregate,
            rejects,
            failures,
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
    async fn assign(
        &mut self,
        batch: Batch,
        numbers: &mut RowNumbers,
        outputs: &mut Outputs,
    ) -> Result<Batch, TaskError> {
        let batch = self.intake.keyed(batch, numbers, &mut self.rejects, outputs).await?;
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
        *numbers = numbers.take(&kept);
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
                let page;
                (page, next) = self.page(window, &slices, cursor)?;
                self.fire_page(&page, outputs).await?;
            }
        }
        let over: Vec<Window> =
            self.store.windows().filter(|slice| self.windows.last_window_of(*slice).last() <= until).collect();
        over.into_iter().try_for_each(|slice| self.store.drop_window(slice))?;
        Ok(())
    }

    /// Finds the state of the keys of some rows, which are this part of those whose slices were noted.
    fn touch(&mut self, batch: &mut Batch, part: Range<usize>) -> Result<(), TaskError> {
        let key: Vec<ArrayRef> = self.settings.key.iter().map(|column| batch.columns.column(*column).clone()).collect();
        let keys = KeyRows::encode(&key, batch.rows());
        let known = batch.key_hashes.take();
        let hashes = match &known {
            Some(hashes) => &hashes[..],
            None => {
                self.hashes.clear();
                keys.hash_into(batch.rows(), &mut self.hashes);
                &self.hashes
            }
        };
        Ok(self.store.touch(&keys, hashes, Some(&self.slices[part]), &mut self.touched)?)
    }

    /// Adds rows whose keys were touched. Those the plugin rejects, and why.
    fn aggregated(
        &mut self,
        moment: CallMoment,
        batch: &Batch,
        records: Range<u64>,
    ) -> Result<Vec<(usize, String)>, TaskError> {
        let now_ms = moment.processing_time;
        let before = single(self.store.read(&self.touched, 0, now_ms)?, &self.intake)?;
        let AggregatePlugin { instance, reads } = &mut self.aggregate;
        let groups = &self.touched.groups;
        let (after, rejections) = if self.settings.combined {
            (instance.merge(&before, &combined(batch).0, groups, records)?, Vec::new())
        } else {
            let after = instance.accumulate(moment, batch, reads, groups, &before, records)?;
            (after.values, after.rejections)
        };
        self.store.put_column(&self.touched, 0, &after, now_ms)?;
        Ok(rejections)
    }

    /// Emits the results of some keys of a window.
    async fn fire_page(&mut self, page: &Page, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut work = Work::items(page.len);
        while let Some(part) = self.failures.next(&mut work) {
            let result = self.results(page, part);
            if let Some(Some(rows)) = self.failures.after(&mut work, result, outputs.metrics()).await? {
                outputs.emit(0, rows).await?;
            }
        }
        if work.has_poison() {
            let keys = page.keys(&self.store);
            let of = |key: usize| Some((keys[key].to_vec(), OfKey::Window(page.window)));
            let letters = self.failures.letters(&work, of, &self.rejects)?;
            self.failures.send(letters, &mut self.rejects, outputs).await?;
        }
        Ok(())
    }

    /// Some keys of a window, and where to go on.
    fn page(&mut self, window: Window, slices: &[Window], from: Cursor) -> Result<(Page, Option<Cursor>), TaskError> {
        let (limit, now_ms) = (self.settings.batch_records, self.moments.now_ms());
        let read = |store: &mut KeyedStore, touched: &Touched| {
            store.read(touched, 0, now_ms).map_err(TaskError::from).and_then(|values| single(values, &self.intake))
        };
        if let [slice] = slices {
            let page = self.store.scan_window(*slice, from, limit)?;
            let accumulators = read(&mut self.store, &page.touched)?;
            let owners = (accumulators.null_count() > 0).then(|| page.touched.groups.clone());
            let (len, keys) = (page.touched.len(), PageKeys::Touched(page.touched));
            return Ok((Page { window, keys, len, owners, gathering: None, accumulators }, page.next));
        }
        let mut page = self.store.scan_windows(slices, from, limit)?;
        let gathering = Gathering::of(&page.owners, None, page.len);
        // Read in the order they are merged in, they need not be moved again.
        page.touched.reorder(&gathering.order);
        let accumulators = read(&mut self.store, &page.touched)?;
        let (len, keys, owners) = (page.len, PageKeys::Encoded(page.keys), Some(page.owners));
        Ok((Page { window, keys, len, owners, gathering: Some(gathering), accumulators }, page.next))
    }

    /// The rows that come of some keys of a page.
    fn results(&mut self, page: &Page, part: Range<usize>) -> Result<Option<Batch>, TaskError> {
        let (keys, accumulators) = self.merged(page, part)?;
        let rows = accumulators.len();
        if rows == 0 {
            return Ok(None);
        }
        let (window, all) = (page.window, page.keys(&self.store));
        let encoded = match &keys {
            None => all,
            Some(keys) => keys.iter().map(|key| all[*key as usize]).collect(),
        };
        let kinds = &self.settings.key_kinds;
        let mut columns = decode_keys(kinds, encoded.iter().copied()).map_err(|error| self.intake.bug(error))?;
        for time in [window.start, window.end] {
            columns.push(Arc::new(Int64Array::from_value(time, rows)));
        }
        columns.extend(self.aggregate.instance.results(&accumulators, self.seen..self.seen)?);
        let columns = self.settings.schema.record_batch(columns, rows).map_err(|what| self.intake.bug(what))?;
        let timestamps = vec![window.last(); rows].into();
        Ok(Some(Batch { columns, timestamps, arrived: self.moments.monotonic(), key_hashes: None }))
    }

    /// One accumulator a key of these of the page, and which keys these are; none for all, in their order.
    #[expect(clippy::type_complexity, reason = "keys, and what each has")]
    fn merged<'a>(
        &mut self,
        page: &'a Page,
        part: Range<usize>,
    ) -> Result<(Option<Cow<'a, [u32]>>, ArrayRef), TaskError> {
        let (whole, all) = (part.len() == page.len, &page.accumulators);
        let Some(owners) = &page.owners else {
            let keys = (!whole).then(|| part.clone().map(|key| key as u32).collect());
            return Ok((keys, all.slice(part.start, part.len())));
        };
        let (gathering, accumulators) = match &page.gathering {
            Some(gathering) if whole && all.null_count() == 0 => (Cow::Borrowed(gathering), all.clone()),
            gathering => {
                let owners = match gathering {
                    Some(gathering) => gathering.order.iter().map(|at| owners[*at as usize]).collect(),
                    None => owners.clone(),
                };
                // Without the accumulators of other keys, and those that turn out not to be there any more.
                let here: NullBuffer = owners.iter().map(|key| part.contains(&(*key as usize))).collect();
                let there = NullBuffer::union(Some(&here), all.nulls());
                let gathering = Gathering::of(&owners, there.as_ref(), page.len);
                let ordered = gathering.ordered(all).map_err(|error| self.intake.bug(error))?;
                (Cow::Owned(gathering), ordered)
            }
        };
        let (intake, seen) = (&self.intake, self.seen);
        let merge = |first: &ArrayRef, others: &ArrayRef, groups: &[u32]| {
            self.aggregate.instance.merge(first, others, groups, seen..seen).map_err(TaskError::from)
        };
        let merged = gathering.merged(&accumulators, merge, |error| intake.bug(error))?;
        let keys = match gathering {
            Cow::Borrowed(gathering) => Cow::Borrowed(&gathering.keys[..]),
            Cow::Owned(gathering) => Cow::Owned(gathering.keys),
        };
        Ok((Some(keys), merged))
    }
}

#[async_trait]
impl Operator for Slices {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut numbers = RowNumbers::after(self.seen);
        let all = batch.rows();
        self.seen += all as u64;
        let came = self.settings.combined.then(|| combined(&batch).1.iter().sum::<i64>());
        let batch = self.assign(batch, &mut numbers, outputs).await?;
        if let Some(came) = came {
            // Of each late accumulator one row was counted.
            let late = came - combined(&batch).1.iter().sum::<i64>();
            outputs.metrics().add(&outputs.metrics().late, late as usize - (all - batch.rows()));
        }
        if batch.rows() == 0 {
            return Ok(());
        }
        let mut work = Work::rows(batch, numbers);
        while let Some(Rows { part, mut batch, numbers, records }) = self.failures.next_rows(&mut work) {
            self.touch(&mut batch, part)?;
            let moment = work.moment(&mut self.moments, self.watermark);
            let result = self.aggregated(moment, &batch, records);
            outputs.metrics().set_guests_replaced(self.aggregate.instance.replaced());
            let Some(rejections) = self.failures.after(&mut work, result, outputs.metrics()).await? else { continue };
            let from = (Some(self.aggregate.instance.name()), &numbers);
            self.rejects.rows(&batch, rejections, from, outputs).await?;
        }
        self.failures.report(work, &mut self.rejects, outputs).await
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

    fn moments(&mut self) -> Option<&mut Moments> {
        Some(&mut self.moments)
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        self.aggregate = AggregatePlugin { instance: new.instance, reads: new.reads };
        self.failures.replaced();
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
