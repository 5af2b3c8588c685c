//! The calls of an aggregate.
use std::ops::Range;

use arrow_array::{Array, ArrayRef};

use super::{
    super::{
        columns::{Realigned, column_from_guest, columns_from_guest},
        contract::{
            Accumulated, AccumulatorsRef, BatchRef,
            types::{Column, Fault, Moment},
        },
        error::{CallError, LoadError},
        instance::{Call, Function, Instance, Running},
    },
    emission::{checked_measurements, checked_rejections},
    fault,
    input::{Projection, batch_ref},
    nonsense,
};
use crate::model::{Batch, Field, Shape};

type AccumulateParameters<'a> = (Moment, BatchRef<'a>, &'a [u32], AccumulatorsRef<'a>);
type AccumulateResult = (Result<Accumulated, Fault>,);
type MergeParameters<'a> = (AccumulatorsRef<'a>, AccumulatorsRef<'a>, &'a [u32]);
type MergeResult = (Result<Column, Fault>,);
type ResultsParameters<'a> = (AccumulatorsRef<'a>,);
type ResultsResult = (Result<Vec<Column>, Fault>,);

const ACCUMULATE: usize = 0;
const MERGE: usize = 1;
const RESULTS: usize = 2;

pub(super) fn functions(interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    Ok(vec![
        call.function(interface, "accumulate")?.check::<AccumulateParameters, AccumulateResult>(call, "accumulate")?,
        call.function(interface, "merge")?.check::<MergeParameters, MergeResult>(call, "merge")?,
        call.function(interface, "results")?.check::<ResultsParameters, ResultsResult>(call, "results")?,
    ])
}

/// The result of accumulating.
#[derive(Debug)]
pub struct Accumulators {
    /// The new accumulators, as many as there were.
    pub values: ArrayRef,
    /// Input rows refused, with the reason.
    pub rejections: Vec<(usize, String)>,
    /// Metric readings, by index in the description.
    pub measurements: Vec<(usize, f64)>,
}

impl Instance {
    /// Calls `aggregate.accumulate`: row `i` of the batch goes into accumulator `groups[i]`.
    pub fn accumulate(
        &mut self,
        moment: Moment,
        batch: &Batch,
        columns: &[usize],
        groups: &[u32],
        accumulators: &ArrayRef,
        records: Range<u64>,
    ) -> Result<Accumulators, CallError> {
        let kind = self.description().states[0].value;
        let metrics = self.description().metrics.len();
        self.run(Some(moment), records, batch.rows(), |Running { call, functions, .. }| {
            let projection = Projection::of(batch, columns);
            let refs = projection.refs();
            let parts = Realigned::of(accumulators);
            let (result,): AccumulateResult = functions[ACCUMULATE]
                .call(call, (moment, batch_ref(batch, &refs), groups, parts.accumulators(accumulators)))?;
            let Accumulated { accumulators: new, rejections, measurements } = result.map_err(fault)?;
            let values = column_from_guest(new, kind, false, accumulators.len())
                .map_err(|what| nonsense(format!("accumulators: {what}")))?;
            call.budget.check_accumulators(&values)?;
            Ok(Accumulators {
                values,
                rejections: checked_rejections(rejections, batch.rows())?,
                measurements: checked_measurements(measurements, metrics)?,
            })
        })
    }

    /// Calls `aggregate.merge`: `others[i]` is joined into `accumulators[groups[i]]`.
    pub fn merge(
        &mut self,
        accumulators: &ArrayRef,
        others: &ArrayRef,
        groups: &[u32],
        records: Range<u64>,
    ) -> Result<ArrayRef, CallError> {
        let kind = self.description().states[0].value;
        self.run(None, records, others.len(), |Running { call, functions, .. }| {
            let (parts, other_parts) = (Realigned::of(accumulators), Realigned::of(others));
            let (result,): MergeResult = functions[MERGE]
                .call(call, (parts.accumulators(accumulators), other_parts.accumulators(others), groups))?;
            let merged = column_from_guest(result.map_err(fault)?, kind, false, accumulators.len())
                .map_err(|what| nonsense(format!("accumulators: {what}")))?;
            call.budget.check_accumulators(&merged)?;
            Ok(merged)
        })
    }

    /// Calls `aggregate.results`: the output columns, a row an accumulator.
    pub fn results(&mut self, accumulators: &ArrayRef, records: Range<u64>) -> Result<Vec<ArrayRef>, CallError> {
        let declared: Vec<Field> = match &self.description().output {
            Shape::Columns(fields) => fields.clone(),
            Shape::InputRows => Vec::new(),
        };
        self.run(None, records, accumulators.len(), |Running { call, functions, .. }| {
            let parts = Realigned::of(accumulators);
            let (result,): ResultsResult = functions[RESULTS].call(call, (parts.accumulators(accumulators),))?;
            columns_from_guest(result.map_err(fault)?, &declared, accumulators.len()).map_err(nonsense)
        })
    }
}
