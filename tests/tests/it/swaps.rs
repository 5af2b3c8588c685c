//! An operator changed over HTTP hundreds of times at half of the speed it can reach, while the server is killed: no answered change is lost, and
//! of every payment is reported what the version of its place in the input reports, once. Must not know how versions are kept.
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use fastrand::Rng;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{
    payments::{OPERATOR, push, reports},
    server::{self, Server},
};

/// Changes put in force, each with a mark of its own: 1, 2, 3 and so on.
const SWAPS: u64 = 200;
/// How often the server is killed when it has just answered, and how often before it answers.
const KILLS: [(Kill, usize); 2] = [(Kill::Answered, 2), (Kill::UnderWay, 3)];
/// The longest time, at the rate of the job, for whose payments is waited between two changes.
const PROGRESS_MAX: Duration = Duration::from_millis(40);
/// For how long it is measured how fast the job can be.
const MEASURED: Duration = Duration::from_secs(2);
/// Payments above this are reported by all versions.
const LIMIT: u64 = 10_000;
/// Nobody is to be told to ask less often.
const ARGUMENTS: [&str; 2] = ["--rate-limit", "1000000"];

/// When the server is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    Answered,
    UnderWay,
}

/// All payments, so many a second if the rate is limited.
fn job(name: &str, rate: Option<u64>, out: &Path) -> String {
    let rate = rate.map(|rate| format!(", rate: {rate}")).unwrap_or_default();
    format!(
        "
name: {name}
parallelism: 2
checkpoints: {{ directory: checkpoints-{name}, interval: 200ms }}
sources:
  payments:
    generator: {{ workload: transactions{rate} }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules: {{ input: payments, key: user, keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: {LIMIT} }} }} }}
sinks:
  out: {{ input: rules, file: {{ path: '{}', delivery: exactly_once }} }}
",
        out.display()
    )
}

/// Submits a job, and waits until it runs.
async fn submit(server: &Server, name: &str, rate: Option<u64>, out: &Path) {
    let request = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml");
    server::json(request.body(job(name, rate, out)).send().await.unwrap(), 201).await;
    server.runs(name).await;
}

/// Payments that the rules of a job have seen since its latest start.
async fn seen(server: &Server, name: &str) -> u64 {
    server.count(name, "rules", "records_in").await
}

/// How many payments a second the job can do.
async fn top_speed(server: &Server, out: &Path) -> u64 {
    submit(server, "unlimited", None, out).await;
    while seen(server, "unlimited").await == 0 {}
    let (before, began) = (seen(server, "unlimited").await, Instant::now());
    while began.elapsed() < MEASURED {
        seen(server, "unlimited").await;
    }
    let speed = (seen(server, "unlimited").await - before) as f64 / began.elapsed().as_secs_f64();
    let cancelled = server.request(Method::POST, "/v1/jobs/unlimited/cancel").send().await.unwrap();
    assert!(cancelled.status().is_success(), "{cancelled:?}");
    speed as u64
}

/// Which version of the rules has a mark, as it says in its reports.
fn version(mark: u64) -> &'static str {
    if mark.is_multiple_of(2) { "1.0" } else { "2.0" }
}

/// The mark in a configuration.
fn mark(configuration: &Value) -> u64 {
    configuration.get("mark").map_or(0, |mark| mark.as_u64().unwrap())
}

/// Waits until the rules have seen so many payments more.
async fn progress(server: &Server, more: u64) {
    let until = seen(server, "payments").await + more;
    while seen(server, "payments").await < until {}
}

/// The mark of what is in force.
async fn in_force(server: &Server) -> u64 {
    let page = server.json("/v1/jobs/payments/operators").await;
    let [rules] = &page["items"].as_array().unwrap()[..] else { panic!("{page}") };
    let mark = mark(&rules["configuration"]);
    assert_eq!(rules["plugin"], format!("payment-rules@{}.0", version(mark)), "{page}");
    mark
}

/// The request for the version of a mark.
fn swap(server: &Server, mark: u64) -> RequestBuilder {
    let plugin = format!("payment-rules@{}.0", version(mark));
    let wanted = json!({ "plugin": plugin, "configuration": { "limit": LIMIT, "mark": mark } });
    server.request(Method::POST, &OPERATOR.path("/swap")).json(&wanted)
}

/// The number of the change that put a mark in force. Fails if the answer does not come.
async fn answer(request: RequestBuilder, wanted: u64) -> reqwest::Result<u64> {
    let response = request.send().await?;
    let (status, text) = (response.status(), response.text().await?);
    assert_eq!(status, 200, "mark {wanted}: {text}");
    let swapped: Value = serde_json::from_str(&text).unwrap();
    let marks = ["from", "to"].map(|side| mark(&swapped[side]["configuration"]));
    assert_eq!(marks, [wanted - 1, wanted], "{swapped}");
    Ok(swapped["to"]["change"].as_u64().unwrap())
}

