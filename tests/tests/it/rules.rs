//! Many rules in one operator, in whole jobs: each does what it would alone, whatever becomes of the others. Must not know how rules come and go.
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use wasmill::{
    control::{ChangeRequest, JobReport, JobView, ShadowRequest, TrialSpec},
    dataflow::Last,
    plugin::Plugin,
};
use wasmill_tests::guests;

use super::jobs::{self, Variables};

/// Rules of a job, beside the first.
const RULES: usize = 300;
const FIRST_TIME_MS: i64 = 1_700_000_000_000;
/// The span in which payments are counted: all that there are.
const WITHIN_MS: i64 = 1_000_000_000_000_000;

/// Payments by the generator, through these rules, with parallelism 2.
fn job(source: &str, rules: &str) -> String {
    format!(
        "
name: payments
parallelism: 2
checkpoints: {{ directory: checkpoints, interval: 50ms }}
sources:
  payments:
    generator: {{ workload: transactions, {source} }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules:
    input: payments
    key: user
    rules:
{rules}
sinks:
  out: {{ input: rules, file: {{ path: out, delivery: exactly_once }} }}
"
    )
}

/// A version of the rules of the example.
fn live_rules(version: &str) -> String {
    let folder = guests::root().join("examples/live-rules").join(format!("rules-{version}"));
    guests::rust_plugin(&folder).display().to_string()
}

fn run(text: &str, folder: &Path) -> JobReport {
    jobs::run(text, folder, &Variables::new()).unwrap_or_else(|error| panic!("{error}"))
}

/// Alerts as rule, mark, time, user, amount, and number of payments; sorted.
type Alert = (String, i64, i64, i64, i64, i64);

fn alerts(folder: &Path) -> Vec<Alert> {
    let lines = jobs::lines(&folder.join("out")).into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let alert = |line: Value| {
        let number = |field: &str| line[field].as_i64().unwrap();
        let rule = line["rule"].as_str().unwrap().to_owned();
        (rule, number("mark"), number("timestamp"), number("user"), number("amount"), number("payments"))
    };
    let mut alerts: Vec<Alert> = lines.map(alert).collect();
    alerts.sort();
    alerts
}

#[test]
fn hundreds_of_rules_in_one_slot_give_what_each_gives() {
    let plugin = jobs::plugin("payment-alerts");
    let mut rules =
        format!("      all: {{ transform: {{ plugin: '{plugin}', config: {{ name: all, limit: -1 }} }} }}\n");
    for rule in 0..RULES {
        let (kind, what) = match rule % 2 {
            0 => ("transform", format!("limit: {}", 60_000 + rule * 100)),
            _ => ("keyed_process", format!("max: {}, within_ms: {WITHIN_MS}", 20 + rule / 8)),
        };
        let config = format!("{{ name: r{rule}, mark: {rule}, {what} }}");
        writeln!(rules, "      r{rule}: {{ {kind}: {{ plugin: '{plugin}', config: {config} }} }}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let report = run(&job("events: 2000, keys: 40", &rules), folder.path());
    let found = alerts(folder.path());

    let payments: Vec<Alert> = found.iter().filter(|alert| alert.0 == "all").cloned().collect();
    assert_eq!(payments.len(), 2000);
    let mut expected = payments.clone();
    let mut users: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (_, _, time, user, amount, _) in payments {
        let (count, spent) = users.entry(user).or_default();
        (*count, *spent) = (*count + 1, *spent + amount);
        for rule in 0..RULES as i64 {
            let alert = |payments| (format!("r{rule}"), rule, time, user, amount, payments);
            match rule % 2 {
                0 if amount > 60_000 + rule * 100 => expected.push(alert(1)),
                1 if *count > 20 + rule / 8 => expected.push(alert(*count)),
                _ => {}
            }
        }
    }
    // At the end of time.
    for (user, (count, spent)) in users {
        let too_many = (1..RULES as i64).step_by(2).filter(|rule| count > 20 + rule / 8);
        expected.extend(too_many.map(|rule| (format!("r{rule}"), rule, WITHIN_MS, user, spent, count)));
    }
    expected.sort();
    assert!(expected.len() > 10_000, "{}", expected.len());
    assert!(found == expected, "{} alerts instead of {}", found.len(), expected.len());
    let node = jobs::node(&report.nodes, "rules");
    assert_eq!((node.records_in, node.records_out), (2000, expected.len() as u64));
}

#[test]
fn a_rule_that_traps_is_passed_over_and_the_others_go_on() {
    let [sound, broken] = ["1.0", "2.1"].map(live_rules);
    let rule = |name: &str, plugin: &str, more: &str| {
        let config = "config: { limit: -1 }";
        format!("      {name}: {{ keyed_process: {{ plugin: '{plugin}', {config} }}, {more} }}\n")
    };
    // It fails on the first payment of each user, and so on all.
    let skip = "on_failure: skip, limits: { memory: 16MiB }";
    let rules = [rule("broken", &broken, skip), rule("sound", &sound, "on_error: skip")].concat();
    let (folder, alone) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let report = run(&job("events: 300, keys: 40", &rules), folder.path());
    run(&job("events: 300, keys: 40", &rule("sound", &sound, "on_error: skip")), alone.path());
    let lines = jobs::lines(&folder.path().join("out"));
    assert_eq!(lines.len(), 300);
    assert_eq!(lines, jobs::lines(&alone.path().join("out")));
    assert_eq!(jobs::node(&report.nodes, "rules").failed, 300);
}

#[test]
fn what_a_rule_rejects_or_fails_on_is_its_own_matter() {
    let broken = live_rules("2.1");
    let rules = format!("      first: {{ keyed_process: {{ plugin: '{broken}' }} }}\n");
    let folder = tempfile::tempdir().unwrap();
    let failed = jobs::run(&job("events: 10", &rules), folder.path(), &Variables::new()).unwrap_err().to_string();
    assert!(failed.contains("rules:first"), "{failed}");
}

/// A version, as a change of one rule: what it reports has this mark.
fn request(rule: &str, plugin: Option<Arc<Plugin>>, mark: i64) -> ChangeRequest {
    let configuration = Some(format!(r#"{{ "limit": -1, "mark": {mark} }}"#));
    ChangeRequest {
        operator: format!("rules:{rule}"),
        kind: None,
        plugin,
        configuration,
        trial: None,
        force: Vec::new(),
    }
}

/// Waits until so many payments more were reported by both rules.
async fn reported(view: &JobView, more: u64) {
    let count = || jobs::node(&view.nodes(), "rules").records_out;
    let until = count() + 2 * more;
    while count() < until && !view.has_ended() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn each_rule_is_swapped_shadowed_and_rolled_back_by_itself() {
    let [sound, next, broken] = ["1.0", "2.0", "2.1"].map(live_rules);
    let [next, broken] = [next, broken].map(|path| Plugin::load(jobs::engine(), path.as_ref()).unwrap());
    let rule = |name: &str, mark: i64| {
        let config = format!("config: {{ limit: -1, mark: {mark} }}");
        format!("      {name}: {{ keyed_process: {{ plugin: '{sound}', {config} }} }}\n")
    };
    let text = job("rate: 20000", &[rule("a", 10), rule("b", 20)].concat());
    let folder = tempfile::tempdir().unwrap();
    let prepared = jobs::prepared(&text, folder.path(), &Variables::new()).unwrap();
    jobs::runtime().block_on(async {
        let options = wasmill::control::JobOptions::of(&prepared.spec).unwrap();
        let here = Arc::new(wasmill::control::AllHere);
        let stop = CancellationToken::new();
        let job = wasmill::control::Job::start(prepared, jobs::environment(), here, options, stop);
        let view = job.view();
        let changes = async {
            reported(&view, 5000).await;
            let shadow = ShadowRequest { change: request("b", Some(next.clone()), 20), ignored: vec!["rules".into()] };
            view.shadow(view.prepare_shadow(shadow).unwrap()).await.unwrap();
            let swap = view.prepare_change(request("a", Some(next.clone()), 11)).unwrap();
            view.change(swap).await.unwrap();
            reported(&view, 5000).await;
            // The change of the other rule has not ended it.
            let compared = view.shadows().pop().unwrap().compared;
            assert!(compared.equal > 1000, "{compared:?}");
            let unequal = (compared.missing, compared.extra, compared.different, compared.failed);
            assert_eq!(unequal, (0, 0, 0, 0), "{compared:?}");
            let trial = TrialSpec {
                time: Duration::from_secs(600),
                with_state: false,
                rejected_max: None,
                failed_max: None,
                record_time_max: None,
            };
            let trial = ChangeRequest { trial: Some(trial), ..request("b", Some(broken), 21) };
            // It may fail before it is in force in both subtasks.
            let _ = view.change(view.prepare_change(trial).unwrap()).await;
            while view.starts() < 2 && !view.has_ended() {
                tokio::task::yield_now().await;
            }
            reported(&view, 1000).await;
            let versions: HashMap<_, _> = view.versions().into_iter().collect();
            let plugin = |rule: &str| versions[rule].plugin.as_str();
            assert_eq!((plugin("rules:a"), plugin("rules:b")), ("payment-rules@2.0.0", "payment-rules@1.0.0"));
            let rules = view.rules("rules").unwrap().rules;
            assert!(rules.iter().all(|rule| rule.added == 0 && rule.counts.records_out > 0), "{rules:?}");
            view.checkpoint(Last::Stop).await.unwrap();
        };
        tokio::join!(job.wait(), changes).0.unwrap();
    });
    let mut seen: HashMap<(bool, i64), i64> = HashMap::new();
    let lines = jobs::lines(&folder.path().join("out")).into_iter();
    let mut reports: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
    reports.sort_by_key(|report| report["timestamp"].as_i64());
    // Of both rules, in each split.
    let mut next = HashMap::new();
    let mut marks = std::collections::BTreeSet::new();
    for report in reports {
        let number = |field: &str| report[field].as_i64().unwrap();
        let (a, payment) = (number("mark") < 20, number("timestamp") - FIRST_TIME_MS);
        let next = next.entry((a, payment % 2)).or_insert(payment % 2);
        assert_eq!(payment, *next, "a payment is lost or doubled");
        *next += 2;
        let count = seen.entry((a, number("user"))).or_default();
        *count += 1;
        assert_eq!(number("payments"), *count, "{report}");
        marks.insert(number("mark"));
    }
    assert!((0..2).all(|split| next[&(true, split)] == next[&(false, split)]), "{next:?}");
    assert_eq!(marks.into_iter().collect::<Vec<_>>(), [10, 11, 20]);
}
