//! What the settings of a source mean. Guarantees that what is read can be read so; must not know brokers.
use std::{collections::BTreeMap, time::Duration};

use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    client::Client,
    settings::{Brokers, Properties},
};
use crate::connector::settings::positive_duration;

/// How often new partitions are looked for, unless the job says otherwise.
const DISCOVER: Duration = Duration::from_secs(60);

/// `kafka: { brokers: "host:9092", topic: orders, start: earliest }`
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// Whom to ask, and how.
    pub client: Client,
    /// What is read.
    pub topics: Topics,
    /// The group whose committed offsets it may start from, and which is told how far it has come.
    pub group: Option<String>,
    /// Where partitions are read from that no checkpoint speaks of.
    pub start: Start,
    /// Where reading ends.
    pub until: Option<Until>,
    /// How often new partitions are looked for.
    pub discover: Duration,
    /// What becomes of records without a value.
    pub tombstones: Tombstones,
    /// Which records are seen.
    pub isolation: Isolation,
}

/// What is read.
#[derive(Clone, Debug)]
pub enum Topics {
    /// These.
    Named(Vec<String>),
    /// Those whose names match as a whole.
    Pattern(Regex),
}

impl Topics {
    /// Whether a topic is among them.
    pub fn contain(&self, topic: &str) -> bool {
        match self {
            Topics::Named(names) => names.iter().any(|name| name == topic),
            Topics::Pattern(pattern) => pattern.is_match(topic),
        }
    }

    /// For messages.
    pub fn place(&self) -> String {
        match self {
            Topics::Named(names) => names.join(", "),
            Topics::Pattern(pattern) => pattern.to_string(),
        }
    }
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest record there is.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// Where the group was told that it has come to; with the oldest record where it was told nothing.
    Committed,
    /// With the first record that is not older, in ms since 1970-01-01 UTC.
    Timestamp(i64),
    /// With these, by `topic/partition`; with the oldest record elsewhere.
    Offsets(BTreeMap<String, u64>),
}

/// Where to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// With the last record there is when it starts.
    Latest,
    /// Before the first record that is not older, in ms since 1970-01-01 UTC; at most with the last record there is when it starts.
    Timestamp(i64),
}

/// What becomes of records without a value, which mean that what their key names is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tombstones {
    /// They are malformed records.
    #[default]
    Reject,
    /// They are left out.
    Skip,
    /// Their value is taken for empty.
    Empty,
    /// They are taken to have this value, such as `{}` in JSON, where all columns are null.
    Value(String),
}

/// Which records are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Those of transactions once these are committed.
    #[default]
    ReadCommitted,
    /// All.
    ReadUncommitted,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    brokers: Brokers,
    topic: Option<String>,
    topics: Option<Vec<String>>,
    pattern: Option<String>,
    group: Option<String>,
    #[serde(default = "earliest")]
    start: Start,
    until: Option<Until>,
    #[serde(default = "discover", deserialize_with = "positive_duration")]
    discover: Duration,
    #[serde(default)]
    tombstones: Tombstones,
    #[serde(default)]
    isolation: Isolation,
    #[serde(default)]
    properties: Properties,
}

fn earliest() -> Start {
    Start::Earliest
}

fn discover() -> Duration {
    DISCOVER
}

impl<'de> Deserialize<'de> for SourceSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SourceSettings, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        let topics = match (raw.topic, raw.topics, raw.pattern) {
            (Some(topic), None, None) => Topics::Named(vec![topic]),
            (None, Some(topics), None) if !topics.is_empty() => Topics::Named(topics),
            (None, None, Some(pattern)) => Topics::Pattern(
                Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|error| D::Error::custom(format!("`pattern` is no regular expression: {error}")))?,
            ),
            _ => {
                return Err(D::Error::custom("write one of `topic: NAME`, `topics: [NAME, ...]` and `pattern: REGEX`"));
            }
        };
        if raw.start == Start::Committed && raw.group.is_none() {
            return Err(D::Error::custom("`start: committed` needs the `group` that has committed"));
        }
        if let Start::Offsets(offsets) = &raw.start
            && let Some(wrong) =
                offsets.keys().find(|split| split.rsplit_once('/').is_none_or(|(_, n)| n.parse::<u16>().is_err()))
        {
            return Err(D::Error::custom(format!(
                "`start: offsets` names partitions such as `orders/0`, not {wrong:?}"
            )));
        }
        Ok(SourceSettings {
            client: Client { brokers: raw.brokers, properties: raw.properties },
            topics,
            group: raw.group,
            start: raw.start,
            until: raw.until,
            discover: raw.discover,
            tombstones: raw.tombstones,
            isolation: raw.isolation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_or_match_as_a_whole() {
        let read = |text: &str| serde_saphyr::from_str::<SourceSettings>(text).map_err(|error| error.to_string());
        let some = |rest: &str| read(&format!("{{ brokers: 'a:1', {rest} }}"));
        let settings = some("pattern: 'orders-[0-9]+'").unwrap();
        assert!(settings.topics.contain("orders-12") && !settings.topics.contain("my-orders-12"));
        assert_eq!((settings.start, settings.discover), (Start::Earliest, DISCOVER));
        let settings = some("topics: [a, b], start: { offsets: { a/0: 7 } }, until: latest").unwrap();
        assert!(settings.topics.contain("b") && !settings.topics.contain("c"));
        assert_eq!(settings.start, Start::Offsets(BTreeMap::from([("a/0".to_owned(), 7)])));
        assert_eq!(some("topic: a, start: { timestamp: 5 }").unwrap().start, Start::Timestamp(5));
        for (rest, part) in [
            ("start: latest", "pattern"),
            ("topic: a, topics: [b]", "pattern"),
            ("topics: []", "pattern"),
            ("pattern: '('", "regular expression"),
            ("topic: a, start: committed", "group"),
            ("topic: a, start: { offsets: { a: 1 } }", "orders/0"),
            ("topic: a, begin: latest", "begin"),
        ] {
            let error = some(rest).unwrap_err();
            assert!(error.contains(part), "{rest}: {error}");
        }
    }
}
