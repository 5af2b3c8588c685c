//! Session tracker: gathers what a user does until nothing happens for a while, and then reports the session.
//!
//! Guarantees: events out of order belong to the session they arrive in. Must not know: what is done with sessions.

use wasmill_sdk::prelude::*;

/// When sessions end.
#[config]
struct Settings {
    /// The event time without activity after which a session is over, in milliseconds.
    #[serde(default = "half_an_hour")]
    #[schemars(range(min = 1))]
    gap_ms: i64,
}

fn half_an_hour() -> i64 {
    30 * 60 * 1000
}

#[derive(Record)]
#[record(rename_all = "camelCase")]
struct User {
    user_id: i64,
}

#[derive(Record)]
#[record(rename_all = "camelCase")]
struct Event {
    item_id: i64,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Session {
    user_id: i64,
    start: i64,
    end: i64,
    events: i64,
    distinct_items: i64,
}

#[derive(States)]
struct Activity<'a> {
    start: ValueState<'a, i64>,
    last: ValueState<'a, i64>,
    items: MapState<'a, i64, i64>,
}

struct SessionTracker {
    gap_ms: i64,
}

#[keyed_process]
impl SessionTracker {
    fn new(settings: Settings) -> Result<Self, String> {
        match settings.gap_ms {
            gap_ms @ 1.. => Ok(Self { gap_ms }),
            other => Err(format!("`gap_ms` is {other}, but has to be at least 1")),
        }
    }

    fn prefetch(event: Event, activity: &mut Activity) {
        activity.items.prefetch(event.item_id);
    }

    fn process(&mut self, event: Event, activity: &mut Activity, context: &mut KeyedContext<User>) {
        let now = context.timestamp_ms();
        let (start, last) = (activity.start.value(), activity.last.value());
        if start.is_none_or(|start| now < start) {
            activity.start.set(now);
        }
        if last.is_none_or(|last| now > last) {
            activity.last.set(now);
            last.into_iter().for_each(|last| context.delete_event_timer(last + self.gap_ms));
            context.set_event_timer(now + self.gap_ms);
        }
        *activity.items.or_default(event.item_id) += 1;
    }

    fn on_timer(
        &mut self,
        _timer: Timer,
        activity: &mut Activity,
        context: &mut KeyedContext<User>,
        out: &mut Output<Session>,
    ) {
        let (Some(start), Some(end)) = (activity.start.take(), activity.last.take()) else { return };
        let (mut events, mut distinct_items) = (0, 0);
        for (_, count) in activity.items.iter() {
            events += count;
            distinct_items += 1;
        }
        activity.items.clear();
        out.emit(Session { user_id: context.key().user_id, start, end, events, distinct_items });
    }
}

wasmill_sdk::export!(keyed_process: SessionTracker);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::KeyedProcessHarness;

    #[derive(Record)]
    #[record(rename_all = "camelCase")]
    struct Click {
        user_id: i64,
        item_id: i64,
    }

    #[test]
    fn a_session_ends_a_gap_after_the_last_activity() {
        let mut harness =
            KeyedProcessHarness::<SessionTracker>::configured(["userId"], r#"{"gap_ms": 100}"#).expect("a gap");
        let click = |time, user_id, item_id| (time, Click { user_id, item_id });
        harness.run_at([click(50, 1, 7), click(40, 1, 8), click(60, 2, 7)]);
        harness.run_at([click(120, 1, 7)]);
        assert_eq!(harness.event_timers(User { user_id: 1 }), [220]);
        let fired = harness.advance_watermark(219);
        let session =
            |user_id, start, end, events, distinct_items| Session { user_id, start, end, events, distinct_items };
        assert_eq!(fired.emitted::<Session>(), [session(2, 60, 60, 1, 1)]);
        let fired = harness.advance_watermark(220);
        assert_eq!(fired.emitted::<Session>(), [session(1, 40, 120, 3, 2)]);
        assert_eq!(fired.timestamps_ms(), [220]);
        assert!(harness.map::<i64, i64>("items", User { user_id: 1 }).is_empty());
        assert!(KeyedProcessHarness::<SessionTracker>::configured(["userId"], r#"{"gap_ms": 0}"#).is_err());
    }
}
