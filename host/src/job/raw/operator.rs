//! The shape of operators, their windows and plugins.
use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Named, OneOrMany, RawOnFailure};
use crate::{job::OnError, model::TimeDomain};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { input: lines, transform: { plugin: ./my-plugin } }")]
pub(in crate::job) struct RawOperator {
    pub input: Spanned<OneOrMany>,
    pub key: Option<Spanned<OneOrMany>>,
    pub second: Option<Spanned<RawSecond>>,
    pub broadcast: Option<Spanned<RawBroadcast>>,
    pub window: Option<Spanned<RawWindow>>,
    pub transform: Option<Spanned<RawPlugin>>,
    pub keyed_process: Option<Spanned<RawPlugin>>,
    pub connected_process: Option<Spanned<RawPlugin>>,
    pub broadcast_process: Option<Spanned<RawPlugin>>,
    pub aggregate: Option<Spanned<RawPlugin>>,
    pub process_window: Option<Spanned<RawPlugin>>,
    pub window_join: Option<Spanned<Empty>>,
    pub interval_join: Option<Spanned<RawInterval>>,
    pub rules: Option<Spanned<Named<RawRule>>>,
    pub output: Option<Spanned<Named<Spanned<String>>>>,
    pub parallelism: Option<Spanned<i64>>,
    pub uid: Option<Spanned<String>>,
    pub chain: Option<bool>,
    pub on_error: Option<OnError>,
    pub on_failure: Option<Spanned<RawOnFailure>>,
    pub limits: Option<Spanned<RawLimits>>,
    pub capabilities: Option<Spanned<Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { transform: { plugin: ./my-rule } }")]
pub(in crate::job) struct RawRule {
    pub transform: Option<Spanned<RawPlugin>>,
    pub keyed_process: Option<Spanned<RawPlugin>>,
    pub on_error: Option<OnError>,
    pub on_failure: Option<Spanned<RawOnFailure>>,
    pub limits: Option<Spanned<RawLimits>>,
    pub capabilities: Option<Spanned<Value>>,
}

/// A rule's without its plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { on_error: skip }")]
pub(in crate::job) struct RawRuleSettings {
    pub on_error: Option<OnError>,
    pub on_failure: Option<Spanned<RawOnFailure>>,
    pub limits: Option<Spanned<RawLimits>>,
    pub capabilities: Option<Spanned<Value>>,
}

/// `{}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an empty map, `{}`")]
pub(in crate::job) struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { input: refunds, key: order }")]
pub(in crate::job) struct RawSecond {
    pub input: Spanned<OneOrMany>,
    pub key: Spanned<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { input: rules }")]
pub(in crate::job) struct RawBroadcast {
    pub input: Spanned<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { lower: -5min, upper: 5min }")]
pub(in crate::job) struct RawInterval {
    pub lower: Spanned<String>,
    pub upper: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { tumbling: 5s, time: processing }")]
pub(in crate::job) struct RawWindow {
    pub tumbling: Option<Spanned<String>>,
    pub sliding: Option<Spanned<RawSliding>>,
    pub session: Option<Spanned<String>>,
    pub global: Option<Spanned<Empty>>,
    pub count: Option<Spanned<i64>>,
    pub offset: Option<Spanned<String>>,
    pub time: Option<TimeDomain>,
    pub allowed_lateness: Option<Spanned<String>>,
    pub trigger: Option<Spanned<RawTrigger>>,
    pub purge: Option<Spanned<bool>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { size: 1h, slide: 5min }")]
pub(in crate::job) struct RawSliding {
    pub size: Spanned<String>,
    pub slide: Spanned<String>,
}

/// `event_time`, or `{ count: 100 }` and the like.
#[derive(Debug)]
pub(in crate::job) enum RawTrigger {
    Word(RawTriggerWord),
    Settings(Box<RawTriggerSettings>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::job) enum RawTriggerWord {
    EventTime,
    ProcessingTime,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::job) struct RawTriggerSettings {
    pub count: Option<Spanned<i64>>,
    pub every: Option<Spanned<String>>,
    pub early: Option<Spanned<RawFiring>>,
    pub late: Option<Spanned<RawFiring>>,
    pub plugin: Option<Spanned<String>>,
    pub config: Option<BTreeMap<String, Value>>,
}

impl<'de> Deserialize<'de> for RawTrigger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrSettings;
        impl<'de> Visitor<'de> for WordOrSettings {
            type Value = RawTrigger;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`event_time`, `processing_time` or a map such as { count: 100 }")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RawTrigger, E> {
                RawTriggerWord::deserialize(serde::de::value::StrDeserializer::new(word)).map(RawTrigger::Word)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawTrigger, A::Error> {
                RawTriggerSettings::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(RawTrigger::Settings)
            }
        }
        deserializer.deserialize_any(WordOrSettings)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { every: 10s } or { count: 100 }")]
pub(in crate::job) struct RawFiring {
    pub every: Option<Spanned<String>>,
    pub count: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { plugin: ./my-plugin }")]
pub(in crate::job) struct RawPlugin {
    pub plugin: Spanned<String>,
    pub config: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { memory: 256MiB, batch_time: 10s }")]
pub(in crate::job) struct RawLimits {
    pub memory: Option<Spanned<String>>,
    pub batch_time: Option<Spanned<String>>,
    pub retire_memory: Option<Spanned<String>>,
    pub outputs_per_record: Option<Spanned<i64>>,
    pub record_time: Option<Spanned<String>>,
    pub state_per_key: Option<Spanned<String>>,
}
