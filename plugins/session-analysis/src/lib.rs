//! Session analysis: the first and the last event of a session, and how many there were.
//!
//! Guarantees: the order in which events arrive, and in which sessions are merged, makes no difference. Must not know: when sessions
//! end.

use wasmill_sdk::prelude::*;

#[derive(Record, Clone)]
#[record(rename_all = "camelCase")]
struct Event {
    item_id: i64,
}

/// Events are compared by time, those of the same time by item.
#[state(postcard)]
#[derive(Default)]
struct Session {
    first: Option<(i64, i64)>,
    last: Option<(i64, i64)>,
    count: u64,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Summary {
    first_time: Option<i64>,
    first_item: Option<i64>,
    last_time: Option<i64>,
    last_item: Option<i64>,
    count: i64,
}

struct SessionAnalysis;

#[aggregate]
impl SessionAnalysis {
    fn accumulate(session: &mut Session, event: Event, context: &Context) {
        let event = (context.timestamp_ms(), event.item_id);
        session.first = Some(session.first.map_or(event, |first| first.min(event)));
        session.last = session.last.max(Some(event));
        session.count += 1;
    }

    fn merge(session: &mut Session, other: Session) {
        // None is less than any event.
        session.first = session.first.into_iter().chain(other.first).min();
        session.last = session.last.max(other.last);
        session.count += other.count;
    }

    fn result(session: &Session) -> Summary {
        let ((first_time, first_item), (last_time, last_item)) = (session.first.unzip(), session.last.unzip());
        Summary { first_time, first_item, last_time, last_item, count: session.count as i64 }
    }
}

wasmill_sdk::export!(aggregate: SessionAnalysis);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::AggregateHarness;

    #[test]
    fn events_out_of_order_and_merged_sessions_give_the_same() {
        let mut harness = AggregateHarness::<SessionAnalysis>::new();
        let event = |(time, item_id)| (time, Event { item_id });
        let expected =
            Summary { first_time: Some(1), first_item: Some(20), last_time: Some(9), last_item: Some(70), count: 4 };
        let all = harness.fold_at([(5, 10), (1, 20), (9, 70), (9, 30)].map(event));
        assert_eq!(all.result::<Summary>(), expected);
        let (left, right) =
            (harness.fold_at([(9, 30), (5, 10)].map(event)), harness.fold_at([(9, 70), (1, 20)].map(event)));
        assert_eq!(harness.merge(&left, &right).result::<Summary>(), expected);
        assert_eq!(harness.merge(&right, &left).result::<Summary>(), expected);
    }
}
