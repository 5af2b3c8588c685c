//! A main input, keyed or not, and a second one that every task gets whole, kept in broadcast state.
//!
//! Guarantees: only the second input can change the broadcast state. Must not know: the exports of the component, how tasks are
//! kept equal.

use crate::bindings::exports_of_broadcast_process::BroadcastResult;
use crate::bindings::types::{
    Batch, Description, Emission, Fault, KeyedResult, Keys, Moment, Rejection, StateValues, Timers,
};
use crate::context::Context;
use crate::metrics::Metrics;
use crate::operator::{Identity, broken, check_timestamps, failed};
use crate::output::{Output, SideOutputs};
use crate::record::Record;
use crate::state::{Scope, States, field};

/// A broadcast function, batch by batch. The macro `#[broadcast_process]` implements it.
pub trait BroadcastProcess: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Processes a batch of the main input.
    fn process(
        &mut self,
        moment: Moment,
        batch: Batch,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
    /// Processes a batch of the broadcast input.
    fn process_broadcast(&mut self, moment: Moment, batch: Batch) -> Result<BroadcastResult, Fault>;
    /// Fires timers of the main input's keys.
    fn fire(
        &mut self,
        moment: Moment,
        timers: Timers,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
}

/// Adds the broadcast states to a description, behind the keyed ones.
pub fn with_states<B: States>(mut description: Description) -> Description {
    const { assert!(field::all::<B>(Scope::Broadcast), "what is behind `&` are broadcast states only") }
    description.states.extend(B::describe());
    description
}

/// Makes a call that reads broadcast states, which are behind the keyed ones `St`.
#[inline]
pub fn reading<St: States, B: States, R>(call: impl FnOnce(&B::At<'_>) -> Result<R, Fault>) -> Result<R, Fault> {
    let mut slots = B::open(None, St::SCOPES.len() as u32, 0).map_err(failed)?;
    let result = call(&B::at(&mut slots, 0))?;
    // Nothing can have been changed, but something may not have been readable.
    B::finish(slots, &mut Vec::new()).map_err(failed)?;
    Ok(result)
}

/// Gives each record of the broadcast input to a function, with the broadcast states, which are behind the keyed ones `St`.
#[inline]
pub fn process_broadcast<I, O, S, St, B, M>(
    moment: Moment,
    batch: Batch,
    mut each: impl for<'r, 's> FnMut(I::At<'r>, &mut B::At<'s>, &Context, &mut Output<O, S>, &mut M) -> Result<(), String>,
) -> Result<BroadcastResult, Fault>
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    B: States,
    M: Metrics,
{
    check_timestamps(&batch)?;
    let reader = I::reader(&batch.columns, batch.rows as usize).map_err(broken)?;
    let mut slots = B::open(None, St::SCOPES.len() as u32, 0).map_err(failed)?;
    let mut output = Output::<O, S>::new(0);
    let mut context = Context::new(moment);
    let mut metrics = M::start();
    let mut rejections = Vec::new();
    for (row, &timestamp_ms) in batch.timestamps.iter().enumerate() {
        context.at_row(row as u32, timestamp_ms);
        let mut states = B::at(&mut slots, 0);
        if let Err(reason) = each(I::read(&reader, row), &mut states, &context, &mut output, &mut metrics) {
            output.take_back();
            rejections.push(Rejection { row: row as u32, reason });
        }
        output.end(row as u32);
    }
    let (main, side_outputs) = output.finish(&batch.timestamps);
    let emission = Emission { main, side_outputs, rejections, measurements: metrics.finish() };
    let mut states = Vec::new();
    B::finish(slots, &mut states).map_err(failed)?;
    Ok(BroadcastResult { emission, states })
}
