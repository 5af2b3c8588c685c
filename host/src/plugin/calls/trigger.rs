//! The calls of a trigger.
use std::ops::Range;

use super::{
    super::{
        budget::Budget,
        contract::{
            BatchRef, Decision as WireDecision, StateValuesRef, TimersRef, Verdict as WireVerdict, WindowsRef,
            types::{Fault, Moment},
        },
        error::{CallError, CallFailure, LoadError},
        instance::{Call, Function, Instance, Running},
    },
    changes::{Changeable, checked_changes, timers_from_guest},
    emission::checked_measurements,
    fault,
    input::{Elements, Projection, States, Timers, Windows, batch_ref},
    nonsense,
};
use crate::model::{Decision, Description, EventTime, StateChange, StateValues, TimeDomain, TimerChange, Window};

type ElementsParameters<'a> = (Moment, BatchRef<'a>, WindowsRef<'a>, &'a [u32], &'a [StateValuesRef<'a>]);
type TimersParameters<'a> = (Moment, TimersRef<'a>, WindowsRef<'a>, &'a [u32], &'a [StateValuesRef<'a>]);
type MergeParameters<'a> = (Moment, WindowsRef<'a>, &'a [u32], &'a [StateValuesRef<'a>]);
type VerdictReturn = (Result<WireVerdict, Fault>,);

const ON_ELEMENTS: usize = 0;
const ON_TIMERS: usize = 1;
const MERGE: usize = 2;

pub(super) fn functions(interface: &str, call: &mut Call) -> Result<Vec<Function>, LoadError> {
    Ok(vec![
        call.function(interface, "on-elements")?.check::<ElementsParameters, VerdictReturn>(call, "on-elements")?,
        call.function(interface, "on-timers")?.check::<TimersParameters, VerdictReturn>(call, "on-timers")?,
        call.function(interface, "merge")?.check::<MergeParameters, VerdictReturn>(call, "merge")?,
    ])
}

/// What a trigger decided, checked. Keys of states and timers are indices of the call's windows.
#[derive(Debug)]
pub struct Verdict {
    /// One per element, timer or merged window of the call, in order.
    pub decisions: Vec<Decision>,
    /// How states change, in order.
    pub states: Vec<StateChange>,
    /// How timers change, in order.
    pub timers: Vec<TimerChange>,
    /// Metric readings, by index in the description.
    pub measurements: Vec<(usize, f64)>,
}

/// The verdict in the host's terms; `wanted` is how many decisions there must be.
pub(super) fn verdict(
    wire: WireVerdict,
    description: &Description,
    windows: usize,
    (wanted, budget): (usize, Budget),
) -> Result<Verdict, CallFailure> {
    let WireVerdict { decisions, states, timers, measurements } = wire;
    if decisions.len() != wanted {
        return Err(nonsense(format!("{} decisions were returned, {wanted} are needed", decisions.len())));
    }
    let decision = |wire| match wire {
        WireDecision::Continue => Decision::Continue,
        WireDecision::Fire => Decision::Fire,
        WireDecision::Purge => Decision::Purge,
        WireDecision::FireAndPurge => Decision::FireAndPurge,
    };
    let of = Changeable { states: &description.states, keys: windows, broadcast: false, budget };
    Ok(Verdict {
        decisions: decisions.into_iter().map(decision).collect(),
        states: checked_changes(states, of)?,
        timers: timers_from_guest(timers, windows).map_err(nonsense)?,
        measurements: checked_measurements(measurements, description.metrics.len())?,
    })
}

impl Instance {
    /// Calls `trigger.on-elements` with elements just added to `windows`, and the states of these windows.
    pub fn on_elements(
        &mut self,
        moment: Moment,
        elements: Elements<'_>,
        windows: &[Window],
        states: &[StateValues],
        records: Range<u64>,
    ) -> Result<Verdict, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, elements.batch.rows(), |Running { call, functions, .. }| {
            let Elements { batch, reads, groups } = elements;
            let projection = Projection::of(batch, reads);
            let refs = projection.refs();
            let (wire, states) = (Windows::of(windows), States::of(states));
            let state_refs = states.refs();
            let parameters = (moment, batch_ref(batch, &refs), wire.as_ref(), groups, &state_refs[..]);
            let (result,): VerdictReturn = functions[ON_ELEMENTS].call(call, parameters)?;
            verdict(result.map_err(fault)?, &description, windows.len(), (batch.rows(), call.budget))
        })
    }

    /// Calls `trigger.on-timers` with timers that are due, in the order of their times: timer `i` is of window `groups[i]`.
    pub fn on_timers(
        &mut self,
        moment: Moment,
        timers: &[(EventTime, TimeDomain)],
        windows: &[Window],
        groups: &[u32],
        states: &[StateValues],
        records: Range<u64>,
    ) -> Result<Verdict, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, timers.len(), |Running { call, functions, .. }| {
            let (times, wire, states) = (Timers::of(timers), Windows::of(windows), States::of(states));
            let state_refs = states.refs();
            let parameters = (moment, times.as_ref(), wire.as_ref(), groups, &state_refs[..]);
            let (result,): VerdictReturn = functions[ON_TIMERS].call(call, parameters)?;
            verdict(result.map_err(fault)?, &description, windows.len(), (timers.len(), call.budget))
        })
    }

    /// Calls `trigger.merge`: old window `i` became part of `windows[groups[i]]`, and `states` are those of the old ones. There is
    /// a decision for each of `windows`, and what changes is theirs.
    pub fn merge_windows(
        &mut self,
        moment: Moment,
        windows: &[Window],
        groups: &[u32],
        states: &[StateValues],
        records: Range<u64>,
    ) -> Result<Verdict, CallError> {
        let description = self.shared_description();
        self.run(Some(moment), records, windows.len(), |Running { call, functions, .. }| {
            let (wire, states) = (Windows::of(windows), States::of(states));
            let state_refs = states.refs();
            let (result,): VerdictReturn =
                functions[MERGE].call(call, (moment, wire.as_ref(), groups, &state_refs[..]))?;
            verdict(result.map_err(fault)?, &description, windows.len(), (windows.len(), call.budget))
        })
    }
}
