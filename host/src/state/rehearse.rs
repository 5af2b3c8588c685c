//! What migrating a copy of an operator's state would come to: counted without a store, while the operator works on. Changes nothing. Must
//! not know who is to migrate, nor where the copy comes from.
use std::{collections::BTreeMap, ops::ControlFlow};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    error::StateError,
    migrate::{Entry, MIGRATED_BYTES_MAX, MIGRATED_VALUES_MAX, MigrateError, Migrator, gather, migrate_items},
    restore::content,
    run::RunReader,
    task::{TaskSettings, element_text, read},
};
use crate::model::{OperatorState, Redistribution, StateDescription, SubtaskState};

/// Values that cannot be migrated, of which it is said which they are, for each state.
pub const UNMIGRATED_SAMPLES_MAX: usize = 10;

/// Values that cannot be migrated, of all states together, after which no more are tried.
pub const UNMIGRATED_MAX: u64 = 1000;

/// An element of a state: its number, what comes before its value, and that.
type Element<'a> = (usize, &'a [u8], &'a [u8]);

/// A copy of what a subtask keeps, as savepoints have it.
pub struct CopiedState {
    runs: Vec<RunReader>,
    operator_states: Vec<OperatorState>,
}

impl CopiedState {
    /// Of a snapshot all of whose parts are there. Its files may be removed from then on.
    pub fn of(state: SubtaskState) -> Result<CopiedState, StateError> {
        let parts = state.stores.iter().flat_map(|store| &store.parts);
        let runs = parts.map(|part| RunReader::open(&part.name, content(part)?)).collect::<Result<_, _>>()?;
        Ok(CopiedState { runs, operator_states: state.operator_states })
    }
}

/// A value that cannot be migrated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unmigrated {
    /// The key, as text, and of a map's entry the map's; of state of a subtask which element it is.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What migrating a state would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StateMigration {
    /// The state.
    pub state: String,
    /// The schema version it would have.
    pub schema_version: u32,
    /// Its values: one a key, or each element of lists and each entry of maps.
    pub values: u64,
    /// How many of them are of an earlier schema version.
    pub to_migrate: u64,
    /// How many of these cannot be migrated. Once 1000 values of the operator cannot be, no more are tried.
    pub failing: u64,
    /// The first 10 of those.
    pub samples: Vec<Unmigrated>,
}

/// Migrates values of copies of all subtasks' states that are named as `states` are, with `prefix` before the name where they are by key, and
/// forgets them. The migrator's states are these.
pub fn rehearse(
    copies: &[CopiedState],
    prefix: &str,
    states: &[StateDescription],
    migrator: &mut dyn Migrator,
) -> Result<Vec<StateMigration>, StateError> {
    let count = |state: &StateDescription| StateMigration {
        state: state.name.clone(),
        schema_version: state.schema_version,
        ..StateMigration::default()
    };
    let counts = states.iter().map(count).collect();
    let mut rehearsal = Rehearsal { states, migrator, counts, left: UNMIGRATED_MAX };
    for (number, copy) in copies.iter().enumerate() {
        for run in &copy.runs {
            rehearsal.run(run, prefix)?;
        }
        // All subtasks have the same broadcast state.
        let once = |state: &&OperatorState| number == 0 || state.redistribution != Redistribution::Broadcast;
        for state in copy.operator_states.iter().filter(once) {
            rehearsal.elements(state)?;
        }
    }
    Ok(rehearsal.counts)
}

struct Rehearsal<'a> {
    states: &'a [StateDescription],
    migrator: &'a mut dyn Migrator,
    counts: Vec<StateMigration>,
    /// How many may still fail.
    left: u64,
}

