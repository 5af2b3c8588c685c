//! What was asked for: the job file as data, and the plan a dataflow is built from. Decides everything that can be decided
//! before anything runs. Pure but for reading the file; knows nothing of tasks, clocks or WebAssembly.
mod assemble;
mod error;
mod graph;
mod infer;
mod load;
mod plan;
mod raw;
mod references;
mod render;
mod schemas;
mod spec;
mod substitute;
mod tasks;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

pub use error::{Code, JobError};
pub use graph::Descriptions;
pub use load::{JOB_FILE_BYTES_MAX, JobDefaults, check_rule, load, parse, parse_rule_settings, parse_with};
pub use plan::{
    EdgeId, Exchange, InputSide, NodeId, OutputPort, Plan, PlanEdge, PlanNode, PluginColumns, REJECTED, Role, TaskId,
    TaskPlan, WINDOW_END, WINDOW_START, plan, rejected_schema,
};
pub use references::{FILLED_BYTES_MAX, Filled, Variables, fill};
pub use spec::*;
