//! List state: a list a key.
//!
//! Guarantees: the lists of all keys of a call share one allocation; a list that was only appended to sends back what was
//! appended. Must not know: operators.

use std::mem::{MaybeUninit, needs_drop};
use std::ops::Deref;
use std::ptr;

use super::State;
use super::field::{Options, Scope, StateField, wrong_count, wrong_form};
use crate::bindings::types::{self, ClearChange, Lists, ManyChange, StateChange, StateKind, StateValues};

/// What was done to a list.
#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    /// Behind this many values, which came, others were put.
    Appended(usize),
    Replaced,
}

/// Where a list is in the arena: `start .. start + length` holds its values, up to `start + capacity` is its own.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    length: usize,
    capacity: usize,
    change: Change,
}

/// The lists of a state for the keys of a call.
pub struct ListSlots<T> {
    state: u32,
    /// Invariant: initialized are the values of each list, and nothing else is; the ranges of lists do not overlap.
    arena: Vec<MaybeUninit<T>>,
    places: Vec<Place>,
}

impl<T> Drop for ListSlots<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() {
            (0..self.places.len()).for_each(|key| self.shorten(key, 0));
        }
    }
}

impl<T> ListSlots<T> {
    #[inline(always)]
    fn list(&self, key: usize) -> &[T] {
        let Place { start, length, .. } = self.places[key];
        let values = &self.arena[start..start + length];
        // SAFETY: a list's values are initialized, and `MaybeUninit<T>` is laid out as `T`.
        unsafe { &*(ptr::from_ref(values) as *const [T]) }
    }

    #[inline(always)]
    fn list_mut(&mut self, key: usize) -> &mut [T] {
        let Place { start, length, .. } = self.places[key];
        let values = &mut self.arena[start..start + length];
        // SAFETY: as above.
        unsafe { &mut *(ptr::from_mut(values) as *mut [T]) }
    }

    /// Drops all values of a list but the last `kept`.
    fn shorten(&mut self, key: usize, kept: usize) {
        let place = &mut self.places[key];
        let dropped = place.length.saturating_sub(kept);
        let values = &mut self.arena[place.start..place.start + dropped];
        place.start += dropped;
        place.length -= dropped;
        place.capacity -= dropped;
        // The list ends before its values are dropped: a panic meanwhile leaks the others.
        for value in values {
            // SAFETY: it was a value of the list, and is one no longer.
            unsafe { value.assume_init_drop() };
        }
    }

    #[inline(always)]
    fn push(&mut self, key: usize, value: T) {
        if self.places[key].length == self.places[key].capacity {
            self.grow(key);
        }
        let place = &mut self.places[key];
        self.arena[place.start + place.length].write(value);
        place.length += 1;
    }

    /// Gives a list more space, elsewhere if need be.
    fn grow(&mut self, key: usize) {
        const CAPACITY_MIN: usize = 4;
        let place = &mut self.places[key];
        let capacity = (place.capacity * 2).max(CAPACITY_MIN);
        let end = self.arena.len();
        if place.start + place.capacity == end {
            self.arena.resize_with(place.start + capacity, MaybeUninit::uninit);
        } else {
            self.arena.resize_with(end + capacity, MaybeUninit::uninit);
            let (old, new) = self.arena.split_at_mut(end);
            let old = &old[place.start..place.start + place.length];
            // SAFETY: the slices are apart, the new one is long enough, and the list owns its values only there from now on.
            unsafe { ptr::copy_nonoverlapping(old.as_ptr(), new.as_mut_ptr(), old.len()) };
            place.start = end;
        }
        place.capacity = capacity;
    }
}

impl<T: State> ListSlots<T> {
    pub(super) fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<Self, String> {
        let (offsets, values) = match values {
            None => (vec![0; keys + 1], Vec::new()),
            Some(StateValues::Many(Lists { offsets, values })) => (offsets, T::read_all(values)?),
            Some(_) => return Err(wrong_form(state)),
        };
        if offsets.len() != keys + 1 {
            return Err(wrong_count(state, offsets.len().saturating_sub(1), keys));
        }
        let mut places = Vec::with_capacity(keys);
        for range in offsets.windows(2) {
            let (start, end) = (range[0] as usize, range[1] as usize);
            // Lists that overlap would own values twice.
            if start > end || end > values.len() || places.is_empty() && start != 0 {
                return Err(format!("the lists of state {state} do not fit their values"));
            }
            places.push(Place { start, length: end - start, capacity: end - start, change: Change::None });
        }
        Ok(Self { state, arena: values.into_iter().map(MaybeUninit::new).collect(), places })
    }

