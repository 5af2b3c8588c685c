//! Dimension join: adds to each order what a broadcast stream says of its product.
//!
//! Guarantees: no order is lost unsaid: one whose product is not known is dropped and counted, held for a while, or put aside, as configured.
//! Must not know: where orders and products come from.

use wasmill_sdk::prelude::*;

/// What becomes of orders whose product is not known.
#[config]
struct Settings {
    missing: Missing,
    /// With `hold`: for how much event time orders wait, in milliseconds. Then they go to the side output `unknown`.
    #[serde(default = "minute")]
    hold_ms: i64,
    /// With `hold`: how many orders of a product wait at most. Others go to the side output at once.
    #[serde(default = "thousand")]
    hold_max: usize,
}

#[derive(wasmill_sdk::serde::Deserialize, wasmill_sdk::schemars::JsonSchema, Clone, Copy, PartialEq)]
#[serde(crate = "wasmill_sdk::serde", rename_all = "snake_case")]
#[schemars(crate = "wasmill_sdk::schemars")]
enum Missing {
    Drop,
    /// Needs orders keyed by `productId`.
    Hold,
    SideOutput,
}

fn minute() -> i64 {
    60_000
}

fn thousand() -> usize {
    1000
}

#[derive(Record, Debug, Clone, PartialEq)]
#[record(rename_all = "camelCase")]
struct Order {
    order_id: i64,
    product_id: i64,
    amount: i64,
}

#[derive(Record)]
#[record(rename_all = "camelCase")]
struct Product<'a> {
    product_id: i64,
    /// Null removes the product.
    category: Option<&'a str>,
}

#[derive(Record, Debug, PartialEq)]
#[record(rename_all = "camelCase")]
struct Joined<'a> {
    order_id: i64,
    product_id: i64,
    amount: i64,
    category: &'a str,
}

#[derive(SideOutputs)]
enum Side {
    Unknown(Order),
}

#[derive(Metrics)]
struct Stats {
    dropped: Counter,
}

#[state(postcard)]
#[derive(Clone)]
struct Held {
    order_id: i64,
    product_id: i64,
    amount: i64,
    until_ms: i64,
}

#[derive(States)]
struct Waiting<'a> {
    held: ListState<'a, Held>,
}

#[derive(States)]
struct Products<'a> {
    categories: BroadcastState<'a, i64, String>,
}

struct DimensionJoin(Settings);

fn join(order: Order, category: &str, out: &mut Output<Joined, Side>) {
    let Order { order_id, product_id, amount } = order;
    out.emit(Joined { order_id, product_id, amount, category });
}

/// Emits what waits for a product that is known by now.
fn release(waiting: &mut Waiting, category: &str, out: &mut Output<Joined, Side>) {
    for Held { order_id, product_id, amount, .. } in waiting.held.drain() {
        join(Order { order_id, product_id, amount }, category, out);
    }
}

#[broadcast_process]
impl DimensionJoin {
    fn new(settings: Settings) -> Self {
        Self(settings)
    }

    fn prefetch(&self, order: Order, products: &Products) {
        products.categories.prefetch(order.product_id);
    }

    fn process(
        &mut self,
        order: Order,
        waiting: &mut Waiting,
        stats: &mut Stats,
        products: &Products,
        context: &mut KeyedContext,
        out: &mut Output<Joined, Side>,
    ) -> Result<(), String> {
        let Self(settings) = self;
        if let Some(category) = products.categories.get(&order.product_id) {
            if !waiting.held.is_empty() {
                release(waiting, &category, out);
            }
            join(order, &category, out);
            return Ok(());
        }
        match settings.missing {
            Missing::Drop => stats.dropped.add(1),
            Missing::Hold if !context.is_keyed() => return Err("orders can only be held where they are keyed".into()),
            Missing::Hold if waiting.held.len() < settings.hold_max => {
                let until_ms = context.timestamp_ms() + settings.hold_ms;
                let Order { order_id, product_id, amount } = order;
                waiting.held.push(Held { order_id, product_id, amount, until_ms });
                context.set_event_timer(until_ms);
            }
            Missing::Hold | Missing::SideOutput => out.side(Side::Unknown(order)),
        }
        Ok(())
    }

    fn process_broadcast(&mut self, product: Product, products: &mut Products) {
        match product.category {
            Some(category) => products.categories.put(product.product_id, category.into()),
            None => products.categories.remove(&product.product_id),
        }
    }

    fn on_timer(&mut self, timer: Timer, waiting: &mut Waiting, products: &Products, out: &mut Output<Joined, Side>) {
        let Some(product_id) = waiting.held.first().map(|held| held.product_id) else { return };
        if let Some(category) = products.categories.get(&product_id) {
            return release(waiting, &category, out);
        }
        let (over, still): (Vec<_>, Vec<_>) =
            waiting.held.drain().into_iter().partition(|held| held.until_ms <= timer.time_ms());
        waiting.held.replace(still);
        for Held { order_id, product_id, amount, .. } in over {
            out.side(Side::Unknown(Order { order_id, product_id, amount }));
        }
    }
}

wasmill_sdk::export!(broadcast_process: DimensionJoin);

#[cfg(test)]
mod tests;
