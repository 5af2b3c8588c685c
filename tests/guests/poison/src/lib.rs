//! Fails on what it is told to fail on: rows with mark 1 and all that comes of users called `poison...` later, timers and windows. Rows with
//! a larger mark put out, and keep, as much as that. Counts the rows, also before it fails.
//!
//! Guarantees: what comes out otherwise follows from the other rows alone.

use wasmill_sdk::prelude::*;

/// A mark that is a trap.
const TRAP: i64 = 1;
/// The event time of all timers.
const TIMER_MS: i64 = 1_000_000;

#[derive(Record)]
struct Key<'a> {
    user: &'a str,
}

#[derive(Record)]
struct Event<'a> {
    id: i64,
    user: &'a str,
    mark: i64,
}

#[derive(Record)]
struct Passed {
    id: i64,
}

#[derive(Metrics)]
struct Seen {
    rows: Counter,
    latest: Gauge,
    ids: Histogram,
}

impl Seen {
    fn note(&mut self, id: i64) {
        self.rows.add(1);
        self.latest.set(id as f64);
        self.ids.observe(id as f64);
    }
}

#[flat_map]
fn pass(event: Event, seen: &mut Seen, out: &mut Output<Passed>) {
    seen.note(event.id);
    (0..event.mark.max(1)).for_each(|_| out.emit(Passed { id: event.id }));
    assert!(event.mark != TRAP, "told to fail");
}

#[derive(States)]
struct Sums<'a> {
    sum: ValueState<'a, i64>,
    text: ValueState<'a, String>,
}

#[derive(Record)]
struct Sum<'a> {
    user: &'a str,
    sum: i64,
}

struct SumUp;

#[keyed_process]
impl SumUp {
    fn process(
        &mut self,
        event: Event,
        sums: &mut Sums,
        seen: &mut Seen,
        context: &mut KeyedContext<Key>,
        out: &mut Output<Sum>,
    ) {
        seen.note(event.id);
        *sums.sum.or_default() += event.id;
        if event.mark > TRAP {
            sums.text.set("x".repeat(event.mark as usize));
        }
        context.set_event_timer(TIMER_MS);
        out.emit(Sum { user: event.user, sum: sums.sum.value().unwrap_or(0) });
        assert!(event.mark != TRAP, "told to fail");
    }

    fn on_timer(&mut self, _timer: Timer, sums: &mut Sums, context: &mut KeyedContext<Key>, out: &mut Output<Sum>) {
        let user = context.key().user;
        out.emit(Sum { user, sum: -sums.sum.take().unwrap_or(0) });
        assert!(!user.starts_with("poison"), "told to fail");
    }
}

#[state(postcard)]
#[derive(Default)]
struct Total {
    sum: i64,
    poison: bool,
}

#[derive(Record)]
struct Outcome {
    sum: i64,
}

struct Totals;

#[aggregate]
impl Totals {
    fn accumulate(total: &mut Total, event: Event) {
        total.sum += event.id;
        total.poison |= event.user.starts_with("poison");
        assert!(event.mark != TRAP, "told to fail");
    }

    fn merge(total: &mut Total, other: Total) {
        total.sum += other.sum;
        total.poison |= other.poison;
    }

    fn result(total: &Total) -> Outcome {
        assert!(!total.poison, "told to fail");
        Outcome { sum: total.sum }
    }
}

#[derive(Record)]
struct InWindow<'a> {
    user: &'a str,
    start: i64,
    rows: i64,
}

struct Rows;

#[process_window]
impl Rows {
    fn process(&self, events: Elements<Event>, context: &WindowContext<Key>, out: &mut Output<InWindow>) {
        let user = context.key().user;
        out.emit(InWindow { user, start: context.window().start_ms, rows: events.iter().count() as i64 });
        assert!(!user.starts_with("poison"), "told to fail");
    }
}

wasmill_sdk::export!(transform: pass, keyed_process: SumUp, aggregate: Totals, process_window: Rows);
