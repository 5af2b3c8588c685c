//! What a dataflow is built from: nodes with their columns, edges with their exchanges, and tasks. Everything in it is resolved
//! and checked; it refers to the spec only by name.
use std::borrow::Cow;

use super::{
    BatchSpec, JobError, JobSpec,
    graph::{Descriptions, Graph},
    rule_name,
    schemas::find_schemas,
    tasks,
};
use crate::model::{Field, Kind, OperatorKind, Schema, split_rule};

/// The output of records that cannot be processed, which every source and operator has.
pub const REJECTED: &str = "rejected";
/// The output of rows too late for their window, which every windowed operator has.
pub(super) const LATE: &str = "late";
/// The `i64` column with a window's start, in ms since 1970-01-01 UTC, in an aggregate's output.
pub const WINDOW_START: &str = "window_start";
/// The `i64` column with a window's end (exclusive), in ms since 1970-01-01 UTC, in an aggregate's output.
pub const WINDOW_END: &str = "window_end";

/// The columns of every `rejected` output: who rejected, why, the record as text, the plugin concerned as `name@version` (empty where
/// none is), where the record came, and its event time.
pub fn rejected_schema() -> Schema {
    let texts = ["operator", "reason", "record", "plugin", "position"].map(|name| Field::new(name, Kind::Utf8));
    let fields = texts.into_iter().chain([Field::new("event_time", Kind::Int64)]);
    // The names differ.
    Schema::new(fields.collect::<Vec<_>>()).expect("distinct names")
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

    /// A node by its name or uid; by `operator:rule` one that stands for the rule, as [`PlanNode::rule`] says.
    pub fn find(&self, name: &str) -> Option<Cow<'_, PlanNode>> {
        let node = |name: &str| self.nodes.iter().find(|node| node.name == name || node.uid == name);
        match split_rule(name) {
            None => node(name).map(Cow::Borrowed),
            Some((operator, rule)) => node(operator)?.rule(rule).map(Cow::Owned),
        }
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
    /// The columns of all that its first input reads, together; none for a source.
    pub input: Option<Schema>,
    /// The columns of all that its second input reads, together; none for most.
    pub second: Option<Schema>,
    /// 0 is the main output; then those the plugins declare, in their order; then `late`, if there are windows that end and are
    /// not joined; then `rejected`. None for a sink.
    pub outputs: Vec<OutputPort>,
}

impl PlanNode {
    /// The columns of one of its inputs.
    pub fn input_of(&self, side: InputSide) -> Option<&Schema> {
        match side {
            InputSide::First => self.input.as_ref(),
            InputSide::Second => self.second.as_ref(),
        }
    }

    /// One of its rules as if it were a node: name, uid, plugin and columns are the rule's, and all else its operator's, whose [`NodeId`] it
    /// has too.
    pub fn rule(&self, rule: &str) -> Option<PlanNode> {
        let Role::Operator { plugins, key, .. } = &self.role else { return None };
        let plugin = plugins.iter().find(|plugin| plugin.rule.as_deref() == Some(rule))?;
        let (step, plugins) = (plugin.kind.interface(), vec![plugin.clone()]);
        Some(PlanNode {
            id: self.id,
            name: rule_name(&self.name, rule),
            uid: rule_name(&self.uid, rule),
            task: self.task,
            parallelism: self.parallelism,
            role: Role::Operator { step, plugins, key: key.clone(), second_key: Vec::new() },
            input: self.input.clone(),
            second: None,
            outputs: self.outputs.clone(),
        })
    }

    /// Names of its rules, in the order rows go through them; none if it is no operator with rules.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        let plugins = match &self.role {
            Role::Operator { plugins, .. } => &plugins[..],
            Role::Source { .. } | Role::Sink { .. } => &[],
        };
        plugins.iter().filter_map(|plugin| plugin.rule.as_deref())
    }

    /// Index of the output of late rows, if it has one.
    pub fn late_output(&self) -> Option<usize> {
        self.outputs.iter().position(|port| port.name.as_deref() == Some(LATE))
    }

    /// Index of the output of rejected records; none for a sink.
    pub fn rejected_output(&self) -> Option<usize> {
        self.outputs.iter().position(|port| port.name.as_deref() == Some(REJECTED))
    }
}

