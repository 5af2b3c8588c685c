//! The shape of a job file as YAML has it: every value with its place, nothing checked beyond types. Knows nothing of what the
//! values mean; [`assemble`](super::assemble) does.
mod failures;
mod operator;
mod settings;

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

pub(super) use failures::*;
pub(super) use operator::*;
pub(super) use settings::*;

use super::OnError;
use crate::{
    codec::Format,
    connector::{SINKS, SOURCES, Sink, Source, next_sink, next_source},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a job")]
pub(in crate::job) struct RawJob {
    pub name: Option<Spanned<String>>,
    pub parallelism: Option<Spanned<i64>>,
    pub max_parallelism: Option<Spanned<i64>>,
    pub batch: Option<RawBatch>,
    pub state: Option<RawState>,
    pub checkpoints: Option<Spanned<RawCheckpoints>>,
    pub savepoints: Option<Spanned<String>>,
    pub restart: Option<RawRestart>,
    pub sources: Option<Named<RawSource>>,
    pub operators: Option<Named<RawOperator>>,
    pub sinks: Option<Named<RawSink>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { records: 4096, bytes: 1MiB, flush: 2ms }")]
pub(in crate::job) struct RawBatch {
    pub records: Option<Spanned<i64>>,
    pub bytes: Option<Spanned<String>>,
    pub flush: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { column: ts, out_of_orderness: 10s }")]
pub(in crate::job) struct RawTime {
    pub column: Option<Spanned<String>>,
    pub out_of_orderness: Option<Spanned<String>>,
    pub idle: Option<Spanned<String>>,
    pub drift: Option<Spanned<String>>,
}

/// A map in the order it is written.
#[derive(Debug)]
pub(in crate::job) struct Named<T>(pub Vec<(Spanned<String>, T)>);

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
pub(in crate::job) enum OneOrMany {
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
pub(in crate::job) struct RawSource {
    pub connectors: Vec<(Spanned<String>, Box<dyn Source>)>,
    pub unknown: Option<Spanned<String>>,
    pub format: Option<Format>,
    pub schema: Option<Spanned<Named<Spanned<String>>>>,
    pub metadata: Option<Named<Spanned<String>>>,
    pub time: Option<RawTime>,
    pub on_error: Option<OnError>,
    pub delivery: Option<Spanned<RawDelivery>>,
    pub parallelism: Option<Spanned<i64>>,
    pub uid: Option<Spanned<String>>,
}

/// What a source that cannot replay must say.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::job) enum RawDelivery {
    AtMostOnce,
}

/// The fields of a source beside its connector.
pub(in crate::job) const SOURCE_FIELDS: [&str; 8] =
    ["format", "schema", "metadata", "time", "on_error", "delivery", "parallelism", "uid"];

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
                        "metadata" => raw.metadata = map.next_value()?,
                        "time" => raw.time = map.next_value()?,
                        "on_error" => raw.on_error = map.next_value()?,
                        "delivery" => raw.delivery = map.next_value()?,
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
pub(in crate::job) struct RawSink {
    pub connectors: Vec<(Spanned<String>, Box<dyn Sink>)>,
    pub unknown: Option<Spanned<String>>,
    pub input: Option<Spanned<OneOrMany>>,
    pub plugin: Option<Spanned<RawPlugin>>,
    pub on_error: Option<Spanned<OnError>>,
    pub on_failure: Option<Spanned<RawOnFailure>>,
    pub limits: Option<Spanned<RawLimits>>,
    pub capabilities: Option<Spanned<serde_json::Value>>,
    pub format: Option<Format>,
    pub columns: Option<Spanned<OneOrMany>>,
    pub parallelism: Option<Spanned<i64>>,
    pub uid: Option<Spanned<String>>,
}

/// The fields of a sink beside its connector.
pub(in crate::job) const SINK_FIELDS: [&str; 10] =
    ["input", "sink", "on_error", "on_failure", "limits", "capabilities", "format", "columns", "parallelism", "uid"];

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
                        "sink" => raw.plugin = map.next_value()?,
                        "on_error" => raw.on_error = map.next_value()?,
                        "on_failure" => raw.on_failure = map.next_value()?,
                        "limits" => raw.limits = map.next_value()?,
                        "capabilities" => raw.capabilities = map.next_value()?,
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
