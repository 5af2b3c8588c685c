//! `wasmill rule ...`: rules of operators of a server's running jobs.
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    CommandResult, Connection,
    operator::{json_value, object},
    table,
};
use crate::{
    client::{Change, Client},
    model::Clock,
};

/// Arguments of `rule`.
#[derive(Args)]
pub(in crate::cli) struct RuleCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    request: Request,
}

/// An operator with rules.
#[derive(Args)]
struct Of {
    /// The job: its id or, while it has not ended, its name.
    job: String,
    /// The operator's name in the job.
    operator: String,
}

/// What is asked.
#[derive(Subcommand)]
enum Request {
    /// List the rules of an operator, and what each has done.
    List(Of),
    /// Add a rule.
    Add(Add),
    /// Remove a rule, with its state.
    Remove {
        #[command(flatten)]
        of: Of,
        /// Its name.
        rule: String,
    },
}

/// Arguments of `rule add`.
#[derive(Args)]
struct Add {
    #[command(flatten)]
    of: Of,
    /// Its name.
    rule: String,
    /// Its plugin, as in word-count@1.1.0.
    plugin: String,
    /// As what it is run, keyed-process or transform, if the plugin can be both.
    #[arg(long)]
    kind: Option<String>,
    /// Its configuration.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    config: Option<Value>,
    /// Limits on its plugin, as in {"memory": "16MiB"}. Default: those of the operator.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    limits: Option<Value>,
    /// What its plugin is granted: clocks, randomness, or both with a comma between. Default: what the operator's are.
    #[arg(long, value_name = "CAPABILITIES", value_delimiter = ',')]
    capabilities: Option<Vec<String>>,
    /// What becomes of calls that fail: fail, skip, dead_letter, or a JSON object. Default: that of the operator.
    #[arg(long, value_name = "ACTION")]
    on_failure: Option<String>,
    /// What becomes of rows it rejects: fail or skip. Default: that of the operator.
    #[arg(long, value_name = "ACTION")]
    on_error: Option<String>,
}

impl Of {
    fn path(&self) -> [&str; 6] {
        ["v1", "jobs", &self.job, "operators", &self.operator, "rules"]
    }
}

impl Add {
    fn body(&self) -> Value {
        // A word, or what is more than that.
        let on_failure = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
        object([
            ("name", Some(Value::from(self.rule.as_str()))),
            ("plugin", Some(Value::from(self.plugin.as_str()))),
            ("kind", self.kind.clone().map(Value::from)),
            ("configuration", self.config.clone()),
            ("limits", self.limits.clone()),
            ("capabilities", self.capabilities.clone().map(Value::from)),
            ("on_failure", self.on_failure.as_ref().map(on_failure)),
            ("on_error", self.on_error.clone().map(Value::from)),
        ])
    }
}

impl RuleCommand {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let connection = self.connection;
        match self.request {
            Request::List(of) => {
                connection.ask(clock, async |client: &Client| Ok(client.list(&of.path(), &[]).await?), rules)
            }
            Request::Add(add) => {
                let body = add.body();
                let asked = async |client: &Client| Ok(client.create(&add.of.path(), &body).await?);
                connection.ask(clock, asked, table::fields)
            }
            Request::Remove { of, rule } => {
                let path: Vec<&str> = of.path().into_iter().chain([rule.as_str()]).collect();
                let asked = async |client: &Client| Ok(client.ask(Change::Delete, &path, &[], None).await?);
                connection.ask(clock, asked, table::fields)
            }
        }
    }
}

fn rules(rules: &Value) -> String {
    let counts = ["rule", "kind", "plugin", "change", "added", "records_in", "records_out", "rejected", "failed"];
    let headers = ["rule", "kind", "plugin", "change", "added", "in", "out", "rejected", "failed"];
    table::list(rules, headers, |rule| counts.map(|field| table::cell(&rule[field])))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        add: Add,
    }

    #[test]
    fn only_what_was_said_is_asked_for() {
        let body = |more: &[&str]| {
            let line = [&["add", "job", "rules", "large", "large@1.0.0"], more].concat();
            Line::try_parse_from(line).map(|line| line.add.body()).unwrap()
        };
        assert_eq!(body(&[]), json!({ "name": "large", "plugin": "large@1.0.0" }));
        assert_eq!(body(&["--on-failure", "skip"])["on_failure"], "skip");
        let more = body(&["--on-failure", r#"{"action": "skip"}"#, "--limits", r#"{"memory": "16MiB"}"#]);
        assert_eq!(body(&["--capabilities", "clocks,randomness"])["capabilities"], json!(["clocks", "randomness"]));
        assert_eq!(more["on_failure"], json!({ "action": "skip" }));
        assert_eq!(more["limits"], json!({ "memory": "16MiB" }));
    }
}
