//! The join with each way to treat orders whose product is not known.
//!
//! Guarantees and knowledge: those of tests.

use super::*;
use wasmill_sdk::testing::BroadcastHarness;

fn order(product_id: i64, order_id: i64) -> Order {
    Order { order_id, product_id, amount: 10 }
}

fn joined(product_id: i64, order_id: i64, category: &str) -> Joined<'_> {
    Joined { order_id, product_id, amount: 10, category }
}

fn product(product_id: i64, category: Option<&str>) -> (i64, Product<'_>) {
    (0, Product { product_id, category })
}

fn harness<const N: usize>(keys: [&str; N], json: &str) -> BroadcastHarness<DimensionJoin> {
    BroadcastHarness::configured(keys, json).expect("a fitting configuration")
}

#[test]
fn unknown_products_are_dropped_and_counted_or_put_aside() {
    for (missing, keys) in [("drop", 0), ("side_output", 1), ("side_output", 0)] {
        let json = format!(r#"{{"missing": "{missing}"}}"#);
        let mut harness = if keys == 0 { harness([], &json) } else { harness(["productId"], &json) };
        harness.run_broadcast([product(1, Some("toys")), product(2, Some("food")), product(2, None)]);
        let result = harness.run_at([(5, order(1, 100)), (6, order(2, 101))]);
        assert_eq!(result.emitted::<Joined>(), [joined(1, 100, "toys")]);
        if missing == "drop" {
            assert_eq!((result.metric("dropped"), result.side::<Order>("unknown").len()), (vec![1.0], 0));
        } else {
            assert_eq!(result.side::<Order>("unknown"), [(6, order(2, 101))]);
        }
    }
}

#[test]
fn held_orders_wait_for_their_product_but_not_for_ever() {
    let mut harness = harness(["productId"], r#"{"missing": "hold", "hold_ms": 100, "hold_max": 2}"#);
    let result = harness.run_at([(0, order(1, 1)), (10, order(1, 2)), (20, order(1, 3)), (30, order(2, 4))]);
    assert_eq!(result.side::<Order>("unknown"), [(20, order(1, 3))]);
    assert_eq!(harness.advance_watermark(100).side::<Order>("unknown"), [(100, order(1, 1))]);
    harness.run_broadcast([product(1, Some("toys"))]);
    assert_eq!(harness.advance_watermark(110).emitted::<Joined>(), [joined(1, 2, "toys")]);
    harness.run_broadcast([product(2, Some("food"))]);
    let result = harness.run_at([(120, order(2, 5))]);
    assert_eq!(result.emitted::<Joined>(), [joined(2, 4, "food"), joined(2, 5, "food")]);
    assert!(harness.advance_watermark(1000).emitted::<Joined>().is_empty());
}

#[test]
fn holding_needs_keys() {
    let mut harness = harness([], r#"{"missing": "hold"}"#);
    assert_eq!(harness.run_at([(0, order(1, 1))]).rejected().len(), 1);
    assert!(BroadcastHarness::<DimensionJoin>::configured([], r#"{"missing": "ignore"}"#).is_err());
}
