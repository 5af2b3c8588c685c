//! State that belongs to a subtask and not to a key, as elements of a snapshot: each says what state it is of, so that it can be dealt out
//! alone. See `docs/formats/task-state.md`. Knows neither maps nor lists.
use std::ops::ControlFlow;

use super::{
    error::StateError,
    items::map_keys,
    migrate::{MigrateError, Migrator, NewValues, migrate_items, run_of},
    schema::{compare_state, put_shape, read_shape},
    settings::Restored,
    wire::{Reader, put_number},
};
use crate::model::{OperatorState, StateDescription, StateKind, value_text};

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

/// An element that was read.
pub(super) struct Element<'a> {
    place: usize,
    /// What its state was, if its value is of an earlier version.
    pub(super) old: Option<StateDescription>,
    /// All before the value: a map key.
    pub(super) head: &'a [u8],
    pub(super) value: &'a [u8],
}

/// Gives the content of each restored element and the place of its state among those declared to `put`, which says whether it is one.
/// Values of earlier versions are those of the declared ones by then.
pub(super) fn restore(
    settings: &TaskSettings,
    restored: &[OperatorState],
    migrator: &mut dyn Migrator,
    mut put: impl FnMut(usize, Reader<'_>) -> Option<()>,
) -> Result<Restored, StateError> {
    let mut found = Restored::default();
    for state in restored.iter().filter(|state| !state.elements.is_empty()) {
        let Some(place) = settings.states.iter().position(|declared| declared.name == state.name) else {
            found.vanished.push(state.name.clone());
            continue;
        };
        let damaged = || {
            let what = format!("an element of state `{}` is cut off or not one", state.name);
            StateError::Unreadable { store: settings.name.clone(), what }
        };
        let elements = state.elements.iter().map(|bytes| read(settings, (&state.name, place), bytes, migrator));
        let elements = elements.collect::<Result<Vec<_>, _>>()?;
        let mut at = 0;
        while at < elements.len() {
            let run = run_of(&elements, at, |one, other| one.old == other.old);
            at = run.end;
            let elements = &elements[run.clone()];
            let Some(was) = &elements[0].old else {
                for element in elements {
                    put(place, Reader(&[element.head, element.value].concat())).ok_or_else(damaged)?;
                }
                continue;
            };
            let mut new = migrated(settings, was, (run.start, elements), migrator)?;
            found.migrated += elements.len() as u64;
            for element in elements {
                let mut content = element.head.to_vec();
                new.next(false, &mut content).ok_or_else(damaged)?;
                put(place, Reader(&content)).ok_or_else(damaged)?;
            }
        }
    }
    if !found.vanished.is_empty() && !settings.drop_vanished {
        return Err(StateError::Vanished { store: settings.name.clone(), states: found.vanished });
    }
    Ok(found)
}

/// Takes an element apart that was written for a state of this name, which is at this place now.
pub(super) fn read<'a>(
    settings: &TaskSettings,
    (name, place): (&str, usize),
    bytes: &'a [u8],
    migrator: &dyn Migrator,
) -> Result<Element<'a>, StateError> {
    let unreadable = |what: String| StateError::Unreadable { store: settings.name.clone(), what };
    let damaged = || unreadable(format!("an element of state `{name}` is cut off or not one"));
    let mut reader = Reader(bytes);
    match reader.number() {
        Some(VERSION) => {}
        None => return Err(damaged()),
        Some(_) => return Err(unreadable("it was written by a later version of wasmill".to_owned())),
    }
    let was = read_shape(name.to_owned(), &mut reader).ok_or_else(damaged)?;
    let old = compare_state(&settings.name, &was, &settings.states[place], migrator.migrates(place))?;
    let content = reader.0;
    if was.kind == StateKind::Broadcast {
        reader.bytes().ok_or_else(damaged)?;
    }
    let (head, value) = content.split_at(content.len() - reader.0.len());
    Ok(Element { place, old: old.then_some(was), head, value })
}

/// The new values of elements of one state, the first of which is number `first`.
fn migrated(
    settings: &TaskSettings,
    was: &StateDescription,
    (first, elements): (usize, &[Element<'_>]),
    migrator: &mut dyn Migrator,
) -> Result<NewValues, StateError> {
    let old: Vec<&[u8]> = elements.iter().map(|element| element.value).collect();
    let place = elements[0].place;
    let mut failure = None;
    let mut failed = |at: usize, error| {
        failure = Some((at, error));
        ControlFlow::Break(())
    };
    let pieces = migrate_items(migrator, place, was, &old, &mut failed);
    if let Some((at, MigrateError { what, retry })) = failure {
        let (store, state) = (settings.name.clone(), was.name.clone());
        let key = element_text(was, elements[at].head, first + at);
        let (was, is) = (was.schema_version, settings.states[place].schema_version);
        return Err(StateError::Migration { store, state, was, is, key, what, retry });
    }
    let what = format!("an element of state `{}` is no value", was.name);
    pieces.map(NewValues::of).ok_or_else(|| StateError::Unreadable { store: settings.name.clone(), what })
}

/// An element, in messages: its map key, or its number from 0 up.
pub(super) fn element_text(state: &StateDescription, head: &[u8], number: usize) -> String {
    let key = Reader(head).bytes().map(<[u8]>::to_vec);
    let column = state.key.zip(key).and_then(|(kind, key)| map_keys(kind, &[key]));
    column.map_or_else(|| format!("element {number}"), |column| value_text(&column, 0))
}
