//! The shape of a job file as YAML has it: every value with its place, nothing checked beyond types. Knows nothing of what the
//! values mean; [`assemble`](super::assemble) does.
use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::OnError;
use crate::{
    codec::Format,
    connector::{SINKS, SOURCES, Sink, Source, next_sink, next_source},
    model::TimeDomain,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a job")]
pub(super) struct RawJob {
    pub name: Option<Spanned<String>>,
    pub parallelism: Option<Spanned<i64>>,
    pub max_parallelism: Option<Spanned<i64>>,
    pub batch: Option<RawBatch>,
    pub sources: Option<Named<RawSource>>,
    pub operators: Option<Named<RawOperator>>,
    pub sinks: Option<Named<RawSink>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { records: 4096, bytes: 1MiB, flush: 2ms }")]
pub(super) struct RawBatch {
    pub records: Option<Spanned<i64>>,
    pub bytes: Option<Spanned<String>>,
    pub flush: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { column: ts, out_of_orderness: 10s }")]
pub(super) struct RawTime {
    pub column: Option<Spanned<String>>,
    pub out_of_orderness: Option<Spanned<String>>,
    pub idle: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { input: lines, transform: { plugin: ./my-plugin } }")]
pub(super) struct RawOperator {
    pub input: Spanned<OneOrMany>,
    pub key: Option<Spanned<OneOrMany>>,
    pub window: Option<RawWindow>,
    pub transform: Option<Spanned<RawPlugin>>,
    pub aggregate: Option<Spanned<RawPlugin>>,
    pub parallelism: Option<Spanned<i64>>,
    pub uid: Option<Spanned<String>>,
    pub chain: Option<bool>,
    pub on_error: Option<OnError>,
    pub limits: Option<RawLimits>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { tumbling: 5s, time: processing }")]
pub(super) struct RawWindow {
    pub tumbling: Spanned<String>,
    pub offset: Option<Spanned<String>>,
    pub time: Option<TimeDomain>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { plugin: ./my-plugin }")]
pub(super) struct RawPlugin {
    pub plugin: Spanned<String>,
    pub config: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { memory: 256MiB, batch_time: 10s }")]
pub(super) struct RawLimits {
    pub memory: Option<Spanned<String>>,
    pub batch_time: Option<Spanned<String>>,
    pub retire_memory: Option<Spanned<String>>,
}

/// A map in the order it is written.
#[derive(Debug)]
pub(super) struct Named<T>(pub Vec<(Spanned<String>, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// `a` or `[a, b]`.
#[derive(Debug)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }

            fn visit_str<E>(self, name: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(OneOrMany::Many(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// A source. Connectors and unknown fields are collected, so that they are refused with their places.
#[derive(Debug, Default)]
pub(super) struct RawSource {
    pub connectors: Vec<(Spanned<String>, Box<dyn Source>)>,
    pub unknown: Option<Spanned<String>>,
    pub format: Option<Format>,
    pub schema: Option<Spanned<Named<Spanned<String>>>>,
    pub time: Option<RawTime>,
    pub on_error: Option<OnError>,
    pub parallelism: Option<Spanned<i64>>,
    pub uid: Option<Spanned<String>>,
}

/// The fields of a source beside its connector.
pub(super) const SOURCE_FIELDS: [&str; 6] = ["format", "schema", "time", "on_error", "parallelism", "uid"];

impl<'de> Deserialize<'de> for RawSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map such as { file: { path: in.jsonl }, format: json }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSource, A::Error> {
                let mut raw = RawSource::default();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    match key.value.as_str() {
                        "format" => raw.format = map.next_value()?,
                        "schema" => raw.schema = map.next_value()?,
                        "time" => raw.time = map.next_value()?,
                        "on_error" => raw.on_error = map.next_value()?,
                        "parallelism" => raw.parallelism = map.next_value()?,
                        "uid" => raw.uid = map.next_value()?,
                        kind if SOURCES.contains(&kind) => {
                            let source = next_source(kind, &mut map)?;
                            raw.connectors.push((key, source));
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            raw.unknown.get_or_insert(key);
                        }
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A sink, like [`RawSource`].
#[derive(Debug, Default)]
pub(super) struct RawSink {
    pub connectors: Vec<(Spanned<String>, Box<dyn Sink>)>,
    pub unknown: Option<Spanned<String>>,
    pub input: Option<Spanned<OneOrMany>>,
    pub format: Option<Format>,
    pub columns: Option<Spanned<OneOrMany>>,
    pub parallelism: Option<Spanned<i64>>,
    pub uid: Option<Spanned<String>>,
}

/// The fields of a sink beside its connector.
pub(super) const SINK_FIELDS: [&str; 5] = ["input", "format", "columns", "parallelism", "uid"];

impl<'de> Deserialize<'de> for RawSink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawSink;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map such as { input: counts, print: {} }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSink, A::Error> {
                let mut raw = RawSink::default();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    match key.value.as_str() {
                        "input" => raw.input = map.next_value()?,
                        "format" => raw.format = map.next_value()?,
                        "columns" => raw.columns = map.next_value()?,
                        "parallelism" => raw.parallelism = map.next_value()?,
                        "uid" => raw.uid = map.next_value()?,
                        kind if SINKS.contains(&kind) => {
                            let sink = next_sink(kind, &mut map)?;
                            raw.connectors.push((key, sink));
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            raw.unknown.get_or_insert(key);
                        }
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
