//! The calls of keyed and connected processes, and what every call with keys, state and timers has in common.
use std::{ops::Range, time::Duration};

use super::{
    super::{
        budget::Budget,
        contract::{
            BatchRef, KeysRef, StateValuesRef, TimersRef,
            types::{Fault, KeyedResult, Moment},
        },
        error::{CallError, CallFailure, LoadError},
        instance::{Call, Function, Instance, Running},
        maps::Maps,
    },
    changes::{Changeable, checked_changes, timers_from_guest},
    emission::{Emitted, Origins, emitted},
    fault,
    input::{Keys, Projection, States, Timers, batch_ref, keys_ref},
    nonsense,
};
use crate::model::{
    Batch, Description, EventTime, MapReader, Schema, StateChange, StateValues, TimeDomain, TimerChange,
};

type ProcessParameters<'a> = (Moment, BatchRef<'a>, KeysRef<'a>, &'a [StateValuesRef<'a>]);
type FireParameters<'a> = (Moment, TimersRef<'a>, KeysRef<'a>, &'a [StateValuesRef<'a>]);
pub(super) type KeyedReturn = (Result<KeyedResult, Fault>,);

/// Of all kinds with timers: the first function.
const FIRE: usize = 0;
/// The first that takes rows.
const PROCESS: usize = 1;
const PROCESS_SECOND: usize = 2;

/// `fire`, and then those that take rows.
pub(super) fn functions(interface: &str, processes: &[&str], call: &mut Call) -> Result<Vec<Function>, LoadError> {
    let mut functions = vec![call.function(interface, "fire")?.check::<FireParameters, KeyedReturn>(call, "fire")?];
    for name in processes {
        functions.push(call.function(interface, name)?.check::<ProcessParameters, KeyedReturn>(call, name)?);
    }
    Ok(functions)
}

/// The keys of a call and what is kept for them.
pub struct KeyedInput<'a> {
    /// The keys; none where the input has no key.
    pub keys: Keys<'a>,
    /// What each declared state holds, a value or list a key (for windows: a window).
    pub states: &'a [StateValues],
    /// The maps of the same.
    pub maps: &'a mut (dyn MapReader + 'a),
}

/// What a call with state and timers gave, checked.
#[derive(Debug)]
pub struct KeyedEmitted {
    /// What it emitted.
    pub emitted: Emitted,
    /// How states change, in order.
    pub states: Vec<StateChange>,
    /// How timers change, in order.
    pub timers: Vec<TimerChange>,
}

/// The result of a call in the host's terms.
pub(super) fn keyed_emitted(
    result: KeyedResult,
    origins: &Origins<'_>,
    description: &Description,
    outputs: &[Schema],
    (keys, budget): (usize, Budget),
) -> Result<KeyedEmitted, CallFailure> {
    let of = Changeable { states: &description.states, keys, broadcast: false, budget };
    Ok(KeyedEmitted {
        emitted: emitted(result.emission, origins, description, outputs)?,
        states: checked_changes(result.states, of)?,
        timers: timers_from_guest(result.timers, keys).map_err(nonsense)?,
    })
}

impl Instance {
    /// Calls `keyed-process.process`, or `broadcast-process.process` with a row of the main input, with the columns of `batch`
    /// that have the indices `reads`, in the order the operator declared them. `outputs` are the schemas of the main output and
    /// of the side outputs, in order; `records` are the rows' numbers, for the error.
    pub fn keyed_process(
        &mut self,
        moment: Moment,
        batch: &Batch,
        reads: &[usize],
        input: KeyedInput<'_>,
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<KeyedEmitted, CallError> {
        self.process(PROCESS, moment, (batch, reads), Origins::rows, input, (outputs, records))
    }

    /// Calls `connected-process.process-first`; arguments as for [`keyed_process`](Instance::keyed_process).
    pub fn process_first(
        &mut self,
        moment: Moment,
        batch: &Batch,
        reads: &[usize],
        input: KeyedInput<'_>,
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<KeyedEmitted, CallError> {
        self.process(PROCESS, moment, (batch, reads), Origins::rows, input, (outputs, records))
    }

    /// Calls `connected-process.process-second`; arguments as for [`keyed_process`](Instance::keyed_process).
    pub fn process_second(
        &mut self,
        moment: Moment,
        batch: &Batch,
        reads: &[usize],
        input: KeyedInput<'_>,
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<KeyedEmitted, CallError> {
        self.process(PROCESS_SECOND, moment, (batch, reads), Origins::rows_of_second, input, (outputs, records))
    }

    fn process<'a>(
        &mut self,
        function: usize,
        moment: Moment,
        (batch, reads): (&'a Batch, &[usize]),
        origins: fn(&'a Batch) -> Origins<'a>,
        KeyedInput { keys, states, maps }: KeyedInput<'_>,
        (outputs, records): (&[Schema], Range<u64>),
    ) -> Result<KeyedEmitted, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, batch.rows(), |Running { call, functions, .. }| {
            let (projection, key_columns) = (Projection::of(batch, reads), Projection::all(keys.columns));
            let (refs, key_refs) = (projection.refs(), key_columns.refs());
            let states = States::of(states);
            let state_refs = states.refs();
            let mut maps = Maps { reader: &mut *maps, states: &description.states, keys: keys.count };
            let parameters = (moment, batch_ref(batch, &refs), keys_ref(&keys, &key_refs), &state_refs[..]);
            let (result,): KeyedReturn = functions[function].call_reading(call, &mut maps, parameters)?;
            let origins = origins(batch).within(call.budget, batch.rows());
            keyed_emitted(result.map_err(fault)?, &origins, &description, outputs, (keys.count, call.budget))
        })
    }

    /// Calls `fire` of a keyed, connected or broadcast process with timers that are due, in the order of their times;
    /// `keys.rows` are their keys. `arrived` is for the rows emitted, which have the timer's time for event time.
    pub fn fire(
        &mut self,
        moment: Moment,
        timers: &[(EventTime, TimeDomain)],
        KeyedInput { keys, states, maps }: KeyedInput<'_>,
        outputs: &[Schema],
        arrived: Duration,
        records: Range<u64>,
    ) -> Result<KeyedEmitted, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, timers.len(), |Running { call, functions, .. }| {
            let timers = Timers::of(timers);
            let key_columns = Projection::all(keys.columns);
            let key_refs = key_columns.refs();
            let states = States::of(states);
            let state_refs = states.refs();
            let mut maps = Maps { reader: &mut *maps, states: &description.states, keys: keys.count };
            let parameters = (moment, timers.as_ref(), keys_ref(&keys, &key_refs), &state_refs[..]);
            let (result,): KeyedReturn = functions[FIRE].call_reading(call, &mut maps, parameters)?;
            let items = timers.times.len();
            let origins = Origins::of_no_batch("timer", timers.times, arrived).within(call.budget, items);
            keyed_emitted(result.map_err(fault)?, &origins, &description, outputs, (keys.count, call.budget))
        })
    }
}
