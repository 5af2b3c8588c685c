//! The moments handed to guests: processing time from the clock, and a seed per call that follows from the task's own. What is to be compared with another
//! is handed the moments of that.
use std::{collections::VecDeque, sync::Arc};

use super::Environment;
use crate::{
    model::{Clock, EventTime, key_hash},
    plugin::CallMoment,
};

/// Makes the moments of one subtask of an operator.
pub struct Moments {
    clock: Arc<dyn Clock>,
    seed: u64,
    calls: u64,
    /// What was handed out, where somebody is to be handed the same.
    noted: Option<Tape>,
    /// What is handed out first.
    given: Tape,
}

/// What was handed out, in order.
#[derive(Default)]
pub(super) struct Tape {
    calls: VecDeque<CallMoment>,
    times: VecDeque<i64>,
}

impl Moments {
    /// Seeds differ between operators, subtasks and jobs, and are the same again for the same ones.
    pub fn new(environment: &Environment, uid: &str, subtask: u32) -> Moments {
        let mut bytes = environment.seed.to_le_bytes().to_vec();
        bytes.extend_from_slice(&subtask.to_le_bytes());
        bytes.extend_from_slice(uid.as_bytes());
        let (clock, seed) = (environment.clock.clone(), key_hash(&bytes));
        Moments { clock, seed, calls: 0, noted: None, given: Tape::default() }
    }

    /// The moment of the next call.
    pub fn next(&mut self, watermark: EventTime) -> CallMoment {
        self.calls += 1;
        let moment = match self.given.calls.pop_front() {
            Some(moment) => CallMoment { watermark, ..moment },
            None => {
                let seed = key_hash(&[self.seed.to_le_bytes(), self.calls.to_le_bytes()].concat());
                CallMoment { processing_time: self.clock.now_ms(), watermark, seed }
            }
        };
        if let Some(noted) = &mut self.noted {
            noted.calls.push_back(moment);
        }
        moment
    }

    /// The clock's monotonic reading.
    pub fn monotonic(&self) -> std::time::Duration {
        self.clock.monotonic()
    }

    /// Processing time, in ms.
    pub fn now_ms(&mut self) -> i64 {
        let now_ms = self.given.times.pop_front().unwrap_or_else(|| self.clock.now_ms());
        if let Some(noted) = &mut self.noted {
            noted.times.push_back(now_ms);
        }
        now_ms
    }

    /// Notes what is handed out from now on, or no more.
    pub(super) fn note(&mut self, note: bool) {
        self.noted = note.then(Tape::default);
    }

    /// What was noted since it was last asked for.
    pub(super) fn noted(&mut self) -> Tape {
        self.noted.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Hands this out next, and of what it was given before no more.
    pub(super) fn give(&mut self, tape: Tape) {
        self.given = tape;
    }
}
