//! What users have spent, in euros: version 1 of its state. Version 2 puts out the same.
//!
//! Guarantees: what comes out follows from the payments of the user before, in their order. Must not know: which version comes next.

use wasmill_sdk::prelude::*;

/// What is broken.
#[config]
#[serde(default)]
#[derive(Default)]
struct Settings {
    /// This user has spent more than cents could tell.
    rich: Option<i64>,
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

/// All in euros.
#[derive(States)]
struct Purse<'a> {
    total: ValueState<'a, i64>,
    slots: MapState<'a, i64, i64>,
    last: ListState<'a, i64>,
    /// Of no use.
    note: ValueState<'a, i64>,
}

struct Purses {
    settings: Settings,
}

#[keyed_process]
impl Purses {
    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Purses { settings })
    }

    fn process(&mut self, payment: Payment, purse: &mut Purse, out: &mut Output<Spent>) {
        let Payment { user, amount, timestamp } = payment;
        let total = purse.total.or_default();
        *total = if self.settings.rich == Some(user) { i64::MAX } else { *total + amount };
        let cents = total.saturating_mul(100);
        let slot = purse.slots.or_default(timestamp % 5);
        *slot += amount;
        let of_slot = *slot * 100;
        purse.last.push(amount);
        purse.last.keep_last(3);
        let of_last = purse.last.iter().sum::<i64>() * 100;
        purse.note.set(timestamp);
        out.emit(Spent { version: "1", user, timestamp, cents, of_slot, of_last });
    }
}

wasmill_sdk::export!(keyed_process: Purses);
