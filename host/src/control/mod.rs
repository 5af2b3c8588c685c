//! From a job file to a running job and its report: finds and builds plugins, wires the plan's tasks together, starts them, and
//! waits for them. Knows everything below it; must not know who asked, nor how progress is shown.
mod error;
mod placement;
mod prepare;
mod report;
mod restart;
mod run;
mod wiring;

pub use error::RunError;
pub use placement::{AllHere, Placement};
pub use prepare::{Prepared, prepare};
pub use report::{JobReport, NodeReport, SinkReport};
pub use restart::{RestartStrategy, Restarts};
pub use run::{Job, JobView, data_runtime};
