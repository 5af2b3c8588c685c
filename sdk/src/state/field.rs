//! The states of an operator: a struct with a field for each.
//!
//! Guarantees: a state is opened once a call for all its keys; only what was changed goes back. Must not know: operators, kinds
//! of state.

use std::vec::IntoIter;

use crate::bindings::types::{self, Kind, StateChange, StateKind, StateValues, TimeToLive};

/// To what a state belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To a key, or to a key and window.
    Keyed,
    /// To a task.
    Operator,
    /// To all tasks equally.
    Broadcast,
}

/// What an author says of a state in `#[state(...)]`, and its name.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the field.
    pub name: &'static str,
    /// When values expire.
    pub time_to_live: Option<TimeToLive>,
    /// The schema version, if not that of the values' type.
    pub version: Option<u32>,
}

impl Options {
    pub(crate) fn state(self, kind: StateKind, value_kind: Kind, key_kind: Option<Kind>, version: u32) -> types::State {
        types::State {
            name: self.name.into(),
            kind,
            schema_version: self.version.unwrap_or(version),
            value_kind,
            key_kind,
            time_to_live: self.time_to_live,
        }
    }
}

/// A field of states, such as `ValueState<i64>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no state of an operator",
    note = "a field is a ValueState, ListState, MapState, ReducingState, AggregatingState, OperatorListState, OperatorUnionState or BroadcastState"
)]
pub trait StateField {
    /// To what it belongs.
    const SCOPE: Scope;
    /// The same field borrowing from the values of a call.
    type At<'s>;
    /// The values of all keys of a call.
    type Slots: 'static;

    /// The declaration.
    fn describe(options: Options) -> types::State;
    /// The values that came with a call, for `keys` keys; without values there is nothing yet. `state` is its index in the
    /// description.
    fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<Self::Slots, String>;
    /// The state of one key. Panics if the key is not below the number of keys.
    fn at(slots: &mut Self::Slots, key: usize) -> Self::At<'_>;
    /// Adds what was changed; the error says what could not be read or written.
    fn finish(slots: Self::Slots, changes: &mut Vec<StateChange>) -> Result<(), String>;
}

/// The states of an operator: a struct with one lifetime and a field for each. Implement it by `#[derive(States)]`; `()` is none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` are no states",
    note = "mark the struct #[derive(States)]; of the parameters that are `&mut`, the first are the states, the second the metrics"
)]
pub trait States {
    /// To what each of them belongs, in order.
    const SCOPES: &'static [Scope];
    /// The same struct borrowing from the values of a call.
    type At<'s>;
    /// The values of all keys of a call.
    type Slots: 'static;

    /// The declarations, in order.
    fn describe() -> Vec<types::State>;
    /// The values that came with a call, see [`StateField::open`]; `first` is the index of the first state in the description.
    fn open(values: Option<&mut IntoIter<StateValues>>, first: u32, keys: usize) -> Result<Self::Slots, String>;
    /// The states of one key. Panics if the key is not below the number of keys.
    fn at(slots: &mut Self::Slots, key: usize) -> Self::At<'_>;
    /// Adds what was changed.
    fn finish(slots: Self::Slots, changes: &mut Vec<StateChange>) -> Result<(), String>;
}

impl States for () {
    const SCOPES: &'static [Scope] = &[];
    type At<'s> = ();
    type Slots = ();

    fn describe() -> Vec<types::State> {
        Vec::new()
    }
    fn open(_: Option<&mut IntoIter<StateValues>>, _: u32, _: usize) -> Result<(), String> {
        Ok(())
    }
    #[inline(always)]
    fn at(_: &mut (), _: usize) -> Self::At<'_> {}
    fn finish(_: (), _: &mut Vec<StateChange>) -> Result<(), String> {
        Ok(())
    }
}

/// Takes the values of the next state out of those of a call. `#[derive(States)]` calls it.
pub fn next(values: &mut Option<&mut IntoIter<StateValues>>, name: &str) -> Result<Option<StateValues>, String> {
    match values {
        None => Ok(None),
        Some(values) => values.next().map(Some).ok_or_else(|| format!("state `{name}` did not come")),
    }
}

/// Whether all states belong to the same.
pub(crate) const fn all<S: States>(scope: Scope) -> bool {
    let mut index = 0;
    while index < S::SCOPES.len() {
        if S::SCOPES[index] as u8 != scope as u8 {
            return false;
        }
        index += 1;
    }
    true
}

/// The error where the values of a state are of another form than declared.
pub(crate) fn wrong_form(state: u32) -> String {
    format!("the values of state {state} are of another form than declared")
}

/// The error where a state has another number of values than there are keys.
pub(crate) fn wrong_count(state: u32, found: usize, keys: usize) -> String {
    format!("state {state} came with {found} values for {keys} keys")
}
