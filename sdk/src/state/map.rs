//! Map state: a map a key, read entry by entry, because it may be large.
//!
//! Guarantees: a read sees what the call has written; each entry is asked for at most once a call, entries announced by `prefetch`
//! together. Must not know: operators, where the entries are.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use super::State;
use super::field::{Options, Scope, StateField};
use crate::bindings::types::{self, ClearChange, Column, MapChange, StateChange, StateKind, StateValues};
use crate::reads;

/// A type that the keys of a map can have: `i64`, `String` or `Vec<u8>`.
#[diagnostic::on_unimplemented(
    message = "the keys of a map state cannot be `{Self}`",
    note = "they are i64, String or Vec<u8>"
)]
pub trait MapKey: State + Ord + Clone {}
impl MapKey for i64 {}
impl MapKey for String {}
impl MapKey for Vec<u8> {}

/// What is known of an entry.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// Nothing; it will be asked for.
    Wanted,
    Read,
    Written,
}

struct Entry<V> {
    value: Option<V>,
    known: Known,
}

/// The entries of one map that are known.
struct Map<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    /// Whether there are no others.
    complete: bool,
    cleared: bool,
}

/// The maps of a state for the keys of a call.
pub struct MapSlots<K, V> {
    state: u32,
    maps: Vec<Map<K, V>>,
    /// Whose entry is wanted, and which.
    wanted: (Vec<u32>, Vec<K>),
    /// What went wrong; the call fails for it at its end, and until then there are no values.
    error: Option<String>,
}

/// The values of entries; `keys` is empty for broadcast state.
pub(super) fn get<K: MapKey, V: State>(state: u32, keys: &[u32], map_keys: &[K]) -> Result<Vec<Option<V>>, String> {
    let column = reads::get(state, keys, &K::write_slices(std::iter::once(map_keys))?);
    let mut values = Vec::with_capacity(map_keys.len());
    V::read(column, |value| values.push(value))?;
    if values.len() != map_keys.len() {
        return Err(format!("{} values of a map came for {} keys", values.len(), map_keys.len()));
    }
    Ok(values)
}

