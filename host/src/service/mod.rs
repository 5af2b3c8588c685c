//! The jobs of a server: kept on disk, started, stopped, watched, and gone on with when the server starts again. Must not know how
//! requests come in, nor who may make them.
mod canary;
mod change;
mod entry;
mod error;
mod events;
mod graph;
mod history;
mod info;
mod jobs;
mod lifecycle;
mod logs;
mod operators;
mod parallelism;
mod prepare;
mod record;
mod requests;
mod rules;
mod spawner;
mod variables;
mod work;

pub use canary::{Canary, CanaryCounts, CanaryInfo};
pub use change::{CONFIGURATION_BYTES_MAX, Swapped};
pub use error::ServiceError;
pub use events::{EVENTS_MAX, EventKind, JobEvent};
pub use graph::{GraphEdge, GraphNode, JobGraph};
pub use history::{Action, CanaryPart, Change, HISTORY_MAX, Outcome, Version};
pub use info::{CheckpointInfo, JobInfo, JobMetrics};
pub use jobs::{JOBS_MAX, Jobs, JobsSettings, Submission};
pub use lifecycle::{Desired, Illegal, Phase, Request, State, Step};
pub use logs::{JobLogs, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, LogLine};
pub use operators::{OperatorInfo, Replay, Replayed, Shadow, ShadowInfo, Swap};
pub use parallelism::Parallelism;
pub use prepare::{CHECKPOINT_INTERVAL_DEFAULT, VARIABLES_BYTES_MAX};
pub use requests::{Stop, Stopped};
pub use rules::{AddedRule, RuleInfo};
pub use variables::{SECRET_BYTES_MAX, VARIABLES_PREFIX, environment_variables};
