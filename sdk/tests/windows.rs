//! Functions over windows, triggers and sinks as authors write them, run natively; and what operators may do besides.

use wasmill_sdk::bindings::types::{Column, Values};
use wasmill_sdk::lifecycle::{Instance, migrate};
use wasmill_sdk::prelude::*;
use wasmill_sdk::testing::{ProcessWindowHarness, SinkHarness, TriggerHarness};

#[derive(Record, Debug, Clone, PartialEq)]
struct Key {
    key: i64,
}

#[derive(Record, Debug, Clone, PartialEq)]
struct Number {
    number: i64,
}

#[derive(States)]
struct Fired<'a> {
    fired: ValueState<'a, i64>,
}

#[derive(Record, Debug, PartialEq)]
struct Range {
    key: i64,
    end: i64,
    least: i64,
    greatest: i64,
    fired: i64,
}

struct Ranges;

#[process_window]
impl Ranges {
    fn process(
        &self,
        numbers: Elements<Number>,
        states: &mut Fired,
        context: &WindowContext<Key>,
        out: &mut Output<Range>,
    ) {
        let all = || numbers.iter().map(|number| number.number);
        let (Some(least), Some(greatest)) = (all().min(), all().max()) else { return };
        *states.fired.or_default() += 1;
        let fired = states.fired.value().unwrap_or(0);
        out.emit(Range { key: context.key().key, end: context.window().end_ms, least, greatest, fired });
    }
}

fn window(start_ms: i64, end_ms: i64) -> Window {
    Window { start_ms, end_ms }
}

#[test]
fn a_window_sees_its_elements_its_key_and_its_state() {
    let mut harness = ProcessWindowHarness::<Ranges>::new();
    let fired = [(window(0, 10), Key { key: 7 }), (window(10, 20), Key { key: 8 }), (window(10, 20), Key { key: 7 })];
    let elements = [(2, 11, 1), (0, 1, 5), (1, 12, 9), (0, 2, 3), (2, 13, 4)];
    let result = harness.run_all(fired, elements.map(|(group, time, number)| (group, time, Number { number })));
    let range = |key, end, least, greatest, fired| Range { key, end, least, greatest, fired };
    assert_eq!(result.emitted::<Range>(), [range(7, 10, 3, 5, 1), range(8, 20, 9, 9, 1), range(7, 20, 1, 4, 1)]);
    assert_eq!(result.timestamps_ms(), [9, 19, 19]);
    let again = harness.run(window(10, 20), Key { key: 7 }, [(14, Number { number: 2 })]);
    assert_eq!(again.emitted::<Range>(), [range(7, 20, 2, 2, 2)]);
    assert_eq!(harness.value::<i64>("fired", (Key { key: 7 }, window(10, 20))), Some(2));
}

#[derive(States)]
struct Counted<'a> {
    count: ValueState<'a, i64>,
}

/// Fires at every third element, and at the window's end.
struct Thirds;

#[trigger]
impl Thirds {
    fn on_element(&mut self, _number: Number, states: &mut Counted, context: &mut TriggerContext) -> Decision {
        context.set_event_timer(context.window().last_ms());
        *states.count.or_default() += 1;
        if states.count.value() == Some(3) {
            states.count.clear();
            return Decision::Fire;
        }
        Decision::Continue
    }

    fn on_timer(&mut self, timer: Timer, context: &mut TriggerContext) -> Decision {
        assert_eq!(timer.time_ms(), context.window().last_ms());
        Decision::FireAndPurge
    }

    fn on_merge(&mut self, states: &mut Counted, merged: &mut Counted, context: &mut TriggerContext) -> Decision {
        context.set_event_timer(context.window().last_ms());
        *states.count.or_default() += merged.count.value().unwrap_or(0);
        Decision::Continue
    }
}

