//! Value state: one value a key.
//!
//! Guarantees: a value that is only read is not sent back. Must not know: operators.

use super::State;
use super::field::{Options, Scope, StateField, wrong_count, wrong_form};
use crate::bindings::types::{self, SingleChange, StateChange, StateKind, StateValues};

/// The value of one key.
pub struct Slot<T> {
    pub(super) value: Option<T>,
    pub(super) changed: bool,
}

/// The values of a state for the keys of a call.
pub struct Slots<T> {
    pub(super) state: u32,
    pub(super) slots: Vec<Slot<T>>,
}

impl<T: State> Slots<T> {
    pub(super) fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<Self, String> {
        let mut slots = Vec::with_capacity(keys);
        match values {
            None => slots.resize_with(keys, || Slot { value: None, changed: false }),
            Some(StateValues::Single(column)) => T::read(column, |value| slots.push(Slot { value, changed: false }))?,
            Some(_) => return Err(wrong_form(state)),
        }
        if slots.len() != keys {
            return Err(wrong_count(state, slots.len(), keys));
        }
        Ok(Self { state, slots })
    }

    pub(super) fn finish(self, changes: &mut Vec<StateChange>) -> Result<(), String> {
        let mut keys = Vec::with_capacity(self.slots.len());
        keys.extend((0..).zip(&self.slots).filter(|(_, slot)| slot.changed).map(|(key, _)| key));
        if !keys.is_empty() {
            let changed = self.slots.iter().filter(|slot| slot.changed);
            let values = T::write(changed.map(|slot| slot.value.as_ref()))?;
            changes.push(StateChange::Put(SingleChange { state: self.state, keys, values }));
        }
        Ok(())
    }
}

/// One value a key, or none.
pub struct ValueState<'s, T: State> {
    slot: &'s mut Slot<T>,
}

impl<T: State> ValueState<'_, T> {
    /// The value.
    #[inline(always)]
    pub fn get(&self) -> Option<&T> {
        self.slot.value.as_ref()
    }

    /// The value, of a type that is copied.
    #[inline(always)]
    pub fn value(&self) -> Option<T>
    where
        T: Copy,
    {
        self.slot.value
    }

    /// The value, to be changed in place.
    #[inline(always)]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.slot.changed |= self.slot.value.is_some();
        self.slot.value.as_mut()
    }

    /// The value, to be changed in place; the default one if there is none.
    #[inline(always)]
    pub fn or_default(&mut self) -> &mut T
    where
        T: Default,
    {
        self.slot.changed = true;
        self.slot.value.get_or_insert_default()
    }

    /// Sets the value.
    #[inline(always)]
    pub fn set(&mut self, value: T) {
        *self.slot = Slot { value: Some(value), changed: true };
    }

    /// Clears the value and gives it back.
    #[inline(always)]
    pub fn take(&mut self) -> Option<T> {
        self.slot.changed |= self.slot.value.is_some();
        self.slot.value.take()
    }

    /// Clears the value.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.take();
    }
}

impl<T: State> StateField for ValueState<'_, T> {
    const SCOPE: Scope = Scope::Keyed;
    type At<'s> = ValueState<'s, T>;
    type Slots = Slots<T>;

    fn describe(options: Options) -> types::State {
        options.state(StateKind::Value, T::KIND, None, T::VERSION)
    }
    fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<Slots<T>, String> {
        Slots::open(values, state, keys)
    }
    #[inline(always)]
    fn at(slots: &mut Slots<T>, key: usize) -> ValueState<'_, T> {
        ValueState { slot: &mut slots.slots[key] }
    }
    fn finish(slots: Slots<T>, changes: &mut Vec<StateChange>) -> Result<(), String> {
        slots.finish(changes)
    }
}
