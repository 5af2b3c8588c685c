//! An operator changed over HTTP hundreds of times, as fast as the real server answers, while the server is killed: no answered change is
//! lost, and every payment is reported once, by the version of its place in the input. Must not know how versions are kept.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use fastrand::Rng;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{
    jobs,
    operators::{path, push},
    server::{self, Server},
};

/// Changes put in force, each with a mark of its own: 1, 2, 3 and so on.
const SWAPS: u64 = 200;
/// How often the server is killed when it has just answered, and how often before it answers.
const KILLS: [(Kill, usize); 2] = [(Kill::Answered, 2), (Kill::UnderWay, 3)];
/// The most payments that are awaited between two changes.
const PROGRESS_MAX: u64 = 400;
/// Nobody is to be told to ask less often.
const ARGUMENTS: [&str; 2] = ["--rate-limit", "1000000"];

/// When the server is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kill {
    Answered,
    UnderWay,
}

fn job(out: &Path) -> String {
    format!(
        "
name: payments
parallelism: 2
checkpoints: {{ directory: checkpoints, interval: 50ms }}
sources:
  payments:
    generator: {{ workload: transactions, rate: 20000, keys: 1000 }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules: {{ input: payments, key: user, keyed_process: {{ plugin: 'payment-rules@1.0.0', config: {{ limit: -1 }} }} }}
sinks:
  out: {{ input: rules, file: {{ path: '{}', delivery: exactly_once }} }}
",
        out.display()
    )
}

/// Which version of the rules has a mark, as it says in its reports.
fn version(mark: u64) -> &'static str {
    if mark.is_multiple_of(2) { "1.0" } else { "2.0" }
}

/// The mark in a configuration.
fn mark(configuration: &Value) -> u64 {
    configuration.get("mark").map_or(0, |mark| mark.as_u64().unwrap())
}

/// Waits until the job runs.
async fn running(server: &Server) {
    while server.json("/v1/jobs/payments").await["state"] != "running" {}
}

/// Waits until the rules have reported so many payments more.
async fn progress(server: &Server, more: u64) {
    let count = async || {
        let graph = server.json("/v1/jobs/payments/graph").await;
        let rules = graph["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "rules").unwrap();
        rules["records_out"].as_u64().unwrap()
    };
    let until = count().await + more;
    while count().await < until {}
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
    let wanted = json!({ "plugin": plugin, "configuration": { "limit": -1, "mark": mark } });
    server.request(Method::POST, &path("/swap")).json(&wanted)
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
    kills: BTreeMap<u64, Kill>,
    /// What is in force.
    mark: u64,
    /// The numbers of changes that were answered.
    answered: BTreeSet<u64>,
    /// How long the latest of them took.
    took: Duration,
}

impl Load {
    /// Asks for the next mark, and kills the server before it answers or just after if that is due.
    async fn step(mut self) -> Load {
        progress(&self.server, self.random.u64(1..=PROGRESS_MAX)).await;
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
        running(&self.server).await;
        self.mark = in_force(&self.server).await;
        assert!(possible.contains(&self.mark), "{} is in force, not {possible:?}, after {kill:?}", self.mark);
        self
    }
}

/// Fails unless all changes that were answered are remembered, in order.
async fn check_history(server: &Server, answered: &BTreeSet<u64>) {
    let history = server.json(&path("/versions")).await;
    let made = history["items"].as_array().unwrap().iter().filter(|change| change["outcome"] == "in_force");
    let made: Vec<u64> = made.map(|change| change["to"]["change"].as_u64().unwrap()).collect();
    assert!(made.is_sorted_by(|one, other| one < other), "{made:?}");
    let forgotten: Vec<_> = answered.iter().filter(|change| !made.contains(change)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?} of {made:?}");
}

/// Fails unless every payment of both splits, up to some, is reported once, with the count of its user, and by versions one after the
/// other; their marks.
fn check_reports(out: &Path) -> BTreeSet<u64> {
    const FIRST_TIME_MS: u64 = 1_700_000_000_000;
    let reports = jobs::lines(out).into_iter().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let mut reports: Vec<_> = reports
        .map(|report| {
            let number = |field: &str| report[field].as_u64().unwrap();
            let [user, payments, mark] = ["user", "payments", "mark"].map(number);
            assert_eq!(report["rules"], version(mark), "{report}");
            (number("timestamp") - FIRST_TIME_MS, user, payments, mark)
        })
        .collect();
    reports.sort_unstable();
    let (mut next, mut latest) = ([0, 1], [0, 0]);
    // A user's payments are all of one split.
    let mut counts = HashMap::new();
    for &(number, user, payments, mark) in &reports {
        let split = (number % 2) as usize;
        assert_eq!(number, next[split], "a payment of split {split} is lost or doubled");
        assert!(mark >= latest[split], "payment {number} is reported by {mark}, one before by {}", latest[split]);
        (next[split], latest[split]) = (number + 2, mark);
        let count = counts.entry(user).or_insert(0);
        *count += 1;
        assert_eq!(payments, *count, "payment {number} of user {user}");
    }
    assert!(next.iter().all(|next| *next > SWAPS), "{next:?}");
    reports.into_iter().map(|(.., mark)| mark).collect()
}

#[tokio::test]
async fn hundreds_of_swaps_and_some_kills_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let server = Server::start(&ARGUMENTS);
    for version in ["1.0", "2.0"] {
        push(&server, version).await;
    }
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(job(&out));
    server::json(submitted.send().await.unwrap(), 201).await;
    running(&server).await;

    let mut random = Rng::with_seed(21);
    let kills = kills(&mut random);
    let mut load = Load { server, random, kills, mark: 0, answered: BTreeSet::new(), took: Duration::ZERO };
    while load.mark < SWAPS {
        load = load.step().await;
    }
    assert!(load.kills.is_empty(), "{:?} were never due", load.kills);
    let Load { server, answered, .. } = load;
    progress(&server, PROGRESS_MAX).await;
    check_history(&server, &answered).await;
    let stopped = server.request(Method::POST, "/v1/jobs/payments/stop").send().await.unwrap();
    assert_eq!(server::json(stopped, 200).await["job"]["state"], "stopped");

    let marks = check_reports(&out);
    // What was reported between the latest checkpoint and a kill is reported again by a later version.
    assert!(marks.contains(&SWAPS) && marks.len() as u64 > SWAPS / 2, "{marks:?}");
}
