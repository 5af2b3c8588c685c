//! Triggers: when a window fires.
//!
//! Guarantees: a decision for each element, timer and merged window. Must not know: windows' elements, the exports of the component.

pub use crate::bindings::exports_of_trigger::Decision;

use crate::bindings::exports_of_trigger::Verdict;
use crate::bindings::types::{Batch, Description, Fault, Moment, StateValues, Timers, Windows};
use crate::config::{self, Config};
use crate::context::TriggerContext;
use crate::metrics::Metrics;
use crate::operator::{Identity, broken, check_indices, check_timestamps, description, failed};
use crate::record::{Record, fields, shape};
use crate::state::{Scope, States, field};
use crate::timer::Timer;
use crate::window::Window;

/// A trigger, call by call. The macro `#[trigger]` implements it.
pub trait Trigger: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Decides on elements just added; element `i` is of window `groups[i]`.
    fn on_elements(&mut self, call: Call<Batch>) -> Result<Verdict, Fault>;
    /// Decides on timers; timer `i` is of window `groups[i]`.
    fn on_timers(&mut self, call: Call<Timers>) -> Result<Verdict, Fault>;
    /// Decides on windows grown together; old window `i` is in new window `groups[i]`.
    fn merge(&mut self, call: Call<()>) -> Result<Verdict, Fault>;
}

/// Elements, timers or windows to decide on.
pub struct Call<T> {
    /// When it happens.
    pub moment: Moment,
    /// The elements or timers.
    pub of: T,
    /// The windows.
    pub windows: Windows,
    /// The window of each element, timer or old window.
    pub groups: Vec<u32>,
    /// The states of each window; on a merge, of each old window.
    pub states: Vec<StateValues>,
}

/// The description of a trigger.
pub fn describe<I: Record, St: States, C: Config, M: Metrics>(identity: Identity) -> Description {
    const { assert!(field::all::<St>(Scope::Keyed), "a trigger has no operator or broadcast state") }
    Description {
        states: St::describe(),
        metrics: M::describe(),
        configuration: config::schema::<C>(),
        ..description(identity, fields::<I>(), shape::<()>())
    }
}

/// Both of two decisions.
fn both(one: Decision, other: Decision) -> Decision {
    let fires = |decision| matches!(decision, Decision::Fire | Decision::FireAndPurge);
    let purges = |decision| matches!(decision, Decision::Purge | Decision::FireAndPurge);
    match (fires(one) || fires(other), purges(one) || purges(other)) {
        (false, false) => Decision::Continue,
        (true, false) => Decision::Fire,
        (false, true) => Decision::Purge,
        (true, true) => Decision::FireAndPurge,
    }
}

fn verdict<St: States, M: Metrics>(
    decisions: Vec<Decision>,
    slots: St::Slots,
    context: TriggerContext,
    metrics: M,
) -> Result<Verdict, Fault> {
    let mut states = Vec::new();
    St::finish(slots, &mut states).map_err(failed)?;
    Ok(Verdict { decisions, states, timers: context.finish().finish(), measurements: metrics.finish() })
}

/// Gives each element to a function, with the states of its window.
#[inline]
pub fn on_elements<I: Record, St: States, M: Metrics>(
    call: Call<Batch>,
    mut each: impl for<'r, 's> FnMut(I::At<'r>, &mut St::At<'s>, &mut TriggerContext, &mut M) -> Decision,
) -> Result<Verdict, Fault> {
    let Call { moment, of: batch, windows, groups, states } = call;
    check_timestamps(&batch)?;
    let windows = Window::all(&windows)?;
    check_indices(&groups, batch.rows as usize, windows.len())?;
    let reader = I::reader(&batch.columns, batch.rows as usize).map_err(broken)?;
    let mut slots = St::open(Some(&mut states.into_iter()), 0, windows.len()).map_err(failed)?;
    let (mut context, mut metrics) = (TriggerContext::new(moment, false), M::start());
    let mut decisions = Vec::with_capacity(groups.len());
    for (row, (&timestamp_ms, &group)) in batch.timestamps.iter().zip(&groups).enumerate() {
        context.at_row(row as u32, timestamp_ms, group, windows[group as usize]);
        let mut states = St::at(&mut slots, group as usize);
        decisions.push(each(I::read(&reader, row), &mut states, &mut context, &mut metrics));
    }
    verdict::<St, M>(decisions, slots, context, metrics)
}

/// Gives each timer to a function, with the states of its window. One that was deleted meanwhile is left out.
pub fn on_timers<St: States, M: Metrics>(
    call: Call<Timers>,
    mut each: impl for<'s> FnMut(Timer, &mut St::At<'s>, &mut TriggerContext, &mut M) -> Decision,
) -> Result<Verdict, Fault> {
    let Call { moment, of: Timers { times, domains }, windows, groups, states } = call;
    let windows = Window::all(&windows)?;
    check_indices(&groups, times.len().max(domains.len()), windows.len())?;
    let mut slots = St::open(Some(&mut states.into_iter()), 0, windows.len()).map_err(failed)?;
    let (mut context, mut metrics) = (TriggerContext::new(moment, true), M::start());
    let mut decisions = Vec::with_capacity(groups.len());
    for (index, ((&time_ms, &domain), &group)) in times.iter().zip(&domains).zip(&groups).enumerate() {
        let timer = Timer::new(time_ms, domain);
        if context.timers().is_deleted(group, timer) {
            decisions.push(Decision::Continue);
            continue;
        }
        context.at_row(index as u32, time_ms, group, windows[group as usize]);
        let mut states = St::at(&mut slots, group as usize);
        decisions.push(each(timer, &mut states, &mut context, &mut metrics));
    }
    verdict::<St, M>(decisions, slots, context, metrics)
}

/// Gives each old window's states to a function, with those of the window it is now in, which has none before the first.
pub fn merge<St: States, M: Metrics>(
    call: Call<()>,
    mut each: impl for<'s, 'o> FnMut(&mut St::At<'s>, &mut St::At<'o>, &mut TriggerContext, &mut M) -> Decision,
) -> Result<Verdict, Fault> {
    let Call { moment, of: (), windows, groups, states } = call;
    let windows = Window::all(&windows)?;
    check_indices(&groups, groups.len(), windows.len())?;
    let mut old = St::open(Some(&mut states.into_iter()), 0, groups.len()).map_err(failed)?;
    let mut new = St::open(None, 0, windows.len()).map_err(failed)?;
    let (mut context, mut metrics) = (TriggerContext::new(moment, false), M::start());
    let mut decisions = vec![Decision::Continue; windows.len()];
    for (index, &group) in groups.iter().enumerate() {
        let window = windows[group as usize];
        context.at_row(index as u32, window.last_ms(), group, window);
        let (mut states, mut merged) = (St::at(&mut new, group as usize), St::at(&mut old, index));
        let decision = each(&mut states, &mut merged, &mut context, &mut metrics);
        decisions[group as usize] = both(decisions[group as usize], decision);
    }
    // Their states are gone, so what was changed in them is of no account, unlike what could not be read.
    St::finish(old, &mut Vec::new()).map_err(failed)?;
    verdict::<St, M>(decisions, new, context, metrics)
}
