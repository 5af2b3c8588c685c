//! The calls of each kind of operator: a batch in, checked results out. Everything a guest returns is checked before anyone
//! else sees it.
use std::ops::Range;

use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_select::take::take_record_batch;

use super::{
    columns::{Realigned, column_from_guest, columns_from_guest},
    contract::{
        Accumulated, AccumulatorsRef, BatchRef, ColumnRef,
        types::{self, Column, Emission, Fault, Measurement, Moment, Rejection, Rows},
    },
    error::{CallError, CallFailure, LoadError},
    instance::{Call, Function, Instance, Running},
};
use crate::model::{Batch, Field, OperatorKind, Schema, Shape};

pub use types::Moment as CallMoment;

type ProcessParameters<'a> = (Moment, BatchRef<'a>);
type ProcessResult = (Result<Emission, Fault>,);
type AccumulateParameters<'a> = (Moment, BatchRef<'a>, &'a [u32], AccumulatorsRef<'a>);
type AccumulateResult = (Result<Accumulated, Fault>,);
type MergeParameters<'a> = (AccumulatorsRef<'a>, AccumulatorsRef<'a>, &'a [u32]);
type MergeResult = (Result<Column, Fault>,);
type ResultsParameters<'a> = (AccumulatorsRef<'a>,);
type ResultsResult = (Result<Vec<Column>, Fault>,);

const PROCESS: usize = 0;
const ACCUMULATE: usize = 0;
const MERGE: usize = 1;
const RESULTS: usize = 2;

/// The functions of a kind that take data, checked against the contract.
pub(super) fn functions_of(kind: OperatorKind, interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    Ok(match kind {
        OperatorKind::Transform => {
            vec![call.function(interface, "process")?.check::<ProcessParameters, ProcessResult>(call, "process")?]
        }
        OperatorKind::Aggregate => vec![
            call.function(interface, "accumulate")?
                .check::<AccumulateParameters, AccumulateResult>(call, "accumulate")?,
            call.function(interface, "merge")?.check::<MergeParameters, MergeResult>(call, "merge")?,
            call.function(interface, "results")?.check::<ResultsParameters, ResultsResult>(call, "results")?,
        ],
        other => {
            return Err(LoadError::Contract(format!(
                "this host cannot run operators of kind {} yet",
                other.interface()
            )));
        }
    })
}