/// What a node is. Column indices are indices in the node's first input unless said otherwise.
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
        /// What it does: the interface of its first plugin, `window-join`, `interval-join` or `rules`.
        step: &'static str,
        /// What its plugins work on, in the order rows go through them, the trigger's last; none for a join. No kind occurs twice, but of
        /// `rules` each has one.
        plugins: Vec<PluginColumns>,
        /// Key columns, in the order of the key; empty if there is none.
        key: Vec<usize>,
        /// Key columns in the second input, of the same types in the same order; empty if there is none, or if all of its rows go
        /// to every subtask.
        second_key: Vec<usize>,
    },
    /// One of the spec's sinks.
    Sink {
        /// The connector's name.
        connector: String,
        /// What its plugin works on, if it has one.
        plugin: Option<PluginColumns>,
        /// The columns of what its plugin puts out; without one, its input's.
        shaped: Schema,
        /// Columns of `shaped` that are written, in order.
        writes: Vec<usize>,
        /// Those columns.
        written: Schema,
    },
}

impl Role {
    /// What the plugin of a kind works on, if the node runs one. Of a node with rules, ask [`PlanNode::rule`].
    pub fn plugin(&self, kind: OperatorKind) -> Option<&PluginColumns> {
        match self {
            Role::Source { .. } => None,
            Role::Operator { plugins, .. } => plugins.iter().find(|plugin| plugin.kind == kind),
            Role::Sink { plugin, .. } => plugin.as_ref().filter(|plugin| plugin.kind == kind),
        }
    }
}

/// What a plugin works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginColumns {
    /// Which of its operator's rules it is, if that has rules.
    pub rule: Option<String>,
    /// As what it is run.
    pub kind: OperatorKind,
    /// Its name and version, for people.
    pub name: String,
    /// Columns it reads, in its order: of the node's first input; for a `process_window` after an `aggregate`, of the columns that
    /// one declares.
    pub reads: Vec<usize>,
    /// Columns it reads of the node's second input, in its order; empty if there is none.
    pub second_reads: Vec<usize>,
    /// Key columns it asks to see, in its order, as indices in the key.
    pub keys: Vec<usize>,
    /// Index of the node's output that is its first side output; the others follow. Of no meaning if it declares none.
    pub side: usize,
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
    /// Which of all that the node reads this is, from 0: what its first input reads comes before what its second does.
    pub input: usize,
    /// To which of its inputs it leads.
    pub side: InputSide,
    /// How rows find their subtask.
    pub exchange: Exchange,
    /// Whether both ends are in one task, without a queue between them. Only [`Exchange::Forward`] is.
    pub chained: bool,
    /// Whether rows are aggregated by slices of time before the exchange: the reader is one subtask for windows of all rows.
    pub combined: bool,
    /// Where the output's columns differ from the reader's input, in order or in nullability: for each column of the input its
    /// index in the output. To be applied before the exchange.
    pub adapt: Option<Vec<usize>>,
}

/// The inputs of an operator that tells two apart; all others have a first one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InputSide {
    /// `input`
    First,
    /// `second` or `broadcast`
    Second,
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
        /// Key columns in the input of the reader that the edge leads to.
        key: Vec<usize>,
    },
    /// Each row to every subtask.
    Broadcast,
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

/// Checks a job against what its plugins say of themselves, and plans it. `descriptions` has one entry for each plugin of an
/// operator or sink.
pub fn plan(spec: &JobSpec, descriptions: &Descriptions) -> Result<Plan, JobError> {
    let graph = Graph::new(spec, descriptions)?;
    let schemas = find_schemas(&graph)?;
    Ok(tasks::assign(&graph, schemas))
}
