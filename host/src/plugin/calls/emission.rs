//! What a call emitted, checked: rows that stem from where they may, rejections of rows that were there, readings of metrics that
//! were declared.
use std::{cell::Cell, collections::HashSet, time::Duration};

use arrow_array::{RecordBatch, UInt32Array};
use arrow_buffer::ScalarBuffer;
use arrow_select::take::take_record_batch;

use super::{
    super::{
        budget::Budget,
        columns::{Nonsense, bytes_of, columns_from_guest},
        contract::types::{Emission, Measurement, Rejection, Rows},
        error::CallFailure,
    },
    nonsense,
};
use crate::model::{Batch, Description, EventTime, Schema, Shape};

/// Bytes of rows that are passed on from an input which some of them are repeated from: a row costs a guest four bytes, and the host as
/// much as the row is large.
const COPIED_BYTES_MAX: usize = 256 << 20;

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

/// What rows of a call may stem from.
pub(super) struct Origins<'a> {
    /// One of them, and all of them, in messages.
    names: (&'static str, &'static str),
    /// The event time that is inherited from each.
    times: ScalarBuffer<EventTime>,
    /// Their rows, if whole rows can be passed on.
    passed_on: Option<&'a RecordBatch>,
    /// How many input rows there are to reject.
    rejectable: usize,
    /// How many rows may stem from all of them, in all outputs together.
    outputs_max: usize,
    arrived: Duration,
    /// Bytes of whole rows that outputs have copied so far.
    copied: Cell<usize>,
}

