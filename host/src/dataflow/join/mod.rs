//! The stages of joins: rows of two inputs, paired by key and by window or interval of time. Knows rows and their times; must not
//! know plugins.
mod intake;
mod interval;
mod pairs;
mod timeline;
#[cfg(test)]
mod verify;
mod window;

use super::{Moments, Operator, Rejects, StateHome, TaskError};
use crate::{
    job::{AssignerSpec, IntervalSpec},
    model::{Schema, SubtaskState, TimeDomain},
};

/// One of the two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

impl Side {
    const BOTH: [Side; 2] = [Side::First, Side::Second];

    fn index(self) -> usize {
        self as usize
    }

    fn other(self) -> Side {
        match self {
            Side::First => Side::Second,
            Side::Second => Side::First,
        }
    }
}

/// An input.
#[derive(Clone, Debug)]
pub struct JoinInput {
    /// Its columns.
    pub schema: Schema,
    /// Key columns; of the same kinds in both inputs.
    pub key: Vec<usize>,
}

/// How a join is set up.
#[derive(Clone, Debug)]
pub struct JoinSettings {
    /// The operator's name in the job.
    pub node: String,
    /// The first and the second.
    pub inputs: [JoinInput; 2],
    /// Columns of what comes out: the first input's, the second's and, of a window join, the window's start and end.
    pub schema: Schema,
    /// Rows in an emitted batch, rows of an input read from state at a time, and timers looked at together; at least 1.
    pub batch_records: usize,
}

impl JoinSettings {
    fn bug(&self, what: impl ToString) -> TaskError {
        TaskError::Bug { node: self.node.clone(), what: what.to_string() }
    }
}

/// The windows of a window join.
#[derive(Clone, Copy, Debug)]
pub struct Windowing {
    /// Which; not a global window, which never ends.
    pub assigner: AssignerSpec,
    /// By which time rows are put into windows, and these are over.
    pub time: TimeDomain,
}

/// The stage that pairs rows of the same key and window once the window is over, with what an earlier run left. `rejects` are those of
/// each input. Fails if what was left cannot be read, is of other windows, or if windows are global.
pub fn window_join(
    settings: JoinSettings,
    windowing: Windowing,
    rejects: [Rejects; 2],
    moments: Moments,
    home: &StateHome,
    restored: SubtaskState,
) -> Result<Box<dyn Operator>, TaskError> {
    let join = window::WindowJoin::open(settings, windowing, rejects, moments, home, restored)?;
    Ok(Box::new(join))
}

/// The stage that pairs rows of the same key of which the second's event time is in an interval around the first's, as soon as both
/// have come; with what an earlier run left, whose interval may have been another. `rejects` are those of each input. Fails if what was
/// left cannot be read.
pub fn interval_join(
    settings: JoinSettings,
    interval: IntervalSpec,
    rejects: [Rejects; 2],
    moments: Moments,
    home: &StateHome,
    restored: SubtaskState,
) -> Result<Box<dyn Operator>, TaskError> {
    let join = interval::IntervalJoin::open(settings, interval, rejects, moments, home, restored)?;
    Ok(Box::new(join))
}
