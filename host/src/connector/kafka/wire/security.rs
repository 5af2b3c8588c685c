//! How connections are secured, from the properties that say so to librdkafka. What cannot be done here the same way is refused, so that
//! nothing is weaker than what was asked for.
use std::{fmt, sync::Arc};

use rustls::ClientConfig;

use super::tls;
use crate::connector::{
    ConnectorError,
    kafka::{client::Client, error::Failure},
};

/// Properties of SASL that are understood, or that matter only to mechanisms that are not.
const SASL_KNOWN: [&str; 4] = ["sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"];

/// Mechanisms that are understood.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// How connections are secured.
#[derive(Clone, Debug)]
pub struct Security {
    /// What TLS needs; `None` for none.
    pub tls: Option<Arc<ClientConfig>>,
    /// Who we are; `None` if brokers do not ask.
    pub credentials: Option<Credentials>,
}

/// A name and a password.
#[derive(Clone)]
pub struct Credentials {
    /// One of those that are understood.
    pub mechanism: &'static str,
    /// Name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Security {
    /// As the properties say. Fails with C0406 for what is not understood, C0403 for certificates that cannot be read.
    pub fn new(client: &Client) -> Result<Security, ConnectorError> {
        let protocol = client.properties.get("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let (tls, sasl) = match protocol.as_str() {
            "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            other => return Err(refused(client, format!("`security.protocol` is {other:?}, which there is not"))),
        };
        Ok(Security {
            tls: tls.then(|| tls::config(client)).transpose()?,
            credentials: sasl.then(|| credentials(client)).transpose()?,
        })
    }
}

/// The error that a property cannot be as it is.
pub fn refused(client: &Client, what: impl Into<String>) -> ConnectorError {
    Failure::Setting.at(client.brokers.to_string(), what)
}

fn credentials(client: &Client) -> Result<Credentials, ConnectorError> {
    let properties = &client.properties;
    // librdkafka's default is GSSAPI.
    let asked = properties.get("sasl.mechanism").or(properties.get("sasl.mechanisms")).unwrap_or("GSSAPI");
    let Some(mechanism) = MECHANISMS.into_iter().find(|known| *known == asked) else {
        let what = format!("`sasl.mechanism` {asked} does not go with transactions: {} do", MECHANISMS.join(", "));
        return Err(refused(client, what));
    };
    let other = properties.iter().map(|(name, _)| name).find(|name| {
        name.starts_with("sasl.") && !SASL_KNOWN.contains(name) && !name.contains("kerberos") && !name.contains("oauth")
    });
    if let Some(other) = other {
        return Err(refused(client, format!("`{other}` does not go with transactions")));
    }
    match (properties.get("sasl.username"), properties.get("sasl.password")) {
        (Some(user), Some(password)) => {
            Ok(Credentials { mechanism, user: user.to_owned(), password: password.to_owned() })
        }
        _ => Err(refused(client, format!("{mechanism} needs `sasl.username` and `sasl.password`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(properties: &str) -> Result<Security, ConnectorError> {
        let brokers = serde_saphyr::from_str("\"a:1\"").unwrap();
        Security::new(&Client { brokers, properties: serde_saphyr::from_str(properties).unwrap() })
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let found = security(
            "{ security.protocol: SASL_SSL, sasl.mechanism: SCRAM-SHA-512, sasl.username: u, sasl.password: hunter2, \
             ssl.endpoint.identification.algorithm: none, enable.ssl.certificate.verification: false }",
        );
        let found = found.unwrap();
        assert!(found.tls.is_some() && found.credentials.as_ref().is_some_and(|credentials| credentials.user == "u"));
        assert!(!format!("{found:?}").contains("hunter2"));
        assert!(security("{}").unwrap().tls.is_none());
        for (properties, part) in [
            ("{ security.protocol: tls }", "security.protocol"),
            ("{ security.protocol: sasl_plaintext }", "GSSAPI"),
            ("{ security.protocol: sasl_plaintext, sasl.mechanism: OAUTHBEARER }", "OAUTHBEARER"),
            ("{ security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, sasl.username: u }", "sasl.password"),
            ("{ security.protocol: ssl, ssl.keystore.location: a.p12 }", "ssl.keystore.location"),
            ("{ security.protocol: ssl, ssl.key.location: k, ssl.key.password: hunter2 }", "ssl.key.password"),
            ("{ security.protocol: ssl, ssl.crl.location: a }", "ssl.crl.location"),
        ] {
            let ConnectorError { what, code, .. } = security(properties).unwrap_err();
            assert_eq!(code, "C0406", "{properties}");
            assert!(what.contains(part) && !what.contains("hunter2"), "{properties}: {what}");
        }
        let error = security("{ security.protocol: ssl, ssl.ca.location: /nowhere/ca.pem }").unwrap_err();
        assert!(error.code == "C0403" && error.what.contains("/nowhere/ca.pem"), "{error}");
    }
}
