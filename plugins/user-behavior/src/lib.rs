//! User behavior: how often a user viewed, put in the cart, marked and bought, and how many different items.
//!
//! Guarantees: unknown behavior is rejected. Must not know: windows, users.

use smallvec::SmallVec;
use wasmill_sdk::prelude::*;

#[derive(Record, Clone)]
#[record(rename_all = "camelCase")]
struct Event<'a> {
    item_id: i64,
    behavior: &'a str,
}

/// Up to so many items need no allocation.
const INLINE: usize = 8;

#[state(postcard)]
#[derive(Default)]
struct Behavior {
    pv: u64,
    cart: u64,
    fav: u64,
    buy: u64,
    /// In order, each once.
    items: SmallVec<[i64; INLINE]>,
}

impl Behavior {
    fn add(&mut self, item: i64) {
        if let Err(place) = self.items.binary_search(&item) {
            self.items.insert(place, item);
        }
    }
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Counts {
    pv: i64,
    cart: i64,
    fav: i64,
    buy: i64,
    distinct_items: i64,
}

struct UserBehavior;

#[aggregate]
impl UserBehavior {
    fn accumulate(behavior: &mut Behavior, event: Event) -> Result<(), String> {
        let count = match event.behavior {
            "pv" => &mut behavior.pv,
            "cart" => &mut behavior.cart,
            "fav" => &mut behavior.fav,
            "buy" => &mut behavior.buy,
            unknown => return Err(format!("behavior `{unknown}` is none of pv, cart, fav, buy")),
        };
        *count += 1;
        behavior.add(event.item_id);
        Ok(())
    }

    fn merge(behavior: &mut Behavior, other: Behavior) {
        if behavior.items.is_empty() {
            *behavior = other;
            return;
        }
        behavior.pv += other.pv;
        behavior.cart += other.cart;
        behavior.fav += other.fav;
        behavior.buy += other.buy;
        if other.items.len() <= INLINE {
            other.items.iter().for_each(|&item| behavior.add(item));
        } else {
            behavior.items.extend_from_slice(&other.items);
            // Two runs in order, which is what this sort is fast for.
            behavior.items.sort();
            behavior.items.dedup();
        }
    }

    fn result(behavior: &Behavior) -> Counts {
        Counts {
            pv: behavior.pv as i64,
            cart: behavior.cart as i64,
            fav: behavior.fav as i64,
            buy: behavior.buy as i64,
            distinct_items: behavior.items.len() as i64,
        }
    }
}

wasmill_sdk::export!(aggregate: UserBehavior);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::AggregateHarness;

    #[test]
    fn behavior_is_counted_and_items_are_distinct() {
        let mut harness = AggregateHarness::<UserBehavior>::new();
        let event = |(item_id, behavior)| Event { item_id, behavior };
        let left = harness.fold([(1, "pv"), (2, "pv"), (1, "buy"), (3, "steal")].map(event));
        assert_eq!(left.result::<Counts>(), Counts { pv: 2, cart: 0, fav: 0, buy: 1, distinct_items: 2 });
        assert_eq!(left.rejected(), [(3, "behavior `steal` is none of pv, cart, fav, buy")]);
        let right = harness.fold((0..20).map(|item| event((item, "cart"))));
        let counts = Counts { pv: 2, cart: 20, fav: 0, buy: 1, distinct_items: 20 };
        assert_eq!(harness.merge(&left, &right).result::<Counts>(), counts);
        assert_eq!(harness.merge(&right, &left).result::<Counts>(), counts);
        let new = harness.fold([event((7, "pv")); 0]);
        assert_eq!(harness.merge(&new, &right).result::<Counts>().distinct_items, 20);
    }
}
