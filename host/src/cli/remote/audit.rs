//! `wasmill audit`.
use std::sync::Arc;

use clap::Args;

use super::{CommandResult, Connection, table};
use crate::model::Clock;

/// Arguments of `audit`.
#[derive(Args)]
pub(in crate::cli) struct Audit {
    #[command(flatten)]
    connection: Connection,
    /// Only entries after the one with this number.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

impl Audit {
    pub(in crate::cli) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        let after = self.after.map(|after| after.to_string());
        let query: Vec<_> = after.iter().map(|after| ("after", after.as_str())).collect();
        self.connection.ask(
            clock,
            async |client| Ok(client.list(&["v1", "audit"], &query).await?),
            |entries| {
                table::list(
                    entries,
                    ["number", "time", "who", "action", "subject", "outcome", "from", "to", "hash"],
                    |entry| {
                        let [number, who, action, subject] =
                            ["sequence", "who", "action", "subject"].map(|field| table::cell(&entry[field]));
                        let [outcome, from, to, hash] =
                            ["outcome", "from", "to", "hash"].map(|field| table::cell(&entry[field]));
                        [number, table::time(&entry["time_ms"]), who, action, subject, outcome, from, to, hash]
                    },
                )
            },
        )
    }
}