/// Gives each entry of a map to a function.
pub(super) fn scan<K: MapKey, V: State>(state: u32, key: u32, mut take: impl FnMut(K, V)) -> Result<(), String> {
    const ENTRIES_A_PAGE: u32 = 1024;
    let mut after = None;
    loop {
        let page = reads::scan(state, key, after.as_deref(), ENTRIES_A_PAGE);
        let (keys, values) = (K::read_all(page.map_keys)?, V::read_all(page.values)?);
        keys.into_iter().zip(values).for_each(|(key, value)| take(key, value));
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

impl<K: MapKey, V: State> MapSlots<K, V> {
    /// Asks for all entries wanted.
    fn fetch(&mut self) {
        let (keys, map_keys) = std::mem::take(&mut self.wanted);
        let values = get::<K, V>(self.state, &keys, &map_keys).unwrap_or_else(|error| {
            self.error = Some(error);
            map_keys.iter().map(|_| None).collect()
        });
        for ((key, map_key), value) in keys.into_iter().zip(map_keys).zip(values) {
            let entry = self.maps[key as usize].entries.get_mut(&map_key);
            if let Some(entry) = entry.filter(|entry| entry.known == Known::Wanted) {
                *entry = Entry { value, known: Known::Read };
            }
        }
    }

    fn want(&mut self, key: usize, map_key: K) {
        let map = &mut self.maps[key];
        if !map.complete && !map.entries.contains_key(&map_key) {
            map.entries.insert(map_key.clone(), Entry { value: None, known: Known::Wanted });
            self.wanted.0.push(key as u32);
            self.wanted.1.push(map_key);
        }
    }

    fn complete(&mut self, key: usize) {
        let map = &mut self.maps[key];
        if map.complete {
            return;
        }
        let add = |map_key, value| {
            let entry = map.entries.entry(map_key).or_insert(Entry { value: None, known: Known::Wanted });
            if entry.known == Known::Wanted {
                *entry = Entry { value: Some(value), known: Known::Read };
            }
        };
        if let Err(error) = scan(self.state, key as u32, add) {
            self.error = Some(error);
        }
        map.complete = true;
    }
}

/// A map a key. Reading an entry for the first time in a call asks the host, which costs about as much as ten records;
/// `prefetch` asks for many at once.
pub struct MapState<'s, K: MapKey, V: State> {
    slots: &'s mut MapSlots<K, V>,
    key: usize,
}

impl<K: MapKey, V: State> MapState<'_, K, V> {
    fn know<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let map = &self.slots.maps[self.key];
        match map.entries.get(key) {
            Some(entry) if entry.known != Known::Wanted => return,
            Some(_) => {}
            None if map.complete => return,
            None => self.slots.want(self.key, key.to_owned()),
        }
        self.slots.fetch();
    }

    fn write(&mut self, key: K, value: Option<V>) {
        self.slots.maps[self.key].entries.insert(key, Entry { value, known: Known::Written });
    }

    /// Announces that an entry will be read: all entries announced are asked for together when the first is read.
    pub fn prefetch(&mut self, key: impl Into<K>) {
        self.slots.want(self.key, key.into());
    }

    /// The value of an entry.
    pub fn get<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.know(key);
        self.slots.maps[self.key].entries.get(key)?.value.as_ref()
    }

    /// The value of an entry, of a type that is copied.
    pub fn value<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        V: Copy,
    {
        self.get(key).copied()
    }

    /// Whether there is an entry.
    pub fn contains<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value of an entry, to be changed in place; a default one if there is none.
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.know(&key);
        let empty = Entry { value: None, known: Known::Written };
        let entry = self.slots.maps[self.key].entries.entry(key).or_insert(empty);
        entry.known = Known::Written;
        entry.value.get_or_insert_default()
    }

    /// Sets an entry.
    pub fn put(&mut self, key: impl Into<K>, value: V) {
        self.write(key.into(), Some(value));
    }

    /// Removes an entry.
    pub fn remove<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.write(key.to_owned(), None);
    }

    /// All entries in the order of their keys. It reads the whole map, a thousand entries at a time.
    pub fn iter(&mut self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.complete(self.key);
        let entries = self.slots.maps[self.key].entries.iter();
        entries.filter_map(|(key, entry)| entry.value.as_ref().map(|value| (key, value)))
    }

    /// Removes all entries, without reading them.
    pub fn clear(&mut self) {
        self.slots.maps[self.key] = Map { entries: BTreeMap::new(), complete: true, cleared: true };
    }
}

impl<K: MapKey, V: State> StateField for MapState<'_, K, V> {
    const SCOPE: Scope = Scope::Keyed;
    type At<'s> = MapState<'s, K, V>;
    type Slots = MapSlots<K, V>;

    fn describe(options: Options) -> types::State {
        options.state(StateKind::Map, V::KIND, Some(K::KIND), V::VERSION)
    }
    fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<Self::Slots, String> {
        let complete = values.is_none();
        let maps = (0..keys).map(|_| Map { entries: BTreeMap::new(), complete, cleared: false }).collect();
        Ok(MapSlots { state, maps, wanted: Default::default(), error: None })
    }
    #[inline(always)]
    fn at(slots: &mut Self::Slots, key: usize) -> Self::At<'_> {
        MapState { slots, key }
    }
    fn finish(slots: Self::Slots, changes: &mut Vec<StateChange>) -> Result<(), String> {
        if let Some(error) = slots.error {
            return Err(error);
        }
        let state = slots.state;
        let maps = || (0..).zip(&slots.maps);
        let cleared: Vec<u32> = maps().filter(|(_, map)| map.cleared).map(|(key, _)| key).collect();
        if !cleared.is_empty() {
            changes.push(StateChange::Clear(ClearChange { state, keys: cleared }));
        }
        let written = || {
            maps().flat_map(|(key, map)| {
                let written = map.entries.iter().filter(|(_, entry)| entry.known == Known::Written);
                written.map(move |(map_key, entry)| (key, map_key, entry))
            })
        };
        let keys: Vec<u32> = written().map(|(key, ..)| key).collect();
        if !keys.is_empty() {
            let map_keys: Column = K::write(written().map(|(_, map_key, _)| Some(map_key)))?;
            let values = V::write(written().map(|(.., entry)| entry.value.as_ref()))?;
            changes.push(StateChange::PutEntries(MapChange { state, keys, map_keys, values }));
        }
        Ok(())
    }
}
