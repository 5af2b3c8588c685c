//! What an operator says of itself, free of the contract's generated types.
use std::fmt;

use super::{Field, Kind};

/// The kinds of operator the contract has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperatorKind {
    /// Map, filter, flat-map.
    Transform,
    /// Folds a window's rows into an accumulator.
    Aggregate,
    /// Sees all of a window's rows.
    ProcessWindow,
    /// State and timers per key.
    KeyedProcess,
    /// Two inputs with one key.
    ConnectedProcess,
    /// A main and a replicated input.
    BroadcastProcess,
    /// Decides when windows fire.
    Trigger,
    /// Shapes what a connector writes.
    Sink,
    /// Asks external systems.
    AsyncFunction,
}

impl OperatorKind {
    /// Every kind.
    pub const ALL: [OperatorKind; 9] = [
        OperatorKind::Transform,
        OperatorKind::Aggregate,
        OperatorKind::ProcessWindow,
        OperatorKind::KeyedProcess,
        OperatorKind::ConnectedProcess,
        OperatorKind::BroadcastProcess,
        OperatorKind::Trigger,
        OperatorKind::Sink,
        OperatorKind::AsyncFunction,
    ];

    /// The kind with this interface.
    pub fn of_interface(interface: &str) -> Option<OperatorKind> {
        OperatorKind::ALL.into_iter().find(|kind| kind.interface() == interface)
    }

    /// The name of the contract's interface, and of the step in a job file (with `_` for `-`).
    pub fn interface(self) -> &'static str {
        match self {
            OperatorKind::Transform => "transform",
            OperatorKind::Aggregate => "aggregate",
            OperatorKind::ProcessWindow => "process-window",
            OperatorKind::KeyedProcess => "keyed-process",
            OperatorKind::ConnectedProcess => "connected-process",
            OperatorKind::BroadcastProcess => "broadcast-process",
            OperatorKind::Trigger => "trigger",
            OperatorKind::Sink => "sink",
            OperatorKind::AsyncFunction => "async-function",
        }
    }
}

/// What an output consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Rows of the input as they are, also with the columns the operator does not read.
    InputRows,
    /// Rows with these columns.
    Columns(Vec<Field>),
}

/// A declared side output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideOutput {
    /// How the job file refers to it.
    pub name: String,
    /// What it consists of.
    pub shape: Shape,
}

/// What a declared state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// One value a key.
    Value,
    /// A list a key.
    List,
    /// One value a key, combined by a function of its own type.
    Reducing,
    /// One accumulator a key.
    Aggregating,
    /// A map a key.
    Map,
    /// A task's list, dealt out in parts when parallelism changes.
    OperatorList,
    /// A task's list, dealt out whole to each when parallelism changes.
    OperatorUnion,
    /// A map all tasks hold equally.
    Broadcast,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateKind::Value => "value",
            StateKind::List => "list",
            StateKind::Reducing => "reducing",
            StateKind::Aggregating => "aggregating",
            StateKind::Map => "map",
            StateKind::OperatorList => "operator-list",
            StateKind::OperatorUnion => "operator-union",
            StateKind::Broadcast => "broadcast",
        })
    }
}

/// How long state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeToLive {
    /// In ms.
    pub milliseconds: u64,
    /// Whether reading prolongs it too.
    pub update_on_read: bool,
    /// Whether an expired value not cleaned up yet may be seen.
    pub return_expired: bool,
}

/// A declared state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescription {
    /// Unique within the operator.
    pub name: String,
    /// What it is.
    pub kind: StateKind,
    /// Counts up when the meaning of the values changes.
    pub schema_version: u32,
    /// How values travel.
    pub value: Kind,
    /// How a map's keys travel.
    pub key: Option<Kind>,
    /// How long it lives; for ever if absent.
    pub time_to_live: Option<TimeToLive>,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    /// A sum.
    Counter,
    /// The latest value.
    Gauge,
    /// A distribution.
    Histogram,
}

/// What an operator says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which interface says so.
    pub kind: OperatorKind,
    /// The plugin's name: lower-case letters, digits and hyphens.
    pub name: String,
    /// The plugin's version.
    pub version: semver::Version,
    /// Columns read, per input.
    pub inputs: Vec<Vec<Field>>,
    /// Key columns it wants to see.
    pub keys: Vec<Field>,
    /// The main output. For an aggregate: without the key and the window, which the host adds.
    pub output: Shape,
    /// Further outputs.
    pub side_outputs: Vec<SideOutput>,
    /// State it keeps.
    pub states: Vec<StateDescription>,
    /// Metrics it reports.
    pub metrics: Vec<(String, MetricKind)>,
    /// JSON schema of its configuration; empty if it takes none.
    pub configuration: String,
}