#[test]
fn a_trigger_decides_on_elements_timers_and_merged_windows() {
    let mut harness = TriggerHarness::<Thirds>::new();
    let numbers = |count| (0..count).map(|number| (number, Number { number }));
    let decisions = harness.run_at(window(0, 10), numbers(4));
    assert_eq!(decisions, [Decision::Continue, Decision::Continue, Decision::Fire, Decision::Continue]);
    harness.run_at(window(5, 15), numbers(1));
    assert_eq!(harness.merge(&[window(0, 10), window(5, 15)], window(0, 15)), Decision::Continue);
    assert_eq!(harness.value::<i64>("count", window(0, 15)), Some(2));
    assert!(harness.event_timers(window(0, 10)).is_empty());
    assert_eq!(harness.run_at(window(0, 15), numbers(1)), [Decision::Fire]);
    assert_eq!(harness.advance_watermark(window(0, 15), 13), []);
    assert_eq!(harness.advance_watermark(window(0, 15), 14), [(14, Decision::FireAndPurge)]);
}

#[derive(States)]
struct Kept<'a> {
    kept: OperatorListState<'a, i64>,
    known: OperatorUnionState<'a, String>,
}

/// Writes numbers in pairs.
struct Pairs {
    checkpoints: u64,
}

#[sink]
impl Pairs {
    fn new() -> Self {
        Self { checkpoints: 0 }
    }

    fn write(&mut self, number: Number, states: &mut Kept, out: &mut Output<Number>) -> Result<(), String> {
        if number.number < 0 {
            return Err("negative".into());
        }
        states.kept.push(number.number);
        if states.kept.len() == 2 {
            states.kept.drain().into_iter().for_each(|number| out.emit(Number { number }));
            states.known.push("pair".into());
        }
        Ok(())
    }

    fn finish(&mut self, states: &mut Kept, out: &mut Output<Number>, context: &Context) {
        assert_eq!(context.watermark_ms(), Some(50));
        states.kept.drain().into_iter().for_each(|number| out.emit(Number { number }));
    }
}

impl CheckpointListener for Pairs {
    fn completed(&mut self, checkpoint: u64) {
        self.checkpoints = checkpoint;
    }
}

impl Migration for Pairs {
    fn migrate(state: &str, from_version: u32, old: Stored) -> Result<Stored, String> {
        match (state, from_version) {
            ("kept", 0) => old.map(|number: f64| number as i64),
            _ => old.unknown(),
        }
    }
}

wasmill_sdk::export!(
    process_window: Ranges,
    trigger: Thirds,
    sink: Pairs,
    checkpoint_listener: Pairs,
    migration: Pairs,
);

#[test]
fn a_sink_keeps_back_what_its_state_holds() {
    let mut harness = SinkHarness::<Pairs>::new();
    let number = |number| Number { number };
    let result = harness.run_at([(1, number(1)), (2, number(-1)), (3, number(2)), (4, number(3))]);
    assert_eq!(result.emitted::<Number>(), [number(1), number(2)]);
    assert_eq!((result.timestamps_ms(), result.rejected()), (vec![3, 3], vec![(1, "negative")]));
    assert_eq!(harness.list::<i64>("kept", ()), [3]);
    let snapshot = harness.snapshot();
    harness.restore(&snapshot);
    harness.moment.watermark = 50;
    let last = harness.finish();
    assert_eq!((last.emitted::<Number>(), last.timestamps_ms()), (vec![number(3)], vec![50]));
    assert_eq!(harness.list::<String>("known", ()), ["pair"]);
}

#[test]
fn old_state_is_migrated_by_name_and_version() {
    let old = |values| Column { validity: None, values: Values::Float64(values) };
    let migrated = migrate::<Pairs>(Pairs::states(), 0, 0, old(vec![1.5, 2.0])).expect("a known version");
    assert!(matches!(migrated.values, Values::Int64(values) if values == [1, 2]));
    assert_eq!(
        migrate::<Pairs>(Pairs::states(), 1, 0, old(vec![])).expect_err("an unknown one"),
        "this version of the state is not known"
    );
}
