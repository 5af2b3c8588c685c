//! Keyed functions: records of a key in order, with state and timers of that key.
//!
//! Guarantees: records are processed in the order of the batch, timers in that of their times; states are opened once a call for
//! each key, and only what was changed goes back. Must not know: the exports of the component, where state is kept.

use crate::bindings::types::{
    Batch, Description, Emission, Fault, KeyedResult, Keys, Moment, Rejection, StateValues, Timers,
};
use crate::config::{self, Config};
use crate::context::KeyedContext;
use crate::metrics::Metrics;
use crate::operator::{Identity, broken, check_indices, check_timestamps, description, failed};
use crate::output::{Output, SideOutputs};
use crate::record::{Record, fields, shape};
use crate::state::{Scope, States, field};
use crate::timer::{Timer, TimerSet};

/// A keyed function, batch by batch. The macro `#[keyed_process]` implements it; implement it yourself to work on whole columns.
pub trait KeyedProcess: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Processes a batch; row `i` is of key `keys.rows[i]`.
    fn process(
        &mut self,
        moment: Moment,
        batch: Batch,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
    /// Fires timers; timer `i` is of key `keys.rows[i]`.
    fn fire(
        &mut self,
        moment: Moment,
        timers: Timers,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
}

/// Two inputs with the same key, batch by batch. The macro `#[connected_process]` implements it.
pub trait ConnectedProcess: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Processes a batch of the first input.
    fn process_first(
        &mut self,
        moment: Moment,
        batch: Batch,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
    /// Processes a batch of the second input.
    fn process_second(
        &mut self,
        moment: Moment,
        batch: Batch,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
    /// Fires timers.
    fn fire(
        &mut self,
        moment: Moment,
        timers: Timers,
        keys: Keys,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
}

/// The description of a keyed function with one input.
pub fn describe<I, O, S, St, K, C, M>(identity: Identity) -> Description
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    K: Record,
    C: Config,
    M: Metrics,
{
    const { assert!(field::all::<St>(Scope::Keyed), "a keyed function has no operator or broadcast state") }
    Description {
        keys: fields::<K>(),
        side_outputs: S::describe(),
        states: St::describe(),
        metrics: M::describe(),
        configuration: config::schema::<C>(),
        ..description(identity, fields::<I>(), shape::<O>())
    }
}

/// The same with a second input.
pub fn with_second<I: Record>(mut description: Description) -> Description {
    description.inputs.push(fields::<I>());
    description
}

/// A batch of records, or timers, with their keys and states.
pub struct Call<T> {
    /// When it happens.
    pub moment: Moment,
    /// The records or timers.
    pub of: T,
    /// Their keys.
    pub keys: Keys,
    /// The states of each key.
    pub states: Vec<StateValues>,
}

/// Gives each record of a batch to a function of the operator, with the states of its key; its error rejects the record. With `PREFETCH`,
/// all records are first given to the other function, in the same way.
#[inline]
pub fn process<T, I, O, S, St, K, M, const PREFETCH: bool>(
    operator: &mut T,
    call: Call<Batch>,
    mut prefetch: impl for<'r, 's> FnMut(&mut T, I::At<'r>, &mut St::At<'s>),
    mut each: impl for<'r, 's, 'k> FnMut(
        &mut T,
        I::At<'r>,
        &mut St::At<'s>,
        &mut KeyedContext<'k, K>,
        &mut Output<O, S>,
        &mut M,
    ) -> Result<(), String>,
) -> Result<KeyedResult, Fault>
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    K: Record,
    M: Metrics,
{
    let Call { moment, of: batch, mut keys, states } = call;
    check_timestamps(&batch)?;
    let rows = batch.rows as usize;
    let mut slots = if keys.count == 0 && rows > 0 {
        // Nothing is keyed: then there are no states, but the author's code is the same.
        keys.rows = vec![0; rows];
        St::open(None, 0, 1)
    } else {
        check_indices(&keys.rows, rows, keys.count as usize)?;
        St::open(Some(&mut states.into_iter()), 0, keys.count as usize)
    }
    .map_err(failed)?;
    let reader = I::reader(&batch.columns, rows).map_err(broken)?;
    let mut context = KeyedContext::<K>::new(moment, &keys, TimerSet::new(false)).map_err(broken)?;
    let mut output = Output::<O, S>::new(rows);
    let mut metrics = M::start();
    let mut rejections = Vec::new();
    if PREFETCH {
        for (row, &key) in keys.rows.iter().enumerate() {
            prefetch(operator, I::read(&reader, row), &mut St::at(&mut slots, key as usize));
        }
    }
    for (row, (&timestamp_ms, &key)) in batch.timestamps.iter().zip(&keys.rows).enumerate() {
        context.at_row(row as u32, timestamp_ms, key);
        let mut states = St::at(&mut slots, key as usize);
        let outcome = each(operator, I::read(&reader, row), &mut states, &mut context, &mut output, &mut metrics);
        if let Err(reason) = outcome {
            output.take_back();
            context.timers.take_back();
            rejections.push(Rejection { row: row as u32, reason });
        }
        context.timers.end();
        output.end(row as u32);
    }
    let (main, side_outputs) = output.finish(&batch.timestamps);
    let emission = Emission { main, side_outputs, rejections, measurements: metrics.finish() };
    let mut states = Vec::new();
    St::finish(slots, &mut states).map_err(failed)?;
    Ok(KeyedResult { emission, states, timers: context.timers.finish() })
}

/// Gives each timer to a function of the operator, with the states of its key. One that was deleted meanwhile is left out.
pub fn fire<T, O, S, St, K, M>(
    operator: &mut T,
    call: Call<Timers>,
    mut each: impl for<'s, 'k> FnMut(&mut T, Timer, &mut St::At<'s>, &mut KeyedContext<'k, K>, &mut Output<O, S>, &mut M),
) -> Result<KeyedResult, Fault>
where
    O: Record,
    S: SideOutputs,
    St: States,
    K: Record,
    M: Metrics,
{
    let Call { moment, of: Timers { times, domains }, keys, states } = call;
    check_indices(&keys.rows, times.len().max(domains.len()), keys.count as usize)?;
    let mut slots = St::open(Some(&mut states.into_iter()), 0, keys.count as usize).map_err(failed)?;
    let mut context = KeyedContext::<K>::new(moment, &keys, TimerSet::new(true)).map_err(broken)?;
    let mut output = Output::<O, S>::new(times.len());
    let mut metrics = M::start();
    for (index, ((&time_ms, &domain), &key)) in times.iter().zip(&domains).zip(&keys.rows).enumerate() {
        let timer = Timer::new(time_ms, domain);
        if context.timers.is_deleted(key, timer) {
            continue;
        }
        context.at_row(index as u32, time_ms, key);
        let mut states = St::at(&mut slots, key as usize);
        each(operator, timer, &mut states, &mut context, &mut output, &mut metrics);
        output.end(index as u32);
    }
    let (main, side_outputs) = output.finish(&times);
    let emission = Emission { main, side_outputs, rejections: Vec::new(), measurements: metrics.finish() };
    let mut states = Vec::new();
    St::finish(slots, &mut states).map_err(failed)?;
    Ok(KeyedResult { emission, states, timers: context.timers.finish() })
}

/// The result of a call without anything: of an operator that does not answer timers.
pub fn nothing<O: Record>() -> KeyedResult {
    let (main, _) = Output::<O, ()>::new(0).finish(&[]);
    let emission = Emission { main, side_outputs: Vec::new(), rejections: Vec::new(), measurements: Vec::new() };
    KeyedResult { emission, states: Vec::new(), timers: TimerSet::new(false).finish() }
}
