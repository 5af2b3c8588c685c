//! Changes of state and timers that a guest returned, checked completely: states that were declared, changes that fit their kind,
//! keys of the call, columns of the declared kinds and of the right lengths. Pure.
use arrow_array::ArrayRef;
use arrow_buffer::OffsetBuffer;

use super::super::{
    budget::Budget,
    columns::{Nonsense, checked_offsets, column_from_guest, length_of},
    contract::types::{self, ManyChange, MapChange, SingleChange, StateChange as Wire, TimerAction, TimerChanges},
    error::CallFailure,
};
use super::nonsense;
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
    /// How much may be written for a key.
    pub(super) budget: Budget,
}

/// The changes in the host's terms, if they are such as may be.
pub(super) fn checked_changes(changes: Vec<Wire>, of: Changeable<'_>) -> Result<Vec<StateChange>, CallFailure> {
    let changes = changes_from_guest(changes, of).map_err(nonsense)?;
    of.budget.check_changes(&changes, of.keys)?;
    Ok(changes)
}

/// The changes in the host's terms, or what is wrong with them.
fn changes_from_guest(changes: Vec<Wire>, of: Changeable<'_>) -> Result<Vec<StateChange>, Nonsense> {
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

fn checked(change: Wire, index: usize, state: &StateDescription, of: Changeable<'_>) -> Result<StateChange, Nonsense> {
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

type Lists = (Vec<u32>, OffsetBuffer<i32>, ArrayRef);

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

#[cfg(test)]
mod tests {
    use arrow_array::{Array, cast::AsArray, types::Int64Type};
    use types::{ClearChange, Column, Lists, TimeDomain as WireDomain, Values, Variable};

    use super::*;
    use crate::model::Kind;

    fn declared() -> Vec<StateDescription> {
        let state = |name: &str, kind, value, key| StateDescription {
            name: name.into(),
            kind,
            schema_version: 1,
            value,
            key,
            time_to_live: None,
        };
        vec![
            state("value", StateKind::Value, Kind::Int64, None),
            state("list", StateKind::List, Kind::Int64, None),
            state("map", StateKind::Map, Kind::Int64, Some(Kind::Utf8)),
            state("rules", StateKind::Broadcast, Kind::Int64, Some(Kind::Utf8)),
            state("kept", StateKind::OperatorList, Kind::Boolean, None),
        ]
    }

    fn numbers(values: &[i64]) -> Column {
        Column { validity: None, values: Values::Int64(values.to_vec()) }
    }

    /// The first is null.
    fn with_null(values: &[i64]) -> Column {
        Column { validity: Some(vec![0b1111_1110]), ..numbers(values) }
    }

    fn text(offsets: &[u32], data: &str) -> Column {
        Column { validity: None, values: Values::Utf8(Variable { offsets: offsets.to_vec(), data: data.into() }) }
    }

    fn put(state: u32, keys: &[u32], values: Column) -> Wire {
        Wire::Put(SingleChange { state, keys: keys.to_vec(), values })
    }

    fn many(state: u32, keys: &[u32], offsets: &[u32], values: Column) -> ManyChange {
        ManyChange { state, keys: keys.to_vec(), values: Lists { offsets: offsets.to_vec(), values } }
    }

    fn entries(state: u32, keys: &[u32], map_keys: Column, values: Column) -> Wire {
        Wire::PutEntries(MapChange { state, keys: keys.to_vec(), map_keys, values })
    }

    fn clear(state: u32, keys: &[u32]) -> Wire {
        Wire::Clear(ClearChange { state, keys: keys.to_vec() })
    }

    fn check(change: Wire, broadcast: bool) -> Result<StateChange, Nonsense> {
        let states = declared();
        let of =
            Changeable { states: &states, keys: if broadcast { 0 } else { 2 }, broadcast, budget: Budget::default() };
        changes_from_guest(vec![change], of).map(|mut changes| changes.remove(0))
    }

    #[test]
    fn hostile_changes_of_keyed_state_are_refused_with_the_reason() {
        let (replace, append) = (Wire::Replace, Wire::Append);
        let bits = Column { validity: None, values: Values::Boolean(vec![0]) };
        let rows = [
            (clear(5, &[0]), "a change of state 5, 5 are declared"),
            (clear(u32::MAX, &[]), "a change of state 4294967295, 5 are declared"),
            (put(0, &[2], numbers(&[1])), "state `value`: a change of key 2, the call has 2"),
            (put(0, &[0, 1], numbers(&[1])), "state `value`: has 1 values for 2 rows"),
            (put(0, &[0], text(&[0, 0], "")), "state `value`: holds string, declared is i64"),
            (put(1, &[0], numbers(&[1])), "state `list`: a `put` of a state of kind list"),
            (put(2, &[0], numbers(&[1])), "state `map`: a `put` of a state of kind map"),
            (put(4, &[0], numbers(&[1])), "state `kept`: a `put` of a state of kind operator-list"),
            (replace(many(0, &[0], &[0, 1], numbers(&[1]))), "state `value`: a `replace` of a state of kind value"),
            (append(many(2, &[0], &[0, 1], numbers(&[1]))), "state `map`: a `append` of a state of kind map"),
            (append(many(1, &[9], &[0, 1], numbers(&[1]))), "state `list`: a change of key 9, the call has 2"),
            (
                append(many(1, &[0], &[0], numbers(&[]))),
                "state `list`: its lists: has 1 offsets for 1 rows, 2 are needed",
            ),
            (append(many(1, &[0], &[1, 1], numbers(&[1]))), "state `list`: its lists: offsets start at 1 instead of 0"),
            (
                replace(many(1, &[0, 1], &[0, 2, 1], numbers(&[1]))),
                "state `list`: its lists: offsets decrease from 2 to 1 at row 1",
            ),
            (replace(many(1, &[0], &[0, 2], numbers(&[1]))), "state `list`: has 1 values for 2 rows"),
            (
                replace(many(4, &[0], &[0, u32::MAX], bits)),
                "state `kept`: its lists: offsets end at 4294967295, at most 2147483647 are taken",
            ),
            (append(many(1, &[0], &[0, 1], with_null(&[1]))), "state `list`: row 0 is null, declared is not nullable"),
            (
                entries(0, &[0], text(&[0, 0], ""), numbers(&[1])),
                "state `value`: a `put-entries` of a state of kind value",
            ),
            (entries(2, &[2], text(&[0, 0], ""), numbers(&[1])), "state `map`: a change of key 2, the call has 2"),
            (
                entries(2, &[], text(&[0, 0], ""), numbers(&[1])),
                "state `map`: its map keys: has 2 offsets for 0 rows, 1 are needed",
            ),
            (
                entries(2, &[0], numbers(&[1]), numbers(&[1])),
                "state `map`: its map keys: holds i64, declared is string",
            ),
            (entries(2, &[0], text(&[0, 0], ""), numbers(&[])), "state `map`: has 0 values for 1 rows"),
            (
                entries(2, &[0], Column { validity: Some(vec![0]), ..text(&[0, 0], "") }, numbers(&[1])),
                "state `map`: its map keys: row 0 is null, declared is not nullable",
            ),
            (clear(2, &[0, 7]), "state `map`: a change of key 7, the call has 2"),
            (
                entries(3, &[], text(&[0], ""), numbers(&[])),
                "state `rules`: broadcast states are changed by rows of the broadcast input only",
            ),
        ];
        for (change, reason) in rows {
            assert_eq!(check(change, false).unwrap_err(), reason);
        }
    }

    #[test]
    fn hostile_changes_of_broadcast_state_are_refused_with_the_reason() {
        let rows = [
            (put(0, &[], numbers(&[])), "state `value`: rows of the broadcast input change broadcast states only"),
            (entries(3, &[0], text(&[0, 0], ""), numbers(&[1])), "state `rules`: has 1 keys, broadcast state has none"),
            (entries(3, &[], text(&[0, 0], ""), numbers(&[])), "state `rules`: has 0 values for 1 rows"),
            (
                entries(3, &[], Column { validity: None, values: Values::Boolean(vec![0]) }, numbers(&[1])),
                "state `rules`: a column of bits does not say how long it is",
            ),
            (clear(3, &[0]), "state `rules`: has 1 keys, broadcast state has none"),
        ];
        for (change, reason) in rows {
            assert_eq!(check(change, true).unwrap_err(), reason);
        }
        let StateChange::PutEntries { keys, map_keys, values, .. } =
            check(entries(3, &[], text(&[0, 1, 2], "ab"), with_null(&[0, 5])), true).unwrap()
        else {
            panic!("another change")
        };
        assert_eq!((keys, map_keys.len(), values.is_null(0), values.len()), (vec![], 2, true, 2));
    }

    #[test]
    fn changes_keep_their_order_and_values() {
        let states = declared();
        let of = Changeable { states: &states, keys: 2, broadcast: false, budget: Budget::default() };
        let bits = Column { validity: None, values: Values::Boolean(vec![0b01]) };
        let wire = vec![
            put(0, &[1, 0], with_null(&[0, 7])),
            Wire::Append(many(1, &[1, 1], &[0, 0, 2], numbers(&[3, 4]))),
            Wire::Replace(many(4, &[0], &[0, 2], bits)),
            clear(0, &[1]),
        ];
        let changes = changes_from_guest(wire, of).unwrap();
        let [
            StateChange::Put { state: 0, keys: put, values },
            StateChange::Append { state: 1, keys: appended, offsets, values: added },
            StateChange::Replace { state: 4, values: kept, .. },
            StateChange::Clear { state: 0, keys: cleared },
        ] = &changes[..]
        else {
            panic!("{changes:?}")
        };
        assert_eq!((&put[..], &appended[..], &cleared[..]), (&[1, 0][..], &[1, 1][..], &[1][..]));
        assert!(values.is_null(0));
        assert_eq!(values.as_primitive::<Int64Type>().value(1), 7);
        assert_eq!((&offsets[..], &added.as_primitive::<Int64Type>().values()[..]), (&[0, 0, 2][..], &[3, 4][..]));
        assert_eq!(kept.as_boolean().iter().collect::<Vec<_>>(), [Some(true), Some(false)]);
    }

    #[test]
    fn hostile_timers_are_refused_with_the_reason() {
        let timers = |keys: &[u32], times: &[i64], domains: usize, actions: usize| TimerChanges {
            keys: keys.to_vec(),
            times: times.to_vec(),
            domains: vec![WireDomain::ProcessingTime; domains],
            actions: vec![TimerAction::Delete; actions],
        };
        for (changes, reason) in [
            (timers(&[0], &[], 1, 1), "0 times of timers for 1 keys"),
            (timers(&[0], &[1], 2, 1), "2 domains of timers for 1 keys"),
            (timers(&[0], &[1], 1, 0), "0 actions of timers for 1 keys"),
            (timers(&[0, 2], &[1, 2], 2, 2), "a timer of key 2, the call has 2"),
        ] {
            assert_eq!(timers_from_guest(changes, 2).unwrap_err(), reason);
        }
        let timer = TimerChange { key: 1, time: -5, domain: TimeDomain::Processing, set: false };
        assert_eq!(timers_from_guest(timers(&[1], &[-5], 1, 1), 2).unwrap(), [timer]);
    }
}
