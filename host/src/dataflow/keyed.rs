//! The stage of plugins with state and timers per key, with one input or two. The state of a batch's keys goes into the call and its
//! changes come out of it; timers that are due are calls too. What a call changes takes effect as a whole, or not at all. Must not know
//! how broadcast state comes about, which it only lets calls read.

use std::{borrow::Cow, collections::HashSet, mem::swap, ops::Range, time::Duration};

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;

use super::{
    CanaryChange, Failures, Operator, Outputs, Rejects, Replacement, RowNumbers, TaskError,
    canary::{self, Canary},
    failures::{OfKey, Rows, Work},
    moments::Moments,
    windowed::select_keys,
};
use crate::{
    checkpoint::CommitPermit,
    model::{
        Batch, EventTime, KeyRows, Kind, Schema, SnapshotRequest, StateKind, StateValues, SubtaskState, TimeDomain,
        TimerChange, decode_keys,
    },
    plugin::{self, CallMoment, Emitted, Instance, KeyedEmitted, Keys},
    state::{BroadcastMaps, Due, KeyedStore, Touched},
};

/// One input of a keyed operator.
#[derive(Clone, Debug)]
pub struct KeyedInput {
    /// Key columns in the input; none where it has no key, so that there are no states and timers by key.
    pub key: Vec<usize>,
    /// Columns the plugin reads, in its order.
    pub reads: Vec<usize>,
}

/// How a keyed operator is set up.
#[derive(Clone, Debug)]
pub struct KeyedSettings {
    /// Its name in the job.
    pub node: String,
    /// One, or two.
    pub inputs: Vec<KeyedInput>,
    /// Types of the key columns.
    pub key_kinds: Vec<Kind>,
    /// For each key column the plugin wants to see, its place in the key.
    pub key_wanted: Vec<usize>,
    /// Of the main output and the declared side outputs, in order.
    pub schemas: Vec<Schema>,
    /// Timers in a call.
    pub batch_records: usize,
}

/// A plugin with state and timers per key at work.
pub struct Keyed {
    pub(super) settings: KeyedSettings,
    pub(super) instance: Instance,
    /// One an input.
    pub(super) rejects: Vec<Rejects>,
    pub(super) failures: Failures,
    pub(super) moments: Moments,
    store: KeyedStore,
    /// What calls may read besides.
    pub(super) broadcast: BroadcastMaps,
    pub(super) watermark: EventTime,
    /// When the first timer by processing time is due.
    wake_at: Option<i64>,
    pub(super) seen: u64,
    /// The version that has a share of the keys, if there is one.
    canary: Option<Box<Canary>>,
    // Memory kept from batch to batch.
    hashes: Vec<u64>,
    touched: Touched,
    due: Due,
}

/// Which function of the plugin a batch goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Only,
    First,
    Second,
}

impl Keyed {
    /// `rejects` are those of each input; `store` and `broadcast` hold what was restored, event time had come to `watermark`.
    pub fn new(
        settings: KeyedSettings,
        instance: Instance,
        (rejects, failures): (Vec<Rejects>, Failures),
        moments: Moments,
        store: KeyedStore,
        broadcast: BroadcastMaps,
        watermark: EventTime,
    ) -> Keyed {
        let wake_at = store.next_timer(TimeDomain::Processing);
        Keyed {
            settings,
            instance,
            rejects,
            failures,
            moments,
            store,
            broadcast,
            watermark,
            wake_at,
            seen: 0,
            canary: None,
            hashes: Vec::new(),
            touched: Touched::default(),
            due: Due::default(),
        }
    }

    pub(super) fn bug(&self, what: impl ToString) -> TaskError {
        TaskError::Bug { node: self.settings.node.clone(), what: what.to_string() }
    }

