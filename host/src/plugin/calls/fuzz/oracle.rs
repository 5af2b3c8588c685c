//! What a result comes to, read value by value: the contract's rules once more, written as plainly as they can be, for tests to compare with
//! what the host makes of the same result. Must not know how the host reads results.
use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};

use super::super::super::contract::types::{
    self, Column, Emission, Measurement, Rejection, Rows, StateChange as Wire, TimerAction, TimerChanges, Values,
    Variable,
};
use crate::model::{Batch, EventTime, Field, Kind, Shape, StateChange, StateDescription, StateKind};

/// No column of a test has so many values: whoever says so lies.
const VALUES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Int64(i64),
    /// Its bits, since NaN differs from itself.
    Float64(u64),
    Bytes(Vec<u8>),
}

/// A value, and how many bytes its slot has, also if it is null.
type Slot = (Value, usize);

#[derive(Debug, PartialEq)]
pub struct Table {
    pub timestamps: Vec<EventTime>,
    pub columns: Vec<Vec<Value>>,
}

#[derive(Debug, PartialEq)]
pub struct Outputs {
    pub main: Table,
    pub side_outputs: Vec<(usize, Table)>,
    pub rejections: Vec<(usize, String)>,
    pub measurements: Vec<(usize, u64)>,
}

#[derive(Debug, PartialEq)]
pub struct Change {
    pub name: &'static str,
    pub state: usize,
    pub keys: Vec<u32>,
    pub offsets: Vec<i32>,
    pub map_keys: Vec<Value>,
    pub values: Vec<Value>,
}

/// What there is for rows to stem from.
pub struct From<'a> {
    pub times: &'a [EventTime],
    pub passed_on: Option<&'a Batch>,
    /// Columns that rows have which are passed on.
    pub width: usize,
    pub rejectable: usize,
    pub outputs_max: usize,
}

fn bits(bits: &[u8], rows: usize) -> Option<Vec<bool>> {
    let bit = |row: usize| bits[row / 8] & (1 << (row % 8)) != 0;
    (bits.len() == rows.div_ceil(8)).then(|| (0..rows).map(bit).collect())
}

fn offsets(offsets: &[u32], rows: usize) -> Option<usize> {
    let rises = offsets.len() == rows + 1 && offsets[0] == 0 && offsets.is_sorted();
    rises.then(|| offsets[rows] as usize).filter(|end| *end <= i32::MAX as usize)
}

fn slices(variable: &Variable, rows: usize) -> Option<Vec<&[u8]>> {
    let end = offsets(&variable.offsets, rows)?;
    let slice = |pair: &[u32]| &variable.data[pair[0] as usize..pair[1] as usize];
    (end == variable.data.len()).then(|| variable.offsets.windows(2).map(slice).collect())
}

fn slots(column: &Column, kind: Kind, nullable: bool, rows: usize) -> Option<Vec<Slot>> {
    let values: Vec<Slot> = match (&column.values, kind) {
        _ if rows > VALUES_MAX => return None,
        (Values::Boolean(values), Kind::Boolean) => {
            bits(values, rows)?.into_iter().map(|it| (Value::Boolean(it), 1)).collect()
        }
        (Values::Int64(values), Kind::Int64) => values.iter().map(|it| (Value::Int64(*it), 8)).collect(),
        (Values::Float64(values), Kind::Float64) => values.iter().map(|it| (Value::Float64(it.to_bits()), 8)).collect(),
        (Values::Utf8(values), Kind::Utf8) | (Values::Binary(values), Kind::Binary) => {
            let slices = slices(values, rows)?;
            if kind == Kind::Utf8 && slices.iter().any(|slice| str::from_utf8(slice).is_err()) {
                return None;
            }
            slices.into_iter().map(|slice| (Value::Bytes(slice.to_vec()), slice.len())).collect()
        }
        _ => return None,
    };
    let valid = match &column.validity {
        Some(validity) => bits(validity, rows)?,
        None => vec![true; rows],
    };
    let fits = values.len() == rows && (nullable || !valid.contains(&false));
    let slot = |((value, bytes), valid)| (if valid { value } else { Value::Null }, bytes);
    fits.then(|| values.into_iter().zip(valid).map(slot).collect())
}

/// The values of a column, if it is one of this kind and so long.
pub fn column(column: &Column, kind: Kind, nullable: bool, rows: usize) -> Option<Vec<Value>> {
    Some(slots(column, kind, nullable, rows)?.into_iter().map(|(value, _)| value).collect())
}

