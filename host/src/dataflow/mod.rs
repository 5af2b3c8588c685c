//! The data path: sources, chains of operators, exchanges and sinks, each subtask a future of its own. Knows the plan and the
//! interfaces of plugins, connectors, formats and state; must not know who asked for the job, nor any of Kafka, HTTP or files.
mod alignment;
mod broadcast;
mod change;
mod comparison;
mod drift;
mod environment;
mod error;
mod exchange;
mod failures;
mod join;
mod keyed;
mod link;
mod message;
mod metrics;
mod migrate;
mod moments;
mod operator;
mod partition;
mod rejects;
mod route;
mod rules;
mod shadow;
mod sink;
mod sink_plugin;
mod source;
mod splits;
mod task;
mod transform;
mod watermark;
mod windowed;

pub use alignment::Alignment;
pub use broadcast::Broadcast;
pub use change::{Changes, NewRule, Offer, Place, Reopening, Replacement};
pub use comparison::{Compared, Comparison, Difference, SAMPLES_MAX};
pub use drift::DriftGroup;
pub use environment::{Environment, Spawned, Spawner, TokioSpawner};
pub use error::{FailureClass, TaskError};
pub use exchange::{Exchanges, MemoryExchanges, QUEUE_BATCHES_MAX, Receiver, Sender};
pub use failures::Failures;
pub use join::{JoinInput, JoinSettings, Windowing, interval_join, window_join};
pub use keyed::{Keyed, KeyedInput, KeyedSettings};
pub use link::{CONTROLS_MAX, Control, Left, Link, REPORTS_MAX, Report};
pub use message::{Barrier, Last, Message};
pub use metrics::{LatencyHistogram, NodeMetrics};
pub use migrate::Guests;
pub use moments::Moments;
pub use operator::{Operator, Outputs, Stage, StageIdentity};
pub use rejects::{Reject, Rejects, RowNumbers};
pub use route::{Route, Target};
pub use rules::Rules;
pub use shadow::{OpenOperator, ShadowStart};
pub use sink::SinkStage;
pub use sink_plugin::SinkPlugin;
pub use source::{SourceSettings, SourceTask};
pub use task::{OperatorTask, TaskInput};
pub use transform::Transform;
pub use watermark::{BoundedOutOfOrderness, WatermarkMerge};
pub use windowed::{
    AggregatePlugin, Combiner, ProcessPlugin, StateHome, TriggerPlugin, WindowWork, WindowedSettings, state_prefix,
    windowed,
};
