//! Payment rules between two topics of Kafka, on a server that may be killed: the next goes on with the job by itself. Guarantees: what the
//! versions of the rules make of what was written is known. Must not know what befalls the server.
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    process::Stdio,
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use wasmill_tests::{
    guests,
    kafka::{Broker, Topic},
};

use super::{
    process::{COMPLETE, Life},
    server,
};

/// A job that reads payments, and reports all of them exactly once, each with the version of the rules that has seen it.
pub struct Rules {
    pub input: Topic,
    pub output: Topic,
    address: String,
    data: TempDir,
}

/// Which version a mark is put on.
fn version(mark: u64) -> &'static str {
    if mark.is_multiple_of(2) { "1.0" } else { "2.0" }
}

fn plugin(mark: u64) -> String {
    format!("payment-rules@{}.0", version(mark))
}

/// The answer to a request that must be granted, or else the code of the problem.
fn ask(request: RequestBuilder) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let response = request.send().await.unwrap();
        let (granted, text) = (response.status().is_success(), response.text().await.unwrap());
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if granted { Ok(body) } else { Err(format!("{body}")) }
    })
}

/// A request to a server that has just started.
fn request(url: &str, method: Method, path: &str) -> RequestBuilder {
    server::client().request(method, format!("{url}{path}"))
}

/// Where a server that has just started is.
fn url(life: &mut Life) -> String {
    life.wait_for("listening on ").trim().trim_start_matches("listening on ").to_owned()
}

impl Rules {
    /// One with topics of its own, whose names begin like this.
    pub fn new(broker: &Broker, prefix: &str) -> Rules {
        let topic = |suffix: &str, partitions| Topic::new(broker, &format!("{prefix}-{suffix}"), partitions);
        let (input, output) = (topic("payments", 2), topic("reports", 2));
        Rules { input, output, address: broker.address().to_owned(), data: tempfile::tempdir().unwrap() }
    }

    /// Starts the server, which goes on with the job.
    pub fn start(&self, arguments: &[&str]) -> Life {
        let mut command = server::command(self.data.path(), arguments);
        command
            .stderr(Stdio::piped())
            .env("WASMILL_LOG", "info,wasmill::control=debug,wasmill::connector::kafka=debug");
        Life::of(command)
    }

    /// Has a first server take in the plugins and the job, and kills it; what it said.
    pub fn submit(&self) -> String {
        let mut life = self.start(&[]);
        let url = url(&mut life);
        for mark in [0, 1] {
            let rules = format!("examples/live-rules/rules-{}", version(mark));
            let component = fs::read(guests::rust_plugin(&guests::root().join(rules))).unwrap();
            let upload = request(&url, Method::POST, "/v1/plugins").header("content-type", "application/wasm");
            ask(upload.body(component)).unwrap();
        }
        let submission = request(&url, Method::POST, "/v1/jobs").header("content-type", "application/yaml");
        ask(submission.body(self.text())).unwrap();
        life.wait_for(COMPLETE);
        life.kill()
    }

    fn text(&self) -> String {
        format!(
            "name: {name}\nparallelism: 2\n\
             checkpoints: {{ directory: checkpoints, interval: 100ms }}\n\
             restart: {{ fixed_delay: {{ attempts: 1000, delay: 100ms }} }}\n\
             sources:\n  payments: {{ kafka: {{ brokers: '{brokers}', topic: {name}, discover: 200ms }}, format: json, \
             schema: {{ user: i64, amount: i64, timestamp: i64 }} }}\n\
             operators:\n  rules: {{ input: payments, key: user, keyed_process: {{ plugin: '{plugin}', config: {{ limit: -1 }} }} }}\n\
             sinks:\n  out: {{ input: rules, kafka: {{ brokers: '{brokers}', topic: {output}, key: user }} }}\n",
            name = self.input.name(),
            brokers = self.address,
            plugin = plugin(0),
            output = self.output.name(),
        )
    }

    /// Puts the version of a mark in force, on a server whose address nobody has asked for.
    pub fn swap(&self, life: &mut Life, mark: u64) {
        let url = life.said("listening on ").trim_start_matches("listening on ").to_owned();
        let path = format!("/v1/jobs/{}/operators/rules/swap", self.input.name());
        let wanted = json!({ "plugin": plugin(mark), "configuration": { "limit": -1, "mark": mark } });
        loop {
            match ask(request(&url, Method::POST, &path).json(&wanted)) {
                Ok(_) => return,
                // The job has failed meanwhile, and starts again.
                Err(problem) if problem.contains("X0107") => drop(life.wait_for(COMPLETE)),
                Err(problem) => panic!("{problem}"),
            }
        }
    }

    /// Lets a last server report so many payments in all, and stops the job.
    pub fn finish(&self, payments: usize) {
        let mut life = self.start(&[]);
        let url = url(&mut life);
        self.output.reader().wait_for(payments);
        let stop = format!("/v1/jobs/{}/stop", self.input.name());
        let stopped = ask(request(&url, Method::POST, &stop)).unwrap();
        assert_eq!(stopped["job"]["state"], "stopped", "{stopped}");
        life.signal("-TERM");
        let (code, said) = life.end();
        assert_eq!(code, Some(0), "{said}");
    }

    /// Fails unless each payment of these partitions is reported once, a user's in their order, and by versions that follow each other in each
    /// partition and for each user; the marks of these versions, by partition.
    #[track_caller]
    pub fn check(&self, partitions: &[Vec<String>]) -> Vec<Vec<u64>> {
        self.output.wait_until_settled();
        // By user, and which of the user's it is: partition, place in it, amount and time.
        let mut payments = HashMap::new();
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for (partition, records) in partitions.iter().enumerate() {
            for (place, record) in records.iter().enumerate() {
                let payment: Value = serde_json::from_str(record).unwrap();
                let user = payment["user"].as_u64().unwrap();
                let count = counts.entry(user).or_default();
                *count += 1;
                payments.insert((user, *count), (partition, place, payment));
            }
        }
        let mut marks: Vec<Vec<Option<u64>>> = partitions.iter().map(|records| vec![None; records.len()]).collect();
        // What was reported last.
        let mut latest: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for record in self.output.read() {
            let report: Value = serde_json::from_str(record.text()).unwrap();
            let [user, count, mark] = ["user", "payments", "mark"].map(|field| report[field].as_u64().unwrap());
            assert_eq!(record.key.as_deref(), Some(user.to_string().as_bytes()), "{record:?}");
            let before = latest.insert(user, (count, mark)).unwrap_or_default();
            assert_eq!(count, before.0 + 1, "a payment is lost, doubled or out of order: {before:?}, {report}");
            assert!(mark >= before.1, "an earlier version after {before:?}: {report}");
            let (partition, place, payment) = &payments[&(user, count)];
            let due = json!({
                "rules": version(mark), "mark": mark, "payments": count,
                "user": user, "timestamp": payment["timestamp"], "amount": payment["amount"],
            });
            assert_eq!(report, due);
            marks[*partition][*place] = Some(mark);
        }
        let of = |(partition, marks): (usize, Vec<Option<u64>>)| {
            let missing = marks.iter().position(Option::is_none);
            assert_eq!(missing, None, "a payment of partition {partition} is not reported");
            assert!(marks.is_sorted(), "versions alternate in partition {partition}");
            let mut marks: Vec<u64> = marks.into_iter().flatten().collect();
            marks.dedup();
            marks
        };
        marks.into_iter().enumerate().map(of).collect()
    }
}
