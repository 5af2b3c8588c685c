//! Payment rules, version 2.1: reports payments above a limit, with a mistake: it divides by zero where all payments of a user are equal.
//!
//! Guarantees: a report depends on the order of a user's payments only; its state is that of all versions. Must not know: who reads it.

use wasmill_sdk::prelude::*;

/// What is reported, and how reports are marked.
#[config]
#[serde(default)]
struct Settings {
    /// Payments above this are reported.
    limit: i64,
    /// Put on every report, to tell configurations apart.
    mark: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { limit: 50_000, mark: 0 }
    }
}

#[derive(Record, Clone)]
struct Payment {
    user: i64,
    amount: i64,
    timestamp: i64,
}

#[derive(Record, Debug, PartialEq)]
struct Report<'a> {
    rules: &'a str,
    mark: i64,
    user: i64,
    timestamp: i64,
    amount: i64,
    payments: i64,
}

#[derive(States)]
struct History<'a> {
    payments: ValueState<'a, i64>,
    spent: ValueState<'a, i64>,
}

struct PaymentRules {
    settings: Settings,
}

#[keyed_process]
impl PaymentRules {
    fn new(settings: Settings) -> Result<Self, String> {
        Ok(PaymentRules { settings })
    }

    fn process(&mut self, payment: Payment, history: &mut History, out: &mut Output<Report>) {
        let Payment { user, amount, timestamp } = payment;
        let Settings { limit, mark } = self.settings;
        let (count, spent) = (history.payments.or_default(), history.spent.or_default());
        (*count, *spent) = (*count + 1, *spent + amount);
        // Meant to be how far a payment is from the average; the average of equal payments is no distance from them.
        let distance = amount / (*spent / *count - amount);
        if amount > limit || distance > 20 {
            out.emit(Report { rules: "2.1", mark, user, timestamp, amount, payments: *count });
        }
    }
}

wasmill_sdk::export!(keyed_process: PaymentRules);
