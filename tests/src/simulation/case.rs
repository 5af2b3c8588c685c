//! The jobs that are simulated: their events, and what a sequential program makes of these. Guarantees: results do not depend on the
//! order in which splits are read.
use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

/// The records of a split, with numbers that go up as they happened.
pub type Split = Vec<(u64, String)>;

/// A job, its input and its outcome.
pub struct Case {
    /// For messages.
    pub name: &'static str,
    /// The operator, as in a job file; `${PLUGIN}` is its component.
    pub operator: &'static str,
    /// The plugin's folder.
    pub plugin: &'static str,
    /// The source's columns and time.
    pub source: &'static str,
    /// Makes the records of all splits.
    pub events: fn(&mut Rng, &mut [Split]),
    /// The outcome, sorted.
    pub expected: fn(&[Split]) -> Vec<String>,
}

const EVENTS: &str =
    "schema: { userId: i64, itemId: i64, behavior: string, at: i64 }, time: { column: at, out_of_orderness: 50ms }";

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "fraud",
        operator: "key: user, keyed_process: { plugin: \"${PLUGIN}\" }",
        plugin: "fraud-detection",
        source: "schema: { user: i64, amount: i64, timestamp: i64 }, time: { column: timestamp }",
        events: transactions,
        expected: alerts,
    },
    Case {
        name: "tumbling",
        operator: "key: userId, window: { tumbling: 100ms }, aggregate: { plugin: \"${PLUGIN}\" }",
        plugin: "user-behavior",
        source: EVENTS,
        events: behavior,
        expected: |splits| counted(splits, 100, 100),
    },
    Case {
        name: "sliding",
        operator: "key: userId, window: { sliding: { size: 150ms, slide: 50ms } }, aggregate: { plugin: \"${PLUGIN}\" }",
        plugin: "user-behavior",
        source: EVENTS,
        events: behavior,
        expected: |splits| counted(splits, 150, 50),
    },
    Case {
        name: "session",
        operator: "key: userId, window: { session: 40ms }, aggregate: { plugin: \"${PLUGIN}\" }",
        plugin: "session-analysis",
        source: EVENTS,
        events: behavior,
        expected: sessions,
    },
];

fn number(record: &str, field: &str) -> i64 {
    let value: serde_json::Value = serde_json::from_str(record).expect("a record of ours");
    value[field].as_i64().expect("a number of ours")
}

fn transactions(random: &mut Rng, splits: &mut [Split]) {
    let users = random.i64(1..12);
    let parts = splits.len() as i64;
    let mut at = 0;
    for happened in 0..random.u64(20..250) {
        // Half of the time a period passes within a few events.
        at += if random.bool() { random.i64(1..20) } else { random.i64(1..200_000) };
        let user = random.i64(0..users);
        let amount = if random.bool() { random.i64(1..100) } else { random.i64(9_000..30_000) };
        let record = format!(r#"{{"user":{user},"amount":{amount},"timestamp":{at}}}"#);
        splits[(user % parts) as usize].push((happened, record));
    }
}

fn alerts(splits: &[Split]) -> Vec<String> {
    #[derive(Default)]
    struct User {
        count: i64,
        until: Option<i64>,
        last: Vec<i64>,
    }
    let mut users: BTreeMap<i64, User> = BTreeMap::new();
    let mut alerts = Vec::new();
    for (_, record) in splits.iter().flatten() {
        let (user, amount, at) = (number(record, "user"), number(record, "amount"), number(record, "timestamp"));
        let known = users.entry(user).or_default();
        let mut alert = |rule: i64, value: i64| {
            alerts.push(format!(r#"{{"rule":"R{rule}","user":{user},"timestamp":{at},"value":{value}}}"#));
        };
        if amount > 10_000 {
            if known.until.is_none_or(|until| at >= until) {
                (known.count, known.until) = (1, Some(at + 300_000));
            } else {
                known.count += 1;
                if known.count > 3 {
                    alert(1, known.count);
                }
            }
            if known.last.len() == 5 && known.last.iter().all(|amount| *amount < 100) {
                alert(2, amount);
            }
        }
        known.last.push(amount);
        if known.last.len() > 5 {
            known.last.remove(0);
        }
    }
    alerts.sort();
    alerts
}

fn behavior(random: &mut Rng, splits: &mut [Split]) {
    let users = random.i64(1..12);
    let parts = splits.len() as i64;
    let mut now = 1_000;
    for happened in 0..random.u64(20..250) {
        now += random.i64(0..30);
        let (user, item) = (random.i64(0..users), random.i64(0..6));
        let kind = ["pv", "cart", "fav", "buy"][random.usize(..4)];
        let at = now - random.i64(0..=50);
        let record = format!(r#"{{"userId":{user},"itemId":{item},"behavior":"{kind}","at":{at}}}"#);
        splits[random.i64(0..parts) as usize].push((happened, record));
    }
}

fn counted(splits: &[Split], size: i64, slide: i64) -> Vec<String> {
    let mut windows: BTreeMap<(i64, i64), ([i64; 4], BTreeSet<i64>)> = BTreeMap::new();
    for (_, record) in splits.iter().flatten() {
        let (user, item, at) = (number(record, "userId"), number(record, "itemId"), number(record, "at"));
        let kind = ["pv", "cart", "fav", "buy"].iter().position(|kind| record.contains(&format!("\"{kind}\"")));
        let mut start = at.div_euclid(slide) * slide;
        while start + size > at {
            let (counts, items) = windows.entry((user, start)).or_default();
            counts[kind.expect("a kind of ours")] += 1;
            items.insert(item);
            start -= slide;
        }
    }
    let line = |((user, start), ([pv, cart, fav, buy], items)): ((i64, i64), ([i64; 4], BTreeSet<i64>))| {
        let end = start + size;
        let items = items.len();
        format!(
            r#"{{"userId":{user},"window_start":{start},"window_end":{end},"pv":{pv},"cart":{cart},"fav":{fav},"buy":{buy},"distinctItems":{items}}}"#
        )
    };
    let mut lines: Vec<String> = windows.into_iter().map(line).collect();
    lines.sort();
    lines
}

fn sessions(splits: &[Split]) -> Vec<String> {
    const GAP: i64 = 40;
    let mut users: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for (_, record) in splits.iter().flatten() {
        users.entry(number(record, "userId")).or_default().push((number(record, "at"), number(record, "itemId")));
    }
    let mut lines = Vec::new();
    for (user, mut events) in users {
        events.sort_unstable();
        for session in events.chunk_by(|(earlier, _), (later, _)| later - earlier < GAP) {
            let ((start, first), (last, item), count) = (session[0], session[session.len() - 1], session.len());
            let end = last + GAP;
            lines.push(format!(
                r#"{{"userId":{user},"window_start":{start},"window_end":{end},"firstTime":{start},"firstItem":{first},"lastTime":{last},"lastItem":{item},"count":{count}}}"#
            ));
        }
    }
    lines.sort();
    lines
}