impl Rehearsal<'_> {
    fn run(&mut self, run: &RunReader, prefix: &str) -> Result<(), StateError> {
        let place = |was: &StateDescription| {
            let name = was.name.strip_prefix(prefix)?;
            self.states.iter().position(|state| state.name == name)
        };
        let places: Vec<Option<usize>> = run.header.states.iter().map(place).collect();
        let (mut waiting, mut bytes) = (Vec::new(), 0);
        for group in run.header.groups.clone() {
            let Some(mut entries) = run.group(group as u16)? else { continue };
            while entries.advance()? {
                let Some(value) = entries.value() else { continue };
                bytes += value.len();
                waiting.push(Entry { group: group as u16, key: entries.key().to_vec(), value: value.to_vec() });
                if waiting.len() >= MIGRATED_VALUES_MAX || bytes >= MIGRATED_BYTES_MAX {
                    self.entries(run, &places, &waiting)?;
                    waiting.clear();
                    bytes = 0;
                }
            }
        }
        self.entries(run, &places, &waiting)
    }

    fn entries(&mut self, run: &RunReader, places: &[Option<usize>], entries: &[Entry]) -> Result<(), StateError> {
        let damaged = || StateError::damaged(&run.part, "an entry is none");
        let states = &run.header.states;
        let wanted = |state: usize| states.get(state).filter(|_| places.get(state).is_some_and(Option::is_some));
        let (values, owners) = gather(entries, wanted).ok_or_else(damaged)?;
        for (number, values) in values.iter().enumerate() {
            let (Some(place), Some(was)) = (places[number], states.get(number)) else { continue };
            let failing = self.values(place, was, values).ok_or_else(damaged)?;
            for (at, error) in failing {
                let key = entries[owners[number][at] as usize].shown(was.key, self.migrator);
                self.failed(place, key, error);
            }
        }
        Ok(())
    }

    fn elements(&mut self, state: &OperatorState) -> Result<(), StateError> {
        let Some(place) = self.states.iter().position(|it| it.name == state.name) else { return Ok(()) };
        let settings = TaskSettings { name: state.name.clone(), states: self.states.to_vec(), drop_vanished: true };
        let mut by_version: BTreeMap<u32, (StateDescription, Vec<Element<'_>>)> = BTreeMap::new();
        for (number, bytes) in state.elements.iter().enumerate() {
            let element = read(&settings, (&state.name, place), bytes, self.migrator)?;
            let was = element.old.unwrap_or_else(|| self.states[place].clone());
            let of_version = by_version.entry(was.schema_version).or_insert_with(|| (was, Vec::new()));
            of_version.1.push((number, element.head, element.value));
        }
        for (was, elements) in by_version.values() {
            let values: Vec<&[u8]> = elements.iter().map(|(_, _, value)| *value).collect();
            let what = || format!("an element of state `{}` is no value", state.name);
            let failing = self.values(place, was, &values);
            let failing = failing.ok_or_else(|| StateError::Unreadable { store: state.name.clone(), what: what() })?;
            for (at, error) in failing {
                let (number, head, _) = elements[at];
                self.failed(place, element_text(was, head, number), error);
            }
        }
        Ok(())
    }

    /// Counts values, and tries those of an earlier version. Gives those that failed; `None` if some are no values.
    fn values(&mut self, place: usize, was: &StateDescription, values: &[&[u8]]) -> Option<Vec<(usize, MigrateError)>> {
        let (count, mut failing) = (&mut self.counts[place], Vec::new());
        count.values += values.len() as u64;
        if was.schema_version == self.states[place].schema_version {
            return Some(failing);
        }
        count.to_migrate += values.len() as u64;
        let left = self.left;
        if left > 0 {
            migrate_items(self.migrator, place, was, values, &mut |at, error| {
                failing.push((at, error));
                if failing.len() as u64 >= left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        }
        Some(failing)
    }

    fn failed(&mut self, place: usize, key: String, error: MigrateError) {
        self.left -= 1;
        let count = &mut self.counts[place];
        count.failing += 1;
        if count.samples.len() < UNMIGRATED_SAMPLES_MAX {
            count.samples.push(Unmigrated { key, reason: error.what });
        }
    }
}
