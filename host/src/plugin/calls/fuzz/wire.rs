//! Results as a guest could return them: made up at random so that they keep the contract, and then spoiled a little. Guarantees: the same
//! seed makes the same. Must not know what of it is to be refused.
use fastrand::Rng;

use super::super::super::contract::types::{
    ClearChange, Column, Emission, Lists, ManyChange, MapChange, Measurement, Rejection, Rows, SideRows, SingleChange,
    StateChange, TimeDomain, TimerAction, TimerChanges, Values, Variable,
};
use crate::model::{Field, Kind, Shape, StateDescription, StateKind};

pub const KINDS: [Kind; 5] = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8, Kind::Binary];

/// Values an unsuspecting reader would trip over.
const NUMBERS: [u32; 8] = [0, 1, 2, 255, i32::MAX as u32, 1 << 31, u32::MAX - 1, u32::MAX];
const CHARACTERS: [char; 6] = ['a', 'Z', '\0', 'é', '漢', '😀'];
const TEXT_CHARACTERS_MAX: usize = 4;

pub fn kind(random: &mut Rng) -> Kind {
    KINDS[random.usize(..KINDS.len())]
}

fn list<T>(random: &mut Rng, length: usize, mut make: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..length).map(|_| make(random)).collect()
}

fn variable(random: &mut Rng, rows: usize, is_text: bool) -> Variable {
    let mut made = Variable { offsets: vec![0], data: Vec::new() };
    for _ in 0..rows {
        for _ in 0..random.usize(..=TEXT_CHARACTERS_MAX) {
            if is_text {
                let character = CHARACTERS[random.usize(..CHARACTERS.len())];
                made.data.extend(character.encode_utf8(&mut [0; 4]).bytes());
            } else {
                made.data.push(random.u8(..));
            }
        }
        made.offsets.push(made.data.len() as u32);
    }
    made
}

/// A column that keeps the contract.
pub fn column(random: &mut Rng, kind: Kind, nullable: bool, rows: usize) -> Column {
    let bytes = rows.div_ceil(8);
    let validity = random.bool().then(|| if nullable { list(random, bytes, |r| r.u8(..)) } else { vec![0xff; bytes] });
    let values = match kind {
        Kind::Boolean => Values::Boolean(list(random, bytes, |r| r.u8(..))),
        Kind::Int64 => Values::Int64(list(random, rows, |r| r.i64(..))),
        Kind::Float64 => Values::Float64(list(random, rows, |r| f64::from_bits(r.u64(..)))),
        Kind::Utf8 => Values::Utf8(variable(random, rows, true)),
        Kind::Binary => Values::Binary(variable(random, rows, false)),
    };
    Column { validity, values }
}

pub fn fields(random: &mut Rng) -> Vec<Field> {
    let field = |(at, nullable, kind): (usize, bool, Kind)| Field { name: format!("c{at}").into(), kind, nullable };
    (0..random.usize(..4)).map(|at| field((at, random.bool(), kind(random)))).collect()
}

fn rows(random: &mut Rng, shape: &Shape, from: usize, is_passed_on: bool, count_max: usize) -> Rows {
    let is_possible = from > 0 && (is_passed_on || matches!(shape, Shape::Columns(_)));
    let count = if is_possible { random.usize(..=count_max) } else { 0 };
    let origins: Vec<u32> = if count <= from && random.bool() {
        (0..count as u32).collect()
    } else {
        list(random, count, |r| r.u32(..from as u32))
    };
    let timestamps = random.bool().then(|| list(random, count, |r| r.i64(..)));
    let columns = match shape {
        Shape::InputRows => Vec::new(),
        Shape::Columns(fields) => fields.iter().map(|it| column(random, it.kind, it.nullable, count)).collect(),
    };
    Rows { origins, timestamps, columns }
}