    /// Adds the lists of these keys, from the given value of each on.
    fn many(&self, keys: Vec<u32>, from: impl Fn(usize) -> usize) -> Result<ManyChange, String> {
        let lists = keys.iter().map(|&key| &self.list(key as usize)[from(key as usize)..]);
        let mut offsets = Vec::with_capacity(keys.len() + 1);
        offsets.push(0);
        let mut end = 0;
        offsets.extend(lists.clone().map(|list| {
            end += list.len() as u32;
            end
        }));
        let values = T::write_slices(lists)?;
        Ok(ManyChange { state: self.state, keys, values: Lists { offsets, values } })
    }

    pub(super) fn finish(self, changes: &mut Vec<StateChange>) -> Result<(), String> {
        let (mut replaced, mut appended, mut cleared) = (Vec::new(), Vec::new(), Vec::new());
        for (key, place) in (0..).zip(&self.places) {
            match place.change {
                Change::None => {}
                Change::Appended(_) => appended.push(key),
                Change::Replaced if place.length == 0 => cleared.push(key),
                Change::Replaced => replaced.push(key),
            }
        }
        if !cleared.is_empty() {
            changes.push(StateChange::Clear(ClearChange { state: self.state, keys: cleared }));
        }
        if !replaced.is_empty() {
            changes.push(StateChange::Replace(self.many(replaced, |_| 0)?));
        }
        if !appended.is_empty() {
            let came = |key: usize| match self.places[key].change {
                Change::Appended(came) => came,
                _ => 0,
            };
            changes.push(StateChange::Append(self.many(appended, came)?));
        }
        Ok(())
    }
}

/// A list a key. What a slice can do, it can: `last.iter()`, `last.len()`, `last[0]`.
pub struct ListState<'s, T: State> {
    pub(super) lists: &'s mut ListSlots<T>,
    pub(super) key: usize,
}

impl<T: State> Deref for ListState<'_, T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        self.lists.list(self.key)
    }
}

impl<T: State> ListState<'_, T> {
    /// Appends a value.
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        let place = &mut self.lists.places[self.key];
        if place.change == Change::None {
            place.change = Change::Appended(place.length);
        }
        self.lists.push(self.key, value);
    }

    /// Appends a value, and drops the oldest ones beyond `limit`. It costs a copy of the list once that is full, so it is for short
    /// lists.
    #[inline(always)]
    pub fn push_bounded(&mut self, value: T, limit: usize) {
        if self.len() < limit {
            return self.push(value);
        }
        self.lists.places[self.key].change = Change::Replaced;
        self.lists.shorten(self.key, limit);
        let list = self.lists.list_mut(self.key);
        list.rotate_left(usize::from(!list.is_empty()));
        if let Some(last) = list.last_mut() {
            *last = value;
        }
    }

    /// Drops the oldest values, so that at most `count` are left.
    pub fn keep_last(&mut self, count: usize) {
        if self.len() > count {
            self.lists.places[self.key].change = Change::Replaced;
            self.lists.shorten(self.key, count);
        }
    }

    /// The values, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.lists.places[self.key].change = Change::Replaced;
        self.lists.list_mut(self.key)
    }

    /// Puts other values in place of all.
    pub fn replace(&mut self, values: impl IntoIterator<Item = T>) {
        self.clear();
        self.lists.places[self.key].change = Change::Replaced;
        values.into_iter().for_each(|value| self.lists.push(self.key, value));
    }

    /// Takes all values out.
    pub fn drain(&mut self) -> Vec<T> {
        let place = &mut self.lists.places[self.key];
        if place.length > 0 {
            place.change = Change::Replaced;
        }
        let taken = self.lists.arena[place.start..place.start + place.length].iter();
        place.length = 0;
        // SAFETY: they were values of the list, and are no longer; nothing reads them again.
        taken.map(|value| unsafe { value.assume_init_read() }).collect()
    }

    /// Drops all values.
    pub fn clear(&mut self) {
        self.keep_last(0);
    }
}

impl<T: State> StateField for ListState<'_, T> {
    const SCOPE: Scope = Scope::Keyed;
    type At<'s> = ListState<'s, T>;
    type Slots = ListSlots<T>;

    fn describe(options: Options) -> types::State {
        options.state(StateKind::List, T::KIND, None, T::VERSION)
    }
    fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<ListSlots<T>, String> {
        ListSlots::open(values, state, keys)
    }
    #[inline(always)]
    fn at(slots: &mut ListSlots<T>, key: usize) -> ListState<'_, T> {
        ListState { lists: slots, key }
    }
    fn finish(slots: ListSlots<T>, changes: &mut Vec<StateChange>) -> Result<(), String> {
        slots.finish(changes)
    }
}