    pub(super) async fn process(&mut self, batch: Batch, port: Port, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut numbers = RowNumbers::after(self.seen);
        self.seen += batch.rows() as u64;
        let input = usize::from(port == Port::Second);
        let (batch, rejected) =
            without_null_keys(batch, &self.settings.inputs[input].key).map_err(|what| self.bug(what))?;
        if let Some(Keyless { batch, rows, kept }) = rejected {
            self.rejects[input].rows(&batch, rows, (None, &numbers), outputs).await?;
            numbers = numbers.take(&kept);
        }
        if batch.rows() == 0 {
            return Ok(());
        }
        let Some(canary) = &self.canary else { return self.rows(batch, numbers, port, outputs).await };
        let key = &self.settings.inputs[input].key;
        let parts = canary.keyed_rows(batch, numbers, key).map_err(|what| self.bug(what))?;
        for (of_canary, batch, numbers) in parts {
            if !of_canary {
                self.rows(batch, numbers, port, outputs).await?;
                continue;
            }
            self.exchange();
            let done = self.rows(batch, numbers, port, outputs).await;
            self.exchange();
            done.map_err(|error| canary::failure(&self.settings.node, error))?;
        }
        Ok(())
    }

    /// Puts the canary in the place of the version in force, or back.
    fn exchange(&mut self) {
        let Some(canary) = &mut self.canary else { return };
        canary.exchange(&mut self.instance, &mut self.failures);
        let reads = [&mut canary.guest.reads, &mut canary.guest.second_reads];
        self.settings.inputs.iter_mut().zip(reads).for_each(|(input, reads)| swap(&mut input.reads, reads));
        swap(&mut self.settings.key_wanted, &mut canary.guest.keys);
    }

    /// Rows that have a key, whose keys are all of one version.
    async fn rows(
        &mut self,
        batch: Batch,
        numbers: RowNumbers,
        port: Port,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        let input = usize::from(port == Port::Second);
        let mut work = Work::rows(batch, numbers);
        while let Some(Rows { mut batch, numbers, records, .. }) = self.failures.next_rows(&mut work) {
            self.touch(&mut batch, input)?;
            let moment = work.moment(&mut self.moments, self.watermark);
            let began = self.began();
            let result = self.call(moment, &batch, port, records);
            self.called(began, (batch.rows(), 0), &result);
            let Some(emitted) = self.failures.after(&mut work, result, outputs.metrics()).await? else { continue };
            self.take_effect(emitted, moment.processing_time, Some((&batch, port, &numbers)), outputs).await?;
        }
        if let Some(canary) = &self.canary {
            canary.failed(work.poisoned().count());
        }
        self.failures.report(work, &mut self.rejects[input], outputs).await
    }

    /// When a call begins, where there is a canary to be compared.
    fn began(&self) -> Option<Duration> {
        self.canary.as_ref().map(|_| self.moments.monotonic())
    }

    /// Notes a call with so many rows and timers.
    fn called(&self, began: Option<Duration>, given: (usize, usize), result: &Result<KeyedEmitted, TaskError>) {
        if let Some((canary, began)) = self.canary.as_ref().zip(began) {
            let emitted = result.as_ref().ok().map(|result| &result.emitted);
            canary.called(self.moments.monotonic().saturating_sub(began), given, emitted);
        }
    }

    /// Calls the plugin with rows whose keys were touched.
    fn call(
        &mut self,
        moment: CallMoment,
        batch: &Batch,
        port: Port,
        records: Range<u64>,
    ) -> Result<KeyedEmitted, TaskError> {
        let (now_ms, input) = (moment.processing_time, usize::from(port == Port::Second));
        let (states, columns) = (self.states(now_ms)?, self.key_columns()?);
        let keys = Keys { count: self.touched.len(), rows: &self.touched.groups, columns: &columns };
        let mut maps = self.broadcast.beside(self.store.maps(&self.touched, now_ms));
        let reads = &self.settings.inputs[input].reads;
        let input = plugin::KeyedInput { keys, states: &states, maps: &mut maps };
        let (instance, schemas) = (&mut self.instance, &self.settings.schemas);
        Ok(match port {
            Port::Only => instance.keyed_process(moment, batch, reads, input, schemas, records)?,
            Port::First => instance.process_first(moment, batch, reads, input, schemas, records)?,
            Port::Second => instance.process_second(moment, batch, reads, input, schemas, records)?,
        })
    }

