//! `/v1/audit`: who has changed what.
use aide::axum::{ApiRouter, routing::get_with};
use axum::extract::{Query, State};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{AppState, Page, Problem, Viewer, describe, page};
use crate::audit::{AuditError, Entry, Event};

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
    /// Entries on the page, from 1 to 500. Default 50.
    limit: Option<u32>,
}

async fn list(State(state): State<AppState>, _: Viewer, Query(part): Query<Part>) -> Result<Page<Entry>, Problem> {
    let limit = page::limit(part.limit)?;
    let from = match &part.cursor {
        Some(cursor) => page::place(cursor)?.parse().map_err(|_| page::bad_cursor())?,
        None => 0,
    };
    let audit = state.audit.clone();
    let read = tokio::task::spawn_blocking(move || audit.read(from, limit + 1)).await.map_err(Problem::internal)?;
    Ok(Page::new(read?, limit, |entry| (entry.sequence + 1).to_string()))
}

impl AppState {
    /// Notes what was done.
    pub async fn note(&self, event: Event) -> Result<Entry, Problem> {
        let audit = self.audit.clone();
        let appended = tokio::task::spawn_blocking(move || audit.append(event)).await.map_err(Problem::internal)?;
        appended.map_err(|error: AuditError| error.into())
    }
}
