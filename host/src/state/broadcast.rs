//! Broadcast state: maps that all subtasks of an operator hold equally, in memory. Equal changes leave equal maps, and equal snapshots.
use arrow_array::{Array, ArrayRef};

use super::{
    error::StateError,
    items::{items, map_key, map_keys, put_item},
    map::MapCell,
    maps::{Entries, READ_BYTES_MAX, fits, too_large},
    migrate::{Migrator, NoMigrator},
    settings::Restored,
    task::{TaskSettings, element, restore},
    wire::{Reader, put_bytes},
};
use crate::model::{MapPage, MapReader, OperatorState, Redistribution, StateChange, StateDescription, StateKind};

/// The broadcast states of a subtask.
pub struct BroadcastMaps {
    settings: TaskSettings,
    restored: Restored,
    /// One a declared state, empty of those that are no broadcast state.
    maps: Vec<MapCell>,
}

impl BroadcastMaps {
    /// The maps, with what a snapshot has of them. Values of earlier schema versions are refused.
    pub fn open(settings: TaskSettings, restored: &[OperatorState]) -> Result<BroadcastMaps, StateError> {
        BroadcastMaps::open_migrating(settings, restored, &mut NoMigrator)
    }

    /// The same, with values of earlier schema versions made into those of the declared ones. Fails at the first that cannot be.
    pub fn open_migrating(
        settings: TaskSettings,
        restored: &[OperatorState],
        migrator: &mut dyn Migrator,
    ) -> Result<BroadcastMaps, StateError> {
        let mut maps: Vec<MapCell> = settings.states.iter().map(|_| MapCell::default()).collect();
        let put = |state: usize, mut reader: Reader<'_>| {
            let (key, value) = (reader.bytes()?, reader.0);
            // What cannot be read must not get in.
            map_keys(settings.states[state].key?, &[key.to_vec()])?;
            items(settings.states[state].value, &[Some(value)])?;
            maps[state].put(key, Some(value), 0, false);
            Some(())
        };
        let restored = restore(&settings, restored, migrator, put)?;
        Ok(BroadcastMaps { settings, restored, maps })
    }

    /// What became of restored states.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// Bytes in memory, approximately.
    pub fn bytes(&self) -> usize {
        self.maps.iter().map(MapCell::bytes).sum()
    }

    /// Makes changes, in order. Fails if the maps have become larger than they may be.
    pub fn apply(&mut self, changes: &[StateChange]) -> Result<(), StateError> {
        for change in changes {
            match change {
                StateChange::PutEntries { state, map_keys, values, .. } => self.put(*state, map_keys, values)?,
                StateChange::Clear { state, .. } => {
                    self.state(*state)?;
                    self.maps[*state].clear(false);
                }
                _ => return Err(self.settings.bug("broadcast state was changed as what is no map is")),
            }
        }
        Ok(())
    }

    fn put(&mut self, state: usize, map_keys: &ArrayRef, values: &ArrayRef) -> Result<(), StateError> {
        let description = self.state(state)?;
        let kinds = *values.data_type() == description.value.data_type()
            && description.key.is_some_and(|key| *map_keys.data_type() == key.data_type());
        if !kinds || map_keys.len() != values.len() {
            return Err(self.settings.bug("entries were put that are not the state's"));
        }
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for row in 0..values.len() {
            key.clear();
            value.clear();
            map_key(map_keys, row, &mut key);
            if values.is_valid(row) {
                put_item(values, row, &mut value);
            }
            self.maps[state].put(&key, values.is_valid(row).then_some(&value[..]), 0, false);
        }
        self.settings.check(state, self.bytes())
    }

    /// All entries, an element each. Any one subtask's are those of all.
    pub fn snapshot(&self) -> Vec<OperatorState> {
        let states = self.settings.states.iter().zip(&self.maps);
        let states = states.filter(|(state, _)| state.kind == StateKind::Broadcast).map(|(state, map)| {
            let head = element(state);
            let entry = |(key, _, value): (&[u8], i64, &[u8])| {
                let mut into = head.clone();
                put_bytes(key, &mut into);
                into.extend_from_slice(value);
                into
            };
            let (name, elements) = (state.name.clone(), map.after(None).map(entry).collect());
            OperatorState { name, redistribution: Redistribution::Broadcast, elements }
        });
        states.collect()
    }

    /// Reads these maps, and through `keyed` those of all other states.
    pub fn beside<'a>(&'a self, keyed: impl MapReader + 'a) -> impl MapReader + 'a {
        Beside { broadcast: self, keyed }
    }

    fn state(&self, state: usize) -> Result<&StateDescription, StateError> {
        let state = self.settings.states.get(state).filter(|state| state.kind == StateKind::Broadcast);
        state.ok_or_else(|| self.settings.bug("broadcast state was asked for that is none"))
    }

    fn get(&self, state: usize, wanted: &ArrayRef) -> Result<Option<ArrayRef>, StateError> {
        let description = self.state(state)?;
        let mut key = Vec::new();
        let values: Vec<Option<&[u8]>> = (0..wanted.len())
            .map(|row| {
                key.clear();
                map_key(wanted, row, &mut key);
                self.maps[state].get(&key).map(|(_, value)| value)
            })
            .collect();
        let mut room = READ_BYTES_MAX;
        if !values.iter().all(|value| fits(&mut room, *value)) {
            return Ok(None);
        }
        items(description.value, &values).map(Some).ok_or_else(|| self.settings.bug("a value of a map is none"))
    }

    fn scan(&self, state: usize, after: Option<&[u8]>, limit: usize) -> Result<MapPage, StateError> {
        let description = self.state(state)?;
        let mut entries = Entries::at_most(limit);
        entries.fill(self.maps[state].after(after));
        entries.page(description).ok_or_else(|| self.settings.bug("an entry of a map is none"))
    }
}

struct Beside<'a, R> {
    broadcast: &'a BroadcastMaps,
    keyed: R,
}

impl<R: MapReader> MapReader for Beside<'_, R> {
    fn get(&mut self, state: usize, keys: &[u32], map_keys: &ArrayRef) -> Result<ArrayRef, String> {
        match self.broadcast.state(state) {
            Ok(_) => {
                let values = self.broadcast.get(state, map_keys).map_err(|error| error.to_string())?;
                values.ok_or_else(too_large)
            }
            Err(_) => self.keyed.get(state, keys, map_keys),
        }
    }

    fn scan(&mut self, state: usize, key: u32, after: Option<&[u8]>, limit: usize) -> Result<MapPage, String> {
        match self.broadcast.state(state) {
            Ok(_) => self.broadcast.scan(state, after, limit.max(1)).map_err(|error| error.to_string()),
            Err(_) => self.keyed.scan(state, key, after, limit),
        }
    }
}