    /// Finds the state of the keys of a batch.
    fn touch(&mut self, batch: &mut Batch, input: usize) -> Result<(), TaskError> {
        let (key, rows) = (&self.settings.inputs[input].key, batch.rows());
        if key.is_empty() {
            return Ok(());
        }
        let key: Vec<ArrayRef> = key.iter().map(|column| batch.columns.column(*column).clone()).collect();
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
        Ok(self.store.touch(&keys, hashes, None, &mut self.touched)?)
    }

    /// What each declared state holds for the keys touched.
    fn states(&mut self, now_ms: i64) -> Result<Vec<StateValues>, TaskError> {
        let (store, touched) = (&mut self.store, &self.touched);
        let states = self.instance.description().states.iter().enumerate();
        let states = states.map(|(place, state)| match state.kind {
            StateKind::Broadcast => Ok(StateValues::ByImport),
            _ => store.read(touched, place, now_ms),
        });
        Ok(states.collect::<Result<_, _>>()?)
    }

    /// The key columns the plugin wants to see, a value a distinct key.
    fn key_columns(&self) -> Result<Vec<ArrayRef>, TaskError> {
        if self.settings.key_wanted.is_empty() {
            return Ok(Vec::new());
        }
        let columns =
            decode_keys(&self.settings.key_kinds, self.store.keys(&self.touched)).map_err(|error| self.bug(error))?;
        Ok(self.settings.key_wanted.iter().map(|place| columns[*place].clone()).collect())
    }

    async fn take_effect(
        &mut self,
        emitted: KeyedEmitted,
        now_ms: i64,
        batch: Option<(&Batch, Port, &RowNumbers)>,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        self.store.apply(&self.touched, &emitted.states, now_ms)?;
        self.store.change_timers(&self.touched, &emitted.timers)?;
        self.wake_at = self.store.next_timer(TimeDomain::Processing);
        let replaced = self.instance.replaced() + self.canary.as_ref().map_or(0, |canary| canary.replaced());
        outputs.metrics().set_guests_replaced(replaced);
        self.emit(emitted.emitted, batch, outputs).await
    }

    /// Sends out what a call about rows of a batch, or about none, emitted.
    pub(super) async fn emit(
        &mut self,
        emitted: Emitted,
        batch: Option<(&Batch, Port, &RowNumbers)>,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if let Some((batch, port, numbers)) = batch {
            let from = (Some(self.instance.name()), numbers);
            self.rejects[usize::from(port == Port::Second)].rows(batch, emitted.rejections, from, outputs).await?;
        }
        for (side, rows) in emitted.side_outputs {
            outputs.emit(side + 1, rows).await?;
        }
        outputs.emit(0, emitted.main).await
    }

    /// Calls the plugin for all timers that are due at this time, the earliest first.
    async fn fire(&mut self, domain: TimeDomain, until: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        loop {
            self.store.take_due(domain, until, self.settings.batch_records, &mut self.due)?;
            if self.due.is_empty() {
                self.wake_at = self.store.next_timer(TimeDomain::Processing);
                return Ok(());
            }
            let due = std::mem::take(&mut self.due);
            match self.canary.as_ref().map(|canary| canary.divide(&due.hashes)) {
                None => self.fire_due(&due, domain, outputs).await?,
                Some([others, its]) => {
                    // Which of them comes first is of no matter: their keys are not the same.
                    if !others.is_empty() {
                        self.fire_due(&due.select(&others), domain, outputs).await?;
                    }
                    if !its.is_empty() {
                        self.exchange();
                        let done = self.fire_due(&due.select(&its), domain, outputs).await;
                        self.exchange();
                        done.map_err(|error| canary::failure(&self.settings.node, error))?;
                    }
                }
            }
            self.due = due;
        }
    }

