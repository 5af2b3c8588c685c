//! Broadcast state: a map that all tasks hold equally.
//!
//! Guarantees: as for map state. Must not know: operators.

use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::State;
use super::field::{Options, Scope, StateField};
use super::map::{self, MapKey};
use crate::bindings::types::{self, MapChange, StateChange, StateKind, StateValues};

struct Entry<V> {
    value: Option<Rc<V>>,
    written: bool,
}

/// The entries of a map that are known in a call.
pub struct BroadcastSlots<K, V> {
    state: u32,
    entries: RefCell<BTreeMap<K, Entry<V>>>,
    /// Keys announced whose entries are not known.
    wanted: RefCell<Vec<K>>,
    complete: Cell<bool>,
    error: RefCell<Option<String>>,
}

impl<K: MapKey, V: State> BroadcastSlots<K, V> {
    fn fetch(&self) {
        let wanted = self.wanted.take();
        match map::get::<K, V>(self.state, &[], &wanted) {
            Ok(values) => {
                let mut entries = self.entries.borrow_mut();
                for (key, value) in wanted.into_iter().zip(values) {
                    entries.entry(key).or_insert(Entry { value: value.map(Rc::new), written: false });
                }
            }
            Err(error) => drop(self.error.replace(Some(error))),
        }
    }
}

/// A map that all tasks hold equally. Rows of the broadcast input change it; those of the main input read it. Reading an entry for
/// the first time in a call asks the host; `prefetch` asks for many at once.
pub struct BroadcastState<'s, K: MapKey, V: State> {
    slots: &'s BroadcastSlots<K, V>,
}

impl<K: MapKey, V: State> BroadcastState<'_, K, V> {
    /// Announces that an entry will be read: all entries announced are asked for together when the first is read.
    pub fn prefetch(&self, key: impl Into<K>) {
        let key = key.into();
        if !self.slots.complete.get() && !self.slots.entries.borrow().contains_key(&key) {
            self.slots.wanted.borrow_mut().push(key);
        }
    }

    /// The value of an entry.
    pub fn get<Q: Ord + ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> Option<Rc<V>>
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.slots.entries.borrow().get(key) {
            return entry.value.clone();
        }
        if self.slots.complete.get() {
            return None;
        }
        self.slots.wanted.borrow_mut().push(key.to_owned());
        self.slots.fetch();
        self.slots.entries.borrow().get(key)?.value.clone()
    }

    /// Whether there is an entry.
    pub fn contains<Q: Ord + ToOwned<Owned = K> + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// All entries in the order of their keys. It reads the whole map, a thousand entries at a time.
    pub fn entries(&self) -> Vec<(K, Rc<V>)> {
        let mut entries = self.slots.entries.borrow_mut();
        if !self.slots.complete.replace(true) {
            let add = |key, value| {
                entries.entry(key).or_insert(Entry { value: Some(Rc::new(value)), written: false });
            };
            if let Err(error) = map::scan(self.slots.state, 0, add) {
                self.slots.error.replace(Some(error));
            }
        }
        entries.iter().filter_map(|(key, entry)| Some((key.clone(), entry.value.clone()?))).collect()
    }

    /// Sets an entry.
    pub fn put(&mut self, key: impl Into<K>, value: V) {
        self.slots.entries.borrow_mut().insert(key.into(), Entry { value: Some(Rc::new(value)), written: true });
    }

    /// Removes an entry.
    pub fn remove<Q: Ord + ToOwned<Owned = K> + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.slots.entries.borrow_mut().insert(key.to_owned(), Entry { value: None, written: true });
    }
}

impl<K: MapKey, V: State> StateField for BroadcastState<'_, K, V> {
    const SCOPE: Scope = Scope::Broadcast;
    type At<'s> = BroadcastState<'s, K, V>;
    type Slots = BroadcastSlots<K, V>;

    fn describe(options: Options) -> types::State {
        options.state(StateKind::Broadcast, V::KIND, Some(K::KIND), V::VERSION)
    }
    fn open(_: Option<StateValues>, state: u32, _: usize) -> Result<Self::Slots, String> {
        Ok(BroadcastSlots {
            state,
            entries: RefCell::default(),
            wanted: RefCell::default(),
            complete: Cell::new(false),
            error: RefCell::default(),
        })
    }
    #[inline(always)]
    fn at(slots: &mut Self::Slots, _: usize) -> Self::At<'_> {
        BroadcastState { slots }
    }
    /// The changes are of no key.
    fn finish(slots: Self::Slots, changes: &mut Vec<StateChange>) -> Result<(), String> {
        if let Some(error) = slots.error.into_inner() {
            return Err(error);
        }
        let entries = slots.entries.into_inner();
        let written = || entries.iter().filter(|(_, entry)| entry.written);
        if written().next().is_some() {
            let map_keys = K::write(written().map(|(key, _)| Some(key)))?;
            let values = V::write(written().map(|(_, entry)| entry.value.as_deref()))?;
            let keys = Vec::new();
            changes.push(StateChange::PutEntries(MapChange { state: slots.state, keys, map_keys, values }));
        }
        Ok(())
    }
}
