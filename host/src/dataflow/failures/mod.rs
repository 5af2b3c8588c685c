//! What becomes of calls into guests that fail: tried again, divided until what they fail on is found, counted and read as dead letters,
//! or the end of the job. Guarantees: whatever is not done is counted once, and whatever is done is done once. Must not know which
//! calls there are: stages do their work in parts, as they are told here.
mod breaker;
mod work;

use std::{ops::Range, sync::Arc, time::Duration};

use self::breaker::{Admission, Breaker};
pub(in crate::dataflow) use self::work::{Rows, Work};
use super::{NodeMetrics, Outputs, Reject, Rejects, TaskError};
use crate::{
    codec::{Encoder, Format},
    job::{BACKOFF_MAX, FailureAction, FailureSpec},
    model::{Batch, Clock, Encoded, EventTime, Kind, Schema, Window, decode_keys},
    plugin::{CallError, CallFailure},
};

/// A call that took so long lets other tasks have their turn: one after the other they would hold up those for seconds.
const YIELD_AFTER: Duration = Duration::from_millis(5);

/// What becomes of the failed calls of one subtask of an operator or sink.
pub struct Failures {
    spec: FailureSpec,
    breaker: Option<Breaker>,
    clock: Arc<dyn Clock>,
    node: String,
    subtask: u32,
    keys: Option<KeyText>,
    /// Whose call failed last.
    plugin: Arc<str>,
    /// When what is tried now was begun.
    began: Duration,
}

/// Makes text of encoded keys.
struct KeyText {
    schema: Schema,
    encoder: Box<dyn Encoder>,
}

/// Something of a key that a call fails on.
pub(super) enum OfKey {
    /// A timer, with its time.
    Timer(EventTime),
    /// A window.
    Window(Window),
}

impl Failures {
    /// Of subtask `subtask` of the node of this name. `key` are its key columns, none without a key. Fails if they cannot be shown.
    pub fn new(
        spec: FailureSpec,
        (node, subtask): (&str, u32),
        key: Option<Schema>,
        clock: Arc<dyn Clock>,
    ) -> Result<Failures, String> {
        let text = |schema: Schema| Ok::<_, String>(KeyText { encoder: Format::Json.encoder(&schema)?, schema });
        let keys = key.filter(|key| !key.fields().is_empty()).map(text).transpose()?;
        let breaker = spec.circuit_breaker.map(Breaker::new);
        let (node, plugin, began) = (node.to_owned(), "".into(), Duration::ZERO);
        Ok(Failures { spec, breaker, clock, node, subtask, keys, plugin, began })
    }

    /// Of another plugin in the same place, of which nothing has failed yet.
    pub(super) fn of_another(&self) -> Result<Failures, String> {
        let key = self.keys.as_ref().map(|keys| keys.schema.clone());
        Failures::new(self.spec, (&self.node, self.subtask), key, self.clock.clone())
    }

    /// From now on calls are those of another plugin in this place, of which nothing has failed yet.
    pub(super) fn replaced(&mut self) {
        self.breaker = self.spec.circuit_breaker.map(Breaker::new);
        self.plugin = "".into();
    }

    /// The part of the work that is to be tried next, if there is one. What may not be tried is poison.
    pub(super) fn next(&mut self, work: &mut Work) -> Option<Range<usize>> {
        if let Some(breaker) = &mut self.breaker
            && breaker.is_open()
            && breaker.admit(self.clock.monotonic()) == Admission::Refused
        {
            work.refuse(&"not tried: too many calls have failed, and the circuit breaker is open".into(), &self.plugin);
        }
        self.began = self.clock.monotonic();
        work.current()
    }

    /// The same of rows.
    pub(super) fn next_rows(&mut self, work: &mut Work) -> Option<Rows> {
        let part = self.next(work)?;
        work.rows_of(part)
    }

    /// What came of that part: its result; none if something else is to be tried. Fails if that is the job's failure. `result` must
    /// have had no effect if it is a failed call.
    pub(super) async fn after<T, E: Into<TaskError>>(
        &mut self,
        work: &mut Work,
        result: Result<T, E>,
        metrics: &NodeMetrics,
    ) -> Result<Option<T>, TaskError> {
        let items = work.current().map_or(0, |part| part.len());
        let took = self.clock.monotonic().saturating_sub(self.began);
        metrics.called(took, items);
        if took >= YIELD_AFTER {
            tokio::task::yield_now().await;
        }
        let error = match result {
            Ok(value) => {
                work.done();
                if self.breaker.as_mut().is_some_and(Breaker::succeeded) {
                    tracing::info!(
                        operator = self.node,
                        subtask = self.subtask,
                        "circuit breaker closed: a call succeeded"
                    );
                }
                return Ok(Some(value));
            }
            Err(error) => error.into(),
        };
        let TaskError::Call(error) = error else { return Err(error) };
        if let Some(wait) = self.judge(work, error, metrics)? {
            let at = self.clock.monotonic().saturating_add(wait);
            self.clock.sleep_until(at).await;
        }
        Ok(None)
    }

