//! Timers: a set of (time, key, window) in the order of times. Above a database only the earliest are in memory: those up to the
//! horizon.
use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrow_buffer::{OffsetBuffer, ScalarBuffer};

use super::{
    db::{Db, Writes},
    error::StateError,
    wire::{TIMER, WINDOW_BYTES, domain_byte, ordered, read_window, unordered, window_bytes},
};
use crate::model::{EventTime, KeyRows, TimeDomain, Window, key_hash};

/// Timers of a domain in memory above a database, at most twice that.
const HEAD_TIMERS: usize = 1 << 16;

/// Bytes before a timer's key: time, key group, window.
const BEFORE_KEY: usize = 10 + WINDOW_BYTES;

/// Timers that are due.
#[derive(Clone, Debug, Default)]
pub struct Due {
    /// When each was to fire, ascending.
    pub times: Vec<EventTime>,
    /// The window of each; [`Window::GLOBAL`] where there are none.
    pub windows: Vec<Window>,
    /// The hash of each key.
    pub hashes: Vec<u64>,
    ends: Vec<i32>,
    data: Vec<u8>,
}

impl Due {
    /// How many.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether none is due.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Their encoded keys.
    pub fn keys(&self) -> KeyRows {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends.iter().copied()).collect();
        KeyRows::Variable { offsets: OffsetBuffer::new(ScalarBuffer::from(offsets)), data: self.data.clone().into() }
    }

    /// Some of them, in this order.
    pub fn select(&self, timers: &[u32]) -> Due {
        let (mut some, keys) = (Due::default(), self.keys());
        for timer in timers.iter().map(|timer| *timer as usize) {
            some.times.push(self.times[timer]);
            some.windows.push(self.windows[timer]);
            some.hashes.push(self.hashes[timer]);
            some.data.extend_from_slice(keys.get(timer));
            some.ends.push(some.data.len() as i32);
        }
        some
    }

    fn clear(&mut self) {
        *self = Due::default();
    }

    fn push(&mut self, timer: &[u8]) {
        let (head, key) = timer.split_at(BEFORE_KEY);
        self.times.push(time_of(timer));
        self.windows.push(read_window(&head[10..]).unwrap_or(Window::GLOBAL));
        self.hashes.push(key_hash(key));
        self.data.extend_from_slice(key);
        self.ends.push(self.data.len() as i32);
    }
}

/// A timer as bytes: time, key group, window, key.
pub(super) fn encode(time: EventTime, group: u16, window: Window, key: &[u8]) -> Box<[u8]> {
    [&ordered(time)[..], &group.to_be_bytes(), &window_bytes(window), key].concat().into()
}

fn time_of(timer: &[u8]) -> EventTime {
    timer.first_chunk().map(|time| unordered(*time)).unwrap_or_default()
}

/// The full key of a timer.
pub(super) fn full_key(domain: u8, timer: &[u8]) -> Vec<u8> {
    [&[TIMER, domain][..], timer].concat()
}

#[derive(Default)]
struct Head {
    /// Timers, and whether the database has them.
    timers: BTreeMap<Box<[u8]>, bool>,
    /// Timers after it are in the database only; none if all are here.
    horizon: Option<Box<[u8]>>,
}

/// The timers of a store.
#[derive(Default)]
pub(super) struct Timers {
    heads: [Head; 2],
    /// Timers set or deleted since changes were last taken note of.
    changed: BTreeSet<(u8, Box<[u8]>)>,
}

impl Timers {
    /// With all timers in the database.
    #[cfg(feature = "rocksdb")]
    pub(super) fn stored() -> Timers {
        let mut timers = Timers::default();
        timers.heads.iter_mut().for_each(|head| head.horizon = Some(Box::default()));
        timers
    }

    /// Sets or deletes a timer.
    pub(super) fn change(&mut self, domain: u8, timer: Box<[u8]>, set: bool, track: bool, mut db: Option<&mut Writes>) {
        let head = &mut self.heads[usize::from(domain)];
        if let (Some(horizon), Some(writes)) = (&head.horizon, &mut db)
            && timer > *horizon
        {
            let key = full_key(domain, &timer);
            if set {
                writes.put(&key, &[])
            } else {
                writes.delete(&key)
            }
            return;
        }
        if track {
            self.changed.insert((domain, timer.clone()));
        }
        if set {
            head.timers.entry(timer).or_insert(false);
        } else if head.timers.remove(&timer) == Some(true)
            && let Some(writes) = &mut db
        {
            writes.delete(&full_key(domain, &timer));
        }
        if let Some(writes) = db {
            head.trim(domain, writes);
        }
    }

