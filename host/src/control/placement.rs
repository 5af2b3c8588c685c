//! Which subtasks run in this process. A job spread over several hosts is a [`Placement`] that names each host's share, and
//! [`Exchanges`](crate::dataflow::Exchanges) that reach from one to the other.
use crate::job::TaskPlan;

/// Decides which subtasks of a task run here.
pub trait Placement: Send + Sync {
    /// Whether this subtask of the task runs here.
    fn runs_here(&self, task: &TaskPlan, subtask: u32) -> bool;
}

/// Everything runs here.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllHere;

impl Placement for AllHere {
    fn runs_here(&self, _task: &TaskPlan, _subtask: u32) -> bool {
        true
    }
}
