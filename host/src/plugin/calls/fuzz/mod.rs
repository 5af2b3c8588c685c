//! Results made up at random, most of them spoiled, given to what checks the results of guests. Guarantees: exactly those are taken
//! that keep the contract, as they are; every other is an error, and none a panic. Must not know how results are checked.
mod oracle;
mod wire;

use std::time::Duration;

use fastrand::Rng;

use super::{
    super::{
        budget::{Budget, OUTPUT_ROWS_FLOOR},
        columns::column_from_guest,
        contract::{Decision, Verdict},
        error::CallFailure,
    },
    changes::{Changeable, checked_changes, timers_from_guest},
    emission::{Emitted, Origins, emitted},
    trigger::verdict,
};
use crate::model::{
    Batch, Description, MetricKind, OperatorKind, Schema, Shape, SideOutput, StateDescription, StateKind, TimeDomain,
};

/// Of each test, unless this variable of the environment has another number, for a longer search.
const CASES: u64 = 20_000;
const CASES_VARIABLE: &str = "WASMILL_FUZZ_CASES";
const ROWS_MAX: usize = 20;
const KEYS_MAX: usize = 5;
const SPOILED_MAX: usize = 3;
/// Bytes of state of a key, in cases where they are limited.
const STATE_BYTES: usize = 24;
/// No error says all that the guest has.
const MESSAGE_BYTES_MAX: usize = 300;

/// Says which case it was that panicked.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the case with seed {}", self.0);
        }
    }
}

/// Runs all cases; each says whether what it made up was taken.
fn check(case: impl Fn(&mut Rng, usize) -> bool) {
    let cases = std::env::var(CASES_VARIABLE).map_or(CASES, |number| number.parse().expect("a number"));
    let mut taken = 0;
    for seed in 0..cases {
        let _named = Case(seed);
        let mut random = Rng::with_seed(seed);
        let spoiled = random.usize(..=SPOILED_MAX);
        let is_taken = case(&mut random, spoiled);
        assert!(is_taken || spoiled > 0, "what keeps the contract was refused");
        taken += u64::from(is_taken);
    }
    // Both must be tried: what is spoiled may still be sound.
    assert!((cases / 4..=cases - cases / 10).contains(&taken), "{taken} of {cases} were taken");
}

/// Fails unless what is expected is what came; whether something was.
#[track_caller]
fn agree<T: PartialEq + std::fmt::Debug, E: ToString>(result: Result<T, E>, expected: Option<T>) -> bool {
    let message = result.as_ref().err().map(ToString::to_string);
    assert!(message.as_ref().is_none_or(|it| !it.is_empty() && it.len() < MESSAGE_BYTES_MAX), "{message:?}");
    assert_eq!(result.ok(), expected, "{message:?}");
    message.is_none()
}

#[test]
fn columns_are_taken_as_they_are_or_refused() {
    check(|random, spoiled| {
        let (kind, nullable, rows) = (wire::kind(random), random.bool(), random.usize(..ROWS_MAX));
        let mut column = wire::column(random, kind, nullable, rows);
        (0..spoiled).for_each(|_| wire::spoil_column(random, &mut column));
        let expected = oracle::column(&column, kind, nullable, rows);
        agree(column_from_guest(column, kind, nullable, rows).map(|array| oracle::array(&array)), expected)
    });
}

fn input(random: &mut Rng) -> (Batch, Schema) {
    let (fields, rows) = (wire::fields(random), random.usize(..ROWS_MAX));
    let schema = Schema::new(fields).unwrap();
    let column = |field: &crate::model::Field| {
        let made = wire::column(random, field.kind, field.nullable, rows);
        column_from_guest(made, field.kind, field.nullable, rows).unwrap()
    };
    let columns = schema.fields().iter().map(column).collect();
    let columns = schema.record_batch(columns, rows).unwrap();
    let timestamps = (0..rows).map(|_| random.i64(..)).collect();
    (Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None }, schema)
}

fn shape(random: &mut Rng) -> Shape {
    if random.u8(..3) == 0 { Shape::InputRows } else { Shape::Columns(wire::fields(random)) }
}

fn description(random: &mut Rng, states: Vec<StateDescription>) -> Description {
    Description {
        kind: OperatorKind::KeyedProcess,
        name: "made-up".into(),
        version: semver::Version::new(1, 0, 0),
        inputs: Vec::new(),
        keys: Vec::new(),
        output: shape(random),
        side_outputs: (0..random.usize(..3))
            .map(|at| SideOutput { name: format!("s{at}"), shape: shape(random) })
            .collect(),
        states,
        metrics: (0..random.usize(..3)).map(|at| (format!("m{at}"), MetricKind::Gauge)).collect(),
        configuration: String::new(),
    }
}

fn outputs(emitted: Emitted) -> oracle::Outputs {
    let side = |(index, batch): (usize, Batch)| (index, oracle::batch(&batch));
    oracle::Outputs {
        main: oracle::batch(&emitted.main),
        side_outputs: emitted.side_outputs.into_iter().map(side).collect(),
        rejections: emitted.rejections,
        measurements: bits(emitted.measurements),
    }
}

fn bits(measurements: Vec<(usize, f64)>) -> Vec<(usize, u64)> {
    measurements.into_iter().map(|(metric, value)| (metric, value.to_bits())).collect()
}

