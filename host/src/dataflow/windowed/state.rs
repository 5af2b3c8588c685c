//! What the stages of windows have in common in how they keep state: how a store is opened, and how states of several plugins lie
//! side by side in one.
use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::OffsetBuffer;
use arrow_schema::ArrowError;
use arrow_select::take::take;

use super::intake::Intake;
use crate::{
    dataflow::TaskError,
    model::{
        KeyGroups, KeyRows, MapPage, MapReader, OperatorKind, StateChange, StateDescription, StateValues, SubtaskState,
    },
    state::{KeyedStore, Layout, Migrator, StateBackend, StateError, StoreSettings},
};

/// Where the state of one subtask of an operator is kept.
#[derive(Clone, Debug)]
pub struct StateHome {
    /// In memory or on disk.
    pub backend: StateBackend,
    /// The operator, by a name that is the same after a restart.
    pub uid: String,
    /// Which subtask of it.
    pub subtask: u32,
    /// Counts up over the starts of a job.
    pub start: u64,
    /// The key groups of the subtask.
    pub groups: KeyGroups,
    /// Number of all key groups.
    pub max_parallelism: u32,
    /// Whether states that nobody declares any more may be forgotten.
    pub drop_vanished: bool,
}

impl StateHome {
    /// Opens a store with what an earlier run left in it, its values of earlier schema versions migrated. A store of another name in what is restored is an error unless it may be
    /// forgotten: its windows were of another kind.
    pub(in crate::dataflow) fn open(
        &self,
        name: &str,
        states: Vec<StateDescription>,
        layout: Layout,
        restored: SubtaskState,
        migrator: &mut dyn Migrator,
    ) -> Result<KeyedStore, StateError> {
        let (ours, others): (Vec<_>, Vec<_>) = restored.stores.into_iter().partition(|store| store.store == name);
        if let Some(other) = others.first().filter(|_| !self.drop_vanished) {
            let what = format!("it is of other windows, `{}`, than those the job has now, `{name}`", other.store);
            return Err(StateError::Unreadable { store: self.uid.clone(), what });
        }
        let settings = StoreSettings {
            name: name.to_owned(),
            uid: self.uid.clone(),
            subtask: self.subtask,
            start: self.start,
            states,
            layout,
            groups: self.groups.clone(),
            max_parallelism: self.max_parallelism,
            drop_vanished: self.drop_vanished,
        };
        KeyedStore::open_migrating(&self.backend, settings, ours, migrator)
    }
}

/// What the names of states begin with, in the store, of a plugin that is run as this: where several lie in one, no two are the same.
pub fn state_prefix(kind: OperatorKind) -> &'static str {
    match kind {
        OperatorKind::Aggregate => "aggregate/",
        OperatorKind::ProcessWindow => "process/",
        OperatorKind::Trigger => "trigger/",
        _ => "",
    }
}

/// The states of a plugin, by their names in the store.
pub(super) fn states_of(
    kind: OperatorKind,
    states: &[StateDescription],
) -> impl Iterator<Item = StateDescription> + '_ {
    let prefix = state_prefix(kind);
    states.iter().map(move |state| StateDescription { name: format!("{prefix}{}", state.name), ..state.clone() })
}

/// The values of a state that has one a key.
pub(super) fn single(values: StateValues, intake: &Intake) -> Result<ArrayRef, TaskError> {
    match values {
        StateValues::Single(values) => Ok(values),
        StateValues::Many { .. } | StateValues::ByImport => Err(intake.bug("a state has not one value a key")),
    }
}

/// The values of a state that has a list a key.
pub(super) fn many(values: StateValues, intake: &Intake) -> Result<(OffsetBuffer<i32>, ArrayRef), TaskError> {
    match values {
        StateValues::Many { offsets, values } => Ok((offsets, values)),
        StateValues::Single(_) | StateValues::ByImport => Err(intake.bug("a state has no list a key")),
    }
}

/// The indices of the values of these lists.
pub(super) fn indices_of<'a>(offsets: &'a OffsetBuffer<i32>, lists: &'a [u32]) -> impl Iterator<Item = u32> + 'a {
    lists.iter().flat_map(|list| offsets[*list as usize] as u32..offsets[*list as usize + 1] as u32)
}

