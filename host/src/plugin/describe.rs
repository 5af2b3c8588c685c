//! A guest's description in the host's terms, checked: names that can be referred to, a version that is one.
use super::{
    columns::kind_from_wire,
    contract::types::{
        self, Description as Wire, MetricKind as WireMetric, Shape as WireShape, StateKind as WireState,
    },
};
use crate::model::{
    Description, Field, Kind, MetricKind, OperatorKind, Schema, Shape, SideOutput, StateDescription, StateKind,
    TimeToLive,
};

/// Entries of any list in a description.
const LIST_ENTRIES_MAX: usize = 1024;

fn fields(wire: &[types::Field]) -> Result<Vec<Field>, String> {
    bounded(wire, "columns")?;
    let fields: Vec<Field> = wire
        .iter()
        .map(|f| Field { name: f.name.as_str().into(), kind: kind_from_wire(f.kind), nullable: f.nullable })
        .collect();
    Schema::new(fields.clone()).map_err(|error| error.to_string())?;
    Ok(fields)
}

fn bounded<T>(list: &[T], what: &str) -> Result<(), String> {
    if list.len() > LIST_ENTRIES_MAX {
        Err(format!("it has {} {what}, {LIST_ENTRIES_MAX} are allowed", list.len()))
    } else {
        Ok(())
    }
}

fn shape(wire: &WireShape) -> Result<Shape, String> {
    Ok(match wire {
        WireShape::InputRows => Shape::InputRows,
        WireShape::Columns(columns) => Shape::Columns(fields(columns)?),
    })
}

fn state(wire: &types::State) -> StateDescription {
    StateDescription {
        name: wire.name.clone(),
        kind: match wire.kind {
            WireState::Value => StateKind::Value,
            WireState::List => StateKind::List,
            WireState::Reducing => StateKind::Reducing,
            WireState::Aggregating => StateKind::Aggregating,
            WireState::Map => StateKind::Map,
            WireState::OperatorList => StateKind::OperatorList,
            WireState::OperatorUnion => StateKind::OperatorUnion,
            WireState::Broadcast => StateKind::Broadcast,
        },
        schema_version: wire.schema_version,
        value: kind_from_wire(wire.value_kind),
        key: wire.key_kind.map(kind_from_wire),
        time_to_live: wire.time_to_live.as_ref().map(|ttl| TimeToLive {
            milliseconds: ttl.milliseconds,
            update_on_read: matches!(ttl.update, types::TimeToLiveUpdate::OnReadAndWrite),
            return_expired: ttl.return_expired,
        }),
    }
}

/// Characters of a name or version, which are parts of file names.
const NAME_LENGTH_MAX: usize = 128;

/// Whether a plugin, side output, state or metric may be called this.
fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= NAME_LENGTH_MAX && name.chars().all(fits) {
        Ok(())
    } else {
        Err(format!(
            "the {what} is called `{name}`; letters, digits, `-` and `_` are allowed, from 1 to {NAME_LENGTH_MAX} of them"
        ))
    }
}

/// Whether an operator of this kind may have states of that one.
fn may_have(operator: OperatorKind, state: StateKind) -> bool {
    use StateKind::{Aggregating, Broadcast, List, Map, OperatorList, OperatorUnion, Reducing, Value};
    let keyed = matches!(state, Value | List | Reducing | Aggregating);
    match operator {
        OperatorKind::Transform | OperatorKind::AsyncFunction => false,
        OperatorKind::Aggregate => state == Aggregating,
        OperatorKind::Trigger => keyed,
        OperatorKind::KeyedProcess | OperatorKind::ConnectedProcess | OperatorKind::ProcessWindow => {
            keyed || state == Map
        }
        OperatorKind::BroadcastProcess => keyed || matches!(state, Map | Broadcast),
        OperatorKind::Sink => matches!(state, OperatorList | OperatorUnion),
    }
}

fn check_states(operator: OperatorKind, states: &[StateDescription]) -> Result<(), String> {
    if operator == OperatorKind::Aggregate && !matches!(states, [one] if one.kind == StateKind::Aggregating) {
        return Err("an aggregate has exactly one state, of kind `aggregating`: its accumulator".into());
    }
    for (index, state) in states.iter().enumerate() {
        check_name("state", &state.name)?;
        if states[..index].iter().any(|earlier| earlier.name == state.name) {
            return Err(format!("two states are called `{}`", state.name));
        }
        if !may_have(operator, state.kind) {
            return Err(format!(
                "state `{}` is of kind {}, which a {} cannot have",
                state.name,
                state.kind,
                operator.interface()
            ));
        }
        check_state(state).map_err(|what| format!("state `{}` {what}", state.name))?;
    }
    Ok(())
}

fn check_state(state: &StateDescription) -> Result<(), String> {
    let map = matches!(state.kind, StateKind::Map | StateKind::Broadcast);
    match state.key {
        None if map => return Err(format!("is of kind {}, and has no kind of key", state.kind)),
        Some(_) if !map => return Err(format!("is of kind {}, and has keys of its own", state.kind)),
        Some(Kind::Float64) => return Err("has keys with a fraction: they are a bool, i64, string or bytes".into()),
        // Its keys come without the operator's keys, so nothing would say how many bits there are.
        Some(Kind::Boolean) if state.kind == StateKind::Broadcast => {
            return Err("has keys of one bit: those of broadcast state are an i64, string or bytes".into());
        }
        _ => {}
    }
    match state.time_to_live {
        Some(_) if matches!(state.kind, StateKind::Broadcast | StateKind::OperatorList | StateKind::OperatorUnion) => {
            Err(format!("has a time to live, and is of kind {}: only the state of a key has one", state.kind))
        }
        Some(ttl) if ttl.milliseconds == 0 => Err("has a time to live of 0 ms".into()),
        _ => Ok(()),
    }
}