/// The values of an array of the host's, which must be sound by Arrow's own rules.
pub fn array(array: &ArrayRef) -> Vec<Value> {
    array.to_data().validate_full().unwrap_or_else(|error| panic!("{error}: {array:?}"));
    let value = |row| match Kind::of(array.data_type()).unwrap() {
        _ if array.is_null(row) => Value::Null,
        Kind::Boolean => Value::Boolean(array.as_boolean().value(row)),
        Kind::Int64 => Value::Int64(array.as_primitive::<Int64Type>().value(row)),
        Kind::Float64 => Value::Float64(array.as_primitive::<Float64Type>().value(row).to_bits()),
        Kind::Utf8 => Value::Bytes(array.as_string::<i32>().value(row).as_bytes().to_vec()),
        Kind::Binary => Value::Bytes(array.as_binary::<i32>().value(row).to_vec()),
    };
    (0..array.len()).map(value).collect()
}

/// The rows of a batch, whose parts must be of one length.
pub fn batch(batch: &Batch) -> Table {
    let columns: Vec<_> = batch.columns.columns().iter().map(array).collect();
    assert!(columns.iter().all(|column| column.len() == batch.rows()) && batch.timestamps.len() == batch.rows());
    Table { timestamps: batch.timestamps.to_vec(), columns }
}

fn columns(columns: &[Column], fields: &[Field], rows: usize) -> Option<Vec<Vec<Value>>> {
    let each = columns.iter().zip(fields).map(|(it, field)| column(it, field.kind, field.nullable, rows));
    if columns.len() == fields.len() { each.collect() } else { None }
}

fn rows(rows: &Rows, shape: &Shape, from: &From<'_>) -> Option<Table> {
    let count = rows.origins.len();
    let inherited =
        rows.origins.iter().map(|row| from.times.get(*row as usize).copied()).collect::<Option<Vec<_>>>()?;
    let timestamps = rows.timestamps.clone().unwrap_or(inherited);
    let columns = match (shape, from.passed_on) {
        (Shape::Columns(fields), _) => columns(&rows.columns, fields, count)?,
        (Shape::InputRows, input) if rows.columns.is_empty() && (input.is_some() || count == 0) => {
            let of = |column| {
                let values = array(column);
                rows.origins.iter().map(|row| values[*row as usize].clone()).collect()
            };
            let none = || vec![Vec::new(); from.width];
            input.map_or_else(none, |input| input.columns.columns().iter().map(of).collect())
        }
        (Shape::InputRows, _) => return None,
    };
    (timestamps.len() == count).then_some(Table { timestamps, columns })
}

fn rejections(rejections: &[Rejection], rows: usize) -> Option<Vec<(usize, String)>> {
    let pair = |it: &Rejection| (it.row as usize, it.reason.clone());
    let all: Vec<_> = rejections.iter().map(pair).collect();
    let fits = |(at, (row, _)): (usize, &(usize, String))| *row < rows && all[..at].iter().all(|(it, _)| it != row);
    all.iter().enumerate().all(fits).then_some(all)
}

/// Readings of metrics, as bits.
pub fn measurements(measurements: &[Measurement], metrics: usize) -> Option<Vec<(usize, u64)>> {
    let pair = |it: &Measurement| (it.metric as usize, it.value.to_bits());
    measurements.iter().all(|it| (it.metric as usize) < metrics).then(|| measurements.iter().map(pair).collect())
}

/// What an emission comes to, if it may be. `shapes` are those of the main output and of the side outputs.
pub fn emission(emission: &Emission, shapes: &[&Shape], metrics: usize, from: &From<'_>) -> Option<Outputs> {
    let sides = &emission.side_outputs;
    let count = emission.main.origins.len() + sides.iter().map(|side| side.rows.origins.len()).sum::<usize>();
    let once = |(at, side): (usize, &types::SideRows)| sides[..at].iter().all(|it| it.side_output != side.side_output);
    if count > from.outputs_max || !sides.iter().enumerate().all(once) {
        return None;
    }
    let side = |it: &types::SideRows| {
        let index = it.side_output as usize;
        Some((index, rows(&it.rows, shapes.get(index.checked_add(1)?)?, from)?))
    };
    Some(Outputs {
        main: rows(&emission.main, shapes[0], from)?,
        side_outputs: sides.iter().map(side).collect::<Option<_>>()?,
        rejections: rejections(&emission.rejections, from.rejectable)?,
        measurements: measurements(&emission.measurements, metrics)?,
    })
}

