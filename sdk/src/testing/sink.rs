//! Runs sinks in tests.
//!
//! Guarantees and knowledge: as for all harnesses.

use std::ops::{Deref, DerefMut};

use super::{IDENTITY, KeyedStates, Outcome, Snapshot, Table};
use crate::bindings::exports_of_sink::Written;
use crate::bindings::types::{Fault, Moment, StateValues, TimerChanges};
use crate::record::Record;
use crate::sink::Sink;

/// Runs a sink. Its states are looked up with the key `()`.
pub struct SinkHarness<T> {
    operator: T,
    configuration: String,
    states: KeyedStates,
}

impl<T> Deref for SinkHarness<T> {
    type Target = KeyedStates;
    fn deref(&self) -> &KeyedStates {
        &self.states
    }
}

impl<T> DerefMut for SinkHarness<T> {
    fn deref_mut(&mut self) -> &mut KeyedStates {
        &mut self.states
    }
}

impl<T: Sink> SinkHarness<T> {
    /// A sink that needs no configuration.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self::configured("{}").unwrap_or_else(|error| panic!("{error}"))
    }

    /// A sink with a configuration, a JSON object; the error is the sink's.
    pub fn configured(json: &str) -> Result<Self, String> {
        let states = KeyedStates::new(T::describe(IDENTITY), Vec::new());
        Ok(Self { operator: T::new(json)?, configuration: json.into(), states })
    }

    /// Writes a batch of these records, with event time 0.
    pub fn run<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = I>) -> Outcome {
        self.run_at(records.into_iter().map(|record| (0, record)))
    }

    /// Writes a batch of these records, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_at<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let table = Table::new(records);
        let batch = table.batch(&self.states.description.inputs[0]);
        self.call(table.timestamps, |operator, moment, states| operator.write(moment, batch, states))
    }

    /// Ends the input.
    pub fn finish(&mut self) -> Outcome {
        self.call(Vec::new(), |operator, moment, states| operator.finish(moment, states))
    }

    fn call(
        &mut self,
        timestamps: Vec<i64>,
        call: impl FnOnce(&mut T, Moment, Vec<StateValues>) -> Result<Written, Fault>,
    ) -> Outcome {
        let task = [Vec::new()];
        let operator = &mut self.operator;
        let written = self.states.call(&task, |moment, states| call(operator, moment, states));
        let none = TimerChanges { keys: Vec::new(), times: Vec::new(), domains: Vec::new(), actions: Vec::new() };
        self.states.change(&task, written.states, none);
        Outcome::new(self.states.description.clone(), vec![(timestamps, written.emission)])
    }

    /// Puts state back, and another instance in place of the sink's.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.operator = T::new(&self.configuration).unwrap_or_else(|error| panic!("{error}"));
        self.states.restore(snapshot);
    }
}
