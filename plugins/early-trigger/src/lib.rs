//! Early trigger: fires a window every minute of event time before its end, and purges it there.
//!
//! Guarantees: early results are at multiples of the interval. Must not know: what windows hold.

use wasmill_sdk::prelude::*;

/// How often windows fire.
#[config]
struct Settings {
    /// The event time between early results, in milliseconds.
    #[serde(default = "minute")]
    #[schemars(range(min = 1))]
    interval_ms: i64,
}

fn minute() -> i64 {
    60_000
}

#[derive(States)]
struct Early<'a> {
    next: ValueState<'a, i64>,
}

struct EarlyTrigger {
    interval_ms: i64,
}

impl EarlyTrigger {
    /// Sets the timer of the next early result, if that is before the window's end.
    fn arm(&self, next: i64, early: &mut Early, context: &mut TriggerContext) {
        if next < context.window().last_ms() {
            early.next.set(next);
            context.set_event_timer(next);
        } else {
            early.next.clear();
        }
    }
}

#[trigger]
impl EarlyTrigger {
    fn new(settings: Settings) -> Result<Self, String> {
        match settings.interval_ms {
            interval_ms @ 1.. => Ok(Self { interval_ms }),
            other => Err(format!("`interval_ms` is {other}, but has to be at least 1")),
        }
    }

    fn on_element(&mut self, _element: (), early: &mut Early, context: &mut TriggerContext) -> Decision {
        let (now, last) = (context.watermark_ms().unwrap_or(i64::MIN), context.window().last_ms());
        if now >= last {
            // The element is late, but not too late: what it changes is seen at once.
            return Decision::Fire;
        }
        context.set_event_timer(last);
        if early.next.get().is_none() {
            let from = now.max(context.timestamp_ms());
            self.arm(from - from.rem_euclid(self.interval_ms) + self.interval_ms, early, context);
        }
        Decision::Continue
    }

    fn on_timer(&mut self, timer: Timer, early: &mut Early, context: &mut TriggerContext) -> Decision {
        if timer.time_ms() == context.window().last_ms() {
            return Decision::FireAndPurge;
        }
        if early.next.value() != Some(timer.time_ms()) {
            return Decision::Continue;
        }
        self.arm(timer.time_ms() + self.interval_ms, early, context);
        Decision::Fire
    }

    fn on_merge(&mut self, early: &mut Early, merged: &mut Early, context: &mut TriggerContext) -> Decision {
        context.set_event_timer(context.window().last_ms());
        if let Some(next) = early.next.value().into_iter().chain(merged.next.value()).min() {
            self.arm(next, early, context);
        }
        Decision::Continue
    }
}

wasmill_sdk::export!(trigger: EarlyTrigger);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::TriggerHarness;

    const WINDOW: Window = Window { start_ms: 0, end_ms: 150_000 };

    #[test]
    fn a_window_fires_every_minute_and_at_its_end() {
        let mut harness = TriggerHarness::<EarlyTrigger>::new();
        assert_eq!(harness.run_at(WINDOW, [(10_000, ()), (70_000, ())]), [Decision::Continue; 2]);
        assert_eq!(harness.advance_watermark(WINDOW, 59_999), []);
        assert_eq!(harness.advance_watermark(WINDOW, 61_000), [(60_000, Decision::Fire)]);
        let rest = [(120_000, Decision::Fire), (149_999, Decision::FireAndPurge)];
        assert_eq!(harness.advance_watermark(WINDOW, 200_000), rest);
        assert_eq!(harness.run_at(WINDOW, [(5, ())]), [Decision::Fire]);
    }

    #[test]
    fn merged_windows_go_on_firing() {
        let mut harness = TriggerHarness::<EarlyTrigger>::configured(r#"{"interval_ms": 100}"#).expect("an interval");
        let window = |start_ms, end_ms| Window { start_ms, end_ms };
        harness.run_at(window(10, 250), [(10, ())]);
        harness.run_at(window(120, 360), [(120, ())]);
        assert_eq!(harness.merge(&[window(10, 250), window(120, 360)], window(10, 360)), Decision::Continue);
        let all = [(100, Decision::Fire), (200, Decision::Fire), (300, Decision::Fire), (359, Decision::FireAndPurge)];
        assert_eq!(harness.advance_watermark(window(10, 360), 400), all);
    }
}