/// From which marks on the server is to be killed, and when.
fn kills(random: &mut Rng) -> BTreeMap<u64, Kill> {
    let mut kills = BTreeMap::new();
    for (kill, times) in KILLS {
        let until = kills.len() + times;
        while kills.len() < until {
            kills.entry(random.u64(1..SWAPS * 3 / 4)).or_insert(kill);
        }
    }
    kills
}

/// A server that is asked for one change after the other.
struct Load {
    server: Server,
    random: Rng,
    /// The most payments that are awaited between two changes.
    progress_max: u64,
    kills: BTreeMap<u64, Kill>,
    /// What is in force.
    mark: u64,
    /// What was in force after the latest kill.
    killed: u64,
    /// The numbers of changes that were answered.
    answered: BTreeSet<u64>,
    /// How long the latest of them took.
    took: Duration,
}

impl Load {
    /// Asks for the next mark, and kills the server before it answers or just after if that is due.
    async fn step(mut self) -> Load {
        progress(&self.server, self.random.u64(1..=self.progress_max)).await;
        let next = self.mark + 1;
        let due = self.kills.first_key_value().filter(|(from, _)| **from <= next).map(|(_, kill)| *kill);
        let asked = Instant::now();
        let mut answer = pin!(answer(swap(&self.server, next), next));
        if due == Some(Kill::UnderWay) {
            let patience = self.took.mul_f64(self.random.f64());
            // One that is answered in that time is not killed: the next may be.
            if let Ok(answered) = tokio::time::timeout(patience, answer.as_mut()).await {
                return self.answered(next, answered.unwrap(), asked);
            }
            let data = self.server.kill();
            // The answer may have been on its way.
            let change = answer.await.ok();
            self.answered.extend(change);
            let possible = if change.is_some() { next..=next } else { self.mark..=next };
            self.server = Server::start_in(data, &ARGUMENTS);
            return self.restarted(possible).await;
        }
        let change = answer.await.unwrap();
        self = self.answered(next, change, asked);
        if due.is_some() {
            self.server = Server::start_in(self.server.kill(), &ARGUMENTS);
            return self.restarted(next..=next).await;
        }
        self
    }

    /// Goes on with a mark that was put in force by a change.
    fn answered(mut self, mark: u64, change: u64, asked: Instant) -> Load {
        assert!(self.answered.last().is_none_or(|last| *last < change), "change {change} after {:?}", self.answered);
        self.answered.insert(change);
        Load { mark, took: asked.elapsed(), ..self }
    }

    /// Fails unless the server that was started again goes on with one of these marks.
    async fn restarted(mut self, possible: RangeInclusive<u64>) -> Load {
        let kill = self.kills.pop_first();
        self.server.runs("payments").await;
        self.mark = in_force(&self.server).await;
        self.killed = self.mark;
        assert!(possible.contains(&self.mark), "{} is in force, not {possible:?}, after {kill:?}", self.mark);
        self
    }
}

/// Fails unless all changes that were answered are remembered, in order, and who has asked for any that was made is in the audit log.
async fn check_history(server: &Server, answered: &BTreeSet<u64>) {
    let history = server.json(&OPERATOR.path("/versions?limit=500")).await;
    let made = history["items"].as_array().unwrap().iter().filter(|change| change["outcome"] == "in_force");
    let made: Vec<u64> = made.map(|change| change["to"]["change"].as_u64().unwrap()).collect();
    assert!(made.is_sorted_by(|one, other| one < other), "{made:?}");
    let forgotten: Vec<_> = answered.iter().filter(|change| !made.contains(change)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?} of {made:?}");
    let audit = server.json("/v1/audit?limit=500").await;
    assert_eq!(audit["next"], Value::Null);
    let entries = || audit["items"].as_array().unwrap().iter();
    let noted = |change: &u64| {
        entries().any(|entry| entry["to"].as_str().is_some_and(|to| to.contains(&format!("(change {change},"))))
    };
    let missing: Vec<_> = made.iter().filter(|change| !noted(change)).collect();
    let begun =
        entries().filter(|entry| entry["action"] == "request" && entry["subject"].as_str().unwrap().ends_with("/swap"));
    assert!(missing.len() <= begun.count(), "nobody has asked for {missing:?}: {audit}");
}