#[test]
fn emissions_are_taken_as_they_are_or_refused() {
    check(|random, spoiled| {
        let (input, input_schema) = input(random);
        let description = description(random, Vec::new());
        let shapes: Vec<&Shape> =
            [&description.output].into_iter().chain(description.side_outputs.iter().map(|side| &side.shape)).collect();
        let schema = |shape: &&Shape| match shape {
            Shape::InputRows => input_schema.clone(),
            Shape::Columns(fields) => Schema::new(fields.clone()).unwrap(),
        };
        let schemas: Vec<Schema> = shapes.iter().map(schema).collect();
        let times: Vec<i64> = (0..random.usize(..ROWS_MAX)).map(|_| random.i64(..)).collect();
        let (origins, times, is_passed_on, rejectable) = match random.u8(..4) {
            0 => (Origins::rows(&input), input.timestamps.to_vec(), true, input.rows()),
            1 => (Origins::rows_of_second(&input), input.timestamps.to_vec(), false, input.rows()),
            2 => (Origins::windows(times.clone().into(), &input), times, false, input.rows()),
            _ => (Origins::of_no_batch("timer", times.clone(), Duration::ZERO), times, false, 0),
        };
        // So many that there may be more than a call may have, in a few cases.
        let is_limited = random.u8(..32) == 0;
        let budget = Budget { outputs_per_record: is_limited.then_some(1), ..Budget::default() };
        let (outputs_max, count_max) =
            if is_limited { (OUTPUT_ROWS_FLOOR, OUTPUT_ROWS_FLOOR) } else { (usize::MAX, ROWS_MAX) };
        let metrics = description.metrics.len();
        let from = (times.len(), rejectable, is_passed_on);
        let mut emission = wire::emission(random, &shapes, metrics, from, count_max);
        (0..spoiled).for_each(|_| wire::spoil_emission(random, &mut emission));
        let passed_on = is_passed_on.then_some(&input);
        let from =
            oracle::From { times: &times, passed_on, width: input_schema.fields().len(), rejectable, outputs_max };
        let expected = oracle::emission(&emission, &shapes, metrics, &from);
        let result = emitted(emission, &origins.within(budget, times.len()), &description, &schemas);
        // It is made up without regard to the limit.
        let is_over = is_limited && matches!(result, Err(CallFailure::Outputs { .. }));
        agree(result.map(outputs), expected) || (is_over && spoiled == 0)
    });
}

fn states(random: &mut Rng) -> Vec<StateDescription> {
    use StateKind::{Aggregating, Broadcast, List, Map, OperatorList, OperatorUnion, Reducing, Value};
    let kinds = [Value, List, Reducing, Aggregating, Map, OperatorList, OperatorUnion, Broadcast];
    let state = |at: usize| {
        let kind = kinds[random.usize(..kinds.len())];
        let key = match (kind, wire::kind(random)) {
            (Broadcast, crate::model::Kind::Boolean) => Some(crate::model::Kind::Utf8),
            (Map | Broadcast, kind) => Some(kind),
            _ => None,
        };
        let value = wire::kind(random);
        StateDescription { name: format!("s{at}"), kind, schema_version: 1, value, key, time_to_live: None }
    };
    (0..5).map(state).collect()
}

#[test]
fn changes_of_state_are_taken_as_they_are_or_refused() {
    check(|random, spoiled| {
        let (states, broadcast) = (states(random), random.u8(..4) == 0);
        let keys = if broadcast { 0 } else { random.usize(..KEYS_MAX) };
        let state_bytes_per_key = (random.u8(..8) == 0).then_some(STATE_BYTES);
        let mut made = wire::changes(random, &states, keys, broadcast);
        (0..spoiled).for_each(|_| wire::spoil_changes(random, &mut made));
        let limits = (keys, state_bytes_per_key.unwrap_or(usize::MAX));
        let expected = oracle::changes(&made, &states, limits, broadcast);
        let budget = Budget { state_bytes_per_key, ..Budget::default() };
        let result = checked_changes(made, Changeable { states: &states, keys, broadcast, budget });
        let is_over = matches!(result, Err(CallFailure::State { .. }));
        agree(result.map(|changes| changes.iter().map(oracle::changed).collect()), expected)
            || (is_over && spoiled == 0)
    });
}

#[test]
fn verdicts_and_timers_are_taken_as_they_are_or_refused() {
    check(|random, spoiled| {
        let states = states(random);
        let description = description(random, states);
        let (windows, wanted) = (random.usize(..KEYS_MAX), random.usize(..ROWS_MAX));
        let mut timers = wire::timers(random, windows);
        let mut states = wire::changes(random, &description.states, windows, false);
        let mut decisions = vec![Decision::Fire; wanted];
        for _ in 0..spoiled {
            match random.u8(..3) {
                0 => wire::spoil_timers(random, &mut timers),
                1 => wire::spoil_changes(random, &mut states),
                _ => decisions.resize(random.usize(..ROWS_MAX), Decision::Purge),
            }
        }
        let expected_timers = oracle::timers(&timers, windows);
        let checked = timers_from_guest(timers.clone(), windows).map(|timers| {
            let timer = |it: crate::model::TimerChange| (it.key, it.time, it.domain == TimeDomain::Event, it.set);
            timers.into_iter().map(timer).collect::<Vec<_>>()
        });
        agree(checked, expected_timers.clone());
        let changes = oracle::changes(&states, &description.states, (windows, usize::MAX), false);
        let expected = (decisions.len() == wanted && expected_timers.is_some()).then_some(changes).flatten();
        let wire = Verdict { decisions, states, timers, measurements: Vec::new() };
        let result = verdict(wire, &description, windows, (wanted, Budget::default()));
        agree(result.map(|verdict| verdict.states.iter().map(oracle::changed).collect()), expected)
    });
}
