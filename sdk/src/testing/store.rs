//! State as a host keeps it, for harnesses: by key, with expiry.
//!
//! Guarantees: changes take effect in their order. What expired is seen only where that was declared. Must not know: operators.

use std::collections::BTreeMap;

use super::cells::{Cell, cells, column};
use crate::bindings::map_state::Page;
use crate::bindings::types::{Column, Lists, State, StateChange, StateKind, StateValues, TimeToLive, TimeToLiveUpdate};
use crate::reads::MapReads;

/// A key: the cells of its columns, and further ones where state is of more than a key.
pub(super) type Key = Vec<Cell>;

/// A value, and when it was last renewed, in milliseconds of processing time.
#[derive(Clone, Debug)]
struct Kept {
    value: Cell,
    renewed_ms: i64,
}

/// What a state holds for a key. A single value is a list of one; the entries of a map have keys.
#[derive(Clone, Debug, Default)]
struct Content {
    values: Vec<Kept>,
    entries: BTreeMap<Cell, Kept>,
}

/// All states of an operator.
#[derive(Clone, Debug)]
pub(super) struct Store {
    declared: Vec<State>,
    contents: Vec<BTreeMap<Key, Content>>,
    pub now_ms: i64,
}

fn visible(kept: &Kept, ttl: Option<TimeToLive>, now_ms: i64) -> bool {
    ttl.is_none_or(|ttl| ttl.return_expired || kept.renewed_ms.saturating_add_unsigned(ttl.milliseconds) > now_ms)
}

fn renew(kept: &mut Kept, ttl: Option<TimeToLive>, now_ms: i64) {
    if ttl.is_some_and(|ttl| ttl.update == TimeToLiveUpdate::OnReadAndWrite) {
        kept.renewed_ms = now_ms;
    }
}

impl Store {
    pub(super) fn new(declared: Vec<State>) -> Self {
        let contents = declared.iter().map(|_| BTreeMap::new()).collect();
        Self { declared, contents, now_ms: 0 }
    }

    fn index(&self, name: &str) -> usize {
        let found = self.declared.iter().position(|state| state.name == name);
        found.unwrap_or_else(|| panic!("no state `{name}` is declared"))
    }

    /// What was declared of a state, and its visible values for a key, those of a map by key.
    pub(super) fn look(&self, name: &str, key: &Key) -> (&State, Vec<Cell>, BTreeMap<Cell, Cell>) {
        let index = self.index(name);
        let state = &self.declared[index];
        let seen = |kept: &&Kept| visible(kept, state.time_to_live, self.now_ms);
        let Some(content) = self.contents[index].get(key) else { return (state, Vec::new(), BTreeMap::new()) };
        let values = content.values.iter().filter(seen).map(|kept| kept.value.clone()).collect();
        let entries = content.entries.iter().filter(|(_, kept)| seen(kept));
        (state, values, entries.map(|(key, kept)| (key.clone(), kept.value.clone())).collect())
    }

    /// The states of these keys as they go with a call, broadcast state among them.
    pub(super) fn open(&mut self, keys: &[Key]) -> Vec<StateValues> {
        let now_ms = self.now_ms;
        let mut opened = Vec::new();
        for (state, contents) in self.declared.iter().zip(&mut self.contents) {
            if matches!(state.kind, StateKind::Map | StateKind::Broadcast) {
                opened.push(StateValues::ByImport);
                continue;
            }
            let lists: Vec<Vec<Cell>> = keys
                .iter()
                .map(|key| {
                    let values = contents.get_mut(key).map(|content| &mut content.values);
                    let seen = values.into_iter().flatten().filter(|kept| visible(kept, state.time_to_live, now_ms));
                    seen.map(|kept| {
                        renew(kept, state.time_to_live, now_ms);
                        kept.value.clone()
                    })
                    .collect()
                })
                .collect();
            opened.push(match state.kind {
                StateKind::List | StateKind::OperatorList | StateKind::OperatorUnion => {
                    StateValues::Many(as_lists(state, &lists))
                }
                _ => {
                    let first = lists.iter().map(|list| list.first().unwrap_or(&Cell::Null));
                    StateValues::Single(column(state.value_kind, first))
                }
            });
        }
        opened
    }

    fn content(&mut self, keys: &[Key], state: u32, key: u32) -> &mut Content {
        self.contents[state as usize].entry(keys[key as usize].clone()).or_default()
    }