/// What a call emitted, checked.
#[derive(Debug)]
pub struct Emitted {
    /// Rows of the main output.
    pub main: Batch,
    /// Rows of side outputs, by index in the description.
    pub side_outputs: Vec<(usize, Batch)>,
    /// Input rows refused, with the reason.
    pub rejections: Vec<(usize, String)>,
    /// Metric readings, by index in the description.
    pub measurements: Vec<(usize, f64)>,
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

/// The columns of a batch that an operator reads, on their way into the guest.
struct Projection<'a> {
    columns: Vec<(&'a ArrayRef, Realigned)>,
}

impl<'a> Projection<'a> {
    fn of(batch: &'a Batch, columns: &[usize]) -> Projection<'a> {
        Projection {
            columns: columns
                .iter()
                .map(|index| {
                    let column = batch.columns.column(*index);
                    (column, Realigned::of(column))
                })
                .collect(),
        }
    }

    fn refs(&self) -> Vec<ColumnRef<'_>> {
        self.columns.iter().map(|(column, parts)| parts.column(column)).collect()
    }
}

fn fault(fault: Fault) -> CallFailure {
    match fault {
        Fault::Retry(message) => CallFailure::Fault { retry: true, message },
        Fault::Fail(message) => CallFailure::Fault { retry: false, message },
    }
}

fn nonsense(what: impl Into<String>) -> CallFailure {
    CallFailure::Nonsense(what.into())
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
        let shapes = self.shapes();
        let metrics = self.description().metrics.len();
        self.run(records, |Running { call, functions }| {
            let projection = Projection::of(batch, columns);
            let refs = projection.refs();
            let wire = BatchRef { rows: batch.rows() as u32, timestamps: &batch.timestamps, columns: &refs };
            let (result,): ProcessResult = functions[PROCESS].call(call, (moment, wire))?;
            emitted(result.map_err(fault)?, batch, &shapes, outputs, metrics)
        })
    }

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
        self.run(records, |Running { call, functions }| {
            let projection = Projection::of(batch, columns);
            let refs = projection.refs();
            let wire = BatchRef { rows: batch.rows() as u32, timestamps: &batch.timestamps, columns: &refs };
            let parts = Realigned::of(accumulators);
            let (result,): AccumulateResult =
                functions[ACCUMULATE].call(call, (moment, wire, groups, parts.accumulators(accumulators)))?;
            let Accumulated { accumulators: new, rejections, measurements } = result.map_err(fault)?;
            Ok(Accumulators {
                values: column_from_guest(new, kind, false, accumulators.len())
                    .map_err(|what| nonsense(format!("accumulators: {what}")))?,
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
        self.run(records, |Running { call, functions }| {
            let (parts, other_parts) = (Realigned::of(accumulators), Realigned::of(others));
            let (result,): MergeResult = functions[MERGE]
                .call(call, (parts.accumulators(accumulators), other_parts.accumulators(others), groups))?;
            column_from_guest(result.map_err(fault)?, kind, false, accumulators.len())
                .map_err(|what| nonsense(format!("accumulators: {what}")))
        })
    }

    /// Calls `aggregate.results`: the output columns, a row an accumulator.
    pub fn results(&mut self, accumulators: &ArrayRef, records: Range<u64>) -> Result<Vec<ArrayRef>, CallError> {
        let declared: Vec<Field> = match &self.description().output {
            Shape::Columns(fields) => fields.clone(),
            Shape::InputRows => Vec::new(),
        };
        self.run(records, |Running { call, functions }| {
            let parts = Realigned::of(accumulators);
            let (result,): ResultsResult = functions[RESULTS].call(call, (parts.accumulators(accumulators),))?;
            columns_from_guest(result.map_err(fault)?, &declared, accumulators.len()).map_err(nonsense)
        })
    }

    fn shapes(&self) -> Vec<Shape> {
        let description = self.description();
        std::iter::once(&description.output)
            .chain(description.side_outputs.iter().map(|side| &side.shape))
            .cloned()
            .collect()
    }
}

fn emitted(
    emission: Emission,
    input: &Batch,
    shapes: &[Shape],
    schemas: &[Schema],
    metrics: usize,
) -> Result<Emitted, CallFailure> {
    let Emission { main, side_outputs, rejections, measurements } = emission;
    let side_outputs = side_outputs
        .into_iter()
        .map(|side| {
            let index = side.side_output as usize;
            let (Some(shape), Some(schema)) = (shapes.get(index + 1), schemas.get(index + 1)) else {
                return Err(nonsense(format!("rows for side output {index}, {} are declared", shapes.len() - 1)));
            };
            let batch = batch_from_rows(side.rows, input, shape, schema)
                .map_err(|what| nonsense(format!("side output {index}: {what}")))?;
            Ok((index, batch))
        })
        .collect::<Result<_, _>>()?;
    Ok(Emitted {
        main: batch_from_rows(main, input, &shapes[0], &schemas[0]).map_err(nonsense)?,
        side_outputs,
        rejections: checked_rejections(rejections, input.rows())?,
        measurements: checked_measurements(measurements, metrics)?,
    })
}

fn checked_rejections(rejections: Vec<Rejection>, rows: usize) -> Result<Vec<(usize, String)>, CallFailure> {
    rejections
        .into_iter()
        .map(|Rejection { row, reason }| match row as usize {
            row if row < rows => Ok((row, reason)),
            row => Err(nonsense(format!("it rejects row {row} of {rows}"))),
        })
        .collect()
}

fn checked_measurements(measurements: Vec<Measurement>, metrics: usize) -> Result<Vec<(usize, f64)>, CallFailure> {
    measurements
        .into_iter()
        .map(|Measurement { metric, value }| match metric as usize {
            metric if metric < metrics => Ok((metric, value)),
            metric => Err(nonsense(format!("a reading of metric {metric}, {metrics} are declared"))),
        })
        .collect()
}

fn batch_from_rows(rows: Rows, input: &Batch, shape: &Shape, schema: &Schema) -> Result<Batch, String> {
    let Rows { origins, timestamps, columns } = rows;
    let count = origins.len();
    // A maximum needs no early exit, and so runs at memory speed.
    if let Some(last) = origins.iter().copied().max().filter(|last| *last as usize >= input.rows()) {
        return Err(format!("a row stems from input row {last}, the input has {}", input.rows()));
    }
    let identity = count == input.rows() && origins.iter().enumerate().all(|(i, origin)| i == *origin as usize);
    let timestamps = match timestamps {
        Some(timestamps) if timestamps.len() != count => {
            return Err(format!("has {} timestamps for {count} rows", timestamps.len()));
        }
        Some(timestamps) => ScalarBuffer::from(timestamps),
        None if identity => input.timestamps.clone(),
        None => {
            let inherited = &input.timestamps;
            origins.iter().map(|origin| inherited[*origin as usize]).collect()
        }
    };
    let columns = match shape {
        Shape::InputRows if !columns.is_empty() => {
            return Err(format!("{} columns were returned where input rows are declared", columns.len()));
        }
        Shape::InputRows if identity => input.columns.clone(),
        Shape::InputRows => {
            take_record_batch(&input.columns, &UInt32Array::from(origins)).map_err(|error| error.to_string())?
        }
        Shape::Columns(declared) => {
            let columns = columns_from_guest(columns, declared, count)?;
            schema.record_batch(columns, count)?
        }
    };
    Ok(Batch { columns, timestamps, arrived: input.arrived, key_hashes: None })
}
