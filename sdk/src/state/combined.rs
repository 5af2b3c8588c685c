//! Reducing and aggregating state: one value a key, into which others are combined.
//!
//! Guarantees: as for value state. Must not know: operators.

use super::State;
use super::field::{Options, Scope, StateField};
use super::value::{Slot, Slots};
use crate::bindings::types::{self, StateChange, StateKind, StateValues};

/// How a [`ReducingState`] combines values.
pub trait Reduce {
    /// What is combined.
    type Value: State;
    /// Combines a value into what there is.
    fn reduce(combined: &mut Self::Value, value: Self::Value);
}

/// How an [`AggregatingState`] gathers values.
pub trait Gather {
    /// What is added.
    type Value;
    /// What is kept.
    type Accumulator: State + Default;
    /// What is made of it.
    type Result;
    /// Adds a value.
    fn add(accumulator: &mut Self::Accumulator, value: Self::Value);
    /// The result so far.
    fn result(accumulator: &Self::Accumulator) -> Self::Result;
}

/// Values of a key combined into one of the same type.
pub struct ReducingState<'s, R: Reduce> {
    slot: &'s mut Slot<R::Value>,
}

impl<R: Reduce> ReducingState<'_, R> {
    /// The values combined, `None` before the first.
    #[inline(always)]
    pub fn get(&self) -> Option<&R::Value> {
        self.slot.value.as_ref()
    }

    /// Combines a value into it.
    #[inline(always)]
    pub fn add(&mut self, value: R::Value) {
        self.slot.changed = true;
        match &mut self.slot.value {
            Some(combined) => R::reduce(combined, value),
            none => *none = Some(value),
        }
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.slot.changed |= self.slot.value.take().is_some();
    }
}

/// Values of a key gathered in an accumulator.
pub struct AggregatingState<'s, G: Gather> {
    slot: &'s mut Slot<G::Accumulator>,
}

impl<G: Gather> AggregatingState<'_, G> {
    /// The result of the values gathered, `None` before the first.
    #[inline(always)]
    pub fn get(&self) -> Option<G::Result> {
        self.slot.value.as_ref().map(G::result)
    }

    /// Adds a value.
    #[inline(always)]
    pub fn add(&mut self, value: G::Value) {
        self.slot.changed = true;
        G::add(self.slot.value.get_or_insert_default(), value);
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.slot.changed |= self.slot.value.take().is_some();
    }
}

macro_rules! field {
    ($state:ident, $how:ident, $value:ident, $kind:ident) => {
        impl<H: $how> StateField for $state<'_, H> {
            const SCOPE: Scope = Scope::Keyed;
            type At<'s> = $state<'s, H>;
            type Slots = Slots<H::$value>;

            fn describe(options: Options) -> types::State {
                options.state(StateKind::$kind, H::$value::KIND, None, H::$value::VERSION)
            }
            fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<Self::Slots, String> {
                Slots::open(values, state, keys)
            }
            #[inline(always)]
            fn at(slots: &mut Self::Slots, key: usize) -> Self::At<'_> {
                $state { slot: &mut slots.slots[key] }
            }
            fn finish(slots: Self::Slots, changes: &mut Vec<StateChange>) -> Result<(), String> {
                slots.finish(changes)
            }
        }
    };
}
field!(ReducingState, Reduce, Value, Reducing);
field!(AggregatingState, Gather, Accumulator, Aggregating);