    /// Calls the plugin for timers that are due, whose keys are all of one version.
    async fn fire_due(&mut self, due: &Due, domain: TimeDomain, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut work = Work::items(due.len());
        // Those that calls for earlier ones have deleted: one call with all of them would have passed them over.
        let mut deleted = HashSet::new();
        while let Some(part) = self.failures.next(&mut work) {
            let times = self.touch_due(due, part.clone(), &deleted)?;
            let moment = work.moment(&mut self.moments, self.watermark);
            let began = self.began();
            let result = self.call_due(moment, domain, &times);
            self.called(began, (0, times.len()), &result);
            let Some(emitted) = self.failures.after(&mut work, result, outputs.metrics()).await? else { continue };
            self.note_deleted(due, part.end, domain, &emitted.timers, &mut deleted);
            self.take_effect(emitted, moment.processing_time, None, outputs).await?;
        }
        if work.has_poison() {
            let keys = due.keys();
            let of = |timer: usize| {
                (!deleted.contains(&timer)).then(|| (keys.get(timer).to_vec(), OfKey::Timer(due.times[timer])))
            };
            let letters = self.failures.letters(&work, of, &self.rejects[0])?;
            if let Some(canary) = &self.canary {
                canary.failed(letters.len());
            }
            self.failures.send(letters, &mut self.rejects[0], outputs).await?;
        }
        Ok(())
    }

    /// Finds the state of the keys of some timers, and gives their times.
    fn touch_due<'a>(
        &mut self,
        due: &'a Due,
        part: Range<usize>,
        deleted: &HashSet<usize>,
    ) -> Result<Cow<'a, [EventTime]>, TaskError> {
        if part.len() == due.len() {
            self.store.touch(&due.keys(), &due.hashes, None, &mut self.touched)?;
            return Ok(Cow::Borrowed(&due.times));
        }
        let timers: Vec<u32> = part.filter(|timer| !deleted.contains(timer)).map(|timer| timer as u32).collect();
        let (keys, hashes) = select_keys(&due.keys(), &due.hashes, &timers);
        self.store.touch(&keys, &hashes, None, &mut self.touched)?;
        Ok(timers.iter().map(|timer| due.times[*timer as usize]).collect())
    }

    /// Which of the timers from `from` on these changes, of keys that were touched, delete.
    fn note_deleted(
        &self,
        due: &Due,
        from: usize,
        domain: TimeDomain,
        changes: &[TimerChange],
        deleted: &mut HashSet<usize>,
    ) {
        if from == due.len() {
            return;
        }
        let (keys, touched): (KeyRows, Vec<&[u8]>) = (due.keys(), self.store.keys(&self.touched).collect());
        let gone: HashSet<(&[u8], EventTime)> = (changes.iter())
            .filter(|change| !change.set && change.domain == domain)
            .map(|change| (touched[change.key as usize], change.time))
            .collect();
        deleted.extend((from..due.len()).filter(|timer| gone.contains(&(keys.get(*timer), due.times[*timer]))));
    }

    /// Calls the plugin with timers whose keys were touched; there may be none.
    fn call_due(
        &mut self,
        moment: CallMoment,
        domain: TimeDomain,
        times: &[EventTime],
    ) -> Result<KeyedEmitted, TaskError> {
        let now_ms = moment.processing_time;
        let (states, columns) = (self.states(now_ms)?, self.key_columns()?);
        let keys = Keys { count: self.touched.len(), rows: &self.touched.groups, columns: &columns };
        let timers: Vec<(EventTime, TimeDomain)> = times.iter().map(|time| (*time, domain)).collect();
        let arrived = self.moments.monotonic();
        let mut maps = self.broadcast.beside(self.store.maps(&self.touched, now_ms));
        let input = plugin::KeyedInput { keys, states: &states, maps: &mut maps };
        let (schemas, seen) = (&self.settings.schemas, self.seen);
        Ok(self.instance.fire(moment, &timers, input, schemas, arrived, seen..seen)?)
    }
}

