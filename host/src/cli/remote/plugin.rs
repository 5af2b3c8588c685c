//! `wasmill plugin push | list | delete`.
use std::{path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::Value;

use super::{CommandError, CommandResult, Connection, read, table};
use crate::{cli::component, client::Change, model::Clock};

/// Bytes of an ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// Arguments of `plugin push`.
#[derive(Args)]
pub(in crate::cli) struct Push {
    #[command(flatten)]
    connection: Connection,
    /// A `.wasm` file, or a crate's directory, which is built.
    file: PathBuf,
    /// The ed25519 signature of the file's SHA-256: its 64 bytes, or base64 of them.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

/// Arguments of `plugin list`.
#[derive(Args)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    connection: Connection,
    /// Only versions of this plugin.
    name: Option<String>,
}

/// Arguments of `plugin delete`.
#[derive(Args)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    connection: Connection,
    /// The version, as in word-count@1.0.0.
    #[arg(value_name = "NAME@VERSION", value_parser = versioned)]
    plugin: (String, String),
}

fn versioned(text: &str) -> Result<(String, String), String> {
    match text.split_once('@') {
        Some((name, version)) if !name.is_empty() && !version.is_empty() => Ok((name.into(), version.into())),
        _ => Err("a plugin and its version are named as in word-count@1.0.0".into()),
    }
}

fn name(plugin: &Value) -> String {
    format!("{}@{}", table::cell(&plugin["name"]), table::cell(&plugin["version"]))
}

impl Push {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let signature = self.signature.as_ref().map(read).transpose()?.map(|bytes| match bytes.len() {
            SIGNATURE_BYTES => BASE64_STANDARD.encode(bytes),
            _ => String::from_utf8_lossy(&bytes).trim().to_owned(),
        });
        let file = component(self.file, false)?;
        self.connection.ask(
            clock,
            async |client| {
                let headers: Vec<_> = signature.iter().map(|text| ("wasmill-signature", text.as_str())).collect();
                Ok(client.upload(&["v1", "plugins"], &file, "application/wasm", &headers).await?)
            },
            |answer| {
                let plugin = &answer["plugin"];
                let digest = table::cell(&plugin["digest"]);
                let known = if answer["created"] == false { " (was there already)" } else { "" };
                format!("{} sha256:{digest}{known}", name(plugin))
            },
        )
    }
}

impl List {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let query: Vec<_> = self.name.iter().map(|name| ("name", name.as_str())).collect();
        self.connection.ask(
            clock,
            async |client| Ok(client.list(&["v1", "plugins"], &query).await?),
            |plugins| {
                table::list(plugins, ["plugin", "kinds", "bytes", "uploaded", "by", "sha-256"], |plugin| {
                    let kinds = plugin["operators"].as_array().into_iter().flatten();
                    let kinds: Vec<_> = kinds.map(|operator| table::cell(&operator["kind"])).collect();
                    let [size, by, digest] = ["size", "uploaded_by", "digest"].map(|field| table::cell(&plugin[field]));
                    [name(plugin), kinds.join(", "), size, table::time(&plugin["uploaded_ms"]), by, digest]
                })
            },
        )
    }
}

impl Delete {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let (name, version) = &self.plugin;
        self.connection.ask(
            clock,
            async |client| {
                let path = ["v1", "plugins", name, version];
                client.ask(Change::Delete, &path, &[], None).await.map_err(CommandError::from)
            },
            |_| String::new(),
        )
    }
}
