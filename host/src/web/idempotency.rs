//! Doing something once although it is asked for several times: the answer to a request with an `Idempotency-Key` is kept, and given
//! again, also by the next server. Kept for a day, and no more than a number of them. Must not know what is done.
use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::{Body, HttpBody, to_bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{sync::OwnedMutexGuard, task::spawn_blocking};

use super::{
    Caller, Problem, WebError,
    answers::{Answer, Answered, Answers, Key},
    problem,
};
use crate::{audit::Left, model::Clock};

/// The header.
pub(super) const HEADER: &str = "idempotency-key";

/// How long answers are kept, in ms.
const KEPT_MS: i64 = 24 * 3600 * 1000;

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

struct Kept {
    fingerprint: String,
    /// When it was asked for, in ms since 1970-01-01 UTC.
    since_ms: i64,
    /// None while it is being answered.
    answer: Option<Answer>,
    /// Held while it is being answered.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of keys.
#[derive(Default)]
struct Keys {
    by_key: HashMap<Key, Kept>,
    /// The keys, oldest first.
    order: VecDeque<Key>,
}

/// Answers that were given.
pub struct Idempotency {
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
    answers: Arc<Answers>,
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
            self.all.lock().forget(&key);
        }
    }
}

/// What the next server is to know of a request that is being answered, should this one be killed.
#[derive(Serialize, Deserialize)]
struct Memo {
    key: String,
    fingerprint: String,
    since_ms: i64,
}

impl Reserved {
    /// What [`Idempotency::open`] is to be told if the server ends before there is an answer; nothing if the request has no key.
    pub fn memo(&self) -> Option<String> {
        let (key, _) = self.key.as_ref()?;
        let keys = self.all.lock();
        let Kept { fingerprint, since_ms, .. } = keys.by_key.get(key)?;
        let memo = Memo { key: key.key.clone(), fingerprint: fingerprint.clone(), since_ms: *since_ms };
        serde_json::to_string(&memo).ok()
    }

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
        let answer = Answer { status: parts.status, headers: parts.headers.clone(), body: body.clone() };
        if let Some((key, _)) = &self.key {
            self.all.keep(key, answer).await;
        }
        // The key is not free again.
        self.key = None;
        Response::from_parts(parts, Body::from(body))
    }
}

impl Keys {
    /// Keys of answers to be forgotten, the first that was asked for first, as long as that is too old, or there are too many. What is being
    /// answered stays, or it would be done twice.
    fn too_much(&mut self, too_much: impl Fn(i64, usize) -> bool) -> Vec<Key> {
        let mut gone = Vec::new();
        loop {
            let mut answered = self.order.iter().filter_map(|key| Some((key, self.by_key.get(key)?)));
            let oldest = answered.find(|(_, kept)| kept.answer.is_some());
            let Some((key, _)) = oldest.filter(|(_, kept)| too_much(kept.since_ms, self.order.len())) else {
                return gone;
            };
            let key = key.clone();
            self.forget(&key);
            gone.push(key);
        }
    }

    fn forget(&mut self, key: &Key) {
        self.by_key.remove(key);
        self.order.retain(|other| other != key);
    }

    fn add(&mut self, key: Key, kept: Kept) {
        self.order.push_back(key.clone());
        self.by_key.insert(key, kept);
    }
}

/// The answer of a server that was killed before there was one.
fn unknown() -> Answer {
    let status = StatusCode::CONFLICT;
    let problem = Problem::new(
        status,
        "R0221",
        "Outcome unknown",
        "the server was killed while it did this, and nobody knows how far it came: look at what there is, then ask with a new `Idempotency-Key` \
         if it is still to be done",
    );
    // Texts always have a JSON form.
    let body = serde_json::to_vec(&problem).unwrap_or_default().into();
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE))]);
    Answer { status, headers, body }
}

