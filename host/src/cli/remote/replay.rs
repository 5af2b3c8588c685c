//! `wasmill replay | config`: dead letters that an operator processes again, and its configuration.
use std::{
    io::{BufRead, BufReader, Read, stdin},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    CommandError, CommandResult, Connection,
    operator::{Place, json_value, object},
    table,
};
use crate::{
    client::{Answer, Change, Client, ClientError},
    control::REPLAY_LETTERS_MAX,
    model::Clock,
};

/// Bytes of the letters of a request: fewer than a server takes.
const PORTION_BYTES_MAX: usize = 2 << 20;

/// Arguments of `replay`.
#[derive(Args)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// A file with rows of the operator's `rejected` output, a JSON object a line; `-` for stdin. Rows of other operators are passed over.
    file: PathBuf,
    /// The plugin that processes them, as in word-count@1.1.0; it is not put in force. Default: the one that is.
    #[arg(long)]
    plugin: Option<String>,
    /// Which of the operator's plugins, by its kind, if it has several.
    #[arg(long)]
    kind: Option<String>,
    /// Its configuration. Default: the one in force.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    config: Option<Value>,
    /// They are of the operator's second input.
    #[arg(long)]
    second: bool,
}

/// Arguments of `config`.
#[derive(Args)]
pub(in crate::cli) struct Config {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    place: Place,
    /// What to change, a JSON merge patch (RFC 7396). Without it, the configuration is shown.
    #[arg(value_parser = json_value)]
    patch: Option<Value>,
    /// Which of the operator's plugins, by its kind, if it has several.
    #[arg(long)]
    kind: Option<String>,
}

/// The letters of an operator.
fn letters(operator: &str, lines: impl BufRead) -> Result<Vec<Value>, String> {
    let (mut letters, mut others) = (Vec::new(), false);
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.map_err(|error| error.to_string())?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |what: &str| format!("line {number}: {what}");
        let letter: Value = serde_json::from_str(&line).map_err(|error| wrong(&format!("no JSON: {error}")))?;
        let [record, time] = ["record", "event_time"].map(|name| letter.get(name).cloned());
        let (Some(record), Some(time)) = (record, time) else {
            return Err(wrong("a letter has a `record` and an `event_time`"));
        };
        match letter.get("operator") {
            Some(other) if other != operator => others = true,
            _ => letters.push(json!({ "record": record, "event_time": time })),
        }
    }
    match letters.is_empty() && others {
        true => Err(format!("it has letters of other operators only, none of `{operator}`")),
        false => Ok(letters),
    }
}

/// Letters that a request has, as many as it may.
fn portions(letters: &[Value]) -> Vec<&[Value]> {
    let (mut portions, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, letter) in letters.iter().enumerate() {
        let more = letter.to_string().len();
        if at > start && (at - start == REPLAY_LETTERS_MAX || bytes + more > PORTION_BYTES_MAX) {
            portions.push(&letters[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += more;
    }
    portions.extend(Some(&letters[start..]).filter(|rest| !rest.is_empty()));
    portions
}

/// An error, with how many letters were processed before it.
fn after(done: usize, error: CommandError) -> CommandError {
    let more = |text: String| match done {
        0 => text,
        _ => format!("{text}\nThe first {done} letters are processed: leave them out the next time"),
    };
    match error {
        CommandError::CommandLine(text) => CommandError::CommandLine(more(text)),
        CommandError::Refused(text) => CommandError::Refused(more(text)),
        CommandError::Failed(text) => CommandError::Failed(more(text)),
        other => other,
    }
}

impl Replay {
    fn letters(&self) -> Result<Vec<Value>, CommandError> {
        let file: Box<dyn Read> = match self.file.as_os_str() == "-" {
            true => Box::new(stdin().lock()),
            false => Box::new(std::fs::File::open(&self.file).map_err(|error| self.unreadable(error))?),
        };
        letters(&self.place.operator, BufReader::new(file)).map_err(|what| self.unreadable(std::io::Error::other(what)))
    }

    fn unreadable(&self, error: std::io::Error) -> CommandError {
        ClientError::File { path: self.file.clone(), error }.into()
    }

    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let letters = self.letters()?;
        let input = if self.second { "second" } else { "first" };
        let asked = async |client: &Client| {
            let mut last = Answer { text: String::new(), value: Value::Null };
            let mut done = 0;
            for some in portions(&letters) {
                let body = object([
                    ("plugin", self.plugin.clone().map(Value::from)),
                    ("kind", self.kind.clone().map(Value::from)),
                    ("configuration", self.config.clone()),
                    ("input", Some(json!(input))),
                    ("letters", Some(json!(some))),
                ]);
                let answer = client.create(&self.place.path("replay"), &body).await;
                last = answer.map_err(|error| after(done, error.into()))?;
                done += some.len();
            }
            if last.value.is_object() {
                last.value["letters"] = json!(letters.len());
                last.text = last.value.to_string();
            }
            Ok(last)
        };
        self.connection.ask(clock, asked, table::fields)
    }
}

impl Config {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let path = self.place.path("config");
        let query: Vec<_> = self.kind.iter().map(|kind| ("kind", kind.as_str())).collect();
        let asked = async |client: &Client| {
            Ok(match &self.patch {
                Some(patch) => client.ask(Change::Patch, &path, &query, Some(patch)).await?,
                None => client.get(&path, &query).await?,
            })
        };
        self.connection.ask(clock, asked, table::fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_the_operator_are_read_in_portions_and_others_passed_over() {
        let text = concat!(
            r#"{"operator":"rules","reason":"r","record":"{\"a\":1}","plugin":"p","position":"x","event_time":5}"#,
            "\n\n",
            r#"{"operator":"others","record":"{}","event_time":6}"#,
            "\n",
            r#"{"record":"{}","event_time":7}"#,
        );
        let found = letters("rules", text.as_bytes());
        assert_eq!(
            found,
            Ok(vec![json!({"record": "{\"a\":1}", "event_time": 5}), json!({"record": "{}", "event_time": 7})])
        );
        let large: Vec<Value> = [1, PORTION_BYTES_MAX, 1, 1].map(|bytes| json!("x".repeat(bytes))).to_vec();
        assert_eq!(portions(&large).iter().map(|some| some.len()).collect::<Vec<_>>(), [1, 1, 2]);
        let many = vec![json!(1); REPLAY_LETTERS_MAX + 1];
        assert_eq!(portions(&many).iter().map(|some| some.len()).collect::<Vec<_>>(), [REPLAY_LETTERS_MAX, 1]);
        assert_eq!(portions(&[]).len(), 0);
        let others = letters("else", text.lines().next().unwrap().as_bytes());
        assert_eq!(others, Err("it has letters of other operators only, none of `else`".to_owned()));
        let wrong = letters("rules", "\n{\"record\":1}".as_bytes());
        assert_eq!(wrong, Err("line 2: a letter has a `record` and an `event_time`".to_owned()));
    }
}
