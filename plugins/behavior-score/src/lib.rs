//! Behavior score: what a user does with an item, as a number of points.
//!
//! Guarantees: views are dropped, unknown behavior is rejected. Must not know: what the points are summed up by.

use wasmill_sdk::prelude::*;

#[derive(Record)]
#[record(rename_all = "camelCase")]
struct Event<'a> {
    user_id: i64,
    item_id: i64,
    behavior: &'a str,
    timestamp: i64,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Scored {
    user_id: i64,
    item_id: i64,
    score: i64,
    timestamp: i64,
}

#[filter_map]
fn score(event: Event) -> Result<Option<Scored>, String> {
    let score = match event.behavior {
        "pv" => return Ok(None),
        "cart" => 2,
        "fav" => 3,
        "buy" => 5,
        unknown => return Err(format!("behavior `{unknown}` is none of pv, cart, fav, buy")),
    };
    Ok(Some(Scored { user_id: event.user_id, item_id: event.item_id, score, timestamp: event.timestamp }))
}

wasmill_sdk::export!(transform: score);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::TransformHarness;

    fn event(behavior: &str) -> Event<'_> {
        Event { user_id: 1, item_id: 2, behavior, timestamp: 3 }
    }

    #[test]
    fn behavior_becomes_points() {
        let result = TransformHarness::<score>::new().run(["pv", "cart", "fav", "buy"].map(event));
        let scored = |score| Scored { user_id: 1, item_id: 2, score, timestamp: 3 };
        assert_eq!(result.emitted::<Scored>(), [2, 3, 5].map(scored));
        assert_eq!(result.origins(), [1, 2, 3]);
    }

    #[test]
    fn unknown_behavior_is_rejected() {
        let result = TransformHarness::<score>::new().run([event("buy"), event("steal")]);
        assert_eq!(result.rejected(), [(1, "behavior `steal` is none of pv, cart, fav, buy")]);
        assert_eq!(result.origins(), [0]);
    }
}
