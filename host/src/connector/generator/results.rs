//! The generated input is right if what the workloads' jobs make of it is what an independent computation found.
use std::collections::{HashMap, HashSet};

use super::{behavior, lines, transactions};
use crate::{connector::discard::fnv1a, writer::Writer};

const EVENTS: u64 = 200_000;

/// The checksum and number of output lines.
fn summary(output: impl IntoIterator<Item = String>) -> (String, usize) {
    let hashes = output.into_iter().map(|line| fnv1a(line.as_bytes()));
    let (sum, count) = hashes.fold((0u64, 0), |(sum, count), hash| (sum.wrapping_add(hash), count + 1));
    (format!("{sum:016x}"), count)
}

fn made(push: impl Fn(&mut Writer, u64) -> i64, max: usize) -> impl Iterator<Item = String> {
    (0..EVENTS).map(move |i| {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, max);
        push(&mut writer, i);
        writer.finish();
        assert!(out.len() <= max);
        String::from_utf8(out).unwrap()
    })
}

#[test]
fn words_are_counted_as_expected() {
    let mut counts = HashMap::new();
    for (i, line) in made(lines::push, lines::RECORD_BYTES_MAX).enumerate() {
        let window = lines::time(i as u64) / 5000 * 5000;
        for word in line.to_lowercase().split(' ') {
            *counts.entry((word.to_string(), window)).or_insert(0) += 1;
        }
    }
    let output = counts.into_iter().map(|((word, window), count)| format!("{word},{window},{count}"));
    assert_eq!(summary(output), ("8aa0758ae48b6d18".into(), 37_442));
}

fn members<const N: usize>(record: &str, names: [&str; N]) -> [serde_json::Value; N] {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(record).unwrap();
    assert_eq!(object.len(), N);
    names.map(|name| object.remove(name).unwrap())
}

#[test]
fn behaviour_is_scored_as_expected() {
    let output = made(behavior::push, behavior::RECORD_BYTES_MAX).filter_map(|record| {
        let [user, item, kind, time] = members(&record, ["userId", "itemId", "behavior", "timestamp"]);
        let score = match kind.as_str().unwrap() {
            "cart" => 2,
            "fav" => 3,
            "buy" => 5,
            other => {
                assert_eq!(other, "pv");
                return None;
            }
        };
        Some(format!("{{\"userId\":{user},\"itemId\":{item},\"score\":{score},\"timestamp\":{time}}}"))
    });
    assert_eq!(summary(output), ("404cf5cadf894ed7".into(), 80_095));
    assert_eq!(made(behavior::push, 96).take(1000).collect::<HashSet<_>>().len(), 1000);
}

#[test]
fn fraud_is_found_as_expected() {
    #[derive(Default)]
    struct User {
        count: u64,
        until: u64,
        last: Vec<u64>,
    }
    let (mut users, mut output) = (HashMap::<u64, User>::new(), Vec::new());
    for record in made(transactions::push, transactions::RECORD_BYTES_MAX) {
        let [id, amount, time] = members(&record, ["user", "amount", "timestamp"]).map(|value| value.as_u64().unwrap());
        let user = users.entry(id).or_default();
        if amount > 10_000 {
            if time >= user.until {
                (user.count, user.until) = (1, time + 300_000);
            } else {
                user.count += 1;
                if user.count > 3 {
                    output.push(format!("R1,{id},{time},{}", user.count));
                }
            }
            if user.last.len() == 5 && user.last.iter().all(|amount| *amount < 100) {
                output.push(format!("R2,{id},{time},{amount}"));
            }
        }
        user.last.push(amount);
        if user.last.len() > 5 {
            user.last.remove(0);
        }
    }
    assert_eq!(summary(output), ("81907e9527da9d74".into(), 320));
}
