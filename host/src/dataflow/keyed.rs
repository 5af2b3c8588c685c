//! The stage of plugins with state and timers per key, with one input or two. The state of a batch's keys goes into the call and its
//! changes come out of it; timers that are due are calls too. What a call changes takes effect as a whole, or not at all. Must not know
//! how broadcast state comes about, which it only lets calls read.

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_select::take::take_record_batch;
use async_trait::async_trait;

use super::{Operator, Outputs, Rejects, Replacement, TaskError, moments::Moments};
use crate::{
    checkpoint::CommitPermit,
    model::{
        Batch, EventTime, KeyRows, Kind, Schema, SnapshotRequest, StateKind, StateValues, SubtaskState, TimeDomain,
        decode_keys,
    },
    plugin::{self, Emitted, Instance, KeyedEmitted, Keys},
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
    pub(super) moments: Moments,
    store: KeyedStore,
    /// What calls may read besides.
    pub(super) broadcast: BroadcastMaps,
    pub(super) watermark: EventTime,
    /// When the first timer by processing time is due.
    wake_at: Option<i64>,
    pub(super) seen: u64,
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
        rejects: Vec<Rejects>,
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
            moments,
            store,
            broadcast,
            watermark,
            wake_at,
            seen: 0,
            hashes: Vec::new(),
            touched: Touched::default(),
            due: Due::default(),
        }
    }

    pub(super) fn bug(&self, what: impl ToString) -> TaskError {
        TaskError::Bug { node: self.settings.node.clone(), what: what.to_string() }
    }

    pub(super) async fn process(&mut self, batch: Batch, port: Port, outputs: &mut Outputs) -> Result<(), TaskError> {
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let input = usize::from(port == Port::Second);
        let (mut batch, rejected) =
            without_null_keys(batch, &self.settings.inputs[input].key).map_err(|what| self.bug(what))?;
        if let Some((rejected, rows)) = rejected {
            self.rejects[input].rows(&rejected, rows, outputs).await?;
        }
        if batch.rows() == 0 {
            return Ok(());
        }
        self.touch(&mut batch, input)?;
        let moment = self.moments.next(self.watermark);
        let now_ms = moment.processing_time;
        let (states, columns) = (self.states(now_ms)?, self.key_columns()?);
        let keys = Keys { count: self.touched.len(), rows: &self.touched.groups, columns: &columns };
        let mut maps = self.broadcast.beside(self.store.maps(&self.touched, now_ms));
        let reads = &self.settings.inputs[input].reads;
        let input = plugin::KeyedInput { keys, states: &states, maps: &mut maps };
        let (instance, schemas) = (&mut self.instance, &self.settings.schemas);
        let emitted = match port {
            Port::Only => instance.keyed_process(moment, &batch, reads, input, schemas, records)?,
            Port::First => instance.process_first(moment, &batch, reads, input, schemas, records)?,
            Port::Second => instance.process_second(moment, &batch, reads, input, schemas, records)?,
        };
        drop(maps);
        self.take_effect(emitted, now_ms, Some((&batch, port)), outputs).await
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
        batch: Option<(&Batch, Port)>,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        self.store.apply(&self.touched, &emitted.states, now_ms)?;
        self.store.change_timers(&self.touched, &emitted.timers)?;
        self.wake_at = self.store.next_timer(TimeDomain::Processing);
        outputs.metrics().set_guests_replaced(self.instance.replaced());
        self.emit(emitted.emitted, batch, outputs).await
    }

    /// Sends out what a call about rows of a batch, or about none, emitted.
    pub(super) async fn emit(
        &mut self,
        emitted: Emitted,
        batch: Option<(&Batch, Port)>,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if let Some((batch, port)) = batch {
            self.rejects[usize::from(port == Port::Second)].rows(batch, emitted.rejections, outputs).await?;
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
            self.store.touch(&due.keys(), &due.hashes, None, &mut self.touched)?;
            let moment = self.moments.next(self.watermark);
            let now_ms = moment.processing_time;
            let (states, columns) = (self.states(now_ms)?, self.key_columns()?);
            let keys = Keys { count: self.touched.len(), rows: &self.touched.groups, columns: &columns };
            let timers: Vec<(EventTime, TimeDomain)> = due.times.iter().map(|time| (*time, domain)).collect();
            let arrived = self.moments.monotonic();
            let mut maps = self.broadcast.beside(self.store.maps(&self.touched, now_ms));
            let input = plugin::KeyedInput { keys, states: &states, maps: &mut maps };
            let (schemas, seen) = (&self.settings.schemas, self.seen);
            let emitted = self.instance.fire(moment, &timers, input, schemas, arrived, seen..seen)?;
            drop(maps);
            self.due = due;
            self.take_effect(emitted, now_ms, None, outputs).await?;
        }
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

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        let reads = [new.reads, new.second_reads];
        self.settings.inputs.iter_mut().zip(reads).for_each(|(input, reads)| input.reads = reads);
        (self.instance, self.settings.key_wanted) = (new.instance, new.keys);
        Ok(())
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let store = self.store.snapshot(request)?;
        Ok(SubtaskState { watermark: self.watermark, stores: vec![store], ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.store.completed(permit.checkpoint());
        Ok(self.instance.checkpoint_completed(permit.checkpoint())?)
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.store.aborted(checkpoint);
        Ok(self.instance.checkpoint_aborted(checkpoint)?)
    }
}

/// Rows without a key are nobody's: the rows that have one, and if some have not, the batch as it was with those rows and why.
#[expect(clippy::type_complexity, reason = "a batch, and what is wrong with some of its rows")]
pub(super) fn without_null_keys(
    batch: Batch,
    key: &[usize],
) -> Result<(Batch, Option<(Batch, Vec<(usize, String)>)>), String> {
    let nullable: Vec<&ArrayRef> =
        key.iter().map(|column| batch.columns.column(*column)).filter(|column| column.null_count() > 0).collect();
    if nullable.is_empty() {
        return Ok((batch, None));
    }
    let (lost, kept): (Vec<u32>, Vec<u32>) =
        (0..batch.rows() as u32).partition(|row| nullable.iter().any(|column| column.is_null(*row as usize)));
    let rejected = lost.into_iter().map(|row| (row as usize, "its key is null".to_owned())).collect();
    let rest = take_rows(&batch, kept)?;
    Ok((rest, Some((batch, rejected))))
}

/// These rows of a batch.
pub(super) fn take_rows(batch: &Batch, rows: Vec<u32>) -> Result<Batch, String> {
    let timestamps = rows.iter().map(|row| batch.timestamps[*row as usize]).collect();
    let key_hashes = batch.key_hashes.as_ref().map(|hashes| rows.iter().map(|row| hashes[*row as usize]).collect());
    let columns = take_record_batch(&batch.columns, &UInt32Array::from(rows)).map_err(|error| error.to_string())?;
    Ok(Batch { columns, timestamps, arrived: batch.arrived, key_hashes })
}
