//! The call of a transform.
use std::ops::Range;

use super::{
    super::{
        contract::{
            BatchRef,
            types::{Emission, Fault, Moment},
        },
        error::{CallError, LoadError},
        instance::{Call, Function, Instance, Running},
    },
    emission::{Emitted, Origins, emitted},
    fault,
    input::{Projection, batch_ref},
};
use crate::model::{Batch, Schema};

type ProcessParameters<'a> = (Moment, BatchRef<'a>);
type ProcessResult = (Result<Emission, Fault>,);

const PROCESS: usize = 0;

pub(super) fn functions(interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    Ok(vec![call.function(interface, "process")?.check::<ProcessParameters, ProcessResult>(call, "process")?])
}

impl Instance {
    /// Calls `transform.process` with the columns of `batch` that have these indices, in the order the operator declared
    /// them. `outputs` are the schemas of the main output and of the side outputs, in order.
    pub fn transform(
        &mut self,
        moment: Moment,
        batch: &Batch,
        columns: &[usize],
        outputs: &[Schema],
        records: Range<u64>,
    ) -> Result<Emitted, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, batch.rows(), |Running { call, functions, .. }| {
            let projection = Projection::of(batch, columns);
            let refs = projection.refs();
            let (result,): ProcessResult = functions[PROCESS].call(call, (moment, batch_ref(batch, &refs)))?;
            let origins = Origins::rows(batch).within(call.budget, batch.rows());
            emitted(result.map_err(fault)?, &origins, &description, outputs)
        })
    }
}
