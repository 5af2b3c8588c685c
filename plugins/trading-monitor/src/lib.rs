//! Trading monitor: alerts on users whose trades in a window sum up to more than a threshold. The trades may be summed up as they
//! come, by an aggregate before the process.
//!
//! Guarantees: one alert a window that fires at most. Must not know: how long windows are.

use wasmill_sdk::prelude::*;

/// What is too much.
#[config]
struct Settings {
    /// The sum of amounts that may not be exceeded.
    #[serde(default = "hundred_thousand")]
    threshold: i64,
}

fn hundred_thousand() -> i64 {
    100_000
}

#[derive(Record)]
struct User {
    user: i64,
}

#[derive(Record)]
struct Trade {
    amount: i64,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Alert {
    user: i64,
    window_start: i64,
    window_end: i64,
    total: i64,
    trades: i64,
}

struct TradingMonitor {
    threshold: i64,
}

#[process_window]
impl TradingMonitor {
    fn new(settings: Settings) -> Self {
        Self { threshold: settings.threshold }
    }

    fn process(&mut self, trades: Elements<Trade>, context: &WindowContext<User>, out: &mut Output<Alert>) {
        let total = trades.iter().fold(0_i64, |total, trade| total.saturating_add(trade.amount));
        if total > self.threshold {
            let (window, user) = (context.window(), context.key().user);
            let trades = trades.len() as i64;
            out.emit(Alert { user, window_start: window.start_ms, window_end: window.end_ms, total, trades });
        }
    }
}

#[derive(Record, Debug, PartialEq)]
struct Total {
    amount: i64,
}

struct Totals;

#[aggregate]
impl Totals {
    fn accumulate(total: &mut i64, trade: Trade) {
        *total = total.saturating_add(trade.amount);
    }

    fn merge(total: &mut i64, other: i64) {
        *total = total.saturating_add(other);
    }

    fn result(total: &i64) -> Total {
        Total { amount: *total }
    }
}

wasmill_sdk::export!(process_window: TradingMonitor, aggregate: Totals);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::ProcessWindowHarness;

    #[test]
    fn sums_above_the_threshold_are_alerts() {
        let mut harness = ProcessWindowHarness::<TradingMonitor>::new();
        let window = Window { start_ms: 0, end_ms: 300_000 };
        let fired = [(window, User { user: 1 }), (window, User { user: 2 })];
        let trades = [(0, 60_000), (1, 100_000), (0, 40_001)];
        let result = harness.run_all(fired, trades.map(|(of, amount)| (of, 5, Trade { amount })));
        let alert = Alert { user: 1, window_start: 0, window_end: 300_000, total: 100_001, trades: 2 };
        assert_eq!(result.emitted::<Alert>(), [alert]);
        assert_eq!(result.timestamps_ms(), [299_999]);
    }
}
