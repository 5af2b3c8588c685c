//! State and timers by key, between the calls of a test.
//!
//! Guarantees: a call sees the state as it was before, and its changes take effect as a whole. Must not know: kinds of operator.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cells::{Cell, cells, column};
use super::store::{Key, Reads, Store};
use super::{MOMENT, Outcome, Table, succeeded};
use crate::bindings::types::{
    Batch, Description, Fault, KeyedResult, Keys, Moment, StateChange, StateValues, TimeDomain, TimerAction,
    TimerChanges, Timers,
};
use crate::reads;
use crate::record::Record;
use crate::state::State;
use crate::state::map::MapKey;
use crate::window::Window;

/// State and timers at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    store: Store,
    timers: BTreeSet<(bool, i64, Key)>,
}

/// The state and the timers that a harness keeps, and the time. Harnesses dereference to it.
pub struct KeyedStates {
    pub(super) description: Description,
    by: Vec<String>,
    kept: Snapshot,
    /// The moment of the calls to come; `advance_watermark` and `advance_processing_time` change it too.
    pub moment: Moment,
}

/// What state is looked up by: a record of the key's columns, in their order, such as `User { user: 1 }`; `()` where there is no key; a
/// window for that of a trigger; a record and a window for that of a function over windows.
pub trait IntoKey {
    /// As it is kept.
    #[doc(hidden)]
    fn into_key(self) -> KeyCells;
}

/// A key as it is kept.
#[doc(hidden)]
pub struct KeyCells(Key);

impl<K: Record<At<'static> = K>> IntoKey for K {
    fn into_key(self) -> KeyCells {
        let table = Table::new([(0, self)]);
        KeyCells(table.columns.iter().flat_map(|column| cells(column, 1)).collect())
    }
}

impl IntoKey for Window {
    fn into_key(self) -> KeyCells {
        KeyCells(vec![Cell::Int64(self.start_ms), Cell::Int64(self.end_ms)])
    }
}

impl<K: Record<At<'static> = K>> IntoKey for (K, Window) {
    fn into_key(self) -> KeyCells {
        let (mut key, window) = (self.0.into_key(), self.1.into_key());
        key.0.extend(window.0);
        key
    }
}

pub(super) fn key_of(key: impl IntoKey) -> Key {
    key.into_key().0
}

impl KeyedStates {
    pub(super) fn new(description: Description, by: Vec<String>) -> Self {
        let kept = Snapshot { store: Store::new(description.states.clone()), timers: BTreeSet::new() };
        Self { description, by, kept, moment: MOMENT }
    }

    /// The distinct keys of these, and what the operator sees of them.
    pub(super) fn keys(&self, of: &[Key]) -> (Vec<Key>, Keys) {
        let mut distinct: Vec<Key> = Vec::new();
        let mut rows = Vec::new();
        for key in of {
            let index = distinct.iter().position(|other| other == key).unwrap_or_else(|| {
                distinct.push(key.clone());
                distinct.len() - 1
            });
            rows.push(index as u32);
        }
        let columns = self.description.keys.iter().enumerate();
        let columns = columns.map(|(index, field)| column(field.kind, distinct.iter().map(|key| &key[index])));
        let keys = Keys { count: distinct.len() as u32, rows, columns: columns.collect() };
        (distinct, keys)
    }

    /// Makes a call with the states of these keys.
    pub(super) fn call<R>(
        &mut self,
        keys: &[Key],
        call: impl FnOnce(Moment, Vec<StateValues>) -> Result<R, Fault>,
    ) -> R {
        self.kept.store.now_ms = self.moment.processing_time;
        let reads = Reads { store: self.kept.store.clone(), keys: keys.to_vec() };
        let states = self.kept.store.open(keys);
        succeeded(reads::during(Rc::new(reads), || call(self.moment, states)))
    }

    pub(super) fn change(&mut self, keys: &[Key], states: Vec<StateChange>, timers: TimerChanges) {
        self.kept.store.change(keys, states);
        let TimerChanges { keys: of, times, domains, actions } = timers;
        for (((key, time_ms), domain), action) in of.into_iter().zip(times).zip(domains).zip(actions) {
            let timer = (domain == TimeDomain::EventTime, time_ms, keys[key as usize].clone());
            match action {
                TimerAction::Set => self.kept.timers.insert(timer),
                TimerAction::Delete => self.kept.timers.remove(&timer),
            };
        }
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.kept.store.forget(key);
        self.kept.timers.retain(|(.., other)| other != key);
    }