/// Number `i` of a sequence of random numbers, as the workload is defined.
fn random(seed: u64, i: u64) -> u64 {
    let z = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// User and amount of a payment, as the workload is defined.
pub fn payment(i: u64) -> (u64, u64) {
    let (a, c) = (random(3, 2 * i), random(3, 2 * i + 1));
    let below = |bits: u64, limit: u64| ((bits & 0xffff_ffff) * limit) >> 32;
    let user = if below(c, 100) < 20 { below(a >> 32, 125) } else { below(a >> 32, 12_500) } * 8 + (i & 7);
    let amount = match below(c >> 32, 100) {
        0..50 => 1 + below(a, 99),
        50..95 => 100 + below(a, 9_901),
        _ => 10_001 + below(a, 90_000),
    };
    (user, amount)
}

/// What has been seen of one split's payments.
#[derive(Clone, Copy, Debug, Default)]
struct Split {
    /// Its last payment that was reported.
    last: u64,
    /// By which version the latest was.
    mark: u64,
    /// A later one that only version 2.0 reports was not.
    passed_over: Option<u64>,
}

/// Fails unless of every payment of both splits, up to some, is reported what there is to report, once, with the count of its user, and by versions
/// one after the other; their marks.
fn check_reports(out: &Path) -> BTreeSet<u64> {
    let reports = reports(out);
    let mut splits = [Split::default(); 2];
    for report in &reports {
        splits[(report.number() % 2) as usize].last = report.number();
    }
    let mut next = reports.iter().peekable();
    // Payments of each user, and what they come to.
    let mut histories = vec![(0, 0); 100_000];
    let (mut unusual_reported, mut unusual_passed_over) = (0, 0);
    for number in 0..=reports.last().expect("reports").number() {
        let split = &mut splits[(number % 2) as usize];
        if number > split.last {
            continue;
        }
        let (user, amount) = payment(number);
        let (payments, spent) = &mut histories[user as usize];
        let unusual = *payments >= 5 && amount * *payments > *spent * 20;
        (*payments, *spent) = (*payments + 1, *spent + amount);
        let Some(report) = next.next_if(|report| report.number() == number) else {
            assert!(amount <= LIMIT, "payment {number} is lost");
            if unusual {
                split.passed_over = Some(number);
                unusual_passed_over += 1;
            }
            continue;
        };
        assert_eq!((report.user, report.amount, report.payments), (user, amount, *payments), "payment {number}");
        assert_eq!(report.rules, version(report.mark), "payment {number}");
        assert!(
            report.mark >= split.mark,
            "payment {number} is reported by {}, one before by {}",
            report.mark,
            split.mark
        );
        if amount <= LIMIT {
            assert!(unusual && report.rules == "2.0", "payment {number} is none that {report:?} reports");
            unusual_reported += 1;
        }
        if let Some(passed_over) = split.passed_over.take() {
            let by_1_0 = (split.mark..=report.mark).any(|mark| version(mark) == "1.0");
            assert!(by_1_0, "payment {passed_over} is lost, before and after it {} is in force", report.mark);
        }
        split.mark = report.mark;
    }
    assert!(next.next().is_none(), "a payment is reported twice");
    assert!(unusual_reported > 0 && unusual_passed_over > 0, "{unusual_reported} and {unusual_passed_over}");
    println!("{} reports of {} payments", reports.len(), splits[0].last.max(splits[1].last) + 1);
    reports.into_iter().map(|report| report.mark).collect()
}

#[tokio::test]
async fn hundreds_of_swaps_and_some_kills_at_half_of_top_speed_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let server = Server::start(&ARGUMENTS);
    for version in ["1.0", "2.0"] {
        push(&server, version).await;
    }
    let rate = top_speed(&server, &folder.path().join("unlimited")).await / 2;
    println!("{rate} payments a second");
    submit(&server, "payments", Some(rate), &out).await;

    let mut random = Rng::with_seed(21);
    let kills = kills(&mut random);
    let progress_max = (PROGRESS_MAX.as_secs_f64() * rate as f64) as u64;
    let (answered, took) = (BTreeSet::new(), Duration::ZERO);
    let mut load = Load { server, random, progress_max, kills, mark: 0, killed: 0, answered, took };
    while load.mark < SWAPS {
        load = load.step().await;
    }
    assert!(load.kills.is_empty(), "{:?} were never due", load.kills);
    let Load { server, killed, answered, .. } = load;
    progress(&server, progress_max).await;
    check_history(&server, &answered).await;
    let stopped = server.request(Method::POST, "/v1/jobs/payments/stop").send().await.unwrap();
    assert_eq!(server::json(stopped, 200).await["job"]["state"], "stopped");

    let marks = check_reports(&out);
    // What was reported between the latest checkpoint and a kill is reported again by a later version; and some are not in force for long.
    let since = marks.range(killed + 1..).count() as u64;
    assert!(marks.contains(&SWAPS) && since >= (SWAPS - killed) / 2, "{killed}: {marks:?}");
}
