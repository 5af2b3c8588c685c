//! What tests of changes over HTTP share: a job whose payments are reported by rules that come in versions, each payment with the count of its user,
//! on the real server. Must not know what is changed.
use std::{collections::HashMap, fs, path::Path};

use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::Value;
use wasmill_tests::guests;

use super::{
    jobs,
    server::{Server, json},
};

/// Where a version of the rules runs.
pub struct Slot {
    /// By which requests name it.
    pub name: &'static str,
    step: &'static str,
}

/// As the plugin of an operator.
pub const OPERATOR: Slot =
    Slot { name: "rules", step: "keyed_process: { plugin: 'payment-rules@1.0.0', config: { limit: -1 } }" };
/// As a rule of one.
pub const RULE: Slot = Slot {
    name: "rules:only",
    step: "rules: { only: { keyed_process: { plugin: 'payment-rules@1.0.0', config: { limit: -1 } } } }",
};

impl Slot {
    pub fn path(&self, what: &str) -> String {
        format!("/v1/jobs/payments/operators/{}{what}", self.name)
    }

    pub async fn ask(&self, server: &Server, method: Method, what: &str, body: Value) -> Response {
        server.request(method, &self.path(what)).json(&body).send().await.unwrap()
    }

    /// Reports on all payments, by version 1.0, so many a second.
    pub fn job(&self, rate: u32, out: &Path) -> String {
        self.text("", rate, "", "", out)
    }

    /// The same in two subtasks; payments whose calls fail are in a folder beside, whose name ends in `-dead`.
    pub fn job_with_dead_letters(&self, rate: u32, out: &Path) -> String {
        let dead = format!(
            "\n  dead: {{ input: rules.rejected, file: {{ path: '{}-dead', delivery: exactly_once }} }}",
            out.display()
        );
        self.text("parallelism: 2\n", rate, ", on_failure: dead_letter", &dead, out)
    }

    fn text(&self, job: &str, rate: u32, operator: &str, sinks: &str, out: &Path) -> String {
        format!(
            "
name: payments
{job}checkpoints: {{ directory: checkpoints, interval: 100ms }}
sources:
  payments:
    generator: {{ workload: transactions, rate: {rate} }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
    time: {{ column: timestamp }}
operators:
  rules: {{ input: payments, key: user, {}{operator} }}
sinks:
  out: {{ input: rules, file: {{ path: '{}', delivery: exactly_once }} }}{sinks}
",
            self.step,
            out.display()
        )
    }
}

/// Uploads a version of the rules.
pub async fn push(server: &Server, version: &str) {
    let component = guests::rust_plugin(&guests::root().join("examples/live-rules").join(format!("rules-{version}")));
    let request = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    json(request.body(fs::read(component).unwrap()).send().await.unwrap(), 201).await;
}

/// A server with all versions of the rules and the job, once that runs and has a checkpoint.
pub async fn started(job: String) -> (Server, Events) {
    let server = Server::start(&[]);
    for version in ["1.0", "2.0", "2.1"] {
        push(&server, version).await;
    }
    let submitted = server.request(Method::POST, "/v1/jobs").header("content-type", "application/yaml").body(job);
    json(submitted.send().await.unwrap(), 201).await;
    let events = running(&server).await;
    (server, events)
}

/// A server with the data of one that is killed, once the job runs and has a checkpoint.
pub async fn killed(server: Server) -> (Server, Events) {
    let server = Server::start_in(server.kill(), &[]);
    let events = running(&server).await;
    (server, events)
}

async fn running(server: &Server) -> Events {
    let mut events = Events::of(server).await;
    events.wait(r#""to":"running""#).await;
    events.wait("event: checkpoint").await;
    events
}

/// Ends the job in order; its id.
pub async fn stop(server: &Server) -> String {
    let stopped = server.request(Method::POST, "/v1/jobs/payments/stop").send().await.unwrap();
    json(stopped, 200).await["job"]["id"].as_str().unwrap().to_owned()
}

/// What happens to jobs, from the first event of the server on.
pub struct Events {
    stream: Response,
    seen: String,
}

impl Events {
    pub async fn of(server: &Server) -> Events {
        let request = server.request(Method::GET, "/v1/events").header("last-event-id", "0");
        Events { stream: request.send().await.unwrap(), seen: String::new() }
    }

    /// Waits for an event of which this is a part, after all that were waited for before. Fails if a job does before.
    pub async fn wait(&mut self, part: &str) {
        loop {
            let whole =
                self.seen.match_indices("\n\n").map(|(at, _)| at + 2).find(|at| self.seen[..*at].contains(part));
            if let Some(end) = whole {
                self.seen.drain(..end);
                return;
            }
            assert!(!self.seen.contains(r#""to":"failed""#), "no {part}: {}", self.seen);
            let chunk = self.stream.chunk().await.unwrap().unwrap_or_else(|| panic!("no {part}: {}", self.seen));
            self.seen += std::str::from_utf8(&chunk).unwrap();
        }
    }
}

/// What is reported of a payment.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// The version of the rules.
    pub rules: String,
    pub mark: u64,
    pub user: u64,
    timestamp: u64,
    pub amount: u64,
    /// Payments of the user up to this one.
    pub payments: u64,
}

impl Report {
    /// Which payment it is, from 0.
    pub fn number(&self) -> u64 {
        self.timestamp - 1_700_000_000_000
    }
}

/// All reports, in the order of payments.
pub fn reports(out: &Path) -> Vec<Report> {
    let mut reports: Vec<Report> = jobs::lines(out).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports.sort_unstable_by_key(Report::number);
    reports
}

/// Fails unless these are of every payment of all splits, up to some, once, with all counts there have to be. With one split, in their order.
pub fn check_complete(reports: &[Report], splits: u64) {
    let mut next: Vec<u64> = (0..splits).collect();
    let mut counts: HashMap<u64, Vec<u64>> = HashMap::new();
    for report in reports {
        let next = &mut next[(report.number() % splits) as usize];
        assert_eq!(report.number(), *next, "a payment is lost or doubled");
        *next += splits;
        counts.entry(report.user).or_default().push(report.payments);
    }
    assert!(!reports.is_empty());
    for (user, counts) in counts {
        let mut sorted = counts.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().zip(1..).all(|(count, expected)| *count == expected), "user {user}: {counts:?}");
        assert!(splits > 1 || counts == sorted, "user {user}: {counts:?}");
    }
}
