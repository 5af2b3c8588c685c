//! Payment alerts, made to be rules: a transform that reports large payments, and a keyed process that reports many in a short time. Both write the same
//! columns.
//!
//! Guarantees: what is reported depends on the payments of one key and their times only. Must not know: who reads it.

use wasmill_sdk::prelude::*;

/// Payments that are reported, and how alerts are marked.
#[config]
#[serde(default)]
struct Settings {
    /// Put on every alert: which rule it is of.
    name: String,
    /// Put on every alert, to tell configurations apart.
    mark: i64,
    /// Payments above this are large.
    limit: i64,
    /// More payments than this are many.
    max: i64,
    /// In so much event time, in milliseconds, counted from multiples of it on.
    #[schemars(range(min = 1))]
    within_ms: i64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { name: String::new(), mark: 0, limit: 50_000, max: 5, within_ms: 60_000 }
    }
}

#[derive(Record, Clone)]
struct Payment {
    user: i64,
    amount: i64,
    timestamp: i64,
}

#[derive(Record, Debug, PartialEq)]
struct Alert<'a> {
    rule: &'a str,
    mark: i64,
    timestamp: i64,
    user: i64,
    amount: i64,
    payments: i64,
}

/// What is reported.
#[derive(Metrics)]
struct Reported {
    alerts: Counter,
    /// The amount of the latest.
    latest: Gauge,
    amounts: Histogram,
}

impl Reported {
    fn note(&mut self, amount: i64) {
        self.alerts.add(1);
        self.latest.set(amount as f64);
        self.amounts.observe(amount as f64);
    }
}

struct Large {
    settings: Settings,
}

#[transform]
impl Large {
    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Large { settings })
    }

    fn process(&mut self, payment: Payment, reported: &mut Reported, out: &mut Output<Alert>) {
        let Payment { user, amount, timestamp } = payment;
        let Settings { name, mark, limit, .. } = &self.settings;
        if amount > *limit {
            out.emit(Alert { rule: name, mark: *mark, timestamp, user, amount, payments: 1 });
            reported.note(amount);
        }
    }
}

#[derive(Record)]
struct User {
    user: i64,
}

#[derive(States)]
struct Counts<'a> {
    payments: MapState<'a, i64, i64>,
    spent: MapState<'a, i64, i64>,
}

struct Velocity {
    settings: Settings,
}

#[keyed_process]
impl Velocity {
    fn new(settings: Settings) -> Result<Self, String> {
        match settings.within_ms {
            1.. => Ok(Velocity { settings }),
            other => Err(format!("`within_ms` is {other}, but has to be at least 1")),
        }
    }

    /// Reports each payment that is one too many.
    fn process(
        &mut self,
        payment: Payment,
        counts: &mut Counts,
        context: &mut KeyedContext<User>,
        out: &mut Output<Alert>,
    ) {
        let Payment { user, amount, timestamp } = payment;
        let Settings { name, mark, max, within_ms, .. } = &self.settings;
        let interval = timestamp.div_euclid(*within_ms);
        let payments = counts.payments.or_default(interval);
        *payments += 1;
        if *payments == 1 {
            context.set_event_timer((interval + 1).saturating_mul(*within_ms));
        }
        if *payments > *max {
            out.emit(Alert { rule: name, mark: *mark, timestamp, user, amount, payments: *payments });
        }
        *counts.spent.or_default(interval) += amount;
    }

    /// The time is over: if there were too many, reports how many there were, and what was spent.
    fn on_timer(
        &mut self,
        timer: Timer,
        counts: &mut Counts,
        context: &mut KeyedContext<User>,
        out: &mut Output<Alert>,
    ) {
        let Settings { name, mark, max, within_ms, .. } = &self.settings;
        let interval = timer.time_ms().div_euclid(*within_ms) - 1;
        let (payments, spent) = (counts.payments.value(&interval), counts.spent.value(&interval));
        counts.payments.remove(&interval);
        counts.spent.remove(&interval);
        if let (Some(payments), Some(amount)) = (payments.filter(|payments| payments > max), spent) {
            let (user, timestamp) = (context.key().user, timer.time_ms());
            out.emit(Alert { rule: name, mark: *mark, timestamp, user, amount, payments });
        }
    }
}

wasmill_sdk::export!(transform: Large, keyed_process: Velocity);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::{KeyedProcessHarness, TransformHarness};

    fn payment(timestamp: i64, amount: i64) -> (i64, Payment) {
        (timestamp, Payment { user: 7, amount, timestamp })
    }

    #[test]
    fn large_payments_are_reported() {
        let mut harness = TransformHarness::<Large>::configured(r#"{ "name": "l", "mark": 3, "limit": 10 }"#).unwrap();
        let result = harness.run([payment(1, 10).1, payment(2, 11).1]);
        let alert = Alert { rule: "l", mark: 3, timestamp: 2, user: 7, amount: 11, payments: 1 };
        assert_eq!(result.emitted::<Alert>(), [alert]);
    }

    #[test]
    fn one_too_many_is_reported_and_how_many_there_were() {
        let settings = r#"{ "name": "v", "max": 1, "within_ms": 100 }"#;
        let mut harness = KeyedProcessHarness::<Velocity>::configured(["user"], settings).unwrap();
        let alert = |timestamp, amount, payments| Alert { rule: "v", mark: 0, timestamp, user: 7, amount, payments };
        let result = harness.run_at([payment(20, 1), payment(120, 2), payment(30, 4)]);
        assert_eq!(result.emitted::<Alert>(), [alert(30, 4, 2)]);
        assert_eq!(harness.advance_watermark(99).emitted::<Alert>(), []);
        assert_eq!(harness.advance_watermark(200).emitted::<Alert>(), [alert(100, 5, 2)]);
        assert!(harness.map::<i64, i64>("payments", User { user: 7 }).is_empty());
        assert!(KeyedProcessHarness::<Velocity>::configured(["user"], r#"{ "within_ms": 0 }"#).is_err());
    }
}