/// What is known of a key.
enum Known {
    Answered(Response),
    /// The same request is being answered, until this is free.
    Busy(Arc<tokio::sync::Mutex<()>>),
    Reserved(OwnedMutexGuard<()>),
}

impl Idempotency {
    /// Those that were given and kept in a folder, which is made if there is none. Of what was `left` by a server that was killed it is answered that
    /// nobody knows what came of it: done again, it might be done twice.
    pub fn open(folder: &Path, left: &[Left], clock: Arc<dyn Clock>) -> Result<Idempotency, WebError> {
        let (answers, mut found) = Answers::open(folder)?;
        for Left { who, memo } in left {
            let Ok(Memo { key, fingerprint, since_ms }) = serde_json::from_str(memo) else { continue };
            let key = Key { caller: who.clone(), key };
            // It may have been killed just after it had kept the answer.
            if found.iter().any(|answered| answered.key == key) {
                continue;
            }
            let answered = Answered { key, fingerprint, since_ms, answer: unknown() };
            answers
                .write(&answered)
                .map_err(|error| WebError::File { path: folder.to_owned(), what: error.to_string() })?;
            found.push(answered);
        }
        let mut keys = Keys::default();
        for Answered { key, fingerprint, since_ms, answer } in found {
            keys.add(key, Kept { fingerprint, since_ms, answer: Some(answer), turn: Arc::default() });
        }
        Ok(Idempotency { clock, keys: Mutex::new(keys), answers: Arc::new(answers) })
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
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
        let key = Key { caller: caller.name.clone(), key: key.to_owned() };
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
        let now_ms = self.clock.now_ms();
        let mut keys = self.lock();
        let old = keys.too_much(|since_ms, _| now_ms.saturating_sub(since_ms) > KEPT_MS);
        old.iter().for_each(|key| self.answers.remove(key));
        match keys.by_key.get(key) {
            Some(kept) if kept.fingerprint != fingerprint => Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "R0213",
                "Idempotency key used",
                "another request had this `Idempotency-Key`; use a new one",
            )),
            Some(Kept { answer: Some(answer), .. }) => Ok(Known::Answered(answer.clone().into_response())),
            Some(Kept { turn, .. }) => Ok(Known::Busy(turn.clone())),
            None => {
                let more = keys.too_much(|_, count| count >= ANSWERS_MAX);
                more.iter().for_each(|key| self.answers.remove(key));
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                let free = turn.clone().try_lock_owned().map_err(Problem::internal)?;
                let kept = Kept { fingerprint: fingerprint.to_owned(), since_ms: now_ms, answer: None, turn };
                keys.add(key.clone(), kept);
                Ok(Known::Reserved(free))
            }
        }
    }

    /// Keeps the answer to a request whose key is reserved; durably, unless that fails.
    async fn keep(&self, key: &Key, answer: Answer) {
        let found = self.lock().by_key.get(key).map(|kept| (kept.fingerprint.clone(), kept.since_ms));
        let Some((fingerprint, since_ms)) = found else { return };
        let (answers, answered) = (self.answers.clone(), Answered { key: key.clone(), fingerprint, since_ms, answer });
        let written = spawn_blocking(move || (answers.write(&answered), answered.answer)).await;
        // It was done, and is answered so, whatever became of the file.
        match written {
            Ok((result, answer)) => {
                if let Err(error) = result {
                    tracing::warn!(caller = key.caller, %error, "the next server will not know how a request was answered");
                }
                if let Some(kept) = self.lock().by_key.get_mut(key) {
                    kept.answer = Some(answer);
                }
            }
            Err(error) => {
                tracing::error!(%error, "an answer is not kept");
                self.lock().forget(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tempfile::TempDir;

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

    fn open(folder: &Path) -> Arc<Idempotency> {
        open_after(folder, &[])
    }

    fn open_after(folder: &Path, left: &[Left]) -> Arc<Idempotency> {
        Arc::new(Idempotency::open(folder, left, Arc::new(SystemClock::new())).unwrap())
    }

    fn none() -> (Arc<Idempotency>, AtomicU32, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (open(folder.path()), AtomicU32::new(0), folder)
    }

    #[tokio::test]
    async fn the_same_request_is_answered_once() {
        let (all, calls, _folder) = none();
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
    async fn the_next_server_knows_what_was_answered() {
        let (all, calls, folder) = none();
        ask(&all, "ann", "k", "x", &calls, 201).await;
        ask(&all, "ann", "fails", "x", &calls, 503).await;
        let next = open(folder.path());
        assert_eq!(ask(&next, "ann", "k", "x", &calls, 500).await, (201, "call 0".into()));
        assert_eq!(ask(&next, "ann", "k", "y", &calls, 500).await.0, 422);
        assert_eq!(ask(&next, "ann", "fails", "x", &calls, 201).await, (201, "call 2".into()));
        // Too old.
        let key = Key { caller: "ann".into(), key: "k".into() };
        next.lock().by_key.get_mut(&key).unwrap().since_ms -= KEPT_MS + 1000;
        assert_eq!(ask(&next, "ann", "k", "y", &calls, 201).await, (201, "call 3".into()));
        assert_eq!(ask(&open(folder.path()), "ann", "k", "y", &calls, 500).await, (201, "call 3".into()));
    }

    #[tokio::test]
    async fn what_a_server_was_killed_in_the_middle_of_is_not_done_again() {
        let (all, calls, folder) = none();
        let Ok(Turn::Now(reserved)) = turn(&all, "ann", "k", "x").await else { panic!("it was never asked") };
        let memo = reserved.memo().unwrap();
        ask(&all, "ann", "answered", "x", &calls, 201).await;
        let answered = memo.replace("\"k\"", "\"answered\"");
        let left = [memo, answered].map(|memo| Left { who: "ann".into(), memo });
        for next in [open_after(folder.path(), &left), open(folder.path())] {
            let (status, body) = ask(&next, "ann", "k", "x", &calls, 201).await;
            assert!(status == 409 && body.contains("R0221"), "{status} {body}");
            assert_eq!(ask(&next, "ann", "k", "y", &calls, 201).await.0, 422);
            assert_eq!(ask(&next, "ann", "answered", "x", &calls, 201).await, (201, "call 0".into()));
        }
    }

    #[tokio::test]
    async fn one_that_is_being_answered_is_waited_for() {
        let (all, calls, _folder) = none();
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
        let (all, calls, _folder) = none();
        for bytes in [ANSWER_BYTES_MAX + 1, ANSWER_BYTES_MAX] {
            let Ok(Turn::Now(reserved)) = turn(&all, "ann", "k", "x").await else { panic!("it was answered") };
            let given = reserved.answer("x".repeat(bytes).into_response()).await;
            assert_eq!(to_bytes(given.into_body(), usize::MAX).await.unwrap().len(), bytes);
        }
        assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await, (200, "x".repeat(ANSWER_BYTES_MAX)));
    }

    #[tokio::test]
    async fn only_so_many_answers_are_kept_and_none_that_is_being_given_is_forgotten() {
        let (all, calls, folder) = none();
        ask(&all, "ann", "k", "x", &calls, 201).await;
        let Ok(Turn::Now(first)) = turn(&all, "ann", "slow", "x").await else { panic!("it was never asked") };
        for other in 0..ANSWERS_MAX {
            ask(&all, &other.to_string(), "k", "x", &calls, 201).await;
        }
        assert!(all.lock().order.len() <= ANSWERS_MAX);
        assert!(folder.path().read_dir().unwrap().count() <= ANSWERS_MAX);
        assert_eq!(ask(&all, "ann", "k", "x", &calls, 201).await.1, format!("call {}", ANSWERS_MAX + 1));
        first.answer((StatusCode::CREATED, "the first").into_response()).await;
        assert_eq!(ask(&all, "ann", "slow", "x", &calls, 201).await.1, "the first");
    }
}
