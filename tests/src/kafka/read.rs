//! What is in topics. Guarantees: only what was committed is seen; a read goes on through a broker's absence. Must not know what is
//! in the records.
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rdkafka::{
    Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers, Message},
};
use serde_json::Value;

use super::PATIENCE;
use crate::{guests::root, python};

/// Another client, from PyPI.
const CONFLUENT_KAFKA: &str = "confluent-kafka==2.16.1";

/// How long nothing is heard before it is asked whether there are more partitions.
const QUIET: Duration = Duration::from_millis(500);

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In milliseconds.
    pub timestamp: i64,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    fn new(message: &BorrowedMessage<'_>) -> Record {
        let headers = message.headers().into_iter().flat_map(Headers::iter);
        Record {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    /// The value, which must be text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().expect("a value")).expect("text")
    }
}

/// How many partitions a topic has; 0 if it is not known, yet.
pub(super) fn partitions(client: &BaseConsumer, topic: &str, until: Instant) -> i32 {
    let left = until.saturating_duration_since(Instant::now());
    let Ok(metadata) = client.fetch_metadata(Some(topic), left) else { return 0 };
    let topic = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    topic.map_or(0, |topic| topic.partitions().len().try_into().expect("few partitions"))
}

/// Where a partition ends for this client. A client that has just found brokers, or found them again, may answer that it has lost one.
#[track_caller]
pub(super) fn end(client: &BaseConsumer, topic: &str, partition: i32, until: Instant) -> i64 {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match client.fetch_watermarks(topic, partition, left) {
            Ok((_, end)) => return end,
            Err(error) => assert!(Instant::now() < until, "the end of partition {partition} of {topic}: {error}"),
        }
        // Serves what has happened to its connections, and waits a little where nothing has.
        drop(client.poll(QUIET));
    }
}

/// Reads what is committed, from the beginning.
pub struct Reader {
    config: ClientConfig,
    consumer: BaseConsumer,
    topic: String,
    /// Those that are read.
    partitions: i32,
    records: Vec<Record>,
}

impl Reader {
    pub(super) fn new(mut config: ClientConfig, topic: &str) -> Reader {
        config.set("group.id", "tests").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "20");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut reader = Reader { config, consumer, topic: topic.to_owned(), partitions: 0, records: Vec::new() };
        reader.find_partitions(Instant::now() + PATIENCE);
        reader
    }

    /// Reads those too that are new.
    fn find_partitions(&mut self, until: Instant) {
        let found = partitions(&self.consumer, &self.topic, until);
        let mut more = TopicPartitionList::new();
        for partition in self.partitions..found {
            more.add_partition_offset(&self.topic, partition, Offset::Beginning).expect("an offset");
        }
        if more.count() > 0 {
            self.consumer.incremental_assign(&more).expect("partitions");
            self.partitions = found;
        }
    }

    /// Takes what comes next, by a moment; a partition whose end is reached.
    fn step(&mut self, until: Instant) -> Option<i32> {
        let wait = QUIET.min(until.saturating_duration_since(Instant::now()));
        match self.consumer.poll(wait) {
            Some(Ok(message)) => self.records.push(Record::new(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => return Some(partition),
            Some(Err(KafkaError::MessageConsumptionFatal(error))) => panic!("cannot read: {error}"),
            // The client tries again by itself.
            Some(Err(_)) => {}
            None => self.find_partitions(until),
        }
        None
    }

    /// Waits until so many records are there, or more; all so far, in the order they came.
    #[track_caller]
    pub fn wait_for(&mut self, count: usize) -> &[Record] {
        let until = Instant::now() + PATIENCE;
        while self.records.len() < count {
            let (found, topic) = (self.records.len(), &self.topic);
            assert!(Instant::now() < until, "{found} of {count} records of {topic}: {}", self.places());
            self.step(until);
        }
        &self.records
    }

    /// How far it has come in each partition, how far it could, and where that ends.
    fn places(&self) -> String {
        let until = Instant::now() + PATIENCE;
        let mut all = self.config.clone();
        let all: BaseConsumer = all.set("isolation.level", "read_uncommitted").create().expect("a client");
        let places = (0..self.partitions).map(|partition| {
            let last = self.records.iter().rev().find(|record| record.partition == partition);
            let [settled, end] = [&self.consumer, &all].map(|client| end(client, &self.topic, partition, until));
            format!("partition {partition} read to {:?}, settled to {settled}, ends at {end}", last.map(|it| it.offset))
        });
        places.collect::<Vec<_>>().join("; ")
    }

    /// All that is committed now, by partition and offset.
    #[track_caller]
    pub fn read_to_end(mut self) -> Vec<Record> {
        let until = Instant::now() + PATIENCE;
        let ends: Vec<i64> =
            (0..self.partitions).map(|partition| end(&self.consumer, &self.topic, partition, until)).collect();
        let end = |partition: i32| usize::try_from(partition).ok().and_then(|i| ends.get(i)).copied().unwrap_or(0);
        let mut left: BTreeSet<i32> = (0..self.partitions).filter(|partition| end(*partition) > 0).collect();
        while !left.is_empty() {
            assert!(Instant::now() < until, "the ends of {left:?} of {} are not reached", self.topic);
            // At an offset there need not be a record, where a transaction ends there is none.
            let ended = self.step(until);
            let last = self.records.last().filter(|record| record.offset + 1 >= end(record.partition));
            ended.or(last.map(|record| record.partition)).map(|partition| left.remove(&partition));
        }
        self.records.retain(|record| record.offset < end(record.partition));
        self.records.sort();
        self.records
    }
}

/// What the script in Python reads.
pub(super) fn by_python(servers: &str, topic: &str) -> Vec<Record> {
    let environment = python::environment("python-kafka", CONFLUENT_KAFKA);
    let lines = python::output(&environment, &root().join("tests/kafka/read_committed.py"), &[servers, topic]);
    let bytes = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(BASE64_STANDARD.decode(other["base64"].as_str().expect("base64")).expect("base64")),
    };
    let record = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("a line of JSON");
        let headers = record["headers"].as_array().expect("headers").iter();
        Record {
            partition: record["partition"].as_i64().and_then(|number| number.try_into().ok()).expect("a partition"),
            offset: record["offset"].as_i64().expect("an offset"),
            key: bytes(&record["key"]),
            value: bytes(&record["value"]),
            timestamp: record["timestamp"].as_i64().expect("a time"),
            headers: headers.map(|h| (h[0].as_str().expect("a name").to_owned(), bytes(&h[1]))).collect(),
        }
    };
    lines.lines().map(record).collect()
}
