//! The shape of what is said of calls that fail.
use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer, value::StrDeserializer},
};
use serde_saphyr::Spanned;

use crate::job::FailureAction;

/// `skip`, or `{ action: skip, retries: 3 }` and the like.
#[derive(Debug)]
pub(in crate::job) enum RawOnFailure {
    Action(FailureAction),
    Settings(Box<RawFailureSettings>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::job) struct RawFailureSettings {
    pub action: Option<FailureAction>,
    pub retries: Option<Spanned<i64>>,
    pub backoff: Option<Spanned<String>>,
    pub circuit_breaker: Option<Spanned<RawCircuitBreaker>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a map such as { failures: 100, within: 1min, open: 30s }")]
pub(in crate::job) struct RawCircuitBreaker {
    pub failures: Option<Spanned<i64>>,
    pub within: Option<Spanned<String>>,
    pub open: Option<Spanned<String>>,
}

impl<'de> Deserialize<'de> for RawOnFailure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ActionOrSettings;
        impl<'de> Visitor<'de> for ActionOrSettings {
            type Value = RawOnFailure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`fail`, `skip`, `dead_letter` or a map such as { action: dead_letter, retries: 3 }")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RawOnFailure, E> {
                FailureAction::deserialize(StrDeserializer::new(word)).map(RawOnFailure::Action)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawOnFailure, A::Error> {
                let settings = RawFailureSettings::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawOnFailure::Settings(Box::new(settings)))
            }
        }
        deserializer.deserialize_any(ActionOrSettings)
    }
}
