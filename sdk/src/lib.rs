//! Write wasmill operators in Rust: a function, or a struct with a few methods, and one line to export it.
//!
//! ```
//! use wasmill_sdk::prelude::*;
//!
//! #[derive(Record)]
//! struct Line<'a> {
//!     line: &'a str,
//! }
//!
//! #[derive(Record)]
//! struct Word<'a> {
//!     word: &'a str,
//! }
//!
//! #[flat_map]
//! fn words(line: Line, out: &mut Output<Word>) {
//!     for word in line.line.split_whitespace() {
//!         out.emit(Word { word });
//!     }
//! }
//!
//! wasmill_sdk::export!(transform: words);
//! # fn main() {}
//! ```
//!
//! Guarantees: batches of columns cross the boundary, records reach the author; the loop between is compiled for the author's
//! types and allocates nothing per record. Everything also runs natively, in ordinary tests: see [`testing`].
//! Must not know: the host.

#![deny(missing_docs)]

// The macros name this crate from outside, and the tests of this crate use them too.
extern crate self as wasmill_sdk;

pub mod aggregate;
#[allow(missing_docs)]
#[doc(hidden)]
pub mod bindings;
pub mod broadcast;
pub mod column;
pub mod config;
pub mod context;
mod export;
pub mod keyed;
pub mod lifecycle;
pub mod log;
pub mod metrics;
pub mod operator;
pub mod output;
mod reads;
pub mod record;
pub mod sink;
pub mod state;
// A component makes no calls of its own.
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod text;
pub mod timer;
pub mod transform;
pub mod trigger;
pub mod window;

pub use schemars;
pub use serde;
pub use wasmill_sdk_macros::{
    Metrics, Record, SideOutputs, States, aggregate, broadcast_process, config, connected_process, filter, filter_map,
    flat_map, keyed_process, map, process_window, sink, state, transform, trigger,
};

/// What a plugin needs: `use wasmill_sdk::prelude::*`.
pub mod prelude {
    pub use crate::context::{Context, KeyedContext, TriggerContext, WindowContext};
    pub use crate::lifecycle::{CheckpointListener, Migration, Stored};
    pub use crate::metrics::{Counter, Gauge, Histogram, Metrics};
    pub use crate::output::{Output, SideOutputs};
    pub use crate::record::{InputRow, Record};
    pub use crate::state::States;
    pub use crate::state::broadcast::BroadcastState;
    pub use crate::state::combined::{AggregatingState, Gather, Reduce, ReducingState};
    pub use crate::state::list::ListState;
    pub use crate::state::map::MapState;
    pub use crate::state::operator::{OperatorListState, OperatorUnionState};
    pub use crate::state::value::ValueState;
    pub use crate::text;
    pub use crate::timer::Timer;
    pub use crate::trigger::Decision;
    pub use crate::window::{Elements, Window};
    pub use crate::{
        Metrics, Record, SideOutputs, States, aggregate, broadcast_process, config, connected_process, filter,
        filter_map, flat_map, keyed_process, map, process_window, sink, state, transform, trigger,
    };
    pub use crate::{debug, error, info, trace, warn};
}
