//! Keyed functions as authors write them, run natively: states of every kind, timers, rejections, two inputs, broadcast state.

use std::collections::BTreeMap;

use wasmill_sdk::bindings::types::{Keys, Kind, Moment, StateKind, TimeDomain, TimeToLiveUpdate, Timers};
use wasmill_sdk::keyed::KeyedProcess;
use wasmill_sdk::operator::Identity;
use wasmill_sdk::prelude::*;
use wasmill_sdk::testing::{BroadcastHarness, ConnectedHarness, KeyedProcessHarness};

#[derive(Record, Debug, Clone, PartialEq)]
struct User<'a> {
    user: &'a str,
}

#[derive(Record, Debug, Clone, PartialEq)]
struct Click<'a> {
    user: &'a str,
    page: &'a str,
    cost: i64,
}

fn click<'a>(user: &'a str, page: &'a str, cost: i64) -> Click<'a> {
    Click { user, page, cost }
}

struct Largest;

impl Reduce for Largest {
    type Value = i64;
    fn reduce(largest: &mut i64, value: i64) {
        *largest = value.max(*largest);
    }
}

#[state(postcard, version = 3)]
#[derive(Default, Clone, Debug, PartialEq)]
struct Sum {
    total: i64,
    count: i64,
}

struct Mean;

impl Gather for Mean {
    type Value = i64;
    type Accumulator = Sum;
    type Result = f64;
    fn add(sum: &mut Sum, value: i64) {
        sum.total += value;
        sum.count += 1;
    }
    fn result(sum: &Sum) -> f64 {
        sum.total as f64 / sum.count as f64
    }
}

#[derive(States)]
struct Seen<'a> {
    clicks: ValueState<'a, i64>,
    #[state(time_to_live = "24h", update = "on_read_and_write", visibility = "return_expired", version = 7)]
    first: ValueState<'a, String>,
    costs: ListState<'a, i64>,
    pages: MapState<'a, String, i64>,
    largest: ReducingState<'a, Largest>,
    mean: AggregatingState<'a, Mean>,
}

#[derive(Record, Debug, PartialEq)]
struct Summary<'a> {
    user: &'a str,
    clicks: i64,
    pages: String,
    mean: f64,
}

#[derive(SideOutputs)]
enum Side {
    Free,
}

#[derive(Metrics)]
struct Stats {
    fired: Counter,
}

struct Tracker;

#[keyed_process]
impl Tracker {
    fn prefetch(click: Click, states: &mut Seen) {
        states.pages.prefetch(click.page);
    }

    fn process(
        &mut self,
        click: Click,
        states: &mut Seen,
        context: &mut KeyedContext<User>,
        out: &mut Output<Summary, Side>,
    ) -> Result<(), String> {
        assert_eq!(context.key().user, click.user);
        if click.cost < 0 {
            out.side(Side::Free);
            context.set_event_timer(0);
            return Err(format!("a cost of {}", click.cost));
        }
        if click.cost == 0 {
            out.side(Side::Free);
        }
        if states.first.get().is_none() {
            states.first.set(click.page.into());
        }
        *states.clicks.or_default() += 1;
        states.costs.push(click.cost);
        *states.pages.or_default(click.page.into()) += 1;
        states.largest.add(click.cost);
        states.mean.add(click.cost);
        context.set_event_timer(context.timestamp_ms() + 10);
        Ok(())
    }

    fn on_timer(
        &self,
        timer: Timer,
        states: &mut Seen,
        stats: &mut Stats,
        context: &mut KeyedContext<User>,
        out: &mut Output<Summary, Side>,
    ) {
        stats.fired.add(1);
        // Later ones of the same key do not fire any more.
        for later in timer.time_ms() + 1..timer.time_ms() + 10 {
            context.delete_event_timer(later);
        }
        let pages: Vec<String> = states.pages.iter().map(|(page, count)| format!("{page}{count}")).collect();
        let clicks = states.clicks.take().unwrap_or(0);
        out.emit(Summary {
            user: context.key().user,
            clicks,
            pages: pages.join(" "),
            mean: states.mean.get().unwrap_or(0.0),
        });
        states.pages.clear();
        states.costs.clear();
    }
}

wasmill_sdk::export!(keyed_process: Tracker, connected_process: Matching, broadcast_process: Rules);

fn describe<T: wasmill_sdk::keyed::KeyedProcess>() -> wasmill_sdk::bindings::types::Description {
    T::describe(Identity { name: "test", version: "1.0.0" })
}