    /// Reads more timers where none is left in memory. What was to be written must have been.
    pub(super) fn refill(&mut self, db: &Db) -> Result<(), StateError> {
        for (domain, head) in self.heads.iter_mut().enumerate() {
            let Some(horizon) = head.horizon.take_if(|_| head.timers.is_empty()) else { continue };
            let from = [&full_key(domain as u8, &horizon)[..], &[0]].concat();
            db.scan(if horizon.is_empty() { &from[..2] } else { &from }, &[TIMER, domain as u8 + 1], |key, _| {
                if key.len() >= 2 + BEFORE_KEY {
                    head.timers.insert(key[2..].into(), true);
                }
                Ok(head.timers.len() < HEAD_TIMERS)
            })?;
            if head.timers.len() == HEAD_TIMERS {
                head.horizon = head.timers.last_key_value().map(|(timer, _)| timer.clone());
            }
        }
        Ok(())
    }

    /// When the first is due. Right after [`refill`](Timers::refill).
    pub(super) fn next(&self, domain: TimeDomain) -> Option<EventTime> {
        let head = &self.heads[usize::from(domain_byte(domain))];
        head.timers.first_key_value().map(|(timer, _)| time_of(timer))
    }

    /// Takes timers out, in time order; of a key and window only the first.
    pub(super) fn take_due(
        &mut self,
        domain: TimeDomain,
        until: EventTime,
        limit: usize,
        track: bool,
        mut db: Option<&mut Writes>,
        due: &mut Due,
    ) {
        due.clear();
        let domain = domain_byte(domain);
        let head = &mut self.heads[usize::from(domain)];
        let mut seen = HashSet::new();
        let taken: Vec<Box<[u8]>> = head
            .timers
            .keys()
            .take_while(|timer| time_of(timer) <= until)
            .take(limit.saturating_mul(2))
            .filter(|timer| seen.insert(&timer[8..]))
            .take(limit)
            .cloned()
            .collect();
        for timer in taken {
            due.push(&timer);
            if head.timers.remove(&timer) == Some(true)
                && let Some(writes) = &mut db
            {
                writes.delete(&full_key(domain, &timer));
            }
            if track {
                self.changed.insert((domain, timer));
            }
        }
    }

    /// Writes what the database does not have yet.
    pub(super) fn write(&mut self, writes: &mut Writes) {
        for (domain, head) in self.heads.iter_mut().enumerate() {
            for (timer, stored) in head.timers.iter_mut().filter(|(_, stored)| !**stored) {
                writes.put(&full_key(domain as u8, timer), &[]);
                *stored = true;
            }
        }
    }

    /// All in memory: domain and timer.
    pub(super) fn all(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.heads
            .iter()
            .enumerate()
            .flat_map(|(domain, head)| head.timers.keys().map(move |it| (domain as u8, &it[..])))
    }

    /// How many are in memory.
    pub(super) fn len(&self) -> usize {
        self.heads.iter().map(|head| head.timers.len()).sum()
    }

    /// Bytes in memory, approximately.
    pub(super) fn bytes(&self) -> usize {
        let (one, changed) = (BEFORE_KEY + 40, self.changed.len());
        (self.len() + changed) * one
    }

    /// Those changed, and whether they are set.
    pub(super) fn changes(&self) -> impl Iterator<Item = (u8, &[u8], bool)> {
        self.changed
            .iter()
            .map(|(domain, timer)| (*domain, &timer[..], self.heads[usize::from(*domain)].timers.contains_key(timer)))
    }

    /// How many have changed.
    pub(super) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Takes note of all changes.
    pub(super) fn settle(&mut self) {
        self.changed.clear();
    }
}

impl Head {
    fn trim(&mut self, domain: u8, writes: &mut Writes) {
        if self.timers.len() < 2 * HEAD_TIMERS {
            return;
        }
        let Some(first) = self.timers.keys().nth(HEAD_TIMERS).cloned() else { return };
        for (timer, _) in self.timers.split_off(&first).iter().filter(|(_, stored)| !**stored) {
            writes.put(&full_key(domain, timer), &[]);
        }
        self.horizon = self.timers.last_key_value().map(|(timer, _)| timer.clone());
    }
}
