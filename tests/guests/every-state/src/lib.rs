//! Every kind of keyed state, written, read, changed and forgotten; and state of windows.
//!
//! Guarantees: what comes out after an event follows from the events of its key before, in their order.

use wasmill_sdk::prelude::*;

#[derive(Record)]
struct Key {
    key: i64,
}

#[derive(Record)]
struct Event {
    number: i64,
}

struct Largest;

impl Reduce for Largest {
    type Value = i64;
    fn reduce(largest: &mut i64, value: i64) {
        *largest = value.max(*largest);
    }
}

#[state(postcard)]
#[derive(Default)]
struct Sum {
    total: i64,
    count: i64,
}

struct Mean;

impl Gather for Mean {
    type Value = i64;
    type Accumulator = Sum;
    type Result = i64;
    fn add(sum: &mut Sum, value: i64) {
        sum.total += value;
        sum.count += 1;
    }
    fn result(sum: &Sum) -> i64 {
        sum.total / sum.count
    }
}

#[derive(States)]
struct Every<'a> {
    text: ValueState<'a, String>,
    numbers: ListState<'a, i64>,
    digits: MapState<'a, i64, i64>,
    largest: ReducingState<'a, Largest>,
    mean: AggregatingState<'a, Mean>,
}

#[derive(Record)]
struct Summary<'a> {
    key: i64,
    number: i64,
    text: &'a str,
    numbers: &'a str,
    digits: &'a str,
    largest: Option<i64>,
    mean: Option<i64>,
}

struct EveryState;

#[keyed_process]
impl EveryState {
    fn process(&mut self, event: Event, every: &mut Every, context: &mut KeyedContext<Key>, out: &mut Output<Summary>) {
        let number = event.number;
        every.text.or_default().push_str(&(number % 10).to_string());
        every.numbers.push(number);
        *every.digits.or_default(number % 10) += 1;
        every.largest.add(number);
        every.mean.add(number);
        if number % 7 == 0 {
            every.text.clear();
            every.numbers.keep_last(1);
            every.digits.remove(&(number / 10 % 10));
        }
        if number % 11 == 0 {
            every.numbers.replace([1, 2]);
            every.digits.clear();
            every.largest.clear();
        }
        if number % 13 == 0 {
            every.numbers.clear();
            every.mean.clear();
        }
        let numbers = every.numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
        let digits = every.digits.iter().map(|(digit, count)| format!("{digit}:{count}")).collect::<Vec<_>>().join(" ");
        out.emit(Summary {
            key: context.key().key,
            number,
            text: every.text.get().map_or("", String::as_str),
            numbers: &numbers,
            digits: &digits,
            largest: every.largest.get().copied(),
            mean: every.mean.get(),
        });
    }
}

#[derive(States)]
struct Fired<'a> {
    fired: ValueState<'a, i64>,
}

#[derive(Record)]
struct Firing {
    key: i64,
    start: i64,
    fired: i64,
    sum: i64,
}

struct Firings;

#[process_window]
impl Firings {
    fn process(
        &self,
        events: Elements<Event>,
        states: &mut Fired,
        context: &WindowContext<Key>,
        out: &mut Output<Firing>,
    ) {
        *states.fired.or_default() += 1;
        let fired = states.fired.value().unwrap_or(0);
        let sum = events.iter().map(|event| event.number).sum();
        out.emit(Firing { key: context.key().key, start: context.window().start_ms, fired, sum });
    }
}

wasmill_sdk::export!(keyed_process: EveryState, process_window: Firings);