#[test]
fn states_are_declared_as_written() {
    let states = describe::<Tracker>().states;
    let seen: Vec<_> = states
        .iter()
        .map(|state| (state.name.as_str(), state.kind, state.value_kind, state.key_kind, state.schema_version))
        .collect();
    let expected = [
        ("clicks", StateKind::Value, Kind::Int64, None, 1),
        ("first", StateKind::Value, Kind::Utf8, None, 7),
        ("costs", StateKind::List, Kind::Int64, None, 1),
        ("pages", StateKind::Map, Kind::Int64, Some(Kind::Utf8), 1),
        ("largest", StateKind::Reducing, Kind::Int64, None, 1),
        ("mean", StateKind::Aggregating, Kind::Binary, None, 3),
    ];
    assert_eq!(seen, expected);
    let ttl = states[1].time_to_live.expect("declared");
    assert_eq!(
        (ttl.milliseconds, ttl.update, ttl.return_expired),
        (86_400_000, TimeToLiveUpdate::OnReadAndWrite, true)
    );
    assert!(states[0].time_to_live.is_none());
}

#[test]
fn states_and_timers_are_of_their_key() {
    let mut harness = KeyedProcessHarness::<Tracker>::keyed_by(["user"]);
    let clicks = [(1, click("a", "x", 3)), (2, click("b", "x", 0)), (3, click("a", "y", 5)), (4, click("a", "x", -1))];
    let result = harness.run_at(clicks);
    assert_eq!(result.side::<InputRow>("free"), [(2, InputRow)]);
    assert_eq!(result.rejected(), [(3, "a cost of -1")]);
    let key = || User { user: "a" };
    assert_eq!(harness.value::<i64>("clicks", key()), Some(2));
    assert_eq!(harness.value::<String>("first", key()).as_deref(), Some("x"));
    assert_eq!(harness.list::<i64>("costs", key()), [3, 5]);
    assert_eq!(harness.map::<String, i64>("pages", key()), BTreeMap::from([("x".into(), 1), ("y".into(), 1)]));
    assert_eq!(harness.value::<i64>("largest", key()), Some(5));
    assert_eq!(harness.event_timers(key()), [11, 13]);

    let snapshot = harness.snapshot();
    harness.run_at([(5, click("a", "x", 10))]);
    assert_eq!(harness.list::<i64>("costs", key()), [3, 5, 10]);
    for _ in 0..2 {
        harness.restore(&snapshot);
        harness.moment.watermark = 0;
        let fired = harness.advance_watermark(20);
        let summary = |user, clicks, pages: &str, mean| Summary { user, clicks, pages: pages.into(), mean };
        // The timer at 13 was deleted by that at 11.
        assert_eq!(fired.emitted::<Summary>(), [summary("a", 2, "x1 y1", 4.0), summary("b", 1, "x1", 0.0)]);
        assert_eq!((fired.timestamps_ms(), fired.metric("fired")), (vec![11, 12], vec![2.0]));
        assert_eq!(harness.value::<i64>("clicks", key()), None);
        assert!(harness.list::<i64>("costs", key()).is_empty());
        assert!(harness.map::<String, i64>("pages", key()).is_empty());
        assert_eq!(harness.value::<i64>("largest", key()), Some(5));
    }
}

/// Each timer deletes those of the ten milliseconds after it.
struct Thinning;

#[keyed_process]
impl Thinning {
    fn process(&mut self, _click: Click, context: &mut KeyedContext) {
        context.set_event_timer(context.timestamp_ms());
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext, out: &mut Output<()>) {
        (1..10).for_each(|after| context.delete_event_timer(timer.time_ms() + after));
        out.emit(());
    }
}

#[test]
fn a_timer_deleted_by_one_before_it_in_the_same_call_does_not_fire() {
    let moment = Moment { processing_time: 0, watermark: 30, seed: 0 };
    let timers = Timers { times: vec![11, 12, 13, 21], domains: vec![TimeDomain::EventTime; 4] };
    let keys = Keys { count: 2, rows: vec![0, 1, 0, 0], columns: Vec::new() };
    let fired = Thinning.fire(moment, timers, keys, Vec::new()).expect("it cannot fail");
    assert_eq!(fired.emission.main.origins, [0, 1, 3]);
}

#[derive(States)]
struct Lists<'a> {
    texts: ListState<'a, String>,
    last: ListState<'a, i64>,
}

/// Does to lists what its records say.
struct Lister;

#[keyed_process]
impl Lister {
    fn process(&mut self, click: Click, lists: &mut Lists) {
        let (texts, last) = (&mut lists.texts, &mut lists.last);
        match click.page {
            "push" => texts.push(click.cost.to_string()),
            "bounded" => texts.push_bounded(click.cost.to_string(), 3),
            "keep" => texts.keep_last(click.cost as usize),
            "replace" => texts.replace((0..click.cost).map(|value| value.to_string())),
            "drain" => drop(texts.drain()),
            _ => texts.as_mut_slice().reverse(),
        }
        last.push_bounded(click.cost, 5);
    }
}

