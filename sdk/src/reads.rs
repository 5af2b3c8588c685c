//! Reads of map and broadcast state.
//!
//! Guarantees: in a component they go to the host, natively to the harness that makes the call. Must not know: what is read.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::map_state::{get, scan};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{MapReads, during, get, scan};

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;
    use std::rc::Rc;

    use crate::bindings::map_state::Page;
    use crate::bindings::types::Column;

    /// What answers reads, see the contract's `map-state`.
    pub(crate) trait MapReads {
        fn get(&self, state: u32, keys: &[u32], map_keys: &Column) -> Column;
        fn scan(&self, state: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Page;
    }

    thread_local! {
        static READS: RefCell<Option<Rc<dyn MapReads>>> = const { RefCell::new(None) };
    }

    /// Makes a call during which these answer.
    pub(crate) fn during<R>(reads: Rc<dyn MapReads>, call: impl FnOnce() -> R) -> R {
        let outer = READS.replace(Some(reads));
        let result = call();
        READS.set(outer);
        result
    }

    fn reads() -> Rc<dyn MapReads> {
        READS.with_borrow(Clone::clone).expect("outside of a component, map state can be read within a harness only")
    }

    pub(crate) fn get(state: u32, keys: &[u32], map_keys: &Column) -> Column {
        reads().get(state, keys, map_keys)
    }

    pub(crate) fn scan(state: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Page {
        reads().scan(state, key, after, limit)
    }
}