/// An emission that keeps the contract, of rows that stem from so many, of which so many can be rejected.
pub fn emission(
    random: &mut Rng,
    shapes: &[&Shape],
    metrics: usize,
    (from, rejectable, is_passed_on): (usize, usize, bool),
    count_max: usize,
) -> Emission {
    let sides = (1..shapes.len()).filter(|_| random.bool()).collect::<Vec<_>>();
    let side = |it: &usize| SideRows {
        side_output: *it as u32 - 1,
        rows: Rows { origins: Vec::new(), timestamps: None, columns: Vec::new() },
    };
    let mut side_outputs: Vec<SideRows> = sides.iter().map(side).collect();
    for (side, shape) in side_outputs.iter_mut().zip(sides) {
        side.rows = rows(random, shapes[shape], from, is_passed_on, count_max);
    }
    random.shuffle(&mut side_outputs);
    let main = rows(random, shapes[0], from, is_passed_on, count_max);
    let refused: Vec<u32> = (0..rejectable as u32).filter(|_| random.u8(..8) == 0).collect();
    let mut rejections: Vec<_> =
        refused.into_iter().map(|row| Rejection { row, reason: format!("of {row}") }).collect();
    random.shuffle(&mut rejections);
    let readings = if metrics > 0 { random.usize(..3) } else { 0 };
    let reading = |r: &mut Rng| Measurement { metric: r.u32(..metrics as u32), value: f64::from_bits(r.u64(..)) };
    Emission { main, side_outputs, rejections, measurements: list(random, readings, reading) }
}

fn change(random: &mut Rng, index: usize, state: &StateDescription, keys_max: usize) -> StateChange {
    let count = if keys_max == 0 { 0 } else { random.usize(..4) };
    let (at, keys) = (index as u32, list(random, count, |r| r.u32(..keys_max as u32)));
    if random.u8(..5) == 0 {
        return StateChange::Clear(ClearChange { state: at, keys });
    }
    match state.kind {
        StateKind::Value | StateKind::Reducing | StateKind::Aggregating => {
            StateChange::Put(SingleChange { state: at, keys, values: column(random, state.value, true, count) })
        }
        StateKind::List | StateKind::OperatorList | StateKind::OperatorUnion => {
            let mut offsets = vec![0];
            (0..count).for_each(|key| offsets.push(offsets[key] + random.u32(..4)));
            let values = column(random, state.value, false, offsets[count] as usize);
            let change = ManyChange { state: at, keys, values: Lists { offsets, values } };
            if random.bool() { StateChange::Append(change) } else { StateChange::Replace(change) }
        }
        StateKind::Map | StateKind::Broadcast => {
            let entries = if state.kind == StateKind::Broadcast { random.usize(..4) } else { count };
            let map_keys = column(random, state.key.unwrap_or(Kind::Utf8), false, entries);
            let values = column(random, state.value, true, entries);
            StateChange::PutEntries(MapChange { state: at, keys, map_keys, values })
        }
    }
}

/// Changes that keep the contract: of broadcast states, or of the others of so many keys.
pub fn changes(random: &mut Rng, states: &[StateDescription], keys: usize, broadcast: bool) -> Vec<StateChange> {
    let may = |state: &StateDescription| (state.kind == StateKind::Broadcast) == broadcast;
    let some = (0..states.len()).filter(|at| may(&states[*at]) && random.bool()).collect::<Vec<_>>();
    some.into_iter().map(|at| change(random, at, &states[at], keys)).collect()
}

/// Changes of timers of so many keys that keep the contract.
pub fn timers(random: &mut Rng, keys: usize) -> TimerChanges {
    let count = if keys == 0 { 0 } else { random.usize(..4) };
    let domain = |r: &mut Rng| if r.bool() { TimeDomain::EventTime } else { TimeDomain::ProcessingTime };
    TimerChanges {
        keys: list(random, count, |r| r.u32(..keys as u32)),
        times: list(random, count, |r| r.i64(..)),
        domains: list(random, count, domain),
        actions: list(random, count, |r| if r.bool() { TimerAction::Set } else { TimerAction::Delete }),
    }
}

fn spoil_number(random: &mut Rng, number: &mut u32) {
    *number = match random.u8(..4) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        _ => NUMBERS[random.usize(..NUMBERS.len())],
    };
}

/// One entry more, less, at another place, or another one.
fn spoil_list<T: Clone>(random: &mut Rng, list: &mut Vec<T>, spoil: impl FnOnce(&mut Rng, &mut T)) {
    let Some(at) = (!list.is_empty()).then(|| random.usize(..list.len())) else { return };
    match random.u8(..8) {
        0 => drop(list.remove(at)),
        1 => list.push(list[at].clone()),
        2 => list.insert(0, list[at].clone()),
        3 => list.truncate(at),
        4 => list.swap(0, at),
        _ => spoil(random, &mut list[at]),
    }
}