    /// A call has failed: how long to wait before it is tried again; none if its part was divided or is poison.
    fn judge(
        &mut self,
        work: &mut Work,
        error: CallError,
        metrics: &NodeMetrics,
    ) -> Result<Option<Duration>, TaskError> {
        work.count(&error);
        if self.spec.fails_at_once() {
            return Err(error.into());
        }
        tracing::debug!(operator = self.node, subtask = self.subtask, %error, "a call failed");
        let now = self.clock.monotonic();
        if self.breaker.as_mut().is_some_and(|breaker| breaker.failed(now)) {
            metrics.add(&metrics.circuits_opened, 1);
            tracing::warn!(operator = self.node, subtask = self.subtask, %error, "circuit breaker open: too many calls fail");
        }
        let is_open = self.breaker.as_ref().is_some_and(Breaker::is_open);
        let asks = matches!(error.failure, CallFailure::Fault { retry: true, .. });
        if !is_open && work.retries < self.spec.retries && (work.is_whole() || asks && work.may_cost()) {
            work.retries += 1;
            return Ok(Some(backoff(self.spec.backoff, work.retries)));
        }
        self.plugin = error.plugin.as_str().into();
        let reason = format!("[{}] {}", error.failure.code(), error.failure);
        match self.spec.action {
            FailureAction::Fail => Err(error.into()),
            FailureAction::Skip | FailureAction::DeadLetter => {
                work.divide(&reason, &self.plugin, is_open).map(|()| None).ok_or_else(|| error.into())
            }
        }
    }

    /// Counts the rows that were poison, and sends them where dead letters go.
    pub(super) async fn report(
        &mut self,
        work: Work,
        rejects: &mut Rejects,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        let Some(batch) = work.poisoned_batch() else { return Ok(()) };
        let letters = self.row_letters(&work, batch, |row| Some(work.numbers.of(row)), rejects);
        self.send(letters, rejects, outputs).await
    }

    /// What is to be said of the rows that were poison: `number` gives the number of each, none if nothing is to be said.
    pub(super) fn row_letters(
        &self,
        work: &Work,
        batch: &Batch,
        mut number: impl FnMut(usize) -> Option<u64>,
        rejects: &mut Rejects,
    ) -> Vec<Reject> {
        let mut letters = Vec::with_capacity(work.poison.len());
        for poison in &work.poison {
            let Some(number) = number(poison.item) else { continue };
            letters.push(Reject {
                reason: poison.reason.to_string(),
                record: rejects.text(&batch.columns, poison.item),
                timestamp: batch.timestamps[poison.item],
                plugin: poison.plugin.clone(),
                position: rejects.position(Some(number)),
            });
        }
        letters
    }

