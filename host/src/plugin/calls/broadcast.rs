//! The call of a broadcast process with rows of the broadcast input; its others are those of a keyed process.
use std::ops::Range;

use super::{
    super::{
        contract::{
            BatchRef, EmissionAndStates,
            types::{Fault, Moment},
        },
        error::{CallError, LoadError},
        instance::{Call, Function, Instance, Running},
        maps::Maps,
    },
    changes::Changeable,
    emission::Origins,
    fault,
    input::{Projection, batch_ref},
    keyed,
    sink::{Written, written},
};
use crate::model::{Batch, MapReader, Schema};

type BroadcastParameters<'a> = (Moment, BatchRef<'a>);
type BroadcastReturn = (Result<EmissionAndStates, Fault>,);

/// After those of a keyed process.
const PROCESS_BROADCAST: usize = 2;

pub(super) fn functions(interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    let mut functions = keyed::functions(interface, &["process"], call)?;
    let name = "process-broadcast";
    functions.push(call.function(interface, name)?.check::<BroadcastParameters, BroadcastReturn>(call, name)?);
    Ok(functions)
}

impl Instance {
    /// Calls `broadcast-process.process-broadcast` with the columns of `batch` that have the indices `reads`. The changes are of
    /// broadcast states, which `maps` reads as well. `outputs` and `records` as for
    /// [`keyed_process`](Instance::keyed_process), which is the call for rows of the main input.
    pub fn process_broadcast(
        &mut self,
        moment: Moment,
        batch: &Batch,
        reads: &[usize],
        maps: &mut (dyn MapReader + '_),
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<Written, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, batch.rows(), |Running { call, functions, .. }| {
            let projection = Projection::of(batch, reads);
            let refs = projection.refs();
            let mut maps = Maps { reader: &mut *maps, states: &description.states, keys: 0 };
            let parameters = (moment, batch_ref(batch, &refs));
            let (result,): BroadcastReturn = functions[PROCESS_BROADCAST].call_reading(call, &mut maps, parameters)?;
            let of = Changeable { states: &description.states, keys: 0, broadcast: true, budget: call.budget };
            let origins = Origins::rows_of_second(batch).within(call.budget, batch.rows());
            written(result.map_err(fault)?, &origins, &description, outputs, of)
        })
    }
}