/// What a state holds for some of the keys.
pub(super) fn pick(values: StateValues, keys: &[u32]) -> Result<StateValues, ArrowError> {
    Ok(match values {
        StateValues::Single(values) => {
            StateValues::Single(take(&values, &UInt32Array::from_iter_values(keys.iter().copied()), None)?)
        }
        StateValues::Many { offsets, values } => {
            let indices = UInt32Array::from_iter_values(indices_of(&offsets, keys));
            let length = |key: &u32| (offsets[*key as usize + 1] - offsets[*key as usize]) as usize;
            let picked = OffsetBuffer::from_lengths(keys.iter().map(length));
            StateValues::Many { offsets: picked, values: take(&values, &indices, None)? }
        }
        StateValues::ByImport => StateValues::ByImport,
    })
}

/// A change a plugin made, in terms of the store: `base` is where the plugin's states begin, and key `i` of the call is `key(i)`.
pub(super) fn change_of(change: StateChange, base: usize, key: impl Fn(u32) -> u32) -> StateChange {
    let of = |keys: Vec<u32>| keys.into_iter().map(&key).collect();
    match change {
        StateChange::Put { state, keys, values } => StateChange::Put { state: state + base, keys: of(keys), values },
        StateChange::Replace { state, keys, offsets, values } => {
            StateChange::Replace { state: state + base, keys: of(keys), offsets, values }
        }
        StateChange::Append { state, keys, offsets, values } => {
            StateChange::Append { state: state + base, keys: of(keys), offsets, values }
        }
        StateChange::PutEntries { state, keys, map_keys, values } => {
            StateChange::PutEntries { state: state + base, keys: of(keys), map_keys, values }
        }
        StateChange::Clear { state, keys } => StateChange::Clear { state: state + base, keys: of(keys) },
    }
}

/// The maps of a plugin whose states begin at `base`; key `i` of the call is `keys[i]`.
pub(super) struct MapsOf<'a, R> {
    /// The maps of the store.
    pub(super) reader: R,
    /// Where the plugin's states begin.
    pub(super) base: usize,
    /// The call's keys.
    pub(super) keys: &'a [u32],
}

impl<R> MapsOf<'_, R> {
    fn key(&self, key: u32) -> Result<u32, String> {
        self.keys.get(key as usize).copied().ok_or_else(|| format!("the call has {} keys", self.keys.len()))
    }
}

impl<R: MapReader> MapReader for MapsOf<'_, R> {
    fn get(&mut self, state: usize, keys: &[u32], map_keys: &ArrayRef) -> Result<ArrayRef, String> {
        let keys = keys.iter().map(|key| self.key(*key)).collect::<Result<Vec<_>, _>>()?;
        self.reader.get(state + self.base, &keys, map_keys)
    }

    fn scan(&mut self, state: usize, key: u32, after: Option<&[u8]>, limit: usize) -> Result<MapPage, String> {
        let key = self.key(key)?;
        self.reader.scan(state + self.base, key, after, limit)
    }
}

/// These keys, with their hashes; a key may be taken several times.
pub(in crate::dataflow) fn select_keys(keys: &KeyRows, hashes: &[u64], rows: &[u32]) -> (KeyRows, Vec<u64>) {
    let lengths = rows.iter().map(|row| keys.get(*row as usize).len());
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let mut data = Vec::with_capacity(offsets[rows.len()] as usize);
    rows.iter().for_each(|row| data.extend_from_slice(keys.get(*row as usize)));
    let hashes = rows.iter().map(|row| hashes[*row as usize]).collect();
    (KeyRows::Variable { offsets, data: data.into() }, hashes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn some_keys_are_picked_with_all_they_have() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let lists = StateValues::Many { offsets: OffsetBuffer::from_lengths([2, 0, 1, 1]), values: values.clone() };
        let Ok(StateValues::Many { offsets, values: picked }) = pick(lists, &[3, 1, 0]) else { panic!("lists") };
        assert_eq!(&offsets[..], [0, 1, 1, 3]);
        assert_eq!(picked.as_ref(), &Int64Array::from(vec![4, 1, 2]) as &dyn Array);
        let Ok(StateValues::Single(picked)) = pick(StateValues::Single(values), &[2, 2]) else { panic!("values") };
        assert_eq!(picked.as_ref(), &Int64Array::from(vec![3, 3]) as &dyn Array);
    }

    #[test]
    fn selected_keys_are_those_of_their_rows() {
        let keys = KeyRows::encode(&[Arc::new(StringArray::from(vec!["a", "", "ccc"]))], 3);
        let (selected, hashes) = select_keys(&keys, &[1, 2, 3], &[2, 0, 1, 2]);
        assert_eq!((0..4).map(|row| selected.get(row)).collect::<Vec<_>>(), [&b"ccc"[..], b"a", b"", b"ccc"]);
        assert_eq!(hashes, [3, 1, 2, 3]);
    }
}
