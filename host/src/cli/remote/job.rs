//! `wasmill job ...`: jobs of a server.
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CommandError, CommandResult, Connection, Output, block_on, read, say, table};
use crate::{
    client::{Answer, Change, Client, ClientError, ServerEvent},
    model::Clock,
};

/// Arguments of `job`.
#[derive(Args)]
pub(in crate::cli) struct JobCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    request: Request,
}

/// A job.
#[derive(Args)]
struct Named {
    /// Its id or, while it has not ended, its name.
    job: String,
}

/// What is asked.
#[derive(Subcommand)]
enum Request {
    /// Submit a job and start it; prints its id.
    Submit(Submit),
    /// List jobs, oldest first.
    List,
    /// Show a job, and what of it runs.
    Show(Named),
    /// End a job with a last checkpoint or a savepoint.
    Stop {
        #[command(flatten)]
        of: Named,
        /// Take a savepoint: in this folder of the server, or without one where the job's go.
        #[arg(long, value_name = "DIRECTORY")]
        savepoint: Option<Option<String>>,
        /// End its sources as if their input had: windows fire, and the job is finished.
        #[arg(long)]
        drain: bool,
    },
    /// End a job where it is.
    Cancel(Named),
    /// Start a job that has ended, from its latest checkpoint.
    Restart(Named),
    /// Go on with another parallelism.
    Rescale {
        #[command(flatten)]
        of: Named,
        /// Number of subtasks.
        parallelism: u32,
        /// Only of this source, operator or sink.
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
    },
    /// Take a savepoint, and go on; prints its folder.
    Savepoint {
        #[command(flatten)]
        of: Named,
        /// A folder of the server. Default: a new one where the job's savepoints go.
        #[arg(long, value_name = "DIRECTORY")]
        path: Option<String>,
    },
    /// Take a checkpoint now; prints its number.
    Checkpoint(Named),
    /// Show the latest that a job has logged.
    Logs {
        #[command(flatten)]
        of: Named,
        /// The latest so many, up to 1000.
        #[arg(long, value_name = "NUMBER", default_value = "100")]
        lines: u32,
    },
    /// Follow what happens to jobs, until Ctrl-C.
    Events {
        /// Only to this one: its id or, while it has not ended, its name.
        job: Option<String>,
        /// Begin with those after the one with this number, of the latest 1000; 0 for all of them.
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
    },
    /// Forget a job that has ended, and remove its folder.
    Delete(Named),
}

/// Arguments of `job submit`.
#[derive(Args)]
struct Submit {
    /// The job file, YAML or JSON. Its plugins are uploaded ones.
    file: PathBuf,
    /// What `${NAME}` in it stands for; may be given several times.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// Start from this savepoint, a folder of the server.
    #[arg(long, value_name = "DIRECTORY")]
    from_savepoint: Option<String>,
    /// Leave behind state of operators that the job no longer has.
    #[arg(long)]
    allow_non_restored_state: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is given as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Looks at something of a job, or asks something of it.
async fn of(client: &Client, job: &str, what: &str, body: Option<Value>) -> Result<Answer, CommandError> {
    Ok(client.ask(Change::Post, &["v1", "jobs", job, what], &[], body.as_ref()).await?)
}

impl JobCommand {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let connection = self.connection;
        // Of a job that something was asked of.
        let state = |job: &Value| table::cell(&job["state"]);
        match self.request {
            Request::Submit(submit) => submit.execute(&connection, clock),
            Request::List => connection.ask(clock, async |client| Ok(client.list(&["v1", "jobs"], &[]).await?), jobs),
            Request::Show(Named { job }) => show(&connection, clock, &job),
            Request::Stop { of: Named { job }, savepoint, drain } => {
                let savepoint = savepoint.map_or(json!(false), |folder| folder.map_or(json!(true), Value::from));
                let body = json!({ "savepoint": savepoint, "drain": drain });
                connection.ask(
                    clock,
                    async |client| of(client, &job, "stop", Some(body)).await,
                    |stopped| {
                        let savepoint = table::cell(&stopped["savepoint"]);
                        format!("{}\n{savepoint}", state(&stopped["job"]))
                    },
                )
            }
            Request::Cancel(Named { job }) => {
                connection.ask(clock, async |client| of(client, &job, "cancel", None).await, state)
            }
            Request::Restart(Named { job }) => {
                connection.ask(clock, async |client| of(client, &job, "restart", None).await, state)
            }
            Request::Rescale { of: Named { job }, parallelism, operator } => {
                let body = match operator {
                    Some(name) => json!({ "operators": { name: parallelism } }),
                    None => json!({ "parallelism": parallelism }),
                };
                connection.ask(clock, async |client| of(client, &job, "rescale", Some(body)).await, state)
            }
            Request::Savepoint { of: Named { job }, path } => {
                let body = path.map(|path| json!({ "path": path }));
                let asked = async |client: &Client| of(client, &job, "savepoints", body).await;
                connection.ask(clock, asked, |savepoint| table::cell(&savepoint["path"]))
            }
            Request::Checkpoint(Named { job }) => {
                let asked = async |client: &Client| of(client, &job, "checkpoints", None).await;
                connection.ask(clock, asked, |checkpoint| table::cell(&checkpoint["checkpoint"]))
            }
            Request::Logs { of: Named { job }, lines } => {
                let (path, lines) = (["v1", "jobs", &job, "logs"], lines.to_string());
                connection.ask(clock, async |client| Ok(client.get(&path, &[("lines", &lines)]).await?), logs)
            }
            Request::Events { job, after } => {
                let client = connection.client(clock)?;
                block_on(follow(&client, job.as_deref(), after, connection.output))
            }
            Request::Delete(Named { job }) => {
                let path = ["v1", "jobs", &job];
                let asked = async |client: &Client| Ok(client.ask(Change::Delete, &path, &[], None).await?);
                connection.ask(clock, asked, |_| String::new())
            }
        }
    }
}