#[async_trait]
impl Operator for Keyed {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let port = if self.settings.inputs.len() == 1 { Port::Only } else { Port::First };
        self.process(batch, port, outputs).await
    }

    async fn second(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.process(batch, Port::Second, outputs).await
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        self.fire(TimeDomain::Event, watermark, outputs).await?;
        outputs.watermark(watermark).await
    }

    fn wake_at(&self) -> Option<i64> {
        self.wake_at
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.fire(TimeDomain::Processing, now_ms, outputs).await
    }

    fn moments(&mut self) -> Option<&mut Moments> {
        Some(&mut self.moments)
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        let reads = [new.reads, new.second_reads];
        self.settings.inputs.iter_mut().zip(reads).for_each(|(input, reads)| input.reads = reads);
        (self.instance, self.settings.key_wanted) = (new.instance, new.keys);
        self.failures.replaced();
        Ok(())
    }

    fn canary(&mut self, change: CanaryChange) -> Result<(), TaskError> {
        let promoted = canary::change(&mut self.canary, change, &self.failures).map_err(|what| self.bug(what))?;
        if promoted {
            self.exchange();
            self.canary = None;
        }
        Ok(())
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let store = self.store.snapshot(request)?;
        Ok(SubtaskState { watermark: self.watermark, stores: vec![store], ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.store.completed(permit.checkpoint());
        self.instance.checkpoint_completed(permit.checkpoint())?;
        self.canary.as_mut().map_or(Ok(()), |canary| canary.completed(permit.checkpoint()))
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.store.aborted(checkpoint);
        self.instance.checkpoint_aborted(checkpoint)?;
        self.canary.as_mut().map_or(Ok(()), |canary| canary.aborted(checkpoint))
    }
}

/// A batch of which some rows have no key.
pub(super) struct Keyless {
    /// As it was.
    pub(super) batch: Batch,
    /// Those rows, and why they are rejected.
    pub(super) rows: Vec<(usize, String)>,
    /// The others.
    pub(super) kept: Vec<u32>,
}

/// Rows without a key are nobody's: the rows that have one, and, if some have not, the batch as it was.
pub(super) fn without_null_keys(batch: Batch, key: &[usize]) -> Result<(Batch, Option<Keyless>), String> {
    let nullable: Vec<&ArrayRef> =
        key.iter().map(|column| batch.columns.column(*column)).filter(|column| column.null_count() > 0).collect();
    if nullable.is_empty() {
        return Ok((batch, None));
    }
    let (lost, kept): (Vec<u32>, Vec<u32>) =
        (0..batch.rows() as u32).partition(|row| nullable.iter().any(|column| column.is_null(*row as usize)));
    let rows = lost.into_iter().map(|row| (row as usize, "its key is null".to_owned())).collect();
    let rest = take_rows(&batch, kept.clone())?;
    Ok((rest, Some(Keyless { batch, rows, kept })))
}

/// These rows of a batch.
pub(super) fn take_rows(batch: &Batch, rows: Vec<u32>) -> Result<Batch, String> {
    let timestamps = rows.iter().map(|row| batch.timestamps[*row as usize]).collect();
    let key_hashes = batch.key_hashes.as_ref().map(|hashes| rows.iter().map(|row| hashes[*row as usize]).collect());
    let columns = take_record_batch(&batch.columns, &UInt32Array::from(rows)).map_err(|error| error.to_string())?;
    Ok(Batch { columns, timestamps, arrived: batch.arrived, key_hashes })
}
