//! `wasmill canary | canary-share | canary-report`: versions for a share of an operator's keys.
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{
    CommandResult, Connection,
    operator::{Place, json_value, object},
    table,
};
use crate::{
    client::{Change, Client},
    model::Clock,
};

/// Arguments of `canary`.
#[derive(Args)]
pub(in crate::cli) struct Canary {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// The plugin, as in word-count@1.1.0. Default: the one the operator has.
    #[arg(required_unless_present = "config")]
    plugin: Option<String>,
    /// Of the keys, as in 5% or 0.05.
    #[arg(long, value_parser = share)]
    share: f64,
    /// Its configuration. Default: the one the operator has.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    config: Option<Value>,
    /// Columns by which rows of a `transform` are divided; may be given several times. Default: its key, or else all it reads.
    #[arg(long, value_name = "COLUMN")]
    by: Vec<String>,
}

/// Arguments of `canary-share`.
#[derive(Args)]
pub(in crate::cli) struct CanaryShare {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// Of the keys, as in 20% or 0.2.
    #[arg(value_parser = share)]
    share: f64,
}

/// Arguments of `canary-report`.
#[derive(Args)]
pub(in crate::cli) struct CanaryReport {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
}

/// A part of 1, or of a hundred with `%`. Whether there is such a share the server knows.
fn share(text: &str) -> Result<f64, String> {
    let wrong = |_| format!("`{text}` is no share: write 5% or 0.05");
    match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().map(|percent| percent / 100.0).map_err(wrong),
        None => text.parse().map_err(wrong),
    }
}

impl Canary {
    fn body(&self) -> Value {
        object([
            ("plugin", self.plugin.clone().map(Value::from)),
            ("share", Some(json!(self.share))),
            ("configuration", self.config.clone()),
            ("by", (!self.by.is_empty()).then(|| json!(self.by))),
        ])
    }

    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let body = self.body();
        let asked = async |client: &Client| Ok(self.place.ask(client, Change::Post, "canary", Some(&body)).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl CanaryShare {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let body = json!({ "share": self.share });
        let asked = async |client: &Client| Ok(self.place.ask(client, Change::Patch, "canary", Some(&body)).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl CanaryReport {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let path = self.place.path("canary");
        self.connection.ask(clock, async |client| Ok(client.get(&path, &[]).await?), table::fields)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        canary: Canary,
    }

    #[test]
    fn a_share_is_a_part_or_a_percentage() {
        let body = |line: &[&str]| {
            let line = [&["canary", "job", "operator", "p@2.0.0"], line].concat();
            Line::try_parse_from(line).map(|line| line.canary.body()).map_err(|error| error.kind())
        };
        assert_eq!(body(&["--share", "5%"]).unwrap(), json!({ "plugin": "p@2.0.0", "share": 0.05 }));
        let by = body(&["--share", "0.25", "--by", "a", "--by", "b"]).unwrap();
        assert_eq!((&by["share"], &by["by"]), (&json!(0.25), &json!(["a", "b"])));
        for wrong in [&[][..], &["--share", "some"], &["--share", "%"]] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
    }
}
