//! Operator state: lists that belong to a task, for sinks.
//!
//! Guarantees: as for list state. Must not know: how lists are dealt out when parallelism changes.

use std::ops::{Deref, DerefMut};

use super::State;
use super::field::{Options, Scope, StateField};
use super::list::{ListSlots, ListState};
use crate::bindings::types::{self, StateChange, StateKind, StateValues};

macro_rules! operator_list {
    ($(#[$documentation:meta])+ $state:ident, $kind:ident) => {
        $(#[$documentation])+
        pub struct $state<'s, T: State>(ListState<'s, T>);

        impl<'s, T: State> Deref for $state<'s, T> {
            type Target = ListState<'s, T>;
            #[inline(always)]
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<'s, T: State> DerefMut for $state<'s, T> {
            #[inline(always)]
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }

        impl<T: State> StateField for $state<'_, T> {
            const SCOPE: Scope = Scope::Operator;
            type At<'s> = $state<'s, T>;
            type Slots = ListSlots<T>;

            fn describe(options: Options) -> types::State {
                options.state(StateKind::$kind, T::KIND, None, T::VERSION)
            }
            fn open(values: Option<StateValues>, state: u32, keys: usize) -> Result<ListSlots<T>, String> {
                ListSlots::open(values, state, keys)
            }
            #[inline(always)]
            fn at(slots: &mut ListSlots<T>, key: usize) -> $state<'_, T> {
                $state(ListState { lists: slots, key })
            }
            fn finish(slots: ListSlots<T>, changes: &mut Vec<StateChange>) -> Result<(), String> {
                slots.finish(changes)
            }
        }
    };
}

operator_list! {
    /// A list of a task. When parallelism changes, the values of all tasks are dealt out among the new ones.
    OperatorListState, OperatorList
}
operator_list! {
    /// A list of a task. When parallelism changes, each new task gets the values of all.
    OperatorUnionState, OperatorUnion
}
