//! Fraud detection between two topics of Kafka, as a process, and a writer that never pauses. Guarantees: neither outlives its test; what
//! was written is known in the end, and with it what is to come out. Must not know what befalls them.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering::SeqCst},
    },
    thread::JoinHandle,
};

use fastrand::Rng;
use rdkafka::producer::BaseRecord;
use serde_json::Value;
use tempfile::TempDir;
use wasmill_tests::kafka::{Broker, Topic};

use super::{
    jobs,
    process::{self, Life},
};

/// A job that reads transactions, and writes alerts exactly once.
pub struct Fraud {
    pub input: Topic,
    pub output: Topic,
    address: String,
    directory: TempDir,
}

impl Fraud {
    /// One with topics of its own, whose names begin like this.
    pub fn new(broker: &Broker, prefix: &str) -> Fraud {
        let topic = |suffix: &str, partitions| Topic::new(broker, &format!("{prefix}-{suffix}"), partitions);
        let (input, output) = (topic("transactions", 2), topic("alerts", 2));
        Fraud { input, output, address: broker.address().to_owned(), directory: tempfile::tempdir().unwrap() }
    }

    /// Starts it, to go on until it is stopped, with checkpoints at this interval.
    pub fn start(&self, interval: &str, arguments: &[&str]) -> Life {
        Life::start(self.directory.path(), &self.text(interval, ""), arguments)
    }

    /// Has it read what there is, and end.
    #[track_caller]
    pub fn finish(&self) -> String {
        let (code, said) = Life::start(self.directory.path(), &self.text("100ms", ", until: latest"), &[]).end();
        assert_eq!(code, Some(0), "{said}");
        said
    }

    fn text(&self, interval: &str, until: &str) -> String {
        // Of a partition that is found late all users come late. That does not matter: alerts depend on the order of a user's transactions
        // only, unless a period is over before they come.
        format!(
            "name: {name}\nparallelism: 2\n\
             checkpoints: {{ directory: checkpoints, interval: {interval} }}\n\
             restart: {{ fixed_delay: {{ attempts: 1000, delay: 100ms }} }}\n\
             sources:\n  transactions: {{ kafka: {{ brokers: '{brokers}', topic: {name}, discover: 200ms{until} }}, format: json, \
             schema: {{ user: i64, amount: i64, timestamp: i64 }}, time: {{ column: timestamp, out_of_orderness: 2h }} }}\n\
             operators:\n  alerts: {{ input: transactions, key: user, keyed_process: {{ plugin: '{plugin}' }} }}\n\
             sinks:\n  out: {{ input: alerts, kafka: {{ brokers: '{brokers}', topic: {output}, key: user }} }}\n",
            name = self.input.name(),
            brokers = self.address,
            plugin = jobs::plugin("fraud-detection"),
            output = self.output.name(),
        )
    }

    /// Fails unless exactly the alerts of these partitions are there, a user's in their order, with their times.
    #[track_caller]
    pub fn check(&self, partitions: &[Vec<String>]) {
        self.output.wait_until_settled();
        let records = self.output.read();
        let mut users: BTreeMap<i64, Vec<(i64, String)>> = BTreeMap::new();
        for record in &records {
            let alert: Value = serde_json::from_str(record.text()).unwrap();
            let (user, timestamp) = (alert["user"].as_i64().unwrap(), alert["timestamp"].as_i64().unwrap());
            assert_eq!(record.key.as_deref(), Some(user.to_string().as_bytes()), "{record:?}");
            assert_eq!(record.timestamp, timestamp, "{record:?}");
            users.entry(user).or_default().push((timestamp, alert["rule"].as_str().unwrap().to_owned()));
        }
        let mut found: Vec<&str> = records.iter().map(|record| record.text()).collect();
        found.sort_unstable();
        let expected = process::expected(partitions);
        let first = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        let (alerts, due) = (found.len(), expected.len());
        assert!(found == expected, "{alerts} alerts of {due} that are due; the first that differ: {first:?}");
        for (user, alerts) in users {
            assert!(alerts.is_sorted(), "those of user {user} are not in order: {alerts:?}");
        }
    }
}

/// Writes transactions, one after the other as fast as the broker takes them, until it is stopped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    partitions: Arc<AtomicI32>,
    thread: Option<JoinHandle<Vec<Vec<String>>>>,
}

impl Writer {
    /// Writes to so many partitions.
    pub fn start(topic: &Topic, partitions: i32, mut random: Rng) -> Writer {
        let (stop, partitions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI32::new(partitions)));
        let (stopped, wanted) = (stop.clone(), partitions.clone());
        let (producer, topic) = (topic.producer(), topic.name().to_owned());
        let work = move || {
            let mut written: Vec<Vec<String>> = Vec::new();
            let mut at = 0;
            while !stopped.load(SeqCst) {
                at += random.u64(1..2000);
                for partition in 0..wanted.load(SeqCst) {
                    let index = usize::try_from(partition).unwrap();
                    written.resize(written.len().max(index + 1), Vec::new());
                    let record = process::transaction(&mut random, index as u64, PARTITIONS_MAX, at);
                    producer.send(BaseRecord::<[u8], str>::to(&topic).partition(partition).payload(&record));
                    written[index].push(record);
                }
                producer.flush();
            }
            written
        };
        Writer { stop, partitions, thread: Some(std::thread::spawn(work)) }
    }

    /// Writes to so many from now on.
    pub fn extend(&self, partitions: i32) {
        self.partitions.store(partitions, SeqCst);
    }

    /// What it has written, by partition.
    pub fn stop(mut self) -> Vec<Vec<String>> {
        self.stop.store(true, SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// So that users of one are in no other.
const PARTITIONS_MAX: u64 = 4;

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}
