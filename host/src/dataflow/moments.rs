//! The moments handed to guests: processing time from the clock, and a seed per call that follows from the task's own.
use std::sync::Arc;

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
}

impl Moments {
    /// Seeds differ between operators, subtasks and jobs, and are the same again for the same ones.
    pub fn new(environment: &Environment, uid: &str, subtask: u32) -> Moments {
        let mut bytes = environment.seed.to_le_bytes().to_vec();
        bytes.extend_from_slice(&subtask.to_le_bytes());
        bytes.extend_from_slice(uid.as_bytes());
        Moments { clock: environment.clock.clone(), seed: key_hash(&bytes), calls: 0 }
    }

    /// The moment of the next call.
    pub fn next(&mut self, watermark: EventTime) -> CallMoment {
        self.calls += 1;
        let seed = key_hash(&[self.seed.to_le_bytes(), self.calls.to_le_bytes()].concat());
        CallMoment { processing_time: self.clock.now_ms(), watermark, seed }
    }

    /// The clock's monotonic reading.
    pub fn monotonic(&self) -> std::time::Duration {
        self.clock.monotonic()
    }

    /// Processing time, in ms.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}