fn change(wire: &Wire, states: &[StateDescription], keys_max: usize, broadcast: bool) -> Option<(Change, Vec<usize>)> {
    use StateKind::{Aggregating, Broadcast, List, Map, OperatorList, OperatorUnion, Reducing, Value as Single};
    let (name, state, keys) = match wire {
        Wire::Put(it) => ("put", it.state, &it.keys),
        Wire::Replace(it) => ("replace", it.state, &it.keys),
        Wire::Append(it) => ("append", it.state, &it.keys),
        Wire::PutEntries(it) => ("put-entries", it.state, &it.keys),
        Wire::Clear(it) => ("clear", it.state, &it.keys),
    };
    let declared = states.get(state as usize)?;
    let is_broadcast = declared.kind == Broadcast;
    if is_broadcast != broadcast || (broadcast && !keys.is_empty()) || keys.iter().any(|key| *key as usize >= keys_max)
    {
        return None;
    }
    let none = || (Vec::new(), Vec::new(), Vec::new());
    let (offsets, map_keys, values) = match (wire, declared.kind) {
        (Wire::Put(it), Single | Reducing | Aggregating) => {
            (Vec::new(), Vec::new(), slots(&it.values, declared.value, true, keys.len())?)
        }
        (Wire::Replace(it) | Wire::Append(it), List | OperatorList | OperatorUnion) => {
            let count = offsets(&it.values.offsets, keys.len())?;
            let rising = it.values.offsets.iter().map(|offset| *offset as i32).collect();
            (rising, Vec::new(), slots(&it.values.values, declared.value, false, count)?)
        }
        (Wire::PutEntries(it), Map | Broadcast) => {
            let count = match &it.map_keys.values {
                _ if !broadcast => keys.len(),
                Values::Boolean(_) => return None,
                Values::Int64(values) => values.len(),
                Values::Float64(values) => values.len(),
                Values::Utf8(values) | Values::Binary(values) => values.offsets.len().checked_sub(1)?,
            };
            (
                Vec::new(),
                slots(&it.map_keys, declared.key?, false, count)?,
                slots(&it.values, declared.value, true, count)?,
            )
        }
        (Wire::Clear(_), _) => none(),
        _ => return None,
    };
    let mut bytes = vec![0; keys_max];
    for (at, key) in keys.iter().enumerate() {
        let (from, to) =
            if offsets.is_empty() { (at, at + 1) } else { (offsets[at] as usize, offsets[at + 1] as usize) };
        let all = values.iter().take(to).skip(from).chain(map_keys.get(at));
        bytes[*key as usize] += all.map(|(_, bytes)| bytes).sum::<usize>();
    }
    let only = |slots: Vec<Slot>| slots.into_iter().map(|(value, _)| value).collect();
    let (map_keys, values) = (only(map_keys), only(values));
    Some((Change { name, state: state as usize, keys: keys.clone(), offsets, map_keys, values }, bytes))
}

/// What changes come to, if they may be: of so many keys, with no more bytes for any of them.
pub fn changes(
    wire: &[Wire],
    states: &[StateDescription],
    (keys, bytes_max): (usize, usize),
    broadcast: bool,
) -> Option<Vec<Change>> {
    let all = wire.iter().map(|it| change(it, states, keys, broadcast)).collect::<Option<Vec<_>>>()?;
    let bytes = |key: usize| all.iter().map(|(_, bytes)| bytes[key]).sum::<usize>();
    (0..keys).all(|key| bytes(key) <= bytes_max).then(|| all.into_iter().map(|(change, _)| change).collect())
}

/// A change as the host has it.
pub fn changed(change: &StateChange) -> Change {
    let all = |name, state: &usize, keys: &[u32]| Change {
        name,
        state: *state,
        keys: keys.to_vec(),
        offsets: Vec::new(),
        map_keys: Vec::new(),
        values: Vec::new(),
    };
    match change {
        StateChange::Put { state, keys, values } => Change { values: array(values), ..all("put", state, keys) },
        StateChange::Replace { state, keys, offsets, values } => {
            Change { values: array(values), offsets: offsets.to_vec(), ..all("replace", state, keys) }
        }
        StateChange::Append { state, keys, offsets, values } => {
            Change { values: array(values), offsets: offsets.to_vec(), ..all("append", state, keys) }
        }
        StateChange::PutEntries { state, keys, map_keys, values } => {
            Change { values: array(values), map_keys: array(map_keys), ..all("put-entries", state, keys) }
        }
        StateChange::Clear { state, keys } => all("clear", state, keys),
    }
}

/// Keys and times of timers, whether in event time, and whether they are set, if there may be such.
pub fn timers(wire: &TimerChanges, keys: usize) -> Option<Vec<(u32, EventTime, bool, bool)>> {
    let count = wire.keys.len();
    let even = wire.times.len() == count && wire.domains.len() == count && wire.actions.len() == count;
    let timer = |at: usize| {
        let is_event = matches!(wire.domains[at], types::TimeDomain::EventTime);
        (wire.keys[at], wire.times[at], is_event, matches!(wire.actions[at], TimerAction::Set))
    };
    let fits = even && wire.keys.iter().all(|key| (*key as usize) < keys);
    fits.then(|| (0..count).map(timer).collect())
}