impl<'a> Origins<'a> {
    /// Rows of the (first) input.
    pub(super) fn rows(input: &'a Batch) -> Origins<'a> {
        Origins { passed_on: Some(&input.columns), ..Origins::rows_of_second(input) }
    }

    /// Rows of the second input: none are passed on, since an output of the input's rows has the columns of the first.
    pub(super) fn rows_of_second(input: &'a Batch) -> Origins<'a> {
        Origins {
            names: ("input row", "input"),
            times: input.timestamps.clone(),
            passed_on: None,
            rejectable: input.rows(),
            outputs_max: usize::MAX,
            arrived: input.arrived,
            copied: Cell::default(),
        }
    }

    /// Windows, with these elements.
    pub(super) fn windows(last: ScalarBuffer<EventTime>, elements: &Batch) -> Origins<'a> {
        Origins {
            names: ("window", "call"),
            times: last,
            passed_on: None,
            rejectable: elements.rows(),
            outputs_max: usize::MAX,
            arrived: elements.arrived,
            copied: Cell::default(),
        }
    }

    /// What is not of a batch, such as timers, with their times.
    pub(super) fn of_no_batch(name: &'static str, times: Vec<EventTime>, arrived: Duration) -> Origins<'a> {
        Origins {
            names: (name, "call"),
            times: times.into(),
            passed_on: None,
            rejectable: 0,
            outputs_max: usize::MAX,
            arrived,
            copied: Cell::default(),
        }
    }

    /// With no more outputs than a call with so many rows, timers or windows may have.
    pub(super) fn within(self, budget: Budget, items: usize) -> Origins<'a> {
        Origins { outputs_max: budget.outputs_max(items), ..self }
    }
}

/// The emission, checked. `schemas` are those of the main output and of the side outputs, in order.
pub(super) fn emitted(
    emission: Emission,
    origins: &Origins<'_>,
    description: &Description,
    schemas: &[Schema],
) -> Result<Emitted, CallFailure> {
    let Emission { main, side_outputs, rejections, measurements } = emission;
    let rows = side_outputs.iter().map(|side| side.rows.origins.len()).sum::<usize>() + main.origins.len();
    if rows > origins.outputs_max {
        return Err(CallFailure::Outputs { rows, max: origins.outputs_max });
    }
    let declared = &description.side_outputs;
    let mut given = HashSet::new();
    let side_outputs = side_outputs
        .into_iter()
        .map(|side| {
            let index = side.side_output as usize;
            let (Some(output), Some(schema)) = (declared.get(index), schemas.get(index + 1)) else {
                return Err(nonsense(format!("rows for side output {index}, {} are declared", declared.len())));
            };
            // A batch costs the host more than the guest, also one without rows.
            if !given.insert(index) {
                return Err(nonsense(format!("rows for side output {index} twice")));
            }
            let batch = batch_from_rows(side.rows, origins, &output.shape, schema)
                .map_err(|what| nonsense(format!("side output {index}: {what}")))?;
            Ok((index, batch))
        })
        .collect::<Result<_, _>>()?;
    Ok(Emitted {
        main: batch_from_rows(main, origins, &description.output, &schemas[0]).map_err(nonsense)?,
        side_outputs,
        rejections: checked_rejections(rejections, origins.rejectable)?,
        measurements: checked_measurements(measurements, description.metrics.len())?,
    })
}

pub(super) fn checked_rejections(rejections: Vec<Rejection>, rows: usize) -> Result<Vec<(usize, String)>, CallFailure> {
    // Each makes a copy of its row.
    let mut rejected = HashSet::with_capacity(rejections.len().min(rows));
    rejections
        .into_iter()
        .map(|Rejection { row, reason }| match row as usize {
            row if row >= rows => Err(nonsense(format!("it rejects row {row} of {rows}"))),
            row if !rejected.insert(row) => Err(nonsense(format!("it rejects row {row} twice"))),
            row => Ok((row, reason)),
        })
        .collect()
}

pub(super) fn checked_measurements(
    measurements: Vec<Measurement>,
    metrics: usize,
) -> Result<Vec<(usize, f64)>, CallFailure> {
    measurements
        .into_iter()
        .map(|Measurement { metric, value }| match metric as usize {
            metric if metric < metrics => Ok((metric, value)),
            metric => Err(nonsense(format!("a reading of metric {metric}, {metrics} are declared"))),
        })
        .collect()
}

fn batch_from_rows(rows: Rows, from: &Origins<'_>, shape: &Shape, schema: &Schema) -> Result<Batch, Nonsense> {
    let Rows { origins, timestamps, columns } = rows;
    let count = origins.len();
    // A maximum needs no early exit, and so runs at memory speed.
    if let Some(last) = origins.iter().copied().max().filter(|last| *last as usize >= from.times.len()) {
        let (one, all) = from.names;
        return Err(format!("a row stems from {one} {last}, the {all} has {}", from.times.len()));
    }
    let identity = count == from.times.len() && origins.iter().enumerate().all(|(i, origin)| i == *origin as usize);
    let timestamps = match timestamps {
        Some(timestamps) if timestamps.len() != count => {
            return Err(format!("has {} timestamps for {count} rows", timestamps.len()));
        }
        Some(timestamps) => ScalarBuffer::from(timestamps),
        None if identity => from.times.clone(),
        None => origins.iter().map(|origin| from.times[*origin as usize]).collect(),
    };
    let columns = match (shape, from.passed_on) {
        (Shape::InputRows, _) if !columns.is_empty() => {
            return Err(format!("{} columns were returned where input rows are declared", columns.len()));
        }
        (Shape::InputRows, None) if count > 0 => {
            return Err(format!("{count} rows of the (first) input were returned for a call that has none"));
        }
        (Shape::InputRows, None) => RecordBatch::new_empty(schema.arrow().clone()),
        (Shape::InputRows, Some(input)) if identity => input.clone(),
        (Shape::InputRows, Some(input)) => {
            check_copied(input, &origins, &from.copied)?;
            take_record_batch(input, &UInt32Array::from(origins)).map_err(|error| error.to_string())?
        }
        (Shape::Columns(declared), _) => {
            let columns = columns_from_guest(columns, declared, count)?;
            schema.record_batch(columns, count)?
        }
    };
    Ok(Batch { columns, timestamps, arrived: from.arrived, key_hashes: None })
}

/// Refuses rows that are too large together with what the call's other outputs have `copied`. Where none is repeated they are no larger than the
/// input.
fn check_copied(input: &RecordBatch, origins: &[u32], copied: &Cell<usize>) -> Result<(), Nonsense> {
    let once = origins.is_sorted_by(|one, next| one < next);
    for column in input.columns() {
        let bytes = match once {
            true => bytes_of(column, 0..input.num_rows()),
            false => origins.iter().map(|row| bytes_of(column, *row as usize..*row as usize + 1)).sum(),
        };
        copied.set(copied.get() + bytes);
        if copied.get() > COPIED_BYTES_MAX {
            let bytes = copied.get();
            return Err(format!("input rows were repeated to {bytes} bytes, at most {COPIED_BYTES_MAX} are taken"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray};

    use super::*;
    use crate::model::{Field, Kind};

    #[test]
    fn rows_are_repeated_within_bounds() {
        const ROW_BYTES: usize = 1 << 20;
        let column: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(ROW_BYTES), String::new()]));
        let schema = Schema::new(vec![Field::new("text", Kind::Utf8)]).unwrap();
        let columns = schema.record_batch(vec![column], 2).unwrap();
        let timestamps = vec![1, 2].into();
        let input = Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None };
        let rows = |origins: Vec<u32>| {
            let rows = Rows { origins, timestamps: None, columns: Vec::new() };
            batch_from_rows(rows, &Origins::rows(&input), &Shape::InputRows, &schema)
        };
        assert_eq!(rows(vec![0, 1, 0]).unwrap().rows(), 3);
        let too_many = COPIED_BYTES_MAX / ROW_BYTES + 1;
        let refused = rows(vec![0; too_many]).unwrap_err();
        assert_eq!(refused, "input rows were repeated to 269484032 bytes, at most 268435456 are taken");
        // What is not large may be repeated more often.
        assert_eq!(rows(vec![1; too_many]).unwrap().rows(), too_many);
    }

    #[test]
    fn a_row_is_rejected_once() {
        let reject = |rows: &[u32]| {
            let rejection = |row: &u32| Rejection { row: *row, reason: String::new() };
            checked_rejections(rows.iter().map(rejection).collect(), 3)
        };
        assert_eq!(reject(&[2, 0]).unwrap(), [(2, String::new()), (0, String::new())]);
        assert_eq!(reject(&[2, 0, 2]).unwrap_err(), nonsense("it rejects row 2 twice"));
    }
}
