//! What a task and whoever runs the job say to each other beside the stream. Tasks look at it between two messages only.
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Barrier, TaskError};
use crate::{checkpoint::CommitPermit, model::SubtaskState};

/// Things said to a task that it has not looked at yet; more are not said.
pub const CONTROLS_MAX: usize = 64;

/// Reports of all tasks that nobody has looked at yet; a task with one more waits.
pub const REPORTS_MAX: usize = 256;

/// Said to a task.
#[derive(Clone, Debug)]
pub enum Control {
    /// To a source: let this barrier go out.
    Trigger(Barrier),
    /// A checkpoint is complete: what was prepared for it is to be committed.
    Completed(CommitPermit),
    /// A checkpoint was given up.
    Aborted(u64),
}

/// A source's, operator's or sink's state at a barrier.
#[derive(Clone, Debug)]
pub struct Left {
    /// Of the node.
    pub uid: Arc<str>,
    /// Which of its subtasks.
    pub subtask: u32,
    /// What it left.
    pub state: SubtaskState,
}

/// Said by a task.
#[derive(Debug)]
pub enum Report {
    /// A source has nothing more to read. It goes on letting barriers out.
    SourceEnded {
        /// Index of the task among all.
        task: usize,
    },
    /// A barrier has passed all nodes of a task.
    Acknowledged {
        /// Index of the task among all.
        task: usize,
        /// The barrier.
        checkpoint: u64,
        /// Of all its nodes.
        left: Vec<Left>,
    },
}

/// A task's end of the line.
pub struct Link {
    /// Index of the task among all.
    pub task: usize,
    /// What it is told.
    pub controls: mpsc::Receiver<Control>,
    /// What it tells.
    pub reports: mpsc::Sender<Report>,
}

impl Link {
    pub(super) async fn report(&self, report: Report) -> Result<(), TaskError> {
        self.reports.send(report).await.map_err(|_| TaskError::Disconnected)
    }

    /// What it is told next.
    pub(super) async fn next(&mut self) -> Result<Control, TaskError> {
        self.controls.recv().await.ok_or(TaskError::Disconnected)
    }
}
