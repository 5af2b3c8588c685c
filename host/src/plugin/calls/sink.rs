//! The calls of a sink.
use std::{ops::Range, time::Duration};

use super::{
    super::{
        contract::{
            BatchRef, EmissionAndStates, StateValuesRef,
            types::{Fault, Moment},
        },
        error::{CallError, CallFailure, LoadError},
        instance::{Call, Function, Instance, Running},
    },
    changes::{Changeable, checked_changes},
    emission::{Emitted, Origins, emitted},
    fault,
    input::{Projection, States, batch_ref},
};
use crate::model::{Batch, Description, NO_WATERMARK, Schema, StateChange, StateValues};

type WriteParameters<'a> = (Moment, BatchRef<'a>, &'a [StateValuesRef<'a>]);
type FinishParameters<'a> = (Moment, &'a [StateValuesRef<'a>]);
type SinkReturn = (Result<EmissionAndStates, Fault>,);

const WRITE: usize = 0;
const FINISH: usize = 1;

/// Operator state is that of one key, with index 0: the task.
const KEYS: usize = 1;

pub(super) fn functions(interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    Ok(vec![
        call.function(interface, "write")?.check::<WriteParameters, SinkReturn>(call, "write")?,
        call.function(interface, "finish")?.check::<FinishParameters, SinkReturn>(call, "finish")?,
    ])
}

/// What a call with state and without timers gave, checked.
#[derive(Debug)]
pub struct Written {
    /// What it emitted.
    pub emitted: Emitted,
    /// How states change, in order: of a sink, the operator states of key 0; otherwise broadcast states, without keys.
    pub states: Vec<StateChange>,
}

pub(super) fn written(
    result: EmissionAndStates,
    origins: &Origins<'_>,
    description: &Description,
    outputs: &[Schema],
    of: Changeable<'_>,
) -> Result<Written, CallFailure> {
    Ok(Written {
        emitted: emitted(result.emission, origins, description, outputs)?,
        states: checked_changes(result.states, of)?,
    })
}

impl Instance {
    /// Calls `sink.write` with the columns of `batch` that have the indices `reads`, and the task's `states`: a list each, as of
    /// one key. `outputs` and `records` as for [`keyed_process`](Instance::keyed_process).
    pub fn write(
        &mut self,
        moment: Moment,
        batch: &Batch,
        reads: &[usize],
        states: &[StateValues],
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<Written, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, batch.rows(), |Running { call, functions, .. }| {
            let projection = Projection::of(batch, reads);
            let refs = projection.refs();
            let states = States::of(states);
            let state_refs = states.refs();
            let (result,): SinkReturn =
                functions[WRITE].call(call, (moment, batch_ref(batch, &refs), &state_refs[..]))?;
            let of = Changeable { states: &description.states, keys: KEYS, broadcast: false, budget: call.budget };
            let origins = Origins::rows(batch).within(call.budget, batch.rows());
            written(result.map_err(fault)?, &origins, &description, outputs, of)
        })
    }

    /// Calls `sink.finish` at the end of the input. What it emits stems from 0, which is the end: it has the watermark for event
    /// time, 0 before there is one, if it is not given another.
    pub fn finish(
        &mut self,
        moment: Moment,
        states: &[StateValues],
        outputs: &[Schema],
        arrived: Duration,
        records: Range<u64>,
    ) -> Result<Written, CallError> {
        let description = self.shared_description();
        let end = if moment.watermark == NO_WATERMARK { 0 } else { moment.watermark };
        // The end is of no rows: what it may put out and take has no measure.
        self.run(Some(moment), records, usize::MAX, |Running { call, functions, .. }| {
            let states = States::of(states);
            let state_refs = states.refs();
            let (result,): SinkReturn = functions[FINISH].call(call, (moment, &state_refs[..]))?;
            let of = Changeable { states: &description.states, keys: KEYS, broadcast: false, budget: call.budget };
            let origins = Origins::of_no_batch("end", vec![end], arrived);
            written(result.map_err(fault)?, &origins, &description, outputs, of)
        })
    }
}