    /// The same of timers or windows: `of` gives the encoded key of each, and what it is; none if nothing is to be said.
    pub(super) fn letters(
        &mut self,
        work: &Work,
        of: impl Fn(usize) -> Option<(Vec<u8>, OfKey)>,
        rejects: &Rejects,
    ) -> Result<Vec<Reject>, TaskError> {
        let now_ms = self.clock.now_ms();
        let mut letters = Vec::with_capacity(work.poison.len());
        for poison in &work.poison {
            let Some((key, what)) = of(poison.item) else { continue };
            let key = self.key_text(&key)?;
            let (record, timestamp) = match what {
                OfKey::Timer(time) => (format!(r#"{{"key":{key},"timer":{time}}}"#), time),
                OfKey::Window(Window::GLOBAL) => (format!(r#"{{"key":{key}}}"#), now_ms),
                OfKey::Window(window) => {
                    let Window { start, end } = window;
                    (format!(r#"{{"key":{key},"window_start":{start},"window_end":{end}}}"#), window.last())
                }
            };
            let (reason, plugin) = (poison.reason.to_string(), poison.plugin.clone());
            letters.push(Reject { reason, record, timestamp, plugin, position: rejects.position(None) });
        }
        Ok(letters)
    }

    /// Counts what was made of [`letters`](Failures::letters), and sends it where dead letters go.
    pub(super) async fn send(
        &mut self,
        letters: Vec<Reject>,
        rejects: &mut Rejects,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        match self.spec.action {
            FailureAction::DeadLetter => rejects.dead_letters(letters, self.clock.monotonic(), outputs).await,
            FailureAction::Skip | FailureAction::Fail => self.count(letters.len(), outputs),
        }
    }

    fn count(&self, items: usize, outputs: &Outputs) -> Result<(), TaskError> {
        outputs.metrics().add(&outputs.metrics().failed, items);
        Ok(())
    }

    fn key_text(&mut self, key: &[u8]) -> Result<String, TaskError> {
        let Some(KeyText { schema, encoder }) = &mut self.keys else { return Ok("{}".into()) };
        let kinds: Vec<Kind> = schema.fields().iter().map(|field| field.kind).collect();
        let bug = |what: String| TaskError::Bug { node: self.node.clone(), what };
        let columns = decode_keys(&kinds, std::iter::once(key)).map_err(|error| bug(error.to_string()))?;
        let row = schema.record_batch(columns, 1).map_err(bug)?;
        let mut encoded = Encoded::default();
        encoder.encode(&row, &mut encoded);
        Ok(String::from_utf8_lossy(&encoded.data).trim_end().to_owned())
    }
}

/// The wait before this retry, from 1.
fn backoff(first: Duration, retry: u32) -> Duration {
    let factor = 1_u32.checked_shl(retry - 1).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::{Mutex, atomic::Ordering::Relaxed},
    };

    use futures::FutureExt;

    use super::*;
    use crate::job::CircuitBreakerSpec;

    /// A clock that whoever sleeps puts forward.
    struct Leaping(Mutex<Duration>);

    impl Clock for Leaping {
        fn now_ms(&self) -> i64 {
            self.monotonic().as_millis() as i64
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
        fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            *self.0.lock().unwrap() = deadline;
            Box::pin(std::future::ready(()))
        }
    }

    fn failures(spec: FailureSpec) -> (Failures, Arc<Leaping>) {
        let clock = Arc::new(Leaping(Mutex::new(Duration::ZERO)));
        (Failures::new(spec, ("x", 0), None, clock.clone()).unwrap(), clock)
    }

    fn failed(retry: bool) -> CallError {
        let failure = CallFailure::Fault { retry, message: "no".into() };
        CallError { plugin: "p@1".into(), operator: "x".into(), subtask: 0, records: 0..8, failure }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_call_is_tried_again_so_often_with_longer_and_longer_waits() {
        for (failing, succeeds) in [(3, true), (4, false)] {
            let spec = FailureSpec { retries: 3, backoff: 10 * MS, ..FailureSpec::default() };
            let (mut failures, clock) = failures(spec);
            let (mut work, mut calls, metrics) = (Work::items(8).whole(), 0, NodeMetrics::default());
            let result = loop {
                assert_eq!(failures.next(&mut work), Some(0..8));
                calls += 1;
                let result = if calls <= failing { Err(failed(false)) } else { Ok(()) };
                match failures.after(&mut work, result, &metrics).now_or_never().unwrap() {
                    Ok(None) => {}
                    Ok(Some(())) => break true,
                    Err(error) => {
                        assert!(matches!(error, TaskError::Call(_)), "{error}");
                        break false;
                    }
                }
            };
            assert_eq!((result, calls), (succeeds, 4));
            assert_eq!(clock.monotonic(), 70 * MS);
        }
    }

    #[test]
    fn parts_are_tried_again_only_if_they_ask_for_it() {
        for (asks, calls) in [(false, 2 + 1 + 1), (true, 2 + 2 + 2)] {
            let spec = FailureSpec { action: FailureAction::Skip, retries: 1, ..FailureSpec::default() };
            let (mut failures, _) = failures(spec);
            let (mut work, mut made) = (Work::items(2), 0);
            while failures.next(&mut work).is_some() {
                made += 1;
                let result: Result<(), _> = Err(failed(asks));
                failures.after(&mut work, result, &NodeMetrics::default()).now_or_never().unwrap().unwrap();
            }
            assert_eq!((made, work.poisoned().collect::<Vec<_>>()), (calls, vec![0, 1]));
        }
    }

    #[test]
    fn while_the_circuit_is_open_nothing_is_called_and_one_trial_closes_it() {
        let breaker = CircuitBreakerSpec { failures: 2, within: 1000 * MS, open: 50 * MS };
        let action = FailureAction::Skip;
        let (mut failures, clock) =
            failures(FailureSpec { action, circuit_breaker: Some(breaker), ..FailureSpec::default() });
        let metrics = NodeMetrics::default();
        // Calls made for eight rows, and rows lost.
        let mut run = |works: bool| {
            let (mut work, mut calls) = (Work::items(8), 0);
            while failures.next(&mut work).is_some() {
                calls += 1;
                let result = if works { Ok(()) } else { Err(failed(false)) };
                failures.after(&mut work, result, &metrics).now_or_never().unwrap().unwrap();
            }
            (calls, work.poisoned().count())
        };
        assert_eq!(run(false), (3, 8), "the third failure opens it, in the middle of a batch");
        assert_eq!(run(true), (0, 8));
        drop(clock.sleep_until(50 * MS));
        assert_eq!(run(false), (1, 8), "the trial fails");
        drop(clock.sleep_until(99 * MS));
        assert_eq!(run(true), (0, 8));
        drop(clock.sleep_until(100 * MS));
        assert_eq!([run(true), run(true)], [(1, 0), (1, 0)]);
        assert_eq!(metrics.circuits_opened.load(Relaxed), 2);
    }

    #[test]
    fn waits_double_up_to_their_bound() {
        let ms = Duration::from_millis;
        assert_eq!([1, 2, 3, 5].map(|retry| backoff(ms(100), retry)), [ms(100), ms(200), ms(400), ms(1600)]);
        assert_eq!([20, 33, 100].map(|retry| backoff(ms(100), retry)), [BACKOFF_MAX; 3]);
    }
}