/// The description in the host's terms, or what is wrong with it.
pub(super) fn description_from_wire(kind: OperatorKind, wire: Wire) -> Result<Description, String> {
    check_name("plugin", &wire.name)?;
    if wire.version.len() > NAME_LENGTH_MAX {
        return Err(format!("its version has {} characters, {NAME_LENGTH_MAX} are allowed", wire.version.len()));
    }
    let version = semver::Version::parse(&wire.version).map_err(|error| {
        format!("version `{}` is not a semantic version (MAJOR.MINOR.PATCH): {error}", wire.version)
    })?;
    let inputs_wanted =
        if matches!(kind, OperatorKind::ConnectedProcess | OperatorKind::BroadcastProcess) { 2 } else { 1 };
    if wire.inputs.len() != inputs_wanted {
        return Err(format!("it describes {} inputs, a {} has {inputs_wanted}", wire.inputs.len(), kind.interface()));
    }
    if matches!(kind, OperatorKind::Trigger | OperatorKind::Sink) && !wire.keys.is_empty() {
        return Err(format!("it wants to see the key, which a {} is not given", kind.interface()));
    }
    bounded(&wire.side_outputs, "side outputs")?;
    bounded(&wire.states, "states")?;
    bounded(&wire.metrics, "metrics")?;
    let side_outputs = wire
        .side_outputs
        .iter()
        .map(|side| {
            check_name("side output", &side.name)?;
            if ["late", "rejected"].contains(&side.name.as_str()) {
                return Err(format!("a side output is called `{}`, which is the host's own", side.name));
            }
            Ok(SideOutput { name: side.name.clone(), shape: shape(&side.shape)? })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let states: Vec<_> = wire.states.iter().map(state).collect();
    check_states(kind, &states)?;
    if kind == OperatorKind::Aggregate && wire.output_is_input() {
        return Err("an aggregate cannot put out its input's rows".into());
    }
    let metrics = wire
        .metrics
        .iter()
        .map(|metric| {
            check_name("metric", &metric.name)?;
            let kind = match metric.kind {
                WireMetric::Counter => MetricKind::Counter,
                WireMetric::Gauge => MetricKind::Gauge,
                WireMetric::Histogram => MetricKind::Histogram,
            };
            Ok((metric.name.clone(), kind))
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(Description {
        kind,
        name: wire.name,
        version,
        inputs: wire.inputs.iter().map(|input| fields(input)).collect::<Result<_, _>>()?,
        keys: fields(&wire.keys)?,
        output: shape(&wire.output)?,
        side_outputs,
        states,
        metrics,
        configuration: wire.configuration,
    })
}

impl Wire {
    fn output_is_input(&self) -> bool {
        matches!(self.output, WireShape::InputRows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(kind: StateKind, key: Option<Kind>, ttl: Option<u64>) -> StateDescription {
        StateDescription {
            name: "s".into(),
            kind,
            schema_version: 1,
            value: Kind::Int64,
            key,
            time_to_live: ttl.map(|milliseconds| TimeToLive {
                milliseconds,
                update_on_read: false,
                return_expired: false,
            }),
        }
    }

    #[test]
    fn states_an_operator_cannot_have_are_refused_with_the_reason() {
        use {OperatorKind as Of, StateKind::*};
        for (operator, states, reason) in [
            (Of::Transform, vec![state(Value, None, None)], "kind value, which a transform cannot have"),
            (Of::KeyedProcess, vec![state(OperatorList, None, None)], "which a keyed-process cannot have"),
            (Of::KeyedProcess, vec![state(Broadcast, Some(Kind::Utf8), None)], "which a keyed-process cannot have"),
            (Of::Trigger, vec![state(Map, Some(Kind::Utf8), None)], "kind map, which a trigger cannot have"),
            (Of::Sink, vec![state(List, None, None)], "kind list, which a sink cannot have"),
            (Of::KeyedProcess, vec![state(Value, None, None), state(List, None, None)], "two states are called `s`"),
            (Of::KeyedProcess, vec![state(Map, None, None)], "has no kind of key"),
            (Of::KeyedProcess, vec![state(Value, Some(Kind::Utf8), None)], "has keys of its own"),
            (Of::ProcessWindow, vec![state(Map, Some(Kind::Float64), None)], "keys with a fraction"),
            (Of::BroadcastProcess, vec![state(Broadcast, Some(Kind::Boolean), None)], "keys of one bit"),
            (Of::KeyedProcess, vec![state(Value, None, Some(0))], "a time to live of 0 ms"),
            (Of::Sink, vec![state(OperatorUnion, None, Some(1))], "only the state of a key has one"),
            (Of::Aggregate, vec![], "exactly one state"),
        ] {
            let refused = check_states(operator, &states).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        for (operator, kept) in [
            (Of::KeyedProcess, state(Map, Some(Kind::Boolean), Some(1))),
            (Of::BroadcastProcess, state(Broadcast, Some(Kind::Utf8), None)),
            (Of::Trigger, state(Reducing, None, None)),
            (Of::Sink, state(OperatorUnion, None, None)),
        ] {
            assert_eq!(check_states(operator, &[kept]), Ok(()));
        }
    }
}
