//! What one caller, and all together, may ask of the server: requests a second, requests at a time, and time of a request. Must not know
//! what is asked.
use std::{num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state::keyed::DashMapStateStore};
use tokio::sync::Semaphore;

use super::{Problem, operations::is_health};
use crate::model::Clock;

/// Requests that are answered at a time; those beyond are refused.
pub(super) const REQUESTS_MAX: usize = 256;

/// Requests that change something and are seen through at a time, with those whose callers have left; those beyond are refused.
pub(super) const CHANGES_MAX: usize = 256;

/// Event streams that are open at a time; those beyond are refused.
pub(super) const EVENT_STREAMS_MAX: usize = 64;

/// The longest a request may take until its answer begins.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);

/// The same for uploads: receiving and checking a plugin.
pub(super) const UPLOAD_TIME_MAX: Duration = Duration::from_secs(600);

/// A caller may ask as often as in so many seconds at once.
const BURST_S: u32 = 4;

/// Callers remembered; once there are more, those are forgotten who could ask all they want.
const CALLERS_MAX: usize = 10_000;

/// The server's clock, as the rate limiter wants it.
#[derive(Clone)]
struct Injected(Arc<dyn Clock>);

impl clock::Clock for Injected {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

/// How often each caller may ask.
pub(super) struct Rate(RateLimiter<String, DashMapStateStore<String>, Injected, NoOpMiddleware<Duration>>);

impl Rate {
    /// So many requests a second, and a few seconds' worth at once.
    pub(super) fn new(each_second: NonZeroU32, clock: Arc<dyn Clock>) -> Rate {
        let quota = Quota::per_second(each_second)
            .allow_burst(each_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1)));
        Rate(RateLimiter::new(quota, DashMapStateStore::default(), Injected(clock)))
    }

    /// Counts a request; fails if it is one too many.
    pub(super) fn check(&self, caller: String) -> Result<(), Problem> {
        if self.0.len() > CALLERS_MAX {
            self.0.retain_recent();
        }
        self.0
            .check_key(&caller)
            .map_err(|_| Problem::new(StatusCode::TOO_MANY_REQUESTS, "R0210", "Too many requests", "ask less often"))
    }
}

/// Refuses a request while there are too many.
pub(super) async fn open(State(open): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if is_health(request.uri().path()) {
        return next.run(request).await;
    }
    match open.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => busy(format!("the server answers {REQUESTS_MAX} other requests; ask again later")).into_response(),
    }
}

/// There is too much of something.
pub(super) fn busy(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "R0211", "Busy", detail)
}

/// A limit on the time until an answer begins.
#[derive(Clone)]
pub(super) struct TimeLimit {
    /// Whose time it is.
    pub(super) clock: Arc<dyn Clock>,
    /// The limit.
    pub(super) time: Duration,
}

/// Gives up a request that takes too long.
pub(super) async fn time(State(limit): State<TimeLimit>, request: Request, next: Next) -> Response {
    let over = limit.clock.sleep_until(limit.clock.monotonic() + limit.time);
    tokio::select! {
        response = next.run(request) => response,
        () = over => {
            let detail = format!("there is no answer after {} s", limit.time.as_secs());
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "R0212", "Took too long", detail).into_response()
        }
    }
}
