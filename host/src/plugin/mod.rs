//! The guests: how components are loaded, checked, compiled, instantiated, called within limits, and thrown away. wasmtime is
//! named in this folder only. Must not know windows, tasks, connectors or jobs; state comes and goes as columns.
mod budget;
pub mod build;
mod calls;
mod columns;
mod component;
#[allow(
    missing_docs,
    dead_code,
    unused_variables,
    unreachable_pub,
    clippy::all,
    reason = "generated in part, and data only"
)]
mod contract;
mod describe;
mod engine;
mod error;
mod guest;
mod instance;
mod maps;
mod measures;
pub mod schema;
mod wasi;

pub use budget::{Budget, OUTPUT_ROWS_FLOOR};
pub use calls::{Accumulators, CallMoment, Elements, Emitted, KeyedEmitted, KeyedInput, Keys, Verdict, Written};
pub use component::Plugin;
pub use contract::{PACKAGE as CONTRACT, VERSION as CONTRACT_VERSION};
pub use engine::{COMPONENT_BYTES_MAX, EPOCH_TICK, GUEST_STACK_BYTES_MAX, PluginEngine, digest};
pub use error::{CallError, CallFailure, LoadError};
pub use instance::{Instance, Limits, Placement};
pub use maps::MAP_PAGE_ENTRIES_MAX;
pub use measures::{HISTOGRAM_BOUNDS, Measures, MetricValue};
pub use wasi::Grants;
