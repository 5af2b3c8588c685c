//! What the settings of Kafka's source and sink share: brokers, and properties that go to librdkafka as they are. Guarantees that
//! secrets are never shown.
use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de::Error};

/// Names of properties with one of these words have values that are not shown.
const SECRET_WORDS: [&str; 5] = ["password", "secret", "key", "jaas", "token"];

/// Whether the value of the property is to be hidden.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Where to ask first for the brokers there are: `host:port`, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(Vec<String>);

impl Brokers {
    /// Addresses, at least one.
    pub fn addresses(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Brokers, D::Error> {
        let text = String::deserialize(deserializer)?;
        let addresses: Vec<String> = text.split(',').map(|address| address.trim().to_owned()).collect();
        let is_address = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains("://") && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        match addresses.iter().find(|address| !is_address(address)) {
            None => Ok(Brokers(addresses)),
            Some(address) => Err(D::Error::custom(format!(
                "`brokers` are addresses such as \"kafka-1:9092,kafka-2:9092\", and {address:?} is none: it needs a host and a port"
            ))),
        }
    }
}

/// Properties of librdkafka by name. Values are text, numbers, or true and false in the job file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// The value of a property, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, if is_secret(name) { "***" } else { value })))
            .finish()
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(properties: I) -> Properties {
        Properties(properties.into_iter().collect())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Properties, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Value {
            Bool(bool),
            Number(i64),
            Real(f64),
            Text(String),
        }
        let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let text = |value| match value {
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Real(value) => value.to_string(),
            Value::Text(value) => value,
        };
        Ok(values.into_iter().map(|(name, value)| (name, text(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let text = "{ sasl.username: u, sasl.password: hunter2, ssl.key.pem: hunter2, ssl.keystore.password: hunter2, \
                    sasl.oauthbearer.client.secret: hunter2, linger.ms: 5, enable.ssl.certificate.verification: false }";
        let properties: Properties = serde_saphyr::from_str(text).unwrap();
        assert_eq!(properties.get("sasl.password"), Some("hunter2"));
        assert_eq!(properties.get("linger.ms"), Some("5"));
        assert_eq!(properties.get("enable.ssl.certificate.verification"), Some("false"));
        let shown = format!("{properties:?}");
        assert!(!shown.contains("hunter2") && shown.contains("\"sasl.username\": \"u\""), "{shown}");
    }

    #[test]
    fn brokers_are_addresses() {
        let brokers = |text: &str| serde_saphyr::from_str::<Brokers>(text).map_err(|e| e.to_string());
        assert_eq!(brokers("\"a:9092, [::1]:9093\"").unwrap().addresses(), ["a:9092", "[::1]:9093"]);
        for text in ["a", "\"a:9092,\"", "\"a:0\"", "\"a:b\"", "\"PLAINTEXT://a:9092\""] {
            assert!(brokers(text).unwrap_err().contains("host and a port"), "{text}");
        }
    }
}
