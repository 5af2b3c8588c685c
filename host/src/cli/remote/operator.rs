//! `wasmill swap | shadow | shadow-report | promote | discard | rollback | versions`: operators of a server's running jobs.
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::{CommandResult, Connection, table};
use crate::{
    client::{Answer, Change, Client, ClientError},
    model::Clock,
};

/// An operator of a job.
#[derive(Args)]
pub(super) struct Place {
    /// The job: its id or, while it has not ended, its name.
    job: String,
    /// The operator's name in the job.
    pub(super) operator: String,
}

/// On trial for some time.
#[derive(Args)]
struct Trial {
    /// On trial for so long: if it fails the job meanwhile, the version before is put back.
    #[arg(long, value_name = "TIME")]
    trial: Option<String>,
    /// Going back undoes all that the new version has done, its state included. No checkpoints are taken meanwhile.
    #[arg(long, requires = "trial")]
    with_state: bool,
    /// Go back if it rejects more rows than this meanwhile.
    #[arg(long, value_name = "NUMBER", requires = "trial")]
    rejected_max: Option<u64>,
    /// Go back if its calls fail on more rows, timers and windows than this meanwhile, which are passed over.
    #[arg(long, value_name = "NUMBER", requires = "trial")]
    failed_max: Option<u64>,
    /// Go back if it takes longer than this for a record, in the mean of any second, as in 2ms.
    #[arg(long, value_name = "TIME", requires = "trial")]
    trial_latency: Option<String>,
}

/// Arguments of `swap`.
#[derive(Args)]
pub(in crate::cli) struct Swap {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// The new plugin, as in word-count@1.1.0. Default: the one it has.
    #[arg(required_unless_present = "config")]
    plugin: Option<String>,
    /// Which of the operator's plugins, by its kind, if it has several.
    #[arg(long)]
    kind: Option<String>,
    /// The new configuration. Default: the one it has.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    config: Option<Value>,
    #[command(flatten)]
    trial: Trial,
    /// Discard this state, which the new plugin does not declare; may be given several times.
    #[arg(long, value_name = "STATE")]
    force: Vec<String>,
    /// Check whether it can be done, and change nothing; says what migrating a copy of the state comes to.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `shadow`.
#[derive(Args)]
pub(in crate::cli) struct Shadow {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// The plugin to compare with, as in word-count@1.1.0. Default: the one the operator has.
    #[arg(required_unless_present = "config")]
    plugin: Option<String>,
    /// Which of the operator's plugins, by its kind, if it has several.
    #[arg(long)]
    kind: Option<String>,
    /// Its configuration. Default: the one the operator has.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    config: Option<Value>,
    /// Columns that may differ; may be given several times.
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
}

/// Arguments of `promote`.
#[derive(Args)]
pub(in crate::cli) struct Promote {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    trial: Trial,
}

/// Arguments of `shadow-report`.
#[derive(Args)]
pub(in crate::cli) struct ShadowReport {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `discard`.
#[derive(Args)]
pub(in crate::cli) struct Discard {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
}

/// Arguments of `rollback`.
#[derive(Args)]
pub(in crate::cli) struct Rollback {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// Which of the operator's plugins, by its kind, if it has several.
    #[arg(long)]
    kind: Option<String>,
}

/// Arguments of `versions`.
#[derive(Args)]
pub(in crate::cli) struct Versions {
    #[command(flatten)]
    connection: Connection,
    /// The job: its id or, while it has not ended, its name.
    job: String,
    /// One of its operators; without it what all of them run.
    operator: Option<String>,
}

pub(super) fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))
}

/// An object of what there is to say.
pub(super) fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    Value::Object(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

impl Trial {
    fn body(&self) -> Option<Value> {
        let time = self.trial.as_ref()?;
        Some(object([
            ("time", Some(json!(time))),
            ("with_state", Some(json!(self.with_state))),
            ("rejected_max", self.rejected_max.map(Value::from)),
            ("failed_max", self.failed_max.map(Value::from)),
            ("record_time_max", self.trial_latency.as_ref().map(|time| json!(time))),
        ]))
    }
}

impl Place {
    pub(super) fn path<'a>(&'a self, what: &'a str) -> [&'a str; 6] {
        ["v1", "jobs", &self.job, "operators", &self.operator, what]
    }

    pub(super) async fn ask(
        &self,
        client: &Client,
        change: Change,
        what: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        client.ask(change, &self.path(what), &[], body).await
    }
}

