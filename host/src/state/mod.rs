//! What operators remember, by key. Batches of keys in, columns of values out; must not know wasm, tasks or where checkpoints are
//! kept.
mod backend;
mod error;
mod key_table;
#[cfg(feature = "rocksdb")]
mod rocks;
mod scan;
mod settings;
mod store;
mod timers;
mod touched;
mod values;
mod windows;

pub use backend::StateBackend;
#[cfg(feature = "rocksdb")]
pub use backend::{Compression, RocksDbSettings};
pub use error::StateError;
pub use scan::{Cursor, UnionPage, WindowPage};
pub use settings::{Layout, Restored, StoreSettings};
pub use store::KeyedStore;
pub use timers::Due;
pub use touched::Touched;
pub use windows::{Touched as OldTouched, WindowContents, WindowStore};
