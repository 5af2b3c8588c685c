//! Puts a mark on what it puts out, by which configurations are told apart, and stops or takes its time where it is told to.
//!
//! Guarantees: what comes out otherwise follows from a user's events, whatever the mark.

use std::hint::black_box;

use wasmill_sdk::prelude::*;

/// From an event to its timer.
const TIMER_MS: i64 = 25;
/// The event time of all timers of the process with two inputs.
const LAST_MS: i64 = 1_000_000;

/// What differs.
#[config]
#[serde(default)]
struct Settings {
    /// Put on everything.
    mark: i64,
    /// It stops at the event with this id.
    trap: i64,
    /// Steps of nothing for each event.
    dawdle: u64,
    /// Its sums are of processing times and chance, and timers by processing time show them.
    chance: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { mark: 0, trap: -1, dawdle: 0, chance: false }
    }
}

impl Settings {
    fn meet(&self, id: i64) {
        assert!(id != self.trap, "told to stop");
        (0..self.dawdle).for_each(|step| drop(black_box(step)));
    }
}

#[derive(Record)]
struct Key<'a> {
    user: &'a str,
}

#[derive(Record)]
struct Event<'a> {
    id: i64,
    user: &'a str,
}

#[derive(Record)]
struct Marked<'a> {
    user: &'a str,
    what: &'a str,
    id: i64,
    sum: i64,
    mark: i64,
}

struct Pass {
    settings: Settings,
}

#[transform]
impl Pass {
    fn new(settings: Settings) -> Self {
        Pass { settings }
    }

    fn process(&mut self, event: Event, out: &mut Output<Marked>) {
        let Event { id, user } = event;
        self.settings.meet(id);
        out.emit(Marked { user, what: "passed", id, sum: 0, mark: self.settings.mark });
    }
}

#[derive(States)]
struct Sums<'a> {
    sum: ValueState<'a, i64>,
}

struct SumUp {
    settings: Settings,
}

#[keyed_process]
impl SumUp {
    fn new(settings: Settings) -> Self {
        SumUp { settings }
    }

    fn process(&mut self, event: Event, sums: &mut Sums, context: &mut KeyedContext<Key>, out: &mut Output<Marked>) {
        let Event { id, user } = event;
        self.settings.meet(id);
        *sums.sum.or_default() += id;
        context.set_event_timer(id + TIMER_MS);
        if self.settings.chance {
            let now_ms = context.processing_time_ms();
            *sums.sum.or_default() ^= context.random() as i64 ^ now_ms;
            context.set_processing_timer(now_ms + 1);
        }
        out.emit(Marked { user, what: "row", id, sum: sums.sum.value().unwrap_or(0), mark: self.settings.mark });
    }

    fn on_timer(&mut self, timer: Timer, sums: &mut Sums, context: &mut KeyedContext<Key>, out: &mut Output<Marked>) {
        let (user, sum) = (context.key().user, sums.sum.value().unwrap_or(0));
        out.emit(Marked { user, what: "timer", id: timer.time_ms(), sum, mark: self.settings.mark });
    }
}

struct Both {
    settings: Settings,
}

#[connected_process]
impl Both {
    fn new(settings: Settings) -> Self {
        Both { settings }
    }

    fn process_first(
        &mut self,
        event: Event,
        sums: &mut Sums,
        context: &mut KeyedContext<Key>,
        out: &mut Output<Marked>,
    ) {
        let Event { id, user } = event;
        *sums.sum.or_default() += id;
        context.set_event_timer(LAST_MS);
        out.emit(Marked { user, what: "first", id, sum: 0, mark: self.settings.mark });
    }

    fn process_second(
        &mut self,
        event: Event,
        sums: &mut Sums,
        context: &mut KeyedContext<Key>,
        out: &mut Output<Marked>,
    ) {
        let Event { id, user } = event;
        *sums.sum.or_default() += 1000 * id;
        context.set_event_timer(LAST_MS);
        out.emit(Marked { user, what: "second", id, sum: 0, mark: self.settings.mark });
    }

    fn on_timer(&mut self, timer: Timer, sums: &mut Sums, context: &mut KeyedContext<Key>, out: &mut Output<Marked>) {
        let (user, sum) = (context.key().user, sums.sum.value().unwrap_or(0));
        out.emit(Marked { user, what: "both", id: timer.time_ms(), sum, mark: self.settings.mark });
    }
}

wasmill_sdk::export!(transform: Pass, keyed_process: SumUp, connected_process: Both);
