//! Clients of librdkafka: how they are configured, and what they say. Guarantees that a property which cannot be is refused before
//! anything is begun, without showing secrets. Must not know sources and sinks.
use rdkafka::{
    ClientConfig,
    config::RDKafkaLogLevel,
    error::KafkaError,
    types::{RDKafkaConfRes, RDKafkaErrorCode},
};

use super::{
    error::Failure,
    settings::{Brokers, Properties, is_secret},
};
use crate::connector::ConnectorError;

/// Properties that are wasmill's to set, for every client.
const RESERVED: [&str; 3] = ["bootstrap.servers", "metadata.broker.list", "log.queue"];

/// Whom a client talks to, and how.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where to ask first.
    pub brokers: Brokers,
    /// What is passed on to librdkafka.
    pub properties: Properties,
}

impl Client {
    /// A configuration with `defaults`, which properties may change, and `fixed` ones, which they may not, no more than `reserved`.
    /// Fails with C0406 for a property that does not exist, has a wrong value, or is not to be set.
    pub fn config(
        &self,
        defaults: &[(&str, &str)],
        fixed: &[(&str, &str)],
        reserved: &[&str],
    ) -> Result<ClientConfig, ConnectorError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers.to_string());
        config.set("client.id", "wasmill");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in self.properties.iter() {
            if RESERVED.contains(&name) || reserved.contains(&name) || fixed.iter().any(|(fixed, _)| *fixed == name) {
                let what = format!("`properties` has `{name}`, which is not to be set there: wasmill sets it");
                return Err(Failure::Setting.at(self.brokers.to_string(), what));
            }
            config.set(name, value);
        }
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        // Alone it is checked for names and values only; what does not go together shows when a client is made.
        config.create_native_config().map_err(|error| self.refused(&error))?;
        Ok(config)
    }

    /// The error that librdkafka refuses the configuration.
    pub fn refused(&self, error: &KafkaError) -> ConnectorError {
        let what = match error {
            KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
                format!("there is no client setting `{name}`; see librdkafka's CONFIGURATION.md for those there are")
            }
            KafkaError::ClientConfig(_, _, name, _) if is_secret(name) => {
                format!("the value of the client setting `{name}` cannot be used")
            }
            KafkaError::ClientConfig(_, why, ..) | KafkaError::ClientCreation(why) => why.clone(),
            other => other.to_string(),
        };
        Failure::Setting.at(self.brokers.to_string(), what)
    }
}

/// Passes on what librdkafka has to say.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// Passes on an error of the client as a whole, from which it may recover by itself.
pub fn trouble(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        // It says so for each broker as well; and the end of a partition is no trouble.
        Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::PartitionEOF) => {
            tracing::debug!(target: "librdkafka", "{reason}")
        }
        _ => tracing::warn!(target: "librdkafka", "{reason}"),
    }
}
