//! Last seen: says of each event whether its user was seen within the last 24 hours.
//!
//! Guarantees: what is older is never seen, whether it was cleaned up or not. Must not know: how state expires.

use wasmill_sdk::prelude::*;

#[derive(Record)]
#[record(rename_all = "camelCase")]
struct User {
    user_id: i64,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Seen {
    user_id: i64,
    timestamp: i64,
    seen_before: bool,
    last_seen: Option<i64>,
}

#[derive(States)]
struct Last<'a> {
    #[state(time_to_live = "24h", update = "on_write", visibility = "never_return_expired")]
    last: ValueState<'a, i64>,
}

struct LastSeen;

#[keyed_process]
impl LastSeen {
    fn process(&mut self, user: User, state: &mut Last, context: &mut KeyedContext, out: &mut Output<Seen>) {
        let (timestamp, last_seen) = (context.timestamp_ms(), state.last.value());
        out.emit(Seen { user_id: user.user_id, timestamp, seen_before: last_seen.is_some(), last_seen });
        state.last.set(timestamp);
    }
}

wasmill_sdk::export!(keyed_process: LastSeen);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::KeyedProcessHarness;

    #[test]
    fn a_user_is_forgotten_after_a_day() {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let mut harness = KeyedProcessHarness::<LastSeen>::keyed_by(["userId"]);
        let mut last_seen = |harness_ms, timestamp| {
            harness.advance_processing_time(harness_ms);
            harness.run_at([(timestamp, User { user_id: 1 })]).emitted::<Seen>()[0].last_seen
        };
        assert_eq!(last_seen(0, 1), None);
        assert_eq!(last_seen(10, 2), Some(1));
        assert_eq!(last_seen(10 + DAY_MS - 1, 3), Some(2));
        assert_eq!(last_seen(10 + 2 * DAY_MS - 1, 4), None);
    }
}
