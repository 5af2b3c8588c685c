//! What any operator may do besides: learn of checkpoints, and turn state of an older version into the current one.
//!
//! Guarantees: none beyond the contract's. Must not know: kinds of operator.

use crate::bindings::types::{Column, State as Declared};
use crate::state::State;

/// The instance of an operator in a component. `export!` implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exported as an operator",
    note = "name its kind as well: export!(sink: Buffered, checkpoint_listener: Buffered)"
)]
pub trait Instance: Sized {
    /// Calls it, if there is one.
    fn visit(call: impl FnOnce(&mut Self));
    /// The states it declares.
    fn states() -> Vec<Declared>;
}

/// An operator that is told of checkpoints: `export!(sink: Buffered, checkpoint_listener: Buffered)`.
pub trait CheckpointListener {
    /// A checkpoint is complete: what was done before it will not be done again.
    fn completed(&mut self, checkpoint: u64);
    /// A checkpoint was given up.
    fn aborted(&mut self, checkpoint: u64) {
        let _ = checkpoint;
    }
}

/// An operator whose state has had other versions: `export!(keyed_process: Counting, migration: Counting)`.
pub trait Migration {
    /// The values in the current version of the state of this name: `old.map(|count: i64| Count { count })`, for each version
    /// there has been.
    fn migrate(state: &str, from_version: u32, old: Stored) -> Result<Stored, String>;
}

/// Values of a state as they are stored, without their types.
pub struct Stored(Column);

impl Stored {
    /// Reads values of one type, and makes values of another of them.
    pub fn map<A: State, B: State>(self, mut each: impl FnMut(A) -> B) -> Result<Self, String> {
        let mut values = Vec::with_capacity(crate::state::length(&self.0));
        A::read(self.0, |value| values.push(value.map(&mut each)))?;
        B::write(values.iter().map(Option::as_ref)).map(Self)
    }

    /// The error where a version is not known.
    pub fn unknown(self) -> Result<Self, String> {
        Err("this version of the state is not known".into())
    }
}

/// Migrates a column; `states` are those described. `export!` calls it.
pub fn migrate<T: Migration>(
    states: Vec<Declared>,
    state: u32,
    from_version: u32,
    values: Column,
) -> Result<Column, String> {
    let declared = states.get(state as usize).ok_or_else(|| format!("there is no state {state}"))?;
    T::migrate(&declared.name, from_version, Stored(values)).map(|stored| stored.0)
}