impl Swap {
    fn body(&self) -> Value {
        object([
            ("plugin", self.plugin.clone().map(Value::from)),
            ("kind", self.kind.clone().map(Value::from)),
            ("configuration", self.config.clone()),
            ("trial", self.trial.body()),
            ("force", (!self.force.is_empty()).then(|| json!(self.force))),
            ("dry_run", self.dry_run.then_some(json!(true))),
        ])
    }

    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let body = self.body();
        let asked = async |client: &Client| Ok(self.place.ask(client, Change::Post, "swap", Some(&body)).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl Shadow {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let body = object([
            ("plugin", self.plugin.map(Value::from)),
            ("kind", self.kind.map(Value::from)),
            ("configuration", self.config),
            ("ignored", (!self.ignore.is_empty()).then(|| json!(self.ignore))),
        ]);
        let asked = async |client: &Client| Ok(self.place.ask(client, Change::Post, "shadow", Some(&body)).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl ShadowReport {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let path = self.place.path("shadow");
        self.connection.ask(clock, async |client| Ok(client.get(&path, &[]).await?), table::fields)
    }
}

impl Promote {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let body = object([("trial", self.trial.body())]);
        let asked = async |client: &Client| Ok(self.place.ask(client, Change::Post, "promote", Some(&body)).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl Discard {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let asked = async |client: &Client| Ok(self.place.ask(client, Change::Post, "discard", None).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl Rollback {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let path = self.place.path("rollback");
        let query: Vec<_> = self.kind.iter().map(|kind| ("kind", kind.as_str())).collect();
        let asked = async |client: &Client| Ok(client.ask(Change::Post, &path, &query, None).await?);
        self.connection.ask(clock, asked, table::fields)
    }
}

impl Versions {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let mut path = vec!["v1", "jobs", &self.job, "operators"];
        path.extend(self.operator.iter().flat_map(|operator| [operator.as_str(), "versions"]));
        let show = if self.operator.is_some() { changes } else { in_force };
        self.connection.ask(clock, async |client| Ok(client.list(&path, &[]).await?), show)
    }
}

/// The plugin of a version, and that of its canary with its share of the keys.
fn plugin(version: &Value) -> String {
    let (plugin, canary) = (table::cell(&version["plugin"]), &version["canary"]);
    match canary["share"].as_f64() {
        Some(share) => {
            format!("{plugin}, {} for {}%", table::cell(&canary["plugin"]), (share * 10_000.0).round() / 100.0)
        }
        None => plugin,
    }
}

/// What operators run.
fn in_force(operators: &Value) -> String {
    table::list(operators, ["operator", "kind", "plugin", "change", "configuration", "sha-256"], |operator| {
        let [name, kind, change, configuration, digest] =
            ["operator", "kind", "change", "configuration", "digest"].map(|field| table::cell(&operator[field]));
        [name, kind, plugin(operator), change, configuration, digest]
    })
}

/// What an operator has run, and what it was not changed to.
fn changes(changes: &Value) -> String {
    table::list(changes, ["time", "who", "action", "outcome", "from", "to", "configuration", "reason"], |change| {
        let [who, action, outcome, reason] =
            ["who", "action", "outcome", "reason"].map(|field| table::cell(&change[field]));
        let [from, to] = ["from", "to"].map(|side| plugin(&change[side]));
        let configuration = table::cell(&change["to"]["configuration"]);
        [table::time(&change["time_ms"]), who, action, outcome, from, to, configuration, reason]
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        swap: Swap,
    }

    #[test]
    fn a_canary_is_shown_with_its_share() {
        let mut version = json!({ "plugin": "p@1.0.0" });
        assert_eq!(plugin(&version), "p@1.0.0");
        version["canary"] = json!({ "plugin": "p@2.0.0", "share": 0.0725 });
        assert_eq!(plugin(&version), "p@1.0.0, p@2.0.0 for 7.25%");
    }

    #[test]
    fn only_what_was_said_is_asked_for() {
        let body = |line: &[&str]| {
            let line = [&["swap", "job", "operator"], line].concat();
            Line::try_parse_from(line).map(|line| line.swap.body()).map_err(|error| error.kind())
        };
        assert_eq!(body(&["p@1.0.0"]).unwrap(), json!({ "plugin": "p@1.0.0" }));
        assert_eq!(
            body(&["--config", "{\"a\": 1}", "--dry-run"]).unwrap(),
            json!({ "configuration": { "a": 1 }, "dry_run": true })
        );
        let forced = body(&["p", "--force", "total", "--force", "count"]).unwrap();
        assert_eq!(forced, json!({ "plugin": "p", "force": ["total", "count"] }));
        let trial =
            body(&["p@1.0.0", "--kind", "map", "--trial", "1min", "--rejected-max", "0", "--failed-max", "7"]).unwrap();
        assert_eq!(trial["trial"], json!({ "time": "1min", "with_state": false, "rejected_max": 0, "failed_max": 7 }));
        assert_eq!(trial["kind"], "map");
        let trial = body(&["p@1.0.0", "--trial", "1min", "--trial-latency", "2ms"]).unwrap();
        assert_eq!(trial["trial"], json!({ "time": "1min", "with_state": false, "record_time_max": "2ms" }));
        for wrong in [&[][..], &["p", "--with-state"], &["p", "--trial-latency", "2ms"], &["--config", "{"]] {
            assert!(body(wrong).is_err(), "{wrong:?}");
        }
    }
}
