//! Payment rules, version 1.0: reports payments above a limit, and counts the payments of each user.
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
        if amount > limit {
            out.emit(Report { rules: "1.0", mark, user, timestamp, amount, payments: *count });
        }
    }
}

wasmill_sdk::export!(keyed_process: PaymentRules);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::KeyedProcessHarness;

    #[test]
    fn payments_above_the_limit() {
        let mut harness =
            KeyedProcessHarness::<PaymentRules>::configured(["user"], r#"{ "limit": 1000, "mark": 7 }"#).unwrap();
        let payments = [10, 1000, 1001].map(|amount| Payment { user: 1, amount, timestamp: amount });
        let result = harness.run(payments);
        let reported: Vec<_> =
            result.emitted::<Report>().iter().map(|report| (report.amount, report.payments)).collect();
        assert_eq!(reported, [(1001, 3)]);
    }
}
