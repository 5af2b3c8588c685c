//! Benchmarks: well-defined workloads as ordinary jobs, the same logic in plain Rust, and what either costs. Nothing here is
//! known to the engine; the jobs are job files like any other.
mod kafka;
mod large_state;
mod measure;
mod native;
mod swap;
mod workload;

pub use kafka::{Kafka, kafka};
pub use large_state::{LargeState, large_state};
pub use measure::{Measured, Start};
pub use native::native;
pub use swap::{Swap, swap};
pub use workload::{Run, Workload, prepare};