    /// Processes records with their keys.
    pub(super) fn process(
        &mut self,
        table: &Table,
        input: usize,
        process: impl FnOnce(Moment, Batch, Keys, Vec<StateValues>) -> Result<KeyedResult, Fault>,
    ) -> Outcome {
        let batch = table.batch(&self.description.inputs[input]);
        let (distinct, keys) = if self.by.is_empty() {
            (Vec::new(), Keys { count: 0, rows: Vec::new(), columns: Vec::new() })
        } else {
            self.keys(&table.keys(&self.by))
        };
        let result = self.call(&distinct, |moment, states| process(moment, batch, keys, states));
        self.change(&distinct, result.states, result.timers);
        Outcome::new(self.description.clone(), vec![(table.timestamps.clone(), result.emission)])
    }

    /// The first timer of each key that is due, in the order of their times, and no longer set. Only the first, since it may set another
    /// before the next one of its key, or delete that.
    pub(super) fn due(&mut self, event_time: bool, now_ms: i64) -> (Timers, Vec<Key>) {
        let (mut times, mut keys) = (Vec::new(), Vec::new());
        for (_, time_ms, key) in self.kept.timers.iter().filter(|timer| timer.0 == event_time && timer.1 <= now_ms) {
            if !keys.contains(key) {
                times.push(*time_ms);
                keys.push(key.clone());
            }
        }
        for (&time_ms, key) in times.iter().zip(&keys) {
            self.kept.timers.remove(&(event_time, time_ms, key.clone()));
        }
        let domain = if event_time { TimeDomain::EventTime } else { TimeDomain::ProcessingTime };
        let domains = vec![domain; times.len()];
        (Timers { times, domains }, keys)
    }

    /// Fires all timers that are due, also those that others set meanwhile.
    pub(super) fn fire(
        &mut self,
        event_time: bool,
        now_ms: i64,
        mut fire: impl FnMut(Moment, Timers, Keys, Vec<StateValues>) -> Result<KeyedResult, Fault>,
    ) -> Outcome {
        self.advance(event_time, now_ms);
        let mut calls = Vec::new();
        loop {
            let (timers, of) = self.due(event_time, now_ms);
            if of.is_empty() {
                return Outcome::new(self.description.clone(), calls);
            }
            let times = timers.times.clone();
            let (distinct, keys) = self.keys(&of);
            let result = self.call(&distinct, |moment, states| fire(moment, timers, keys, states));
            self.change(&distinct, result.states, result.timers);
            calls.push((times, result.emission));
        }
    }

    pub(super) fn advance(&mut self, event_time: bool, now_ms: i64) {
        let time = if event_time { &mut self.moment.watermark } else { &mut self.moment.processing_time };
        assert!(now_ms >= *time, "time does not go back from {time} to {now_ms}");
        *time = now_ms;
    }

    /// The value of a value, reducing or aggregating state; a key is a record of the columns the harness is keyed by.
    pub fn value<T: State>(&self, state: &str, key: impl IntoKey) -> Option<T> {
        self.list(state, key).pop()
    }

    /// The values of a list state.
    pub fn list<T: State>(&self, state: &str, key: impl IntoKey) -> Vec<T> {
        let (declared, values, _) = self.kept.store.look(state, &key_of(key));
        let column = column(declared.value_kind, &values);
        T::read_all(column).unwrap_or_else(|error| panic!("state `{state}`: {error}"))
    }

    /// The entries of a map state; those of broadcast state with the key `()`.
    pub fn map<K: MapKey, V: State>(&self, state: &str, key: impl IntoKey) -> BTreeMap<K, V> {
        let (declared, _, entries) = self.kept.store.look(state, &key_of(key));
        let keys = column(declared.key_kind.unwrap_or(declared.value_kind), entries.keys());
        let values = column(declared.value_kind, entries.values());
        let entries = K::read_all(keys).and_then(|keys| Ok(keys.into_iter().zip(V::read_all(values)?)));
        entries.unwrap_or_else(|error| panic!("state `{state}`: {error}")).collect()
    }

    /// The event times for which timers of a key are set, in order.
    pub fn event_timers(&self, key: impl IntoKey) -> Vec<i64> {
        self.timers(true, key_of(key))
    }

    /// The processing times for which timers of a key are set, in order.
    pub fn processing_timers(&self, key: impl IntoKey) -> Vec<i64> {
        self.timers(false, key_of(key))
    }

    fn timers(&self, event_time: bool, key: Key) -> Vec<i64> {
        let of_key = self.kept.timers.iter().filter(|timer| timer.0 == event_time && timer.2 == key);
        of_key.map(|timer| timer.1).collect()
    }

    /// State and timers as they are now.
    pub fn snapshot(&self) -> Snapshot {
        self.kept.clone()
    }

    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        self.kept = snapshot.clone();
    }
}
