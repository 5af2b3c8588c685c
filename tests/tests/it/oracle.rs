//! Word count once more, in plain Rust and without a stream: says whether the golden cases' expected lines are right, and how
//! many records are late. Must not know the engine.
use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use wasmill_tests::guests;

/// A golden case over lines with an event time.
struct Case {
    name: &'static str,
    /// Its input, one file after the other.
    inputs: &'static [&'static str],
    /// How far behind a line may come, in ms; none if lateness cannot be told from the files alone.
    bound: Option<i64>,
    length: i64,
    offset: i64,
}

const fn case(name: &'static str, inputs: &'static [&'static str]) -> Case {
    Case { name, inputs, bound: None, length: 5000, offset: 0 }
}

const CASES: [Case; 10] = [
    Case { bound: Some(0), ..case("word-count", &["input.csv"]) },
    Case { bound: Some(3000), ..case("unordered", &["input.csv"]) },
    Case { bound: Some(2000), ..case("late", &["input.csv"]) },
    case("empty", &["input.csv"]),
    case("one-empty", &["input.csv", "nothing.csv"]),
    case("several-files", &["input-1.csv", "input-2.csv", "input-3.csv"]),
    case("union", &["input.csv", "others.jsonl"]),
    Case { bound: Some(0), ..case("unchained", &["input.csv"]) },
    Case { bound: Some(0), ..case("rebalance", &["input.csv"]) },
    Case { bound: Some(0), length: 4000, offset: 1500, ..case("offset", &["input.csv"]) },
];

/// Time and text of each record.
fn records(path: &Path) -> Vec<(i64, String)> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let record = |line: &str| {
        if line.starts_with('{') {
            let value: Value = serde_json::from_str(line).unwrap();
            return (value["at"].as_i64().unwrap(), value["line"].as_str().unwrap().to_owned());
        }
        let (at, line) = line.split_once(',').unwrap();
        (at.parse().unwrap(), line.replace('"', ""))
    };
    text.lines().filter(|line| !line.starts_with("at,")).map(record).collect()
}

/// The expected lines, and the words that are late.
fn count(case: &Case, folder: &Path) -> (Vec<Value>, Vec<Value>) {
    let mut counts: BTreeMap<(i64, String), i64> = BTreeMap::new();
    let (mut late, mut latest) = (Vec::new(), i64::MIN / 2);
    for (at, line) in case.inputs.iter().flat_map(|input| records(&folder.join(input))) {
        let start = (at - case.offset).div_euclid(case.length) * case.length + case.offset;
        // A window is over once a record so far beyond its end has come that nothing of it is awaited.
        let over = case.bound.is_some_and(|bound| latest - bound >= start + case.length);
        for word in line.split_whitespace().map(str::to_lowercase) {
            if over {
                late.push(json!({ "word": word }));
            } else {
                *counts.entry((start, word)).or_default() += 1;
            }
        }
        latest = latest.max(at);
    }
    let line = |((start, word), count): ((i64, String), i64)| json!({ "word": word, "window_start": start, "window_end": start + case.length, "count": count });
    (counts.into_iter().map(line).collect(), late)
}

fn same(case: &Case, expected: &Path, mut computed: Vec<Value>) {
    let text = fs::read_to_string(expected).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
    let mut expected: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    expected.sort_by_key(Value::to_string);
    computed.sort_by_key(Value::to_string);
    assert_eq!(expected, computed, "{}", case.name);
}

#[test]
fn the_expected_word_counts_are_right() {
    for case in &CASES {
        let folder = guests::root().join("tests/golden").join(case.name);
        let (counts, late) = count(case, &folder);
        same(case, &folder.join("expected.jsonl"), counts);
        if case.name == "late" {
            same(case, &folder.join("expected.late.jsonl"), late);
        } else {
            assert!(late.is_empty(), "{}: {late:?}", case.name);
        }
    }
}
