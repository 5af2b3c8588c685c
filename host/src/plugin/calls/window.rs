//! The call of a window process.
use std::ops::Range;

use super::{
    super::{
        contract::{BatchRef, KeysRef, StateValuesRef, WindowsRef, types::Moment},
        error::{CallError, LoadError},
        instance::{Call, Function, Instance, Running},
        maps::Maps,
    },
    emission::Origins,
    fault,
    input::{Elements, Projection, States, Windows, batch_ref, keys_ref},
    keyed::{KeyedEmitted, KeyedInput, KeyedReturn, keyed_emitted},
    nonsense,
};
use crate::model::{Schema, Window};

type ProcessParameters<'a> = (Moment, WindowsRef<'a>, KeysRef<'a>, BatchRef<'a>, &'a [u32], &'a [StateValuesRef<'a>]);

const PROCESS: usize = 0;

pub(super) fn functions(interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    Ok(vec![call.function(interface, "process")?.check::<ProcessParameters, KeyedReturn>(call, "process")?])
}

impl Instance {
    /// Calls `process-window.process` with windows that fire: `keys.rows` are their keys, `states` and
    /// `maps` are per window, and so are the changes. What is emitted has the last time of its window for event time. There
    /// are no timers. `outputs` and `records` as for [`keyed_process`](Instance::keyed_process).
    pub fn process_window(
        &mut self,
        moment: Moment,
        windows: &[Window],
        elements: Elements<'_>,
        KeyedInput { keys, states, maps }: KeyedInput<'_>,
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<KeyedEmitted, CallError> {
        let description = self.shared_description();
        let items = windows.len() + elements.batch.rows();
        self.run(Some(moment), records, items, |Running { call, functions, .. }| {
            let Elements { batch, reads, groups } = elements;
            let (projection, key_columns) = (Projection::of(batch, reads), Projection::all(keys.columns));
            let (refs, key_refs) = (projection.refs(), key_columns.refs());
            let states = States::of(states);
            let state_refs = states.refs();
            let mut maps = Maps { reader: &mut *maps, states: &description.states, keys: windows.len() };
            let wire = Windows::of(windows);
            let parameters =
                (moment, wire.as_ref(), keys_ref(&keys, &key_refs), batch_ref(batch, &refs), groups, &state_refs[..]);
            let (result,): KeyedReturn = functions[PROCESS].call_reading(call, &mut maps, parameters)?;
            let origins = Origins::windows(windows.iter().map(|window| window.last()).collect(), batch)
                .within(call.budget, items);
            let result =
                keyed_emitted(result.map_err(fault)?, &origins, &description, outputs, (windows.len(), call.budget))?;
            match result.timers.len() {
                0 => Ok(result),
                timers => Err(nonsense(format!("{timers} changes of timers, which a process-window does not have"))),
            }
        })
    }
}
