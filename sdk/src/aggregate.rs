//! Aggregates: fold rows into accumulators.
//!
//! Guarantees: an accumulator that is a number is changed where the host put it. Must not know: windows, keys, where
//! accumulators are kept, other kinds of operator.

use crate::bindings::exports_of_aggregate::Accumulated;
use crate::bindings::types::{self, Batch, Column, Description, Fault, Moment, Rejection, StateKind};
use crate::config::{self, Config};
use crate::context::Context;
use crate::operator::{Identity, broken, check_timestamps, description};
use crate::record::{Record, fields, shape};
use crate::state::State;

/// An aggregate, batch by batch. The macro `#[aggregate]` implements it; implement it yourself to work on whole columns.
pub trait Aggregate: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Adds row `i` to accumulator `groups[i]`; a null accumulator is a new one.
    fn accumulate(
        &mut self,
        moment: Moment,
        batch: Batch,
        groups: Vec<u32>,
        accumulators: Column,
    ) -> Result<Accumulated, Fault>;
    /// Joins `others[i]` into `accumulators[groups[i]]`.
    fn merge(&mut self, accumulators: Column, others: Column, groups: Vec<u32>) -> Result<Column, Fault>;
    /// The output columns, a row an accumulator.
    fn results(&mut self, accumulators: Column) -> Result<Vec<Column>, Fault>;
}

/// The description of an aggregate with this input, accumulator, output and configuration.
pub fn describe<I: Record, A: State, O: Record, C: Config>(identity: Identity) -> Description {
    let accumulator = types::State {
        name: "accumulator".into(),
        kind: StateKind::Aggregating,
        schema_version: A::VERSION,
        value_kind: A::KIND,
        key_kind: None,
        time_to_live: None,
    };
    Description {
        states: vec![accumulator],
        configuration: config::schema::<C>(),
        ..description(identity, fields::<I>(), shape::<O>())
    }
}

/// Gives each record of a batch to a function, with its accumulator; its error rejects the record.
#[inline]
pub fn accumulate<I: Record, A: State>(
    moment: Moment,
    batch: Batch,
    groups: Vec<u32>,
    accumulators: Column,
    create: impl FnMut() -> A,
    mut each: impl for<'r> FnMut(&mut A, I::At<'r>, &Context) -> Result<(), String>,
) -> Result<Accumulated, Fault> {
    check_timestamps(&batch)?;
    if groups.len() != batch.rows as usize {
        return Err(broken(format!("{} groups for {} rows", groups.len(), batch.rows)));
    }
    let reader = I::reader(&batch.columns, batch.rows as usize).map_err(broken)?;
    let mut accumulators = A::decode(accumulators, create).map_err(Fault::Fail)?;
    let mut context = Context::new(moment);
    let mut rejections = Vec::new();
    for (row, (&group, &timestamp_ms)) in groups.iter().zip(&batch.timestamps).enumerate() {
        context.at_row(row as u32, timestamp_ms);
        if let Err(reason) = each(&mut accumulators[group as usize], I::read(&reader, row), &context) {
            rejections.push(Rejection { row: row as u32, reason });
        }
    }
    let accumulators = A::encode(accumulators).map_err(Fault::Fail)?;
    Ok(Accumulated { accumulators, rejections, measurements: Vec::new() })
}

/// Gives each of `others` to a function, with the accumulator to join it into.
#[inline]
pub fn merge<A: State>(
    accumulators: Column,
    others: Column,
    groups: Vec<u32>,
    create: impl FnMut() -> A,
    mut join: impl FnMut(&mut A, A),
) -> Result<Column, Fault> {
    let mut accumulators = A::decode(accumulators, create).map_err(Fault::Fail)?;
    // Each is joined as soon as it is read, so that they never lie in memory together. Nulls add nothing.
    let (mut groups, mut missing) = (groups.into_iter(), 0_usize);
    A::read(others, |other| match (groups.next(), other) {
        (Some(group), Some(other)) => join(&mut accumulators[group as usize], other),
        (Some(_), None) => {}
        (None, _) => missing += 1,
    })
    .map_err(Fault::Fail)?;
    if missing > 0 || groups.len() > 0 {
        return Err(broken(format!("{missing} accumulators without a group, {} groups without one", groups.len())));
    }
    A::encode(accumulators).map_err(Fault::Fail)
}

/// Writes the result of each accumulator by a function that gets it and the columns.
#[inline]
pub fn results<A: State, O: Record>(
    accumulators: Column,
    create: impl FnMut() -> A,
    mut write: impl FnMut(A, &mut O::Builder),
) -> Result<Vec<Column>, Fault> {
    let accumulators = A::decode(accumulators, create).map_err(Fault::Fail)?;
    let mut columns = O::builder(accumulators.len());
    accumulators.into_iter().for_each(|accumulator| write(accumulator, &mut columns));
    Ok(O::finish(columns))
}
