//! An entry and its hash: SHA-256 over the canonical JSON (RFC 8785: sorted keys, no spaces) of all its other fields. Must not know files.
use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::beginning;

/// The hash before the first entry.
pub(super) const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Bytes of a field's text; the rest is cut off.
const TEXT_BYTES_MAX: usize = 1 << 10;

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Who did it.
    pub who: String,
    /// What, such as `plugin.push`.
    pub action: String,
    /// To what, such as `word-count@1.0.0`.
    pub subject: String,
    /// What it was before, if it was something.
    pub from: Option<String>,
    /// What it is now, if it is something.
    pub to: Option<String>,
    /// SHA-256 of the component concerned, or of the text of a job.
    pub digest: Option<String>,
    /// `done`, or why not.
    pub outcome: String,
}

/// A line of the log. The order of the fields is that of their names, which makes what is written canonical.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What was done, such as `plugin.push`.
    pub action: String,
    /// SHA-256 of the component concerned, or of the text of a job, in hexadecimal digits.
    pub digest: Option<String>,
    /// What it was before.
    pub from: Option<String>,
    /// SHA-256 over the canonical JSON of all other fields, in hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// `done`, or why not.
    pub outcome: String,
    /// The hash of the entry before; zeros in the first.
    pub previous: String,
    /// Its number, from 0.
    pub sequence: u64,
    /// To what it was done, such as `word-count@1.0.0`.
    pub subject: String,
    /// When, in ms since 1970-01-01 UTC.
    pub time_ms: i64,
    /// What it is now.
    pub to: Option<String>,
    /// Who has done it.
    pub who: String,
}

fn short(text: String) -> String {
    beginning(text, TEXT_BYTES_MAX)
}

impl Entry {
    pub(super) fn new(sequence: u64, time_ms: i64, event: Event, previous: String) -> Entry {
        let mut entry = Entry {
            action: short(event.action),
            digest: event.digest.map(short),
            from: event.from.map(short),
            hash: String::new(),
            outcome: short(event.outcome),
            previous,
            sequence,
            subject: short(event.subject),
            time_ms,
            to: event.to.map(short),
            who: short(event.who),
        };
        entry.hash = entry.hash_of_rest();
        entry
    }

    fn json(&self) -> String {
        // Numbers and text always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    fn hash_of_rest(&self) -> String {
        let rest = Entry { hash: String::new(), ..self.clone() };
        Sha256::digest(rest.json()).iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// As it stands in the log.
    pub(super) fn line(&self) -> String {
        self.json() + "\n"
    }

    /// Reads a line, which must be written exactly as this program does. Fails with what is wrong.
    pub(super) fn parse(line: &[u8]) -> Result<Entry, String> {
        let entry: Entry = serde_json::from_slice(line).map_err(|error| format!("it is no entry: {error}"))?;
        if entry.line().as_bytes() == line { Ok(entry) } else { Err("it is not written canonically".into()) }
    }

    /// Fails with what is wrong unless it is the next entry after one with this hash.
    pub(super) fn follows(&self, sequence: u64, previous: &str) -> Result<(), String> {
        if self.sequence != sequence {
            return Err(format!("its number is {}", self.sequence));
        }
        if self.previous != previous {
            return Err("it does not follow the entry before: one was changed, removed or put in".into());
        }
        if self.hash != self.hash_of_rest() { Err("it was changed: its hash is wrong".into()) } else { Ok(()) }
    }
}