impl Submit {
    fn execute(self, connection: &Connection, clock: Arc<dyn Clock>) -> CommandResult {
        let text = String::from_utf8(read(&self.file)?)
            .map_err(|_| CommandError::Refused(format!("{} is no UTF-8", self.file.display())))?;
        let variables: BTreeMap<String, String> = self.variables.into_iter().collect();
        let body = json!({
            "job": text,
            "variables": variables,
            "from_savepoint": self.from_savepoint,
            "allow_non_restored_state": self.allow_non_restored_state,
        });
        let asked = async |client: &Client| Ok(client.create(&["v1", "jobs"], &body).await?);
        connection.ask(clock, asked, |job| table::cell(&job["id"]))
    }
}

fn jobs(jobs: &Value) -> String {
    table::list(jobs, ["id", "name", "state", "created", "changed", "code"], |job| {
        let [id, name, state, code] = ["id", "name", "state", "code"].map(|field| table::cell(&job[field]));
        let [created, changed] = ["created_ms", "changed_ms"].map(|field| table::time(&job[field]));
        [id, name, state, created, changed, code]
    })
}

/// A job and its nodes; as JSON the job alone.
fn show(connection: &Connection, clock: Arc<dyn Clock>, job: &str) -> CommandResult {
    let client = connection.client(clock)?;
    let (shown, graph) = block_on(async {
        let shown = client.get(&["v1", "jobs", job], &[]).await?;
        let graph = match connection.output {
            Output::Table => Some(client.get(&["v1", "jobs", job, "graph"], &[]).await?),
            Output::Json => None,
        };
        Ok((shown, graph))
    })?;
    let Some(graph) = graph else { return say(&shown.text) };
    say(&table::fields(&shown.value))?;
    if graph.value["nodes"].as_array().is_none_or(|nodes| nodes.is_empty()) {
        return Ok(());
    }
    let nodes = graph.value["nodes"].as_array().into_iter().flatten().map(|node| {
        let cells = ["name", "kind", "plugins", "parallelism", "records_in", "records_out", "rejected", "late"];
        let [name, kind, plugins, parallelism, records_in, records_out, rejected, late] =
            cells.map(|field| table::cell(&node[field]));
        let rate = format!("{:.0}", node["records_in_per_second"].as_f64().unwrap_or_default());
        [name, kind, plugins, parallelism, records_in, records_out, rejected, late, rate]
    });
    let headers = ["node", "kind", "plugins", "subtasks", "in", "out", "rejected", "late", "in/s"];
    say(&format!("\n{}", table::table(headers, nodes)))
}

fn logs(logs: &Value) -> String {
    let lines = logs["items"].as_array().into_iter().flatten().map(|line| {
        let [level, target, message] = ["level", "target", "message"].map(|field| table::cell(&line[field]));
        format!("{} {level:5} {target}: {message}", table::time(&line["time_ms"]))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An event in one line.
fn event(event: &ServerEvent) -> String {
    let value: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let [job, kind] = ["job", "kind"].map(|field| table::cell(&value[field]));
    let detail = value["detail"].as_object().into_iter().flatten();
    let detail: Vec<_> = detail.map(|(name, value)| format!("{}={}", table::plain(name), table::cell(value))).collect();
    format!("{} {} {job} {kind} {}", table::plain(&event.id), table::time(&value["time_ms"]), detail.join(" "))
}

/// Shows events until nobody reads them or the server is gone. Whoever was cut off comes back.
async fn follow(client: &Client, job: Option<&str>, after: Option<u64>, output: Output) -> CommandResult {
    let query: Vec<_> = job.iter().map(|job| ("job", *job)).collect();
    let mut last = after.map(|number| number.to_string());
    loop {
        let mut events = client.watch(&["v1", "events"], &query, last.as_deref()).await?;
        let mut came = false;
        while let Some(some) = events.next().await? {
            for new in some {
                say(&match output {
                    Output::Table => event(&new),
                    Output::Json => table::plain(&new.data),
                })?;
                came = true;
                last = Some(new.id).filter(|id| !id.is_empty()).or(last);
            }
        }
        if !came {
            let what = "the server has ended the stream of events".to_owned();
            return Err(ClientError::Unreachable { url: client.url(), what }.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let data = r#"{"sequence":7,"time_ms":1700000000000,"job":"j","kind":"state","detail":{"from":null,"to":"starting\u001b"}}"#;
        let new = ServerEvent { id: "7".into(), kind: "state".into(), data: data.into() };
        assert_eq!(event(&new), "7 2023-11-14T22:13:20Z j state from= to=starting ");
    }
}