fn spoil_bytes(random: &mut Rng, bytes: &mut Vec<u8>) {
    spoil_list(random, bytes, |random, byte| *byte ^= 1 << random.u8(..8));
}

/// Makes something of a column that may not be one.
pub fn spoil_column(random: &mut Rng, column: &mut Column) {
    match random.u8(..8) {
        0 => column.validity = None,
        1 => column.validity = Some(list(random, 1, |r| r.u8(..))),
        2 => {
            let (kind, rows) = (kind(random), random.usize(..20));
            column.values = self::column(random, kind, true, rows).values;
        }
        3 => column.validity.iter_mut().for_each(|bits| spoil_bytes(random, bits)),
        _ => match &mut column.values {
            Values::Boolean(bits) => spoil_bytes(random, bits),
            Values::Int64(values) => spoil_list(random, values, |r, it| *it = r.i64(..)),
            Values::Float64(values) => spoil_list(random, values, |r, it| *it = f64::from_bits(r.u64(..))),
            Values::Utf8(variable) | Values::Binary(variable) => match random.bool() {
                true => spoil_list(random, &mut variable.offsets, spoil_number),
                false => spoil_bytes(random, &mut variable.data),
            },
        },
    }
}

fn spoil_rows(random: &mut Rng, rows: &mut Rows) {
    match random.u8(..4) {
        0 => spoil_list(random, &mut rows.origins, spoil_number),
        1 if rows.timestamps.is_none() => rows.timestamps = Some(vec![i64::MIN, i64::MAX]),
        1 => rows.timestamps.iter_mut().for_each(|times| spoil_list(random, times, |r, time| *time = r.i64(..))),
        2 if rows.columns.is_empty() => {
            let kind = kind(random);
            rows.columns.push(column(random, kind, true, 1));
        }
        _ => spoil_list(random, &mut rows.columns, spoil_column),
    }
}

pub fn spoil_emission(random: &mut Rng, emission: &mut Emission) {
    match random.u8(..8) {
        0 => spoil_list(random, &mut emission.rejections, |r, it| spoil_number(r, &mut it.row)),
        1 => spoil_list(random, &mut emission.measurements, |r, it| spoil_number(r, &mut it.metric)),
        2 => spoil_list(random, &mut emission.side_outputs, |r, it| spoil_number(r, &mut it.side_output)),
        3 => spoil_list(random, &mut emission.side_outputs, |r, it| spoil_rows(r, &mut it.rows)),
        _ => spoil_rows(random, &mut emission.main),
    }
}

fn spoil_change(random: &mut Rng, change: &mut StateChange) {
    let numbers = |random: &mut Rng, state: &mut u32, keys: &mut Vec<u32>| match random.u8(..3) {
        0 => spoil_number(random, state),
        1 if keys.is_empty() => keys.push(0),
        _ => spoil_list(random, keys, spoil_number),
    };
    match change {
        StateChange::Clear(it) => numbers(random, &mut it.state, &mut it.keys),
        StateChange::Put(it) if random.bool() => numbers(random, &mut it.state, &mut it.keys),
        StateChange::Put(it) => spoil_column(random, &mut it.values),
        StateChange::Append(it) | StateChange::Replace(it) => match random.u8(..3) {
            0 => numbers(random, &mut it.state, &mut it.keys),
            1 => spoil_list(random, &mut it.values.offsets, spoil_number),
            _ => spoil_column(random, &mut it.values.values),
        },
        StateChange::PutEntries(it) => match random.u8(..3) {
            0 => numbers(random, &mut it.state, &mut it.keys),
            1 => spoil_column(random, &mut it.map_keys),
            _ => spoil_column(random, &mut it.values),
        },
    }
}

pub fn spoil_changes(random: &mut Rng, changes: &mut Vec<StateChange>) {
    spoil_list(random, changes, spoil_change);
}

pub fn spoil_timers(random: &mut Rng, timers: &mut TimerChanges) {
    match random.u8(..4) {
        0 => spoil_list(random, &mut timers.keys, spoil_number),
        1 => spoil_list(random, &mut timers.times, |_, time| *time = i64::MIN),
        2 => spoil_list(random, &mut timers.domains, |_, domain| *domain = TimeDomain::EventTime),
        _ => spoil_list(random, &mut timers.actions, |_, action| *action = TimerAction::Set),
    }
}