#[test]
fn lists_do_what_vectors_do_whatever_the_batches() {
    let mut random = 1_u64;
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    let users = ["a", "b", "c"];
    let mut expected: BTreeMap<&str, (Vec<String>, Vec<i64>)> = BTreeMap::new();
    let mut harness = KeyedProcessHarness::<Lister>::keyed_by(["user"]);
    for _ in 0..200 {
        let mut batch = Vec::new();
        for _ in 0..below(20) {
            let (user, cost) = (users[below(3) as usize], below(6) as i64);
            let page = ["push", "push", "push", "bounded", "keep", "replace", "drain", "reverse"][below(8) as usize];
            let (texts, last) = expected.entry(user).or_default();
            match page {
                "push" => texts.push(cost.to_string()),
                "bounded" => {
                    texts.push(cost.to_string());
                    texts.drain(..texts.len().saturating_sub(3));
                }
                "keep" => drop(texts.drain(..texts.len().saturating_sub(cost as usize))),
                "replace" => *texts = (0..cost).map(|value| value.to_string()).collect(),
                "drain" => texts.clear(),
                _ => texts.reverse(),
            }
            last.push(cost);
            last.drain(..last.len().saturating_sub(5));
            batch.push(click(user, page, cost));
        }
        harness.run(batch);
        for (user, (texts, last)) in &expected {
            let user = users[users.iter().position(|known| known == user).expect("a user")];
            assert_eq!(harness.list::<String>("texts", User { user }), *texts);
            assert_eq!(harness.list::<i64>("last", User { user }), *last);
        }
    }
}

#[derive(States)]
struct Halves<'a> {
    left: ValueState<'a, i64>,
    right: ValueState<'a, i64>,
}

#[derive(Record, Debug, PartialEq)]
struct Both {
    left: i64,
    right: i64,
}

struct Matching;

#[connected_process]
impl Matching {
    fn process_first(&mut self, click: Click, halves: &mut Halves, out: &mut Output<Both>) {
        halves.left.set(click.cost);
        if let Some(right) = halves.right.value() {
            out.emit(Both { left: click.cost, right });
        }
    }

    fn process_second(&mut self, user: User, halves: &mut Halves, context: &mut KeyedContext, out: &mut Output<Both>) {
        let right = user.user.len() as i64;
        halves.right.set(right);
        context.set_processing_timer(context.processing_time_ms() + 5);
        if let Some(left) = halves.left.value() {
            out.emit(Both { left, right });
        }
    }

    fn on_timer(&mut self, timer: Timer, halves: &mut Halves) {
        assert!(!timer.is_event_time());
        halves.right.clear();
    }
}

#[test]
fn two_inputs_share_state() {
    let mut harness = ConnectedHarness::<Matching>::keyed_by(["user"]);
    assert!(harness.run_first([(1, click("ab", "x", 3)), (1, click("c", "x", 4))]).origins().is_empty());
    let result = harness.run_second([(2, User { user: "ab" })]);
    assert_eq!(result.emitted::<Both>(), [Both { left: 3, right: 2 }]);
    assert_eq!(harness.processing_timers(User { user: "ab" }), [5]);
    harness.advance_processing_time(5);
    assert_eq!(harness.value::<i64>("right", User { user: "ab" }), None);
    assert!(harness.run_first([(3, click("ab", "x", 9))]).origins().is_empty());
}

#[derive(States)]
struct Limits<'a> {
    limits: BroadcastState<'a, String, i64>,
}

#[derive(States)]
struct Above<'a> {
    above: ValueState<'a, i64>,
}

#[derive(Record)]
struct Limit<'a> {
    page: &'a str,
    limit: Option<i64>,
}

struct Rules;

#[broadcast_process]
impl Rules {
    fn prefetch(&self, click: Click, limits: &Limits) {
        limits.limits.prefetch(click.page);
    }

    fn process(&mut self, click: Click, limits: &Limits, above: &mut Above, out: &mut Output<InputRow>) {
        if limits.limits.get(click.page).is_some_and(|limit| click.cost > *limit) {
            *above.above.or_default() += 1;
            out.emit(InputRow);
        }
    }

    fn process_broadcast(&mut self, limit: Limit, limits: &mut Limits) -> Result<(), String> {
        match limit.limit {
            Some(new) => limits.limits.put(limit.page, new),
            None if limits.limits.entries().iter().all(|(page, _)| page != limit.page) => {
                return Err(format!("`{}` has no limit", limit.page));
            }
            None => limits.limits.remove(limit.page),
        }
        Ok(())
    }
}

#[test]
fn broadcast_state_is_read_by_one_input_and_written_by_the_other() {
    let mut harness = BroadcastHarness::<Rules>::keyed_by(["user"]);
    let limit = |page, limit| (0, Limit { page, limit });
    let result = harness.run_broadcast([limit("x", Some(5)), limit("y", Some(1)), limit("y", None), limit("z", None)]);
    assert_eq!(result.rejected(), [(3, "`z` has no limit")]);
    assert_eq!(harness.map::<String, i64>("limits", ()), BTreeMap::from([("x".into(), 5)]));
    let clicks =
        || [(1, click("a", "x", 6)), (2, click("a", "x", 5)), (3, click("b", "y", 9)), (4, click("a", "x", 7))];
    assert_eq!(harness.run_at(clicks()).origins(), [0, 3]);
    assert_eq!(harness.value::<i64>("above", User { user: "a" }), Some(2));
}
