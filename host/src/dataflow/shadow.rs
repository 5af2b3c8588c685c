//! A version of an operator beside the one in force: it sees the same input with state of its own, and what it would emit is compared and
//! thrown away. Nothing it does reaches anybody, and nothing of it is saved. Must not know what kind of operator it shadows.
use std::sync::Arc;

use super::{Comparison, Operator, Outputs, TaskError, comparison::Comparer, moments::Tape};
use crate::model::{Batch, EventTime, Schema, SubtaskState};

/// Opens an operator with this state, in this start of the job.
pub type OpenOperator = Box<dyn FnOnce(SubtaskState, u64) -> Result<Box<dyn Operator>, TaskError> + Send>;

/// A shadow that is still to begin.
pub struct ShadowStart {
    /// Opens it, with a copy of the state of the version in force.
    pub open: OpenOperator,
    /// Where what comes of it goes.
    pub comparison: Arc<Comparison>,
    /// Outputs of the operator that are compared: name, and columns; by index.
    pub ports: Vec<(Option<String>, Schema)>,
    /// Names of key columns: rows of one key are held against each other.
    pub key: Vec<String>,
    /// Names of columns that may differ.
    pub ignored: Vec<String>,
}

/// A shadow at work.
pub(super) struct Shadow {
    operator: Box<dyn Operator>,
    outputs: Outputs,
    comparison: Arc<Comparison>,
    comparers: Vec<Comparer>,
}

/// What both are given.
#[derive(Clone)]
pub(super) enum Input {
    Batch(Batch),
    Second(Batch),
    Watermark(EventTime),
    Wake(i64),
}

impl Shadow {
    /// Begins with a copy of the state of the version in force.
    pub(super) fn begin(start: ShadowStart, state: SubtaskState) -> Result<Shadow, TaskError> {
        let bug = |what: String| TaskError::Bug { node: "shadow".to_owned(), what };
        let ShadowStart { open, comparison, ports, key, ignored } = start;
        let comparers = ports.iter().map(|(name, schema)| Comparer::new(name.clone(), schema, &key, &ignored));
        let comparers = comparers.collect::<Result<Vec<_>, _>>().map_err(bug)?;
        Ok(Shadow { operator: open(state, 0)?, outputs: Outputs::of_shadow(ports.len()), comparison, comparers })
    }

    pub(super) fn wake_at(&self) -> Option<i64> {
        self.operator.wake_at()
    }

    /// Does what the version in force has done, whose calls had these moments and have emitted this, and compares.
    pub(super) async fn follow(&mut self, input: Input, moments: Tape, emitted: Vec<(usize, Batch)>) {
        if let Some(own) = self.operator.moments() {
            own.give(moments);
        }
        let outputs = &mut self.outputs;
        let done = match input {
            Input::Batch(batch) => self.operator.batch(batch, outputs).await,
            Input::Second(batch) => self.operator.second(batch, outputs).await,
            Input::Watermark(watermark) => self.operator.watermark(watermark, outputs).await,
            Input::Wake(now_ms) if self.operator.wake_at().is_some_and(|at| at <= now_ms) => {
                self.operator.wake(now_ms, outputs).await
            }
            Input::Wake(_) => Ok(()),
        };
        let kept = outputs.kept();
        if let Err(error) = done {
            return self.comparison.failed(&error);
        }
        let of_port = |rows: &[(usize, Batch)], port| -> Vec<Batch> {
            rows.iter().filter(|(of, _)| *of == port).map(|(_, batch)| batch.clone()).collect()
        };
        for (port, comparer) in self.comparers.iter_mut().enumerate() {
            let (in_force, shadow) = (of_port(&emitted, port), of_port(&kept, port));
            if in_force.is_empty() && shadow.is_empty() {
                continue;
            }
            if let Err(what) = comparer.compare(&in_force, &shadow, &self.comparison) {
                self.comparison.failed(&TaskError::Bug { node: "shadow".to_owned(), what });
            }
        }
    }
}
