//! Operator state: lists of a subtask, in memory. Says of each how it is dealt out when parallelism changes.
use arrow_array::{Array, ArrayRef};

use super::{
    error::StateError,
    items::{lists, push_item, put_elements, split_list},
    migrate::{Migrator, NoMigrator},
    settings::Restored,
    task::{TaskSettings, element, restore},
};
use crate::model::{OperatorState, Redistribution, StateChange, StateDescription, StateKind, StateValues};

/// The operator states of a subtask.
pub struct OperatorLists {
    settings: TaskSettings,
    restored: Restored,
    /// One a declared state, encoded.
    lists: Vec<Vec<u8>>,
}

impl OperatorLists {
    /// The lists, with what of a snapshot was dealt out to the subtask. Values of earlier schema versions are refused.
    pub fn open(settings: TaskSettings, restored: &[OperatorState]) -> Result<OperatorLists, StateError> {
        OperatorLists::open_migrating(settings, restored, &mut NoMigrator)
    }

    /// The same, with values of earlier schema versions made into those of the declared ones. Fails at the first that cannot be.
    pub fn open_migrating(
        settings: TaskSettings,
        restored: &[OperatorState],
        migrator: &mut dyn Migrator,
    ) -> Result<OperatorLists, StateError> {
        let mut lists = vec![Vec::new(); settings.states.len()];
        let restored = restore(&settings, restored, migrator, |state, reader| {
            push_item(settings.states[state].value, reader.0, &mut lists[state])
        })?;
        Ok(OperatorLists { settings, restored, lists })
    }

    /// What became of restored states.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// The same lists for other declared states, which are found by name, with values of earlier schema versions made into those of the
    /// declared ones. What is not declared any more is forgotten.
    pub fn reopened(
        &self,
        states: Vec<StateDescription>,
        migrator: &mut dyn Migrator,
    ) -> Result<OperatorLists, StateError> {
        let settings = TaskSettings { name: self.settings.name.clone(), states, drop_vanished: true };
        OperatorLists::open_migrating(settings, &self.snapshot()?, migrator)
    }

    /// The states, as they are declared.
    pub fn states(&self) -> &[StateDescription] {
        &self.settings.states
    }

    /// What each state holds, as of one key.
    pub fn read(&self) -> Result<Vec<StateValues>, StateError> {
        let read = |(list, state): (&Vec<u8>, &StateDescription)| {
            let (offsets, values) = lists(state.value, std::iter::once(&list[..]))
                .ok_or_else(|| self.settings.bug("a list in state is none"))?;
            Ok(StateValues::Many { offsets, values })
        };
        self.lists.iter().zip(&self.settings.states).map(read).collect()
    }

    /// Makes changes of key 0, in order. Fails if the lists have become larger than they may be.
    pub fn apply(&mut self, changes: &[StateChange]) -> Result<(), StateError> {
        for change in changes {
            match change {
                StateChange::Replace { state, keys, offsets, values } => {
                    self.put(*state, keys, (offsets, values), false)?;
                }
                StateChange::Append { state, keys, offsets, values } => {
                    self.put(*state, keys, (offsets, values), true)?;
                }
                StateChange::Clear { state, keys } if keys.is_empty() => drop(self.list(*state)?),
                StateChange::Clear { state, .. } => self.list(*state)?.clear(),
                _ => return Err(self.settings.bug("state of a task was changed as what is no list is")),
            }
        }
        Ok(())
    }

    fn list(&mut self, state: usize) -> Result<&mut Vec<u8>, StateError> {
        let settings = &self.settings;
        self.lists.get_mut(state).ok_or_else(|| settings.bug("a list was changed that was not declared"))
    }

    fn put(
        &mut self,
        state: usize,
        keys: &[u32],
        (offsets, values): (&[i32], &ArrayRef),
        append: bool,
    ) -> Result<(), StateError> {
        let fits = |description: &StateDescription| *values.data_type() == description.value.data_type();
        let rows = offsets.len() == keys.len() + 1 && offsets.last().is_some_and(|end| *end as usize <= values.len());
        if !self.settings.states.get(state).is_some_and(fits) || !rows {
            return Err(self.settings.bug("lists were put that are not the state's"));
        }
        let list = self.list(state)?;
        for range in offsets.windows(2) {
            if !append {
                list.clear();
            }
            put_elements(values, range[0] as usize..range[1] as usize, list);
        }
        self.settings.check(state, self.lists.iter().map(Vec::len).sum())
    }

    /// All values, an element each.
    pub fn snapshot(&self) -> Result<Vec<OperatorState>, StateError> {
        let snapshot = |(list, state): (&Vec<u8>, &StateDescription)| {
            let values = split_list(state.value, list).ok_or_else(|| self.settings.bug("a list in state is none"))?;
            let head = element(state);
            let redistribution = match state.kind {
                StateKind::OperatorUnion => Redistribution::Union,
                _ => Redistribution::Split,
            };
            let elements = values.into_iter().map(|value| [&head[..], value].concat()).collect();
            Ok(OperatorState { name: state.name.clone(), redistribution, elements })
        };
        self.lists.iter().zip(&self.settings.states).map(snapshot).collect()
    }
}
