//! Runs functions over windows and triggers in tests.
//!
//! Guarantees and knowledge: as for all harnesses.

use std::ops::{Deref, DerefMut};

use super::stored::key_of;
use super::{IDENTITY, KeyedStates, Outcome, Table};
use crate::bindings::exports_of_trigger::{Decision, Verdict};
use crate::bindings::types::Windows;
use crate::record::Record;
use crate::trigger::{Call, Trigger};
use crate::window::{ProcessWindow, Window};

fn windows<'w>(windows: impl Iterator<Item = &'w Window> + Clone) -> Windows {
    Windows {
        starts: windows.clone().map(|window| window.start_ms).collect(),
        ends: windows.map(|window| window.end_ms).collect(),
    }
}

macro_rules! harness {
    ($harness:ident, $operator:ident) => {
        impl<T> Deref for $harness<T> {
            type Target = KeyedStates;
            fn deref(&self) -> &KeyedStates {
                &self.states
            }
        }

        impl<T> DerefMut for $harness<T> {
            fn deref_mut(&mut self) -> &mut KeyedStates {
                &mut self.states
            }
        }

        impl<T: $operator> $harness<T> {
            /// An operator that needs no configuration.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self::configured("{}").unwrap_or_else(|error| panic!("{error}"))
            }

            /// An operator with a configuration, a JSON object; the error is the operator's.
            pub fn configured(json: &str) -> Result<Self, String> {
                let states = KeyedStates::new(T::describe(IDENTITY), Vec::new());
                Ok(Self { operator: T::new(json)?, states })
            }
        }
    };
}

/// Runs a function over windows. Its states are looked up with the key and the window: `(User { user: 1 }, window)`.
pub struct ProcessWindowHarness<T> {
    operator: T,
    states: KeyedStates,
}

harness!(ProcessWindowHarness, ProcessWindow);

impl<T: ProcessWindow> ProcessWindowHarness<T> {
    /// Fires a window of a key with these elements, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run<'i, I, K>(&mut self, window: Window, key: K, elements: impl IntoIterator<Item = (i64, I)>) -> Outcome
    where
        I: Record<At<'i> = I>,
        K: Record<At<'static> = K>,
    {
        self.run_all([(window, key)], elements.into_iter().map(|(timestamp_ms, element)| (0, timestamp_ms, element)))
    }

    /// Fires several windows in one call; each element comes with the index of its window.
    pub fn run_all<'i, I, K>(
        &mut self,
        fired: impl IntoIterator<Item = (Window, K)>,
        elements: impl IntoIterator<Item = (u32, i64, I)>,
    ) -> Outcome
    where
        I: Record<At<'i> = I>,
        K: Record<At<'static> = K>,
    {
        let mut groups = Vec::new();
        let table = Table::new(elements.into_iter().map(|(group, timestamp_ms, element)| {
            groups.push(group);
            (timestamp_ms, element)
        }));
        let batch = table.batch(&self.states.description.inputs[0]);
        let (mut all, mut of) = (Vec::new(), Vec::new());
        for (window, key) in fired {
            all.push(window);
            of.push(key_of(key));
        }
        let (_, keys) = self.states.keys(&of);
        let with_windows = of.iter().zip(&all).map(|(key, window)| [&key[..], &key_of(*window)].concat());
        let with_windows: Vec<_> = with_windows.collect();
        let fired = windows(all.iter());
        let operator = &mut self.operator;
        let result = self
            .states
            .call(&with_windows, |moment, states| operator.process(moment, fired, keys, batch, groups, states));
        self.states.change(&with_windows, result.states, result.timers);
        let inherited = all.iter().map(Window::last_ms).collect();
        Outcome::new(self.states.description.clone(), vec![(inherited, result.emission)])
    }
}

/// Runs a trigger on windows of one key. Its states and timers are looked up with the window.
pub struct TriggerHarness<T> {
    operator: T,
    states: KeyedStates,
}

harness!(TriggerHarness, Trigger);

impl<T: Trigger> TriggerHarness<T> {
    /// Adds elements to a window, each with its event time in milliseconds since 1970-01-01 UTC: the decision on each.
    pub fn run_at<'i, I: Record<At<'i> = I>>(
        &mut self,
        window: Window,
        elements: impl IntoIterator<Item = (i64, I)>,
    ) -> Vec<Decision> {
        let of = Table::new(elements).batch(&self.states.description.inputs[0]);
        let groups = vec![0; of.rows as usize];
        let keys = [key_of(window)];
        let (operator, windows) = (&mut self.operator, windows([window].iter()));
        let verdict = self
            .states
            .call(&keys, |moment, states| operator.on_elements(Call { moment, of, windows, groups, states }));
        self.decided(&keys, verdict)
    }

    /// Lets the watermark come, in milliseconds since 1970-01-01 UTC: the decision on each timer that is due, by its time.
    pub fn advance_watermark(&mut self, window: Window, to_ms: i64) -> Vec<(i64, Decision)> {
        self.fire(window, true, to_ms)
    }

    /// Lets processing time pass, in milliseconds since 1970-01-01 UTC: the decision on each timer that is due, by its time.
    pub fn advance_processing_time(&mut self, window: Window, to_ms: i64) -> Vec<(i64, Decision)> {
        self.fire(window, false, to_ms)
    }

    fn fire(&mut self, window: Window, event_time: bool, now_ms: i64) -> Vec<(i64, Decision)> {
        self.states.advance(event_time, now_ms);
        let mut decisions = Vec::new();
        loop {
            let (of, keys) = self.states.due(event_time, now_ms);
            if keys.is_empty() {
                return decisions;
            }
            let key = key_of(window);
            assert!(keys.iter().all(|other| *other == key), "timers of other windows are due: advance these first");
            let (times, groups, keys) = (of.times.clone(), vec![0; of.times.len()], [key]);
            let (operator, windows) = (&mut self.operator, windows([window].iter()));
            let verdict = self
                .states
                .call(&keys, |moment, states| operator.on_timers(Call { moment, of, windows, groups, states }));
            decisions.extend(times.into_iter().zip(self.decided(&keys, verdict)));
        }
    }

    /// Lets windows grow together: the decision on the new one. Their states and timers are gone then.
    pub fn merge(&mut self, old: &[Window], new: Window) -> Decision {
        let keys: Vec<_> = old.iter().map(|window| key_of(*window)).collect();
        let (operator, windows, groups) = (&mut self.operator, windows([new].iter()), vec![0; old.len()]);
        let verdict =
            self.states.call(&keys, |moment, states| operator.merge(Call { moment, of: (), windows, groups, states }));
        keys.iter().for_each(|key| self.states.forget(key));
        self.decided(&[key_of(new)], verdict)[0]
    }

    fn decided(&mut self, keys: &[Vec<super::cells::Cell>], verdict: Verdict) -> Vec<Decision> {
        self.states.change(keys, verdict.states, verdict.timers);
        verdict.decisions
    }
}
