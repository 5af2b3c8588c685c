//! What happens to jobs, in order, for whoever listens: those who come late get the latest of what they have missed. Bounded, and in
//! memory only, but for numbers: those of a later start of the server are higher, whatever the clock says. Must not know what events mean.
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

use super::{ServiceError, record::Folders};
use crate::model::Clock;

/// Events kept for late listeners, and those that a slow listener may be behind.
pub const EVENTS_MAX: usize = 1000;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// A new state: `from` (null for a new job), `to`.
    State,
    /// A checkpoint is complete (`checkpoint`, `took_ms`, `bytes`) or was given up (`checkpoint`, `error`).
    Checkpoint,
    /// A savepoint is complete: `path`.
    Savepoint,
    /// An operator's plugin or configuration was changed, or not: the entry of the operator's history.
    Swap,
    /// The job has failed and starts again: `error`, `pause_ms`.
    Restart,
    /// The job has failed for good: `code`, `error`.
    Failure,
}

/// Something that happened to a job.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct JobEvent {
    /// Counts up, also from one start of the server to the next; with gaps.
    pub sequence: u64,
    /// When, in ms since 1970-01-01 UTC.
    pub time_ms: i64,
    /// The job's id.
    pub job: String,
    /// What kind.
    pub kind: EventKind,
    /// What else there is to say, by kind.
    pub detail: Value,
}

struct Log {
    next: u64,
    /// Numbers below may be used.
    allowed: u64,
    recent: VecDeque<Arc<JobEvent>>,
}

/// Takes events in and hands them out.
pub(super) struct Events {
    log: Mutex<Log>,
    sender: broadcast::Sender<Arc<JobEvent>>,
    folders: Arc<Folders>,
    clock: Arc<dyn Clock>,
}

/// Numbers that are noted as used at once; those that were not are gaps.
const NUMBERS: u64 = 1 << 20;

/// The first number of a new folder is the time in ms by this, most likely higher than those of another folder that was here before.
const NUMBERS_PER_MS: u64 = 1000;

impl Events {
    /// Those of the folders' jobs. Blocks.
    pub(super) fn new(folders: Arc<Folders>, clock: Arc<dyn Clock>) -> Result<Events, ServiceError> {
        let now = || u64::try_from(clock.now_ms()).unwrap_or(0) * NUMBERS_PER_MS;
        let next = folders.events()?.unwrap_or_else(now);
        let allowed = next + NUMBERS;
        folders.allow_events(allowed)?;
        let log = Mutex::new(Log { next, allowed, recent: VecDeque::new() });
        Ok(Events { log, sender: broadcast::channel(EVENTS_MAX).0, folders, clock })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, job: &str, kind: EventKind, detail: Value) {
        let time_ms = self.clock.now_ms();
        let mut log = self.log();
        if log.next == log.allowed {
            log.allowed += NUMBERS;
            if let Err(error) = self.folders.allow_events(log.allowed) {
                tracing::warn!("numbers of events may be used again once the server was restarted: {error}");
            }
        }
        let event = Arc::new(JobEvent { sequence: log.next, time_ms, job: job.to_owned(), kind, detail });
        log.next += 1;
        if log.recent.len() == EVENTS_MAX {
            log.recent.pop_front();
        }
        log.recent.push_back(event.clone());
        // Within the lock, so that listeners get them in order. Nobody may listen.
        let _ = self.sender.send(event);
    }

    /// The events kept that came after `after`, and all that are still to come.
    pub(super) fn since(&self, after: Option<u64>) -> (Vec<Arc<JobEvent>>, broadcast::Receiver<Arc<JobEvent>>) {
        let log = self.log();
        let missed = log.recent.iter().filter(|event| after.is_some_and(|after| event.sequence > after));
        (missed.cloned().collect(), self.sender.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemClock;

    #[test]
    fn late_listeners_get_the_latest_they_missed_and_then_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let folders = Arc::new(Folders::open(directory.path()).unwrap());
        let events = Events::new(folders, Arc::new(SystemClock::new())).unwrap();
        let add = |n: usize| events.add("a", EventKind::State, n.into());
        (0..EVENTS_MAX + 5).for_each(add);
        let (all, _) = events.since(Some(0));
        assert_eq!((all.len(), &all[0].detail), (EVENTS_MAX, &Value::from(5)));
        let (missed, mut rest) = events.since(Some(all[EVENTS_MAX - 3].sequence));
        assert_eq!(missed.iter().map(|event| event.detail.clone()).collect::<Vec<_>>(), [1003, 1004].map(Value::from));
        add(7);
        assert_eq!(rest.try_recv().unwrap().detail, 7);
        assert!(events.since(None).0.is_empty());
    }

    #[test]
    fn numbers_go_up_over_starts_also_if_the_clock_goes_back() {
        let directory = tempfile::tempdir().unwrap();
        let folders = Arc::new(Folders::open(directory.path()).unwrap());
        let number = |events: &Events| {
            events.add("a", EventKind::State, Value::Null);
            events.since(Some(0)).0.last().unwrap().sequence
        };
        let clock = Arc::new(SystemClock::new());
        let start = || Events::new(folders.clone(), clock.clone()).unwrap();
        // As if it had begun a thousand years from now.
        let far = u64::try_from(clock.now_ms()).unwrap() * NUMBERS_PER_MS + 1000 * 366 * 86_400_000 * NUMBERS_PER_MS;
        folders.allow_events(far).unwrap();
        let mut events = start();
        let mut last = number(&events);
        assert_eq!(last, far);
        // More than are noted at once.
        events.log().next += NUMBERS - 1;
        for restarted in [false, true, true] {
            if restarted {
                events = start();
            }
            let next = number(&events);
            assert!(next > last, "{next} after {last}");
            last = next;
        }
    }
}
