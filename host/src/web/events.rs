//! `/v1/events`: what happens to jobs, as it happens (server-sent events).
use std::{convert::Infallible, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{StreamExt, future, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;

use super::{
    AppState, Problem, Viewer, describe,
    jobs::found,
    limits::{EVENT_STREAMS_MAX, busy},
};
use crate::service::JobEvent;

/// The sequence number of the last event a caller has seen.
const LAST: &str = "last-event-id";

/// The longest a stream says nothing. A peer that does not take what it says is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The stream of events.
pub(super) fn routes() -> ApiRouter<AppState> {
    ApiRouter::new().api_route(
        "/v1/events",
        get_with(events, |operation| {
            let operation = operation
                .id("watchEvents")
                .tag("jobs")
                .summary("What happens to jobs, as it happens")
                .description(
                    "Server-sent events: `id` is the event's number, `event` its kind, `data` all of it as JSON. A caller that is too slow is \
                     cut off, and gets what it has missed when it comes back with `Last-Event-ID`, of the latest 1000 events.",
                );
            let operation = describe::bytes(operation, "text/event-stream", "Events, until the server or the caller ends it.");
            found(describe::header::<u64>(operation, LAST, "The number of the last event the caller has seen: those after it come first"))
        }),
    )
}

/// Which events.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Only of the job with this id, or this name while it has not ended.
    job: Option<String>,
}

async fn events(
    State(state): State<AppState>,
    _: Viewer,
    headers: HeaderMap,
    Query(Filter { job }): Query<Filter>,
) -> Result<Response, Problem> {
    let job = job.map(|job| state.jobs.get(&job)).transpose()?.map(|job| job.id);
    let last = match headers.get(LAST) {
        Some(last) => {
            let number = last.to_str().ok().and_then(|last| last.parse::<u64>().ok());
            Some(number.ok_or_else(|| Problem::malformed("`Last-Event-ID` is not the number of an event"))?)
        }
        None => None,
    };
    let permit = state.event_streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_| busy(format!("{EVENT_STREAMS_MAX} others follow events; ask again later")))?;
    let (missed, coming) = state.jobs.events(last);
    // One that has lost some is to come back: what it has missed is still there then.
    let coming = BroadcastStream::new(coming)
        .take_while(|event| future::ready(event.is_ok()))
        .filter_map(|event| future::ready(event.ok()));
    let wanted =
        move |event: &std::sync::Arc<JobEvent>| future::ready(job.as_ref().is_none_or(|job| event.job == *job));
    let events = stream::iter(missed).chain(coming).filter(wanted).map(move |event| {
        // As long as there is a stream.
        let _permit = &permit;
        Ok::<_, Infallible>(sent(&event))
    });
    let stopping = state.stopping.clone();
    let events = events.take_until(stopping.cancelled_owned());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(SILENCE_MAX)).into_response())
}

/// An event as it is sent.
fn sent(event: &JobEvent) -> Event {
    let kind = serde_json::to_value(event.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
    // Names, numbers and JSON always have a JSON form.
    let data = serde_json::to_string(event).unwrap_or_default();
    Event::default().id(event.sequence.to_string()).event(kind.unwrap_or_default()).data(data)
}