    /// Makes changes of the keys of a call. Those of broadcast state are of no key.
    pub(super) fn change(&mut self, keys: &[Key], changes: Vec<StateChange>) {
        let renewed_ms = self.now_ms;
        let kept = |value| Kept { value, renewed_ms };
        for change in changes {
            match change {
                StateChange::Put(put) => {
                    for (&key, value) in put.keys.iter().zip(cells(&put.values, put.keys.len())) {
                        let values = if value == Cell::Null { Vec::new() } else { vec![kept(value)] };
                        self.content(keys, put.state, key).values = values;
                    }
                }
                StateChange::Replace(many) => {
                    for (key, list) in of_lists(&many.keys, &many.values) {
                        self.content(keys, many.state, key).values = list.into_iter().map(kept).collect();
                    }
                }
                StateChange::Append(many) => {
                    for (key, list) in of_lists(&many.keys, &many.values) {
                        self.content(keys, many.state, key).values.extend(list.into_iter().map(kept));
                    }
                }
                StateChange::PutEntries(put) => {
                    let count = crate::state::length(&put.map_keys);
                    let entries = cells(&put.map_keys, count).into_iter().zip(cells(&put.values, count));
                    for (index, (map_key, value)) in entries.enumerate() {
                        let broadcast = [Key::new()];
                        let (keys, key) = put.keys.get(index).map_or((&broadcast[..], 0), |&key| (keys, key));
                        let entries = &mut self.content(keys, put.state, key).entries;
                        match value {
                            Cell::Null => drop(entries.remove(&map_key)),
                            value => drop(entries.insert(map_key, kept(value))),
                        }
                    }
                }
                StateChange::Clear(clear) => {
                    for &key in &clear.keys {
                        *self.content(keys, clear.state, key) = Content::default();
                    }
                }
            }
        }
    }

    /// Drops all state of a key.
    pub(super) fn forget(&mut self, key: &Key) {
        self.contents.iter_mut().for_each(|contents| drop(contents.remove(key)));
    }
}

fn as_lists(state: &State, lists: &[Vec<Cell>]) -> Lists {
    let mut offsets = vec![0];
    offsets.extend(lists.iter().scan(0, |end, list| {
        *end += list.len() as u32;
        Some(*end)
    }));
    Lists { offsets, values: column(state.value_kind, lists.iter().flatten()) }
}

fn of_lists(keys: &[u32], lists: &Lists) -> Vec<(u32, Vec<Cell>)> {
    let end = lists.offsets.last().copied().unwrap_or(0) as usize;
    let values = cells(&lists.values, end);
    let ranges = lists.offsets.windows(2).map(|range| values[range[0] as usize..range[1] as usize].to_vec());
    keys.iter().copied().zip(ranges).collect()
}

/// The store as a call reads it: as it was before, for the keys of the call.
pub(super) struct Reads {
    pub store: Store,
    pub keys: Vec<Key>,
}

impl Reads {
    fn entries(&self, state: u32, key: u32) -> BTreeMap<Cell, Cell> {
        let declared = &self.store.declared[state as usize];
        let none = Key::new();
        let broadcast = declared.kind == StateKind::Broadcast;
        let key = if broadcast { &none } else { &self.keys[key as usize] };
        self.store.look(&declared.name, key).2
    }
}

impl MapReads for Reads {
    fn get(&self, state: u32, keys: &[u32], map_keys: &Column) -> Column {
        let count = crate::state::length(map_keys);
        let values = cells(map_keys, count).into_iter().enumerate().map(|(index, map_key)| {
            let entries = self.entries(state, keys.get(index).copied().unwrap_or(0));
            entries.get(&map_key).cloned().unwrap_or(Cell::Null)
        });
        let values: Vec<Cell> = values.collect();
        column(self.store.declared[state as usize].value_kind, &values)
    }

    /// Where to go on is how many entries were read.
    fn scan(&self, state: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Page {
        let declared = &self.store.declared[state as usize];
        let from = after.map_or(0, |after| after.len());
        let entries = self.entries(state, key);
        let page: Vec<_> = entries.iter().skip(from).take(limit as usize).collect();
        let read = from + page.len();
        Page {
            map_keys: column(declared.key_kind.unwrap_or(declared.value_kind), page.iter().map(|(key, _)| *key)),
            values: column(declared.value_kind, page.iter().map(|(_, value)| *value)),
            next: (read < entries.len()).then(|| vec![0; read]),
        }
    }
}
