//! Which window a time falls into, and when a window is over. Pure arithmetic on times; must not know state, tasks or clocks.
mod tumbling;

pub use tumbling::Tumbling;
