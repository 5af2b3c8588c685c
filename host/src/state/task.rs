//! State that belongs to a subtask and not to a key, as elements of a snapshot: each says what state it is of, so that it can be dealt out
//! alone. See `docs/formats/task-state.md`. Knows neither maps nor lists.
use super::{
    error::StateError,
    schema::{compare_state, put_shape, read_shape},
    settings::Restored,
    wire::{Reader, put_number},
};
use crate::model::{OperatorState, StateDescription};

/// Of all elements; others are refused.
const VERSION: u64 = 1;

/// Memory that the state of a subtask may take, in bytes: it is kept in memory, goes into the manifest of each checkpoint, and in
/// parts into each call.
pub const TASK_STATE_BYTES_MAX: usize = 16 << 20;

/// Whose state it is.
#[derive(Clone, Debug)]
pub struct TaskSettings {
    /// The operator or sink, in messages.
    pub name: String,
    /// All states it declares, also those by key: changes and reads name a state by its place here.
    pub states: Vec<StateDescription>,
    /// Whether states of the snapshot that are not declared any more may be forgotten; else they are an error.
    pub drop_vanished: bool,
}

impl TaskSettings {
    pub(super) fn bug(&self, what: &str) -> StateError {
        StateError::Bug { store: self.name.clone(), what: what.to_owned() }
    }

    /// Fails if `bytes`, after a change of this state, are too many.
    pub(super) fn check(&self, state: usize, bytes: usize) -> Result<(), StateError> {
        if bytes <= TASK_STATE_BYTES_MAX {
            return Ok(());
        }
        let state = self.states.get(state).map(|state| state.name.clone()).unwrap_or_default();
        Err(StateError::TooLarge { store: self.name.clone(), state, max: TASK_STATE_BYTES_MAX })
    }
}

/// An element of this state, up to its content.
pub(super) fn element(state: &StateDescription) -> Vec<u8> {
    let mut into = Vec::new();
    put_number(VERSION, &mut into);
    put_shape(state, &mut into);
    into
}

/// Gives the content of each restored element and the place of its state among those declared to `put`, which says whether it is one.
pub(super) fn restore(
    settings: &TaskSettings,
    restored: &[OperatorState],
    mut put: impl FnMut(usize, Reader<'_>) -> Option<()>,
) -> Result<Restored, StateError> {
    let mut found = Restored::default();
    for state in restored.iter().filter(|state| !state.elements.is_empty()) {
        let Some(place) = settings.states.iter().position(|declared| declared.name == state.name) else {
            found.vanished.push(state.name.clone());
            continue;
        };
        for bytes in &state.elements {
            let store = || settings.name.clone();
            let damaged = || {
                let what = format!("an element of state `{}` is cut off or not one", state.name);
                StateError::Unreadable { store: store(), what }
            };
            let mut reader = Reader(bytes);
            match reader.number() {
                Some(VERSION) => {}
                None => return Err(damaged()),
                Some(_) => {
                    let what = "it was written by a later version of wasmill".to_owned();
                    return Err(StateError::Unreadable { store: store(), what });
                }
            }
            let was = read_shape(state.name.clone(), &mut reader).ok_or_else(damaged)?;
            compare_state(&settings.name, &was, &settings.states[place])?;
            put(place, reader).ok_or_else(damaged)?;
        }
    }
    if !found.vanished.is_empty() && !settings.drop_vanished {
        return Err(StateError::Vanished { store: settings.name.clone(), states: found.vanished });
    }
    Ok(found)
}
