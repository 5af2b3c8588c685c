//! What a dataflow is built from: nodes with their columns, edges with their exchanges, and tasks. Everything in it is resolved
//! and checked; it refers to the spec only by name.
use std::collections::BTreeMap;

use super::{BatchSpec, JobError, JobSpec, graph::Graph, schemas::find_schemas, tasks};
use crate::model::{Description, Field, Kind, OperatorKind, Schema};

/// The output of records that cannot be processed, which every source and operator has.
pub const REJECTED: &str = "rejected";
/// The output of rows too late for their window, which every windowed operator has.
pub(super) const LATE: &str = "late";
/// The `i64` column with a window's start, in ms since 1970-01-01 UTC, in an aggregate's output.
pub const WINDOW_START: &str = "window_start";
/// The `i64` column with a window's end (exclusive), in ms since 1970-01-01 UTC, in an aggregate's output.
pub const WINDOW_END: &str = "window_end";

/// The columns of every `rejected` output: who rejected, why, and the record as text.
pub fn rejected_schema() -> Schema {
    let fields = ["operator", "reason", "record"].map(|name| Field::new(name, Kind::Utf8));
    // The three names differ.
    Schema::new(fields.to_vec()).expect("distinct names")
}

/// Index in [`Plan::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Index in [`Plan::edges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub usize);

/// Index in [`Plan::tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub usize);

/// A job, ready to be built.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The job's name.
    pub name: String,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// When batches close.
    pub batch: BatchSpec,
    /// Each after all that it reads.
    pub nodes: Vec<PlanNode>,
    /// Ordered by the node they lead to, then by its input.
    pub edges: Vec<PlanEdge>,
    /// Each after all that it reads.
    pub tasks: Vec<TaskPlan>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

impl Plan {
    /// A node.
    pub fn node(&self, id: NodeId) -> &PlanNode {
        &self.nodes[id.0]
    }

    /// An edge.
    pub fn edge(&self, id: EdgeId) -> &PlanEdge {
        &self.edges[id.0]
    }

    /// A task.
    pub fn task(&self, id: TaskId) -> &TaskPlan {
        &self.tasks[id.0]
    }
}

/// A source, operator or sink.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// Its place in the plan.
    pub id: NodeId,
    /// By which the spec has it, in the collection its role says.
    pub name: String,
    /// By which its state is found.
    pub uid: String,
    /// The task it is part of.
    pub task: TaskId,
    /// Number of subtasks.
    pub parallelism: u32,
    /// What it is.
    pub role: Role,
    /// The columns of all its inputs together; none for a source.
    pub input: Option<Schema>,
    /// 0 is the main output; then those the plugin declares, in its order; then `late`, if there is a window; then `rejected`.
    /// None for a sink.
    pub outputs: Vec<OutputPort>,
}

impl PlanNode {
    /// Index of the output of late rows, if there is a window.
    pub fn late_output(&self) -> Option<usize> {
        self.outputs.iter().position(|port| port.name.as_deref() == Some(LATE))
    }

    /// Index of the output of rejected records; none for a sink.
    pub fn rejected_output(&self) -> Option<usize> {
        self.outputs.iter().position(|port| port.name.as_deref() == Some(REJECTED))
    }
}

/// What a node is. Column indices are indices in the node's input unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// One of the spec's sources.
    Source {
        /// The connector's name.
        connector: String,
        /// Column with the event time, in the main output.
        time: Option<usize>,
        /// Whether its columns are those its readers ask for, for want of a `schema:`.
        inferred: bool,
    },
    /// One of the spec's operators.
    Operator {
        /// What its plugin is.
        kind: OperatorKind,
        /// The plugin's name and version, for people.
        plugin: String,
        /// Columns the plugin reads, in its order.
        reads: Vec<usize>,
        /// Key columns, in the order of the key; empty if there is none.
        key: Vec<usize>,
    },
    /// One of the spec's sinks.
    Sink {
        /// The connector's name.
        connector: String,
        /// Columns that are written, in order.
        writes: Vec<usize>,
        /// Those columns.
        written: Schema,
    },
}

/// An output of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPort {
    /// `None` for the main one.
    pub name: Option<String>,
    /// Its columns.
    pub schema: Schema,
}

/// An output that feeds an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanEdge {
    /// Its place in the plan.
    pub id: EdgeId,
    /// The node that is read.
    pub from: NodeId,
    /// Index of its output.
    pub output: usize,
    /// The node that reads.
    pub to: NodeId,
    /// Which of its inputs this is, from 0.
    pub input: usize,
    /// How rows find their subtask.
    pub exchange: Exchange,
    /// Whether both ends are in one task, without a queue between them. Only [`Exchange::Forward`] is.
    pub chained: bool,
    /// Where the output's columns differ from the reader's input, in order or in nullability: for each column of the input its
    /// index in the output. To be applied before the exchange.
    pub adapt: Option<Vec<usize>>,
}

/// How rows find the subtask that reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Subtask i to subtask i; both sides have as many.
    Forward,
    /// Evenly, batch by batch.
    Rebalance,
    /// By key.
    Hash {
        /// Key columns in the reader's input.
        key: Vec<usize>,
    },
}

/// Nodes that run together: one thread of control per subtask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlan {
    /// Its place in the plan.
    pub id: TaskId,
    /// Number of subtasks.
    pub parallelism: u32,
    /// The only one that is fed from outside: a source, or the reader of all `incoming` edges.
    pub head: NodeId,
    /// All nodes, the head first, each after the one that feeds it.
    pub nodes: Vec<NodeId>,
    /// Edges between them, one for each node but the head, in the order of `nodes`.
    pub chain: Vec<EdgeId>,
    /// Edges into the head, in the order of its inputs; none if it is a source.
    pub incoming: Vec<EdgeId>,
    /// Edges to the heads of other tasks.
    pub outgoing: Vec<EdgeId>,
}

/// Checks a job against what its plugins say of themselves, and plans it. `descriptions` has one entry per operator, by the
/// operator's name.
pub fn plan(spec: &JobSpec, descriptions: &BTreeMap<String, Description>) -> Result<Plan, JobError> {
    let graph = Graph::new(spec, descriptions)?;
    let schemas = find_schemas(&graph)?;
    Ok(tasks::assign(&graph, schemas))
}
