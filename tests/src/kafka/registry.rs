//! A real schema registry for tests, brought up by `tests/kafka/registry`. Guarantees: it does not outlive the test process, however that
//! ends. Must not know what is tested.
use std::process::{self, Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ADVICE, PATIENCE};
use crate::guests::{root, run};

/// A registry for one test alone.
pub struct SchemaRegistry {
    url: String,
    directory: TempDir,
}

impl SchemaRegistry {
    /// One that answers, and has nothing.
    pub fn start() -> SchemaRegistry {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = script("start", &directory);
        let output = run(command.args(["--while", &process::id().to_string()]), ADVICE);
        SchemaRegistry { url: String::from_utf8_lossy(&output.stdout).trim().to_owned(), directory }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Registers a schema of this type (`AVRO`, `PROTOBUF`, `JSON`) that refers to the first versions of others, by names and subjects.
    /// Its id.
    pub async fn register(&self, subject: &str, kind: &str, text: &str, references: &[(&str, &str)]) -> u32 {
        let references: Vec<Value> = references
            .iter()
            .map(|(name, subject)| json!({ "name": name, "subject": subject, "version": 1 }))
            .collect();
        // Fails if somebody has chosen one before, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build();
        let answer = client
            .expect("a client")
            .post(format!("{}/subjects/{subject}/versions", self.url))
            .json(&json!({ "schema": text, "schemaType": kind, "references": references }))
            .send()
            .await
            .expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let id = answer["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        id.unwrap_or_else(|| panic!("the registry refuses {subject}: {answer}"))
    }
}

impl Drop for SchemaRegistry {
    fn drop(&mut self) {
        // If it does not work now, it will when the process ends.
        let _ = script("stop", &self.directory).output();
    }
}

fn script(action: &str, directory: &TempDir) -> Command {
    let mut command = Command::new(root().join("tests/kafka/registry"));
    command.arg(action).arg("--directory").arg(directory.path());
    command
}
