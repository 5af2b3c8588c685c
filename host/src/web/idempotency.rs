//! Creating something once although it is asked for several times: the answer to a request with an `Idempotency-Key` is kept, and given
//! again. Kept in memory only, for a day, and no more than a number of them. Must not know what is created.
use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{Caller, Problem};
use crate::model::Clock;

/// The header.
pub(super) const HEADER: &str = "idempotency-key";

/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Answers kept, of all callers; the oldest goes for a new one.
const ANSWERS_MAX: usize = 1024;

/// Bytes of an answer's body.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Bytes of a key.
const KEY_BYTES_MAX: usize = 255;

/// What identifies a request: what it does, and a digest of its body.
pub fn fingerprint(action: &str, body_digest: &str) -> String {
    let parts = [action, body_digest].map(|part| Sha256::digest(part).to_vec()).concat();
    format!("{:x}", Sha256::digest(parts))
}

/// By caller and key.
type Key = (String, String);

/// How a request was answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// What went wrong, if something did.
    problem: Option<Problem>,
}

struct Kept {
    fingerprint: String,
    since: Duration,
    /// None while it is being answered.
    answer: Option<Answer>,
}

#[derive(Default)]
struct Answers {
    by_key: HashMap<Key, Kept>,
    /// The keys, oldest first.
    order: VecDeque<Key>,
}

/// Answers that were given.
pub struct Idempotency {
    clock: Arc<dyn Clock>,
    answers: Mutex<Answers>,
}

/// A request that is being answered; what it reserves is free again if this is dropped before.
struct Reserved<'a> {
    all: &'a Idempotency,
    key: Option<Key>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.all.lock().remove(&key);
        }
    }
}

impl Answers {
    fn remove(&mut self, key: &Key) {
        self.by_key.remove(key);
        self.order.retain(|other| other != key);
    }
}

impl Idempotency {
    /// None given yet.
    pub fn new(clock: Arc<dyn Clock>) -> Idempotency {
        Idempotency { clock, answers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request by `answer`, or as it was answered before. Only what succeeds, or never will, is kept.
    pub async fn once(
        &self,
        caller: &Caller,
        headers: &HeaderMap,
        fingerprint: String,
        answer: impl Future<Output = Result<Response, Problem>>,
    ) -> Result<Response, Problem> {
        let Some(key) = headers.get(HEADER) else { return answer.await };
        let key = key.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| {
            Problem::malformed(format!("`Idempotency-Key` is ASCII text of 1 to {KEY_BYTES_MAX} bytes"))
        })?;
        let key = (caller.name.clone(), key.to_owned());
        if let Some(given) = self.given(&key, fingerprint)? {
            return Ok(given);
        }
        let mut reserved = Reserved { all: self, key: Some(key.clone()) };
        let response = match answer.await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
        // What may go better next time is tried again then.
        let lasting = response.status().is_success() || response.status() == StatusCode::UNPROCESSABLE_ENTITY;
        if !lasting {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, ANSWER_BYTES_MAX).await.map_err(Problem::internal)?;
        let problem = parts.extensions.get::<Problem>().cloned();
        let answer = Answer { status: parts.status, headers: parts.headers.clone(), body: body.clone(), problem };
        if let Some(kept) = self.lock().by_key.get_mut(&key) {
            kept.answer = Some(answer);
        }
        reserved.key = None;
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// The answer that was given, or none, and the key is reserved for one.
    fn given(&self, key: &Key, fingerprint: String) -> Result<Option<Response>, Problem> {
        let now = self.clock.monotonic();
        let mut answers = self.lock();
        while let Some(oldest) = answers.order.front().cloned() {
            let old = answers.by_key.get(&oldest).is_none_or(|kept| now.saturating_sub(kept.since) > KEPT);
            if !old && answers.order.len() < ANSWERS_MAX {
                break;
            }
            answers.remove(&oldest);
        }
        match answers.by_key.get(key) {
            Some(kept) if kept.fingerprint != fingerprint => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "R0213",
                "Idempotency key used",
                "another request had this `Idempotency-Key`; use a new one",
            )),
            Some(Kept { answer: None, .. }) => Err(Problem::new(
                StatusCode::CONFLICT,
                "R0213",
                "Idempotency key used",
                "the same request is being answered; ask again later",
            )),
            Some(Kept { answer: Some(Answer { problem: Some(problem), .. }), .. }) => {
                Ok(Some(problem.clone().into_response()))
            }
            Some(Kept { answer: Some(Answer { status, headers, body, problem: None }), .. }) => {
                Ok(Some((*status, headers.clone(), body.clone()).into_response()))
            }
            None => {
                let kept = Kept { fingerprint, since: now, answer: None };
                answers.by_key.insert(key.clone(), kept);
                answers.order.push_back(key.clone());
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::{model::SystemClock, web::Role};

    async fn ask(
        all: &Idempotency,
        name: &str,
        key: &'static str,
        print: &str,
        calls: &AtomicU32,
        status: u16,
    ) -> (u16, String) {
        let caller = Caller { name: name.into(), role: Role::Operator };
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), key.parse().unwrap())]);
        let answer = async {
            let call = calls.fetch_add(1, Relaxed);
            Ok((StatusCode::from_u16(status).unwrap(), format!("call {call}")).into_response())
        };
        let response = all.once(&caller, &headers, print.into(), answer).await.unwrap_or_else(Problem::into_response);
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_same_request_is_answered_once() {
        let all = Idempotency::new(Arc::new(SystemClock::new()));
        let calls = AtomicU32::new(0);
        for _ in 0..2 {
            assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await, (201, "call 0".into()));
        }
        assert_eq!(ask(&all, "ann", "k", "y", &calls, 201).await.0, 422);
        assert_eq!(ask(&all, "bob", "k", "y", &calls, 201).await, (201, "call 1".into()));
        assert_eq!(ask(&all, "ann", "fails", "x", &calls, 503).await, (503, "call 2".into()));
        assert_eq!(ask(&all, "ann", "fails", "x", &calls, 201).await, (201, "call 3".into()));
    }

    #[tokio::test]
    async fn only_so_many_answers_are_kept() {
        let all = Idempotency::new(Arc::new(SystemClock::new()));
        let calls = AtomicU32::new(0);
        ask(&all, "ann", "k", "x", &calls, 201).await;
        for other in 0..ANSWERS_MAX {
            ask(&all, &other.to_string(), "k", "x", &calls, 201).await;
        }
        assert!(all.lock().order.len() <= ANSWERS_MAX);
        assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await.1, format!("call {}", ANSWERS_MAX + 1));
    }
}
