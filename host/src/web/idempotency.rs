//! Doing something once although it is asked for several times: the answer to a request with an `Idempotency-Key` is kept, and given
//! again. Kept in memory only, for a day, and no more than a number of them. Must not know what is done.
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use super::{Caller, Problem};
use crate::model::Clock;

/// The header.
pub(super) const HEADER: &str = "idempotency-key";

/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Answers kept, of all callers; the oldest goes for a new one.
const ANSWERS_MAX: usize = 1024;

/// Bytes of an answer's body; larger ones are not kept.
const ANSWER_BYTES_MAX: usize = 128 << 10;

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
}

struct Kept {
    fingerprint: String,
    since: Duration,
    /// None while it is being answered.
    answer: Option<Answer>,
    /// Held while it is being answered.
    turn: Arc<tokio::sync::Mutex<()>>,
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

/// Whose turn it is to answer a request.
pub enum Turn {
    /// It was answered before, like this.
    Before(Response),
    /// It is to be answered.
    Now(Reserved),
}

/// A request that is being answered; if it has a key, that is free again if this is dropped before.
pub struct Reserved {
    all: Arc<Idempotency>,
    key: Option<(Key, OwnedMutexGuard<()>)>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some((key, _turn)) = self.key.take() {
            self.all.lock().remove(&key);
        }
    }
}

