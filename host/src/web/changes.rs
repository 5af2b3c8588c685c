//! Requests that change something: seen through to their end once they were received, also if whoever asked is gone, and answered once if they
//! have an `Idempotency-Key`. That they were begun is durable before they are seen through. Must not know what they change.
use std::{future::Future, panic::resume_unwind};

use aide::{
    generate::in_context,
    openapi::{OpenApi, ReferenceOr},
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::{
    AppState, Caller, Role,
    auth::allowed,
    describe,
    idempotency::{self, Turn, fingerprint},
    limits::{CHANGES_MAX, busy},
    operations::is_health,
};

/// Work that goes on if nobody waits for it any more: of a change that is made, its entry in the log and its answer are as well.
async fn seen_through<T: Send + 'static>(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> T {
    match tasks.spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Nobody aborts it, so the runtime ends, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The same for the answer to a request, of which the log has an entry even if the server is killed meanwhile. `what` names the request, and `memo`
/// is what the next server is to know of it then.
async fn noted(
    state: &AppState,
    caller: &Caller,
    what: String,
    memo: Option<String>,
    answer: impl Future<Output = Response> + Send + 'static,
) -> Response {
    // It is not let go with the request, whose caller may have left.
    let Ok(permit) = state.changes.clone().try_acquire_owned() else {
        return busy(format!("{CHANGES_MAX} other changes are being made; ask again later")).into_response();
    };
    match state.begin(&caller.name, what, memo).await {
        Ok(begun) => {
            let answered = async {
                let response = answer.await;
                drop((begun, permit));
                response
            };
            seen_through(&state.tasks, answered).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Has all of its body received, then sees it through.
pub(super) async fn whole(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_health(request.uri().path()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    // Nothing is received of those who may change nothing.
    let caller = match allowed(&parts, Role::Operator) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let body = match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    let headers = parts.headers.clone();
    let is_post = parts.method == Method::POST;
    let what = format!("{} {}", parts.method, parts.uri.path());
    let print = fingerprint(&parts.uri.to_string(), &format!("{:x}", Sha256::digest(&body)));
    let answer = next.run(Request::from_parts(parts, Body::from(body)));
    match is_post {
        true => once(&state, &caller, &headers, (&print, what), answer).await,
        false => noted(&state, &caller, what, None, answer).await,
    }
}

/// Answers a request, which is named, or has it answered as it was before.
pub(super) async fn once(
    state: &AppState,
    caller: &Caller,
    headers: &HeaderMap,
    (fingerprint, what): (&str, String),
    answer: impl Future<Output = Response> + Send + 'static,
) -> Response {
    match state.idempotency.turn(caller, headers, fingerprint).await {
        Ok(Turn::Before(response)) => response,
        Ok(Turn::Now(reserved)) => {
            let memo = reserved.memo();
            noted(state, caller, what, memo, async { reserved.answer(answer.await).await }).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Has the description of every `POST` say so.
pub(super) fn describe(openapi: &mut OpenApi) {
    for (_, path) in openapi.paths.iter_mut().flat_map(|paths| &mut paths.paths) {
        let ReferenceOr::Item(path) = path else { continue };
        if let Some(operation) = &mut path.post {
            let text = "Text of the caller's own: the same request with the same text is done once, and answered as it was the first time, for 24 h";
            let parameter = in_context(|ctx| describe::parameter::<String>(ctx, idempotency::HEADER, text));
            operation.parameters.push(ReferenceOr::Item(parameter));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_if_nobody_waits_for_it() {
        let ((begun, begins), (go, goes), (done, ends)) = (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let work = async move {
            begun.send(()).unwrap();
            goes.await.unwrap();
            done.send(()).unwrap();
        };
        let caller = tokio::spawn(async move { seen_through(&TaskTracker::new(), work).await });
        begins.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go.send(()).unwrap();
        ends.await.unwrap();
    }
}
