//! From a job file to a running job and its report: finds and builds plugins, wires the plan's tasks together, starts them, and
//! waits for them. Knows everything below it; must not know who asked, nor how progress is shown.
mod change;
mod coordinator;
mod crash;
mod error;
mod in_force;
mod joins;
mod migration;
mod observer;
mod operators;
mod placement;
mod plugins;
mod prepare;
mod publish;
mod report;
mod restart;
mod restore;
mod run;
mod shadow;
mod sinks;
mod storage;
mod supervise;
mod windows;
mod wiring;

pub use crate::state::{StateMigration, Unmigrated};
pub use change::{ChangeError, ChangeRequest, Changed, ReadyChange, TrialSpec};
pub use crash::CrashAtCheckpoint;
pub use error::RunError;
pub use observer::{CheckpointDone, JobObserver, RolledBack};
pub use placement::{AllHere, Placement};
pub use plugins::{LocalPlugins, PluginSource, SourceError};
pub use prepare::{Bound, PluginId, Prepared, prepare};
pub use report::{CheckpointCounts, JobReport, NodeReport, SinkReport};
pub use run::{Job, JobView, data_runtime};
pub use shadow::{ReadyShadow, ShadowReport, ShadowRequest};
pub use storage::{JobOptions, OpenStore, StartFrom};
