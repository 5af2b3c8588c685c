//! Fraud detection: alerts on users with many large transactions in a short time, or a large one after many small ones.
//!
//! Guarantees: alerts depend on the order of a user's transactions only. Must not know: who is alerted.

use wasmill_sdk::prelude::*;

/// Transactions above this are large.
const LARGE: i64 = 10_000;
/// Transactions below this are small.
const SMALL: i64 = 100;
/// Large ones are counted for this long, in milliseconds from the first.
const PERIOD_MS: i64 = 300_000;
/// More large ones than this within the period are suspicious.
const LARGE_MAX: i64 = 3;
/// So many small ones before a large one are suspicious.
const SMALL_BEFORE: usize = 5;

#[derive(Record, Clone)]
struct Transaction {
    user: i64,
    amount: i64,
    timestamp: i64,
}

#[derive(Record, Debug, PartialEq)]
struct Alert<'a> {
    rule: &'a str,
    user: i64,
    timestamp: i64,
    value: i64,
}

#[derive(States)]
struct History<'a> {
    count: ValueState<'a, i64>,
    until: ValueState<'a, i64>,
    last: ListState<'a, i64>,
}

struct FraudDetection;

#[keyed_process]
impl FraudDetection {
    fn process(
        &mut self,
        transaction: Transaction,
        history: &mut History,
        context: &mut KeyedContext,
        out: &mut Output<Alert>,
    ) {
        let Transaction { user, amount, timestamp } = transaction;
        if amount > LARGE {
            if history.until.value().is_none_or(|until| timestamp >= until) {
                history.count.set(1);
                history.until.set(timestamp + PERIOD_MS);
                context.set_event_timer(timestamp + PERIOD_MS);
            } else {
                let count = history.count.or_default();
                *count += 1;
                if *count > LARGE_MAX {
                    out.emit(Alert { rule: "R1", user, timestamp, value: *count });
                }
            }
            if history.last.len() == SMALL_BEFORE && history.last.iter().all(|&amount| amount < SMALL) {
                out.emit(Alert { rule: "R2", user, timestamp, value: amount });
            }
        }
        history.last.push_bounded(amount, SMALL_BEFORE);
    }

    fn on_timer(&mut self, timer: Timer, history: &mut History) {
        // A period that began before the watermark came has a timer of its own.
        if history.until.value() == Some(timer.time_ms()) {
            history.until.clear();
            history.count.clear();
        }
    }
}

wasmill_sdk::export!(keyed_process: FraudDetection);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::KeyedProcessHarness;

    #[derive(Record)]
    struct User {
        user: i64,
    }

    fn transactions(amounts: &[i64], from: i64) -> Vec<(i64, Transaction)> {
        let row = |(timestamp, &amount)| (timestamp, Transaction { user: 1, amount, timestamp });
        (from..).zip(amounts).map(row).collect()
    }

    #[test]
    fn more_than_three_large_ones_within_the_period() {
        let mut harness = KeyedProcessHarness::<FraudDetection>::keyed_by(["user"]);
        let result = harness.run_at(transactions(&[10_001, 10_000, 20_000, 30_000, 40_000, 50_000], 0));
        let alert = |timestamp, value| Alert { rule: "R1", user: 1, timestamp, value };
        assert_eq!(result.emitted::<Alert>(), [alert(4, 4), alert(5, 5)]);
        harness.advance_watermark(PERIOD_MS - 1);
        assert_eq!(harness.value::<i64>("count", User { user: 1 }), Some(5));
        harness.advance_watermark(PERIOD_MS);
        assert_eq!(harness.value::<i64>("until", User { user: 1 }), None);
        assert!(harness.run_at(transactions(&[20_000; 3], PERIOD_MS)).emitted::<Alert>().is_empty());
    }

    #[test]
    fn a_period_that_began_anew_is_not_ended_by_the_old_timer() {
        let mut harness = KeyedProcessHarness::<FraudDetection>::keyed_by(["user"]);
        harness.run_at(transactions(&[20_000], 0));
        harness.run_at(transactions(&[20_000], PERIOD_MS));
        harness.advance_watermark(PERIOD_MS);
        assert_eq!(harness.value::<i64>("until", User { user: 1 }), Some(2 * PERIOD_MS));
    }

    #[test]
    fn a_large_one_after_five_small_ones() {
        let mut harness = KeyedProcessHarness::<FraudDetection>::keyed_by(["user"]);
        let result = harness.run_at(transactions(&[500, 1, 2, 3, 4, 99, 10_001, 1, 1, 1, 1, 100, 10_002], 0));
        assert_eq!(result.emitted::<Alert>(), [Alert { rule: "R2", user: 1, timestamp: 6, value: 10_001 }]);
        assert_eq!(harness.list::<i64>("last", User { user: 1 }), [1, 1, 1, 100, 10_002]);
    }
}
