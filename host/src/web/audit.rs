//! `/v1/audit`: who has changed what; and what the server changes of itself, noted there.
use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{AppState, Page, Problem, Viewer, describe, page};
use crate::{
    audit::{AuditError, AuditLog, Begun, Entry, Event},
    service::{Action, CanaryPart, Change, ChangeLog, Version},
};

/// The log of changes.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new().api_route(
        "/v1/audit",
        get_with(list, |operation| {
            let operation = operation.id("listAudit").tag("audit").summary("Who has changed what, oldest first");
            describe::fails(operation, &[(400, "The cursor or limit makes no sense."), (500, "The log is damaged.")])
        }),
    )
}

/// Which part of the log.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// `next` of the page before; without it the list begins.
    cursor: Option<String>,
    /// Without a cursor, the list begins after the entry with this number.
    after: Option<u64>,
    /// Entries on the page, from 1 to 500. Default 50.
    limit: Option<u32>,
}

async fn list(State(state): State<AppState>, _: Viewer, Query(part): Query<Part>) -> Result<Page<Entry>, Problem> {
    let limit = page::limit(part.limit)?;
    let from = match &part.cursor {
        Some(cursor) => page::place(cursor)?.parse().map_err(|_| page::bad_cursor())?,
        None => part.after.map_or(0, |after| after.saturating_add(1)),
    };
    let audit = state.audit.clone();
    let read = tokio::task::spawn_blocking(move || audit.read(from, limit + 1)).await.map_err(Problem::internal)?;
    Ok(Page::new(read?, limit, |entry| (entry.sequence + 1).to_string()))
}

impl AppState {
    /// Notes that a request is about to be seen through, for the case that the server ends meanwhile.
    pub(super) async fn begin(&self, who: &str, what: String, memo: Option<String>) -> Result<Begun, Problem> {
        let (audit, who) = (self.audit.clone(), who.to_owned());
        let begun = tokio::task::spawn_blocking(move || audit.begin(&who, &what, memo));
        let begun = begun.await.map_err(Problem::internal)?;
        begun.map_err(|error: AuditError| error.into())
    }

    /// Notes what was done.
    pub async fn note(&self, event: Event) -> Result<Entry, Problem> {
        let audit = self.audit.clone();
        let appended = tokio::task::spawn_blocking(move || audit.append(event)).await.map_err(Problem::internal)?;
        appended.map_err(|error: AuditError| error.into())
    }
}

/// A version: what it is, and which configuration it has, without what that says.
pub(super) fn words(version: &Version) -> String {
    let Version { change, plugin, configuration, canary, .. } = version;
    let of = |configuration: &serde_json::Value| {
        let digest = format!("{:x}", Sha256::digest(configuration.to_string()));
        format!("configuration {}", &digest[..16])
    };
    let beside = canary.as_ref().map(|CanaryPart { plugin, configuration, share, .. }| {
        format!(", for {share} of the keys {plugin} ({})", of(configuration))
    });
    format!("{plugin} (change {change}, {}){}", of(configuration), beside.unwrap_or_default())
}

/// The log, for changes that nobody has asked for.
pub(super) struct Unasked(pub(super) Arc<AuditLog>);

impl ChangeLog for Unasked {
    fn note(&self, name: &str, id: &str, change: &Change) {
        let Change { action, operator, from, to, reason, .. } = change;
        let action = match action {
            Action::Discard => "operator.discard",
            _ => "operator.rollback",
        };
        let event = Event {
            who: "server".into(),
            action: action.into(),
            subject: format!("{name} {id} {operator}"),
            from: Some(words(from)),
            to: to.as_ref().map(words),
            digest: to.as_ref().map(|to| to.digest.clone()),
            outcome: format!("done: {}", reason.as_deref().unwrap_or_default()),
        };
        if let Err(error) = self.0.append(event) {
            tracing::error!(job = id, "what became of a change could not be noted: {error}");
        }
    }
}
