//! How job files name the formats whose records tell the id of their schema, and the registry that has it. Guarantees that passwords are
//! never shown.
use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Text that is shown to nobody.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A schema registry: its URL, or `{ url: ..., username: ..., password: ..., ca: ... }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    /// Begins with `http://` or `https://`; may have a path, but no names and passwords.
    pub url: String,
    /// Who asks, and with which password, if the registry wants to know.
    pub login: Option<(String, Secret)>,
    /// A PEM file with the certificates that the registry's is verified against, instead of the system's.
    pub ca: Option<PathBuf>,
}

impl RegistrySettings {
    /// Makes the path of the certificates relative to `base`.
    pub fn resolve_paths(&mut self, base: &Path) {
        if let Some(ca) = &mut self.ca {
            *ca = base.join(&*ca);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    ca: Option<PathBuf>,
}

impl Fields {
    fn check<E: de::Error>(self) -> Result<RegistrySettings, E> {
        let Fields { url, username, password, ca } = self;
        let Some(host) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
            // It may have a password in it.
            return Err(E::custom("the `url` of a registry begins with `http://` or `https://`"));
        };
        let authority = host.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(E::custom("the `url` of a registry has no password in it: write `username:` and `password:`"));
        }
        if authority.is_empty() || host.contains(['?', '#']) {
            return Err(E::custom("the `url` of a registry is a host and perhaps a path: `http://registry:8081`"));
        }
        let login = match (username, password) {
            (None, None) => None,
            (Some(username), Some(password)) => Some((username, password)),
            _ => return Err(E::custom("`username` and `password` of a registry go together")),
        };
        Ok(RegistrySettings { url, login, ca })
    }
}

impl<'de> Deserialize<'de> for RegistrySettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RegistrySettings, D::Error> {
        struct UrlOrFields;
        impl<'de> Visitor<'de> for UrlOrFields {
            type Value = RegistrySettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a registry: its URL, or `{ url: ..., username: ..., password: ..., ca: ... }`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<RegistrySettings, E> {
                Fields { url: url.to_owned(), username: None, password: None, ca: None }.check()
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RegistrySettings, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map))?.check()
            }
        }
        deserializer.deserialize_any(UrlOrFields)
    }
}

/// Avro, framed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvroSettings {
    /// Where schemas are.
    pub registry: RegistrySettings,
}

/// Protobuf, framed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtobufSettings {
    /// Where schemas are.
    pub registry: RegistrySettings,
    /// Full name of the message that all records are; whichever they say they are if it is not given.
    pub message: Option<String>,
}

/// JSON, framed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSchemaSettings {
    /// Where schemas are.
    pub registry: RegistrySettings,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RegistrySettings, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_registry_is_a_url_or_has_settings() {
        let mut all = read("{ url: \"https://r/x\", username: u, password: hunter2, ca: ca.pem }").unwrap();
        assert_eq!(all.login.as_ref().map(|(user, password)| (&**user, password.reveal())), Some(("u", "hunter2")));
        assert!(!format!("{all:?}").contains("hunter2"));
        all.resolve_paths(Path::new("/jobs"));
        assert_eq!(all.ca, Some("/jobs/ca.pem".into()));
        let number = read("{ url: \"http://r\", username: u, password: 12345 }").unwrap();
        assert_eq!(number.login.unwrap().1.reveal(), "12345");
        let plain = RegistrySettings { url: "http://r:8081".into(), login: None, ca: None };
        assert_eq!(read("\"http://r:8081\""), Ok(plain));
        for (text, part) in [
            ("\"r:8081\"", "http://"),
            ("\"http://\"", "host"),
            ("\"http://r?x=1\"", "host"),
            ("\"http://u:hunter2@r:8081/\"", "username"),
            ("{ url: \"http://r\", username: u }", "go together"),
            ("{ url: \"http://r\", user: u }", "user"),
            ("{ username: u, password: hunter2 }", "url"),
        ] {
            let error = read(text).unwrap_err();
            // What is wrong is said; the part of the file shown beside it is the writer's own.
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
