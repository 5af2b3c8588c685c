//! Sinks: the last step before a connector, which gathers, orders or shapes what is written.
//!
//! Guarantees: records are written in the order of the batch. Must not know: connectors, the exports of the component.

use crate::bindings::exports_of_sink::Written;
use crate::bindings::types::{Batch, Description, Emission, Fault, Moment, Rejection, StateValues};
use crate::config::{self, Config};
use crate::context::Context;
use crate::metrics::Metrics;
use crate::operator::{Identity, broken, check_timestamps, description, failed};
use crate::output::{Output, SideOutputs};
use crate::record::{Record, fields, shape};
use crate::state::{Scope, States, field};

/// A sink, batch by batch. The macro `#[sink]` implements it.
pub trait Sink: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Takes a batch, and says what the connector writes now.
    fn write(&mut self, moment: Moment, batch: Batch, states: Vec<StateValues>) -> Result<Written, Fault>;
    /// The end of the input: says what is still to be written.
    fn finish(&mut self, moment: Moment, states: Vec<StateValues>) -> Result<Written, Fault>;
}

/// The description of a sink.
pub fn describe<I, O, S, St, C, M>(identity: Identity) -> Description
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    C: Config,
    M: Metrics,
{
    const { assert!(field::all::<St>(Scope::Operator), "a sink has operator state only: it knows no keys") }
    Description {
        side_outputs: S::describe(),
        states: St::describe(),
        metrics: M::describe(),
        configuration: config::schema::<C>(),
        ..description(identity, fields::<I>(), shape::<O>())
    }
}

/// Gives each record of a batch to a function; its error rejects the record.
#[inline]
pub fn write<I, O, S, St, M>(
    moment: Moment,
    batch: Batch,
    states: Vec<StateValues>,
    mut each: impl for<'r, 's> FnMut(I::At<'r>, &mut St::At<'s>, &Context, &mut Output<O, S>, &mut M) -> Result<(), String>,
) -> Result<Written, Fault>
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    M: Metrics,
{
    check_timestamps(&batch)?;
    let reader = I::reader(&batch.columns, batch.rows as usize).map_err(broken)?;
    let mut slots = St::open(Some(&mut states.into_iter()), 0, 1).map_err(failed)?;
    let mut output = Output::<O, S>::new(batch.rows as usize);
    let (mut context, mut metrics) = (Context::new(moment), M::start());
    let mut rejections = Vec::new();
    for (row, &timestamp_ms) in batch.timestamps.iter().enumerate() {
        context.at_row(row as u32, timestamp_ms);
        let mut states = St::at(&mut slots, 0);
        if let Err(reason) = each(I::read(&reader, row), &mut states, &context, &mut output, &mut metrics) {
            output.take_back();
            rejections.push(Rejection { row: row as u32, reason });
        }
        output.end(row as u32);
    }
    let (main, side_outputs) = output.finish(&batch.timestamps);
    let emission = Emission { main, side_outputs, rejections, measurements: metrics.finish() };
    let mut states = Vec::new();
    St::finish(slots, &mut states).map_err(failed)?;
    Ok(Written { emission, states })
}

/// Calls a function at the end of the input. What it emits stems from no record: it has the event time of the watermark, 0 before there is
/// one, unless it is given another.
pub fn finish<O, S, St, M>(
    moment: Moment,
    states: Vec<StateValues>,
    last: impl for<'s> FnOnce(&mut St::At<'s>, &Context, &mut Output<O, S>, &mut M),
) -> Result<Written, Fault>
where
    O: Record,
    S: SideOutputs,
    St: States,
    M: Metrics,
{
    let mut slots = St::open(Some(&mut states.into_iter()), 0, 1).map_err(failed)?;
    let mut output = Output::<O, S>::new(0);
    let (mut context, mut metrics) = (Context::new(moment), M::start());
    let timestamp_ms = context.watermark_ms().unwrap_or(0);
    context.at_row(0, timestamp_ms);
    last(&mut St::at(&mut slots, 0), &context, &mut output, &mut metrics);
    output.end(0);
    let (mut main, mut side_outputs) = output.finish(&[timestamp_ms]);
    for rows in side_outputs.iter_mut().map(|side| &mut side.rows).chain([&mut main]) {
        rows.timestamps.get_or_insert_with(|| vec![timestamp_ms; rows.origins.len()]);
    }
    let emission = Emission { main, side_outputs, rejections: Vec::new(), measurements: metrics.finish() };
    let mut states = Vec::new();
    St::finish(slots, &mut states).map_err(failed)?;
    Ok(Written { emission, states })
}
