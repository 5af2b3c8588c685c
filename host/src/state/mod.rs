//! What operators remember, by key. Batches of keys in, columns of values out; must not know wasm, tasks or how checkpoints are
//! kept.
mod key_table;
mod values;
mod windows;

pub use windows::{Touched, WindowContents, WindowStore};
