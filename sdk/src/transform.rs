//! Transforms: map, filter, flat-map.
//!
//! Guarantees: the loop over a batch is compiled for the author's records and function. Must not know: the exports of the
//! component, other kinds of operator.

use crate::bindings::types::{Batch, Description, Emission, Fault, Moment, Rejection};
use crate::config::{self, Config};
use crate::context::Context;
use crate::metrics::Metrics;
use crate::operator::{Identity, broken, check_timestamps, description};
use crate::output::{Output, SideOutputs};
use crate::record::{Record, fields, shape};

/// A transform, batch by batch. The macros `#[map]`, `#[filter]`, `#[filter_map]`, `#[flat_map]` and `#[transform]` implement
/// it; implement it yourself to work on whole columns.
pub trait Transform: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Transforms a batch. All of what it returns takes effect, or nothing.
    fn process(&mut self, moment: Moment, batch: Batch) -> Result<Emission, Fault>;
}

/// The description of a transform with these inputs, outputs, configuration and metrics.
pub fn describe<I: Record, O: Record, S: SideOutputs, C: Config, M: Metrics>(identity: Identity) -> Description {
    Description {
        side_outputs: S::describe(),
        metrics: M::describe(),
        configuration: config::schema::<C>(),
        ..description(identity, fields::<I>(), shape::<O>())
    }
}

/// Gives each record of a batch to a function; its error rejects the record.
#[inline]
pub fn process<I, O, S, M>(
    moment: Moment,
    batch: Batch,
    mut each: impl for<'r> FnMut(I::At<'r>, &mut Output<O, S>, &Context, &mut M) -> Result<(), String>,
) -> Result<Emission, Fault>
where
    I: Record,
    O: Record,
    S: SideOutputs,
    M: Metrics,
{
    check_timestamps(&batch)?;
    let reader = I::reader(&batch.columns, batch.rows as usize).map_err(broken)?;
    let mut output = Output::new(batch.rows as usize);
    let mut context = Context::new(moment);
    let mut metrics = M::start();
    let mut rejections = Vec::new();
    for (row, &timestamp_ms) in batch.timestamps.iter().enumerate() {
        context.at_row(row as u32, timestamp_ms);
        if let Err(reason) = each(I::read(&reader, row), &mut output, &context, &mut metrics) {
            output.take_back();
            rejections.push(Rejection { row: row as u32, reason });
        }
        output.end(row as u32);
    }
    let (main, side_outputs) = output.finish(&batch.timestamps);
    Ok(Emission { main, side_outputs, rejections, measurements: metrics.finish() })
}
