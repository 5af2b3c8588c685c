//! Changes of state and timers that a guest returned, checked completely: states that were declared, changes that fit their kind,
//! keys of the call, columns of the declared kinds and of the right lengths. Pure.
use super::super::{
    columns::{Nonsense, checked_offsets, column_from_guest, length_of},
    contract::types::{self, ManyChange, MapChange, SingleChange, StateChange as Wire, TimerAction, TimerChanges},
};
use crate::model::{StateChange, StateDescription, StateKind, TimeDomain, TimerChange};

/// What the changes of a call may be of.
#[derive(Clone, Copy)]
pub(super) struct Changeable<'a> {
    /// The declared states, in order.
    pub(super) states: &'a [StateDescription],
    /// How many keys there are.
    pub(super) keys: usize,
    /// Whether the broadcast states may be changed, and no others; otherwise it is the others.
    pub(super) broadcast: bool,
}

/// The changes in the host's terms, or what is wrong with them.
pub(super) fn changes_from_guest(changes: Vec<Wire>, of: Changeable<'_>) -> Result<Vec<StateChange>, Nonsense> {
    changes
        .into_iter()
        .map(|change| {
            let index = match &change {
                Wire::Put(SingleChange { state, .. })
                | Wire::Replace(ManyChange { state, .. })
                | Wire::Append(ManyChange { state, .. })
                | Wire::PutEntries(MapChange { state, .. })
                | Wire::Clear(types::ClearChange { state, .. }) => *state as usize,
            };
            let Some(state) = of.states.get(index) else {
                return Err(format!("a change of state {index}, {} are declared", of.states.len()));
            };
            checked(change, index, state, of).map_err(|what| format!("state `{}`: {what}", state.name))
        })
        .collect()
}

fn checked(
    change: Wire,
    index: usize,
    state: &StateDescription,
    of: Changeable<'_>,
) -> Result<StateChange, Nonsense> {
    match (of.broadcast, state.kind == StateKind::Broadcast) {
        (true, false) => return Err("rows of the broadcast input change broadcast states only".into()),
        (false, true) => return Err("broadcast states are changed by rows of the broadcast input only".into()),
        _ => {}
    }
    let (name, fits) = kind_of(&change, state.kind);
    if !fits {
        return Err(format!("a `{name}` of a state of kind {}", state.kind));
    }
    Ok(match change {
        Wire::Put(SingleChange { keys, values, .. }) => {
            check_keys(&keys, of.keys)?;
            let values = column_from_guest(values, state.value, true, keys.len())?;
            StateChange::Put { state: index, keys, values }
        }
        Wire::Replace(change) => {
            let (keys, offsets, values) = lists(change, state, of)?;
            StateChange::Replace { state: index, keys, offsets, values }
        }
        Wire::Append(change) => {
            let (keys, offsets, values) = lists(change, state, of)?;
            StateChange::Append { state: index, keys, offsets, values }
        }
        Wire::PutEntries(change) => entries(change, index, state, of)?,
        Wire::Clear(types::ClearChange { keys, .. }) => {
            if of.broadcast {
                check_no_keys(&keys)?;
            }
            check_keys(&keys, of.keys)?;
            StateChange::Clear { state: index, keys }
        }
    })
}

/// What a change is called, and whether a state of this kind can be changed so.
fn kind_of(change: &Wire, kind: StateKind) -> (&'static str, bool) {
    let single = matches!(kind, StateKind::Value | StateKind::Reducing | StateKind::Aggregating);
    let list = matches!(kind, StateKind::List | StateKind::OperatorList | StateKind::OperatorUnion);
    let map = matches!(kind, StateKind::Map | StateKind::Broadcast);
    match change {
        Wire::Put(_) => ("put", single),
        Wire::Replace(_) => ("replace", list),
        Wire::Append(_) => ("append", list),
        Wire::PutEntries(_) => ("put-entries", map),
        Wire::Clear(_) => ("clear", true),
    }
}

fn check_keys(keys: &[u32], count: usize) -> Result<(), Nonsense> {
    match keys.iter().copied().max().filter(|key| *key as usize >= count) {
        Some(key) => Err(format!("a change of key {key}, the call has {count}")),
        None => Ok(()),
    }
}

fn check_no_keys(keys: &[u32]) -> Result<(), Nonsense> {
    if keys.is_empty() { Ok(()) } else { Err(format!("has {} keys, broadcast state has none", keys.len())) }
}

type Lists = (Vec<u32>, arrow_buffer::OffsetBuffer<i32>, arrow_array::ArrayRef);

fn lists(change: ManyChange, state: &StateDescription, of: Changeable<'_>) -> Result<Lists, Nonsense> {
    let ManyChange { keys, values, .. } = change;
    check_keys(&keys, of.keys)?;
    let offsets = checked_offsets(values.offsets, keys.len()).map_err(|what| format!("its lists: {what}"))?;
    let count = offsets[keys.len()] as usize;
    let values = column_from_guest(values.values, state.value, false, count)?;
    Ok((keys, offsets, values))
}

fn entries(
    change: MapChange,
    index: usize,
    state: &StateDescription,
    of: Changeable<'_>,
) -> Result<StateChange, Nonsense> {
    let MapChange { keys, map_keys, values, .. } = change;
    let count = if of.broadcast {
        check_no_keys(&keys)?;
        length_of(&map_keys).ok_or("a column of bits does not say how long it is")?
    } else {
        check_keys(&keys, of.keys)?;
        keys.len()
    };
    let key_kind = state.key.ok_or("has no kind of key")?;
    let map_keys =
        column_from_guest(map_keys, key_kind, false, count).map_err(|what| format!("its map keys: {what}"))?;
    let values = column_from_guest(values, state.value, true, count)?;
    Ok(StateChange::PutEntries { state: index, keys, map_keys, values })
}

/// The timers in the host's terms, or what is wrong with them; `keys` is how many keys there are.
pub(super) fn timers_from_guest(changes: TimerChanges, keys: usize) -> Result<Vec<TimerChange>, Nonsense> {
    let TimerChanges { keys: of, times, domains, actions } = changes;
    let count = of.len();
    for (what, length) in [("times", times.len()), ("domains", domains.len()), ("actions", actions.len())] {
        if length != count {
            return Err(format!("{length} {what} of timers for {count} keys"));
        }
    }
    if let Some(key) = of.iter().copied().max().filter(|key| *key as usize >= keys) {
        return Err(format!("a timer of key {key}, the call has {keys}"));
    }
    let timers = of.into_iter().zip(times).zip(domains.into_iter().zip(actions));
    Ok(timers
        .map(|((key, time), (domain, action))| TimerChange {
            key,
            time,
            domain: match domain {
                types::TimeDomain::EventTime => TimeDomain::Event,
                types::TimeDomain::ProcessingTime => TimeDomain::Processing,
            },
            set: matches!(action, TimerAction::Set),
        })
        .collect())
}
