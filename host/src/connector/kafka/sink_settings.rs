//! The settings of Kafka's sink, and what becomes of them for librdkafka. Must not know rows.
use std::time::Duration;

use indexmap::IndexMap;
use rdkafka::ClientConfig;
use serde::Deserialize;

use super::{
    client::Client,
    settings::{Brokers, Properties},
};
use crate::connector::{
    ConnectorError, Delivery,
    settings::{duration, positive_duration},
};

/// Bytes of records that a producer holds until they are delivered; more have to wait.
const QUEUE_KIB: &str = "65536";

/// Properties that settings of the sink stand for, by the names librdkafka has for them beside those used here.
const RESERVED: [&str; 8] = [
    "acks",
    "compression.codec",
    "queue.buffering.max.ms",
    "transactional.id",
    "transaction.timeout.ms",
    "enable.gapless.guarantee",
    "delivery.report.only.error",
    "produce.offset.report",
];

/// Where records go.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "`topic` is a name, or `{ column: NAME }` for the column that has it")]
pub enum Topic {
    /// All to one.
    Fixed(String),
    /// Each to the one that its row names.
    Of(TopicColumn),
}

/// Where rows have the names of their topics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicColumn {
    /// A column of text.
    pub column: String,
}

/// Which time records get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timestamp {
    /// That of their row.
    #[default]
    EventTime,
    /// The one at which they are written.
    None,
}

/// To which partition of its topic a record goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// By the hash of its key, as other clients do; records without a key to any.
    #[default]
    Hash,
    /// To any.
    Random,
    /// To the one that its row names; by the hash of its key if that is null.
    Column(String),
}

/// What becomes of a job whose prepared transaction was aborted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLost {
    /// It does not start.
    #[default]
    Fail,
    /// It goes on without these records.
    Ignore,
}

/// `kafka: { brokers: "host:9092", topic: alerts, key: user }`, and more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSettings {
    brokers: Brokers,
    /// Where to.
    pub topic: Topic,
    /// The column that is the record's key; default none.
    #[serde(default)]
    pub key: Option<String>,
    /// Default event time.
    #[serde(default)]
    pub timestamp: Timestamp,
    /// Columns of text or bytes, by the header they become.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    #[serde(default)]
    partitioner: Partitioner,
    /// Default exactly once.
    #[serde(default = "exactly_once")]
    pub delivery: Delivery,
    /// What transactional ids begin with; default the job's name.
    #[serde(default)]
    pub transactional_id_prefix: Option<String>,
    /// How long brokers keep a transaction open. Default 15 min.
    #[serde(default = "transaction_timeout", deserialize_with = "positive_duration")]
    pub transaction_timeout: Duration,
    /// Default fail.
    #[serde(default)]
    pub on_lost_transaction: OnLost,
    /// Default none. A name librdkafka knows.
    #[serde(default = "no_compression")]
    compression: String,
    /// How long records wait for others to travel with. Default 5 ms.
    #[serde(default = "linger", deserialize_with = "duration")]
    linger: Duration,
    #[serde(default)]
    properties: Properties,
}

fn exactly_once() -> Delivery {
    Delivery::ExactlyOnce
}

fn transaction_timeout() -> Duration {
    Duration::from_secs(15 * 60)
}

fn no_compression() -> String {
    "none".into()
}

fn linger() -> Duration {
    Duration::from_millis(5)
}

impl SinkSettings {
    /// What errors that are about the whole are of: the topic if it is known.
    pub fn place(&self) -> String {
        match &self.topic {
            Topic::Fixed(topic) => topic.clone(),
            Topic::Of(_) => self.brokers.to_string(),
        }
    }

    /// The column that says which partition.
    pub fn partition_column(&self) -> Option<&String> {
        match &self.partitioner {
            Partitioner::Column(column) => Some(column),
            Partitioner::Hash | Partitioner::Random => None,
        }
    }

    /// Whom to talk to.
    pub fn client(&self) -> Client {
        Client { brokers: self.brokers.clone(), properties: self.properties.clone() }
    }

    /// The configuration of its producers, but for their transactional ids. Fails with C0406.
    pub fn config(&self) -> Result<ClientConfig, ConnectorError> {
        let linger = self.linger.as_millis().to_string();
        let timeout = self.transaction_timeout.as_millis().to_string();
        let partitioner = match self.partitioner {
            Partitioner::Random => "random",
            // Records without a key go to any, a batch after the other.
            Partitioner::Hash | Partitioner::Column(_) => "murmur2_random",
        };
        let at_most_once = self.delivery == Delivery::AtMostOnce;
        let mut fixed = vec![
            ("compression.type", self.compression.as_str()),
            ("linger.ms", linger.as_str()),
            ("partitioner", partitioner),
            ("enable.idempotence", if at_most_once { "false" } else { "true" }),
            ("request.required.acks", if at_most_once { "0" } else { "all" }),
        ];
        if self.delivery == Delivery::ExactlyOnce {
            fixed.push(("transaction.timeout.ms", &timeout));
        }
        self.client().config(&[("queue.buffering.max.kbytes", QUEUE_KIB)], &fixed, &RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> SinkSettings {
        serde_saphyr::from_str(&format!("{{ brokers: \"a:1\", topic: t, {more} }}")).unwrap()
    }

    #[test]
    fn what_librdkafka_does_not_take_is_refused_without_secrets() {
        assert!(settings("properties: { message.max.bytes: 1000, security.protocol: ssl }").config().is_ok());
        assert!(settings("delivery: at_most_once, compression: zstd, partitioner: random").config().is_ok());
        for (more, part) in [
            ("compression: brotli", "brotli"),
            ("transaction_timeout: 1ms", "transaction.timeout.ms"),
            ("properties: { linger.mss: 3 }", "`linger.mss`"),
            ("properties: { message.max.bytes: many }", "message.max.bytes"),
            ("properties: { transactional.id: x }", "`transactional.id`"),
            ("properties: { bootstrap.servers: x }", "`bootstrap.servers`"),
            ("properties: { acks: 1 }", "`acks`"),
            ("properties: { enable.idempotence: false }", "`enable.idempotence`"),
            ("properties: { enable.sasl.oauthbearer.unsecure.jwt: hunter2 }", "enable.sasl.oauthbearer.unsecure.jwt"),
            ("properties: { ssl.key.passwordd: hunter2 }", "`ssl.key.passwordd`"),
        ] {
            let what = settings(more).config().unwrap_err().what;
            assert!(what.contains(part), "{more}: {what}");
            assert!(!what.contains("hunter2") || !more.contains("password"), "{more}: {what}");
        }
    }
}