impl Reserved {
    /// Keeps the answer, if it says that it is done: anything else may go better next time.
    pub async fn answer(mut self, response: Response) -> Response {
        let small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= ANSWER_BYTES_MAX as u64);
        if self.key.is_none() || !response.status().is_success() || !small {
            return response;
        }
        let (parts, body) = response.into_parts();
        let body = match to_bytes(body, ANSWER_BYTES_MAX).await {
            Ok(body) => body,
            Err(error) => return Problem::internal(error).into_response(),
        };
        if let Some((key, _turn)) = self.key.take()
            && let Some(kept) = self.all.lock().by_key.get_mut(&key)
        {
            kept.answer = Some(Answer { status: parts.status, headers: parts.headers.clone(), body: body.clone() });
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl Answers {
    /// Forgets answers, the first that was asked for first, as long as that is too old, or they are too many. What is being answered stays, or it
    /// would be done twice.
    fn forget(&mut self, too_much: impl Fn(Duration, usize) -> bool) {
        loop {
            let mut answered = self.order.iter().filter_map(|key| Some((key, self.by_key.get(key)?)));
            let oldest = answered.find(|(_, kept)| kept.answer.is_some());
            let Some((key, _)) = oldest.filter(|(_, kept)| too_much(kept.since, self.order.len())) else { return };
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &Key) {
        self.by_key.remove(key);
        self.order.retain(|other| other != key);
    }
}

/// What is known of a key.
enum Known {
    Answered(Response),
    /// The same request is being answered, until this is free.
    Busy(Arc<tokio::sync::Mutex<()>>),
    Reserved(OwnedMutexGuard<()>),
}

impl Idempotency {
    /// None given yet.
    pub fn new(clock: Arc<dyn Clock>) -> Idempotency {
        Idempotency { clock, answers: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether a request is to be answered. One that is being answered is waited for.
    pub async fn turn(
        self: &Arc<Self>,
        caller: &Caller,
        headers: &HeaderMap,
        fingerprint: &str,
    ) -> Result<Turn, Problem> {
        let Some(key) = headers.get(HEADER) else { return Ok(Turn::Now(Reserved { all: self.clone(), key: None })) };
        let key = key.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        let key = key.ok_or_else(|| {
            Problem::malformed(format!("`Idempotency-Key` is ASCII text of 1 to {KEY_BYTES_MAX} bytes"))
        })?;
        let key = (caller.name.clone(), key.to_owned());
        loop {
            match self.known(&key, fingerprint)? {
                Known::Answered(response) => return Ok(Turn::Before(response)),
                Known::Reserved(turn) => {
                    return Ok(Turn::Now(Reserved { all: self.clone(), key: Some((key, turn)) }));
                }
                Known::Busy(turn) => drop(turn.lock().await),
            }
        }
    }

    /// What is known of a key; if nothing is, it is reserved.
    fn known(&self, key: &Key, fingerprint: &str) -> Result<Known, Problem> {
        let now = self.clock.monotonic();
        let mut answers = self.lock();
        answers.forget(|since, _| now.saturating_sub(since) > KEPT);
        match answers.by_key.get(key) {
            Some(kept) if kept.fingerprint != fingerprint => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "R0213",
                "Idempotency key used",
                "another request had this `Idempotency-Key`; use a new one",
            )),
            Some(Kept { answer: Some(Answer { status, headers, body }), .. }) => {
                Ok(Known::Answered((*status, headers.clone(), body.clone()).into_response()))
            }
            Some(Kept { turn, .. }) => Ok(Known::Busy(turn.clone())),
            None => {
                answers.forget(|_, count| count >= ANSWERS_MAX);
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                let free = turn.clone().try_lock_owned().map_err(Problem::internal)?;
                let kept = Kept { fingerprint: fingerprint.to_owned(), since: now, answer: None, turn };
                answers.by_key.insert(key.clone(), kept);
                answers.order.push_back(key.clone());
                Ok(Known::Reserved(free))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::{model::SystemClock, web::Role};

    async fn turn(all: &Arc<Idempotency>, name: &str, key: &'static str, print: &str) -> Result<Turn, Problem> {
        let caller = Caller { name: name.into(), role: Role::Operator };
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), key.parse().unwrap())]);
        all.turn(&caller, &headers, print).await
    }

    async fn ask(
        all: &Arc<Idempotency>,
        name: &str,
        key: &'static str,
        print: &str,
        calls: &AtomicU32,
        status: u16,
    ) -> (u16, String) {
        let response = match turn(all, name, key, print).await {
            Ok(Turn::Before(response)) => response,
            Ok(Turn::Now(reserved)) => {
                let call = calls.fetch_add(1, Relaxed);
                let answer = (StatusCode::from_u16(status).unwrap(), format!("call {call}"));
                reserved.answer(answer.into_response()).await
            }
            Err(problem) => problem.into_response(),
        };
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn none() -> (Arc<Idempotency>, AtomicU32) {
        (Arc::new(Idempotency::new(Arc::new(SystemClock::new()))), AtomicU32::new(0))
    }

    #[tokio::test]
    async fn the_same_request_is_answered_once() {
        let (all, calls) = none();
        for _ in 0..2 {
            assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await, (201, "call 0".into()));
        }
        assert_eq!(ask(&all, "ann", "k", "y", &calls, 201).await.0, 422);
        assert_eq!(ask(&all, "bob", "k", "y", &calls, 201).await, (201, "call 1".into()));
        for (call, status) in [(2, 503), (3, 422), (4, 201)] {
            assert_eq!(ask(&all, "ann", "fails", "x", &calls, status).await, (status, format!("call {call}")));
        }
    }

    #[tokio::test]
    async fn one_that_is_being_answered_is_waited_for() {
        let (all, calls) = none();
        let Ok(Turn::Now(first)) = turn(&all, "ann", "k", "x").await else { panic!("it was never asked") };
        let asked = (ask(&all, "ann", "k", "x", &calls, 201), ask(&all, "ann", "k", "x", &calls, 201));
        let answered = async { first.answer((StatusCode::CREATED, "the first").into_response()).await };
        let (one, other, _) = tokio::join!(asked.0, asked.1, answered);
        assert_eq!([one, other], [(); 2].map(|()| (201, "the first".to_owned())));
        let Ok(Turn::Now(first)) = turn(&all, "ann", "given up", "x").await else { panic!("it was never asked") };
        let (one, ()) = tokio::join!(ask(&all, "ann", "given up", "x", &calls, 201), async { drop(first) });
        assert_eq!(one, (201, "call 0".into()));
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_to_keep_is_given_all_the_same() {
        let (all, calls) = none();
        for bytes in [ANSWER_BYTES_MAX + 1, ANSWER_BYTES_MAX] {
            let Ok(Turn::Now(reserved)) = turn(&all, "ann", "k", "x").await else { panic!("it was answered") };
            let given = reserved.answer("x".repeat(bytes).into_response()).await;
            assert_eq!(to_bytes(given.into_body(), usize::MAX).await.unwrap().len(), bytes);
        }
        assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await, (200, "x".repeat(ANSWER_BYTES_MAX)));
    }

    #[tokio::test]
    async fn only_so_many_answers_are_kept_and_none_that_is_being_given_is_forgotten() {
        let (all, calls) = none();
        ask(&all, "ann", "k", "x", &calls, 201).await;
        let Ok(Turn::Now(first)) = turn(&all, "ann", "slow", "x").await else { panic!("it was never asked") };
        for other in 0..ANSWERS_MAX {
            ask(&all, &other.to_string(), "k", "x", &calls, 201).await;
        }
        assert!(all.lock().order.len() <= ANSWERS_MAX);
        assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await.1, format!("call {}", ANSWERS_MAX + 1));
        first.answer((StatusCode::CREATED, "the first").into_response()).await;
        assert_eq!(ask(&all, "ann", "slow", "x", &calls, 201).await.1, "the first");
    }
}
