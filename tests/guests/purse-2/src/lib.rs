//! What users have spent, in cents: version 2 of its state, into which it makes version 1.
//!
//! Guarantees: what comes out follows from the payments of the user before, in their order, whichever version has seen them.

use wasmill_sdk::prelude::*;

/// What is broken.
#[config]
#[serde(default)]
#[derive(Default)]
struct Settings {
    /// It stops after so many payments.
    payments: Option<u64>,
}

#[derive(Record)]
struct Payment {
    user: i64,
    amount: i64,
    timestamp: i64,
}

#[derive(Record)]
struct Spent<'a> {
    version: &'a str,
    user: i64,
    timestamp: i64,
    cents: i64,
    of_slot: i64,
    of_last: i64,
}

/// All in cents.
#[derive(States)]
struct Purse<'a> {
    /// New; nobody reads it.
    payments: ValueState<'a, i64>,
    #[state(version = 2)]
    total: ValueState<'a, String>,
    #[state(version = 2)]
    slots: MapState<'a, i64, i64>,
    #[state(version = 2)]
    last: ListState<'a, i64>,
}

struct Purses {
    settings: Settings,
    seen: u64,
}

#[keyed_process]
impl Purses {
    fn new(settings: Settings) -> Self {
        Purses { settings, seen: 0 }
    }

    fn process(&mut self, payment: Payment, purse: &mut Purse, out: &mut Output<Spent>) {
        let Payment { user, amount, timestamp } = payment;
        self.seen += 1;
        assert!(self.settings.payments.is_none_or(|most| self.seen <= most), "told to stop");
        *purse.payments.or_default() += 1;
        let before: i64 = purse.total.get().map_or(0, |total| total.parse().expect("a number"));
        let cents = before + amount * 100;
        purse.total.set(cents.to_string());
        let slot = purse.slots.or_default(timestamp % 5);
        *slot += amount * 100;
        let of_slot = *slot;
        purse.last.push(amount * 100);
        purse.last.keep_last(3);
        let of_last = purse.last.iter().sum::<i64>();
        out.emit(Spent { version: "2", user, timestamp, cents, of_slot, of_last });
    }
}

fn cents(euros: i64) -> i64 {
    euros.checked_mul(100).expect("so many cents are no number")
}

impl Migration for Purses {
    fn migrate(state: &str, from_version: u32, old: Stored) -> Result<Stored, String> {
        match (state, from_version) {
            ("total", 1) => old.map(|euros: i64| cents(euros).to_string()),
            ("slots" | "last", 1) => old.map(cents),
            _ => old.unknown(),
        }
    }
}

wasmill_sdk::export!(keyed_process: Purses, migration: Purses);
