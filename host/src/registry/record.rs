//! What is known of an uploaded plugin, as it is kept in the index.
use std::fmt;

use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};

use super::RegistryError;

/// An uploaded plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Lower-case letters, digits and hyphens.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// SHA-256 of the uploaded file, in 64 hexadecimal digits.
    pub digest: String,
    /// Bytes of the uploaded file.
    pub size: u64,
    /// When it was uploaded, in ms since 1970-01-01 UTC.
    pub uploaded_ms: i64,
    /// Who has uploaded it.
    pub uploaded_by: String,
    /// The key that signed it, as base64; none if no signature was asked for.
    pub signed_by: Option<String>,
    /// Names of the interfaces it imports.
    pub imports: Vec<String>,
    /// What of the outside these are about: `clocks`, `randomness`, `network`. A job may grant the first two.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The operators in it, a kind each.
    pub operators: Vec<OperatorRecord>,
}

/// An operator of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorRecord {
    /// The interface of the contract, such as `transform`.
    pub kind: String,
    /// The JSON schema of its configuration, as text; empty if it has none, and in lists.
    pub configuration: String,
}

impl Record {
    /// The same without configuration schemas.
    pub(super) fn in_list(&self) -> Record {
        let kinds = self.operators.iter().map(|operator| operator.kind.clone());
        Record {
            name: self.name.clone(),
            version: self.version.clone(),
            digest: self.digest.clone(),
            size: self.size,
            uploaded_ms: self.uploaded_ms,
            uploaded_by: self.uploaded_by.clone(),
            signed_by: self.signed_by.clone(),
            imports: self.imports.clone(),
            capabilities: self.capabilities.clone(),
            operators: kinds.map(|kind| OperatorRecord { kind, configuration: String::new() }).collect(),
        }
    }

    /// Bytes of its configuration schemas.
    pub(super) fn schema_bytes(&self) -> usize {
        self.operators.iter().map(|operator| operator.configuration.len()).sum()
    }

    /// The version, parsed.
    pub fn semantic_version(&self) -> Result<Version, RegistryError> {
        Version::parse(&self.version)
            .map_err(|error| RegistryError::Name(format!("`{}` is no semantic version: {error}", self.version)))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}
