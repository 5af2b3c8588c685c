//! Runs keyed functions in tests: with one input, with two, with a broadcast one.
//!
//! Guarantees and knowledge: as for all harnesses.

use std::ops::{Deref, DerefMut};

use super::{IDENTITY, KeyedStates, Outcome, Snapshot, Table};
use crate::bindings::types::TimerChanges;
use crate::broadcast::BroadcastProcess;
use crate::keyed::{ConnectedProcess, KeyedProcess};
use crate::record::Record;

/// What the harnesses have in common.
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
            /// An operator that needs no configuration, on records keyed by these columns.
            pub fn keyed_by<const N: usize>(columns: [&str; N]) -> Self {
                Self::configured(columns, "{}").unwrap_or_else(|error| panic!("{error}"))
            }

            /// An operator with a configuration, a JSON object; the error is the operator's.
            pub fn configured<const N: usize>(columns: [&str; N], json: &str) -> Result<Self, String> {
                let states = KeyedStates::new(T::describe(IDENTITY), columns.map(str::to_owned).to_vec());
                Ok(Self { operator: T::new(json)?, configuration: json.into(), states })
            }

            /// Lets the watermark come, in milliseconds since 1970-01-01 UTC, and fires the timers that are due.
            pub fn advance_watermark(&mut self, to_ms: i64) -> Outcome {
                let operator = &mut self.operator;
                self.states
                    .fire(true, to_ms, |moment, timers, keys, states| operator.fire(moment, timers, keys, states))
            }

            /// Lets processing time pass, in milliseconds since 1970-01-01 UTC, and fires the timers that are due.
            pub fn advance_processing_time(&mut self, to_ms: i64) -> Outcome {
                let operator = &mut self.operator;
                self.states
                    .fire(false, to_ms, |moment, timers, keys, states| operator.fire(moment, timers, keys, states))
            }

            /// Puts state and timers back, and another instance in place of the operator's.
            pub fn restore(&mut self, snapshot: &Snapshot) {
                self.operator = T::new(&self.configuration).unwrap_or_else(|error| panic!("{error}"));
                self.states.restore(snapshot);
            }
        }
    };
}

/// Runs a keyed function.
pub struct KeyedProcessHarness<T> {
    operator: T,
    configuration: String,
    states: KeyedStates,
}

harness!(KeyedProcessHarness, KeyedProcess);

impl<T: KeyedProcess> KeyedProcessHarness<T> {
    /// Processes a batch of these records, with event time 0.
    pub fn run<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = I>) -> Outcome {
        self.run_at(records.into_iter().map(|record| (0, record)))
    }

    /// Processes a batch of these records, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_at<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let operator = &mut self.operator;
        self.states.process(&Table::new(records), 0, |moment, batch, keys, states| {
            operator.process(moment, batch, keys, states)
        })
    }
}

/// Runs a keyed function of two inputs.
pub struct ConnectedHarness<T> {
    operator: T,
    configuration: String,
    states: KeyedStates,
}

harness!(ConnectedHarness, ConnectedProcess);

impl<T: ConnectedProcess> ConnectedHarness<T> {
    /// Processes a batch of the first input, each record with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_first<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let operator = &mut self.operator;
        self.states.process(&Table::new(records), 0, |moment, batch, keys, states| {
            operator.process_first(moment, batch, keys, states)
        })
    }

    /// Processes a batch of the second input, each record with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_second<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let operator = &mut self.operator;
        self.states.process(&Table::new(records), 1, |moment, batch, keys, states| {
            operator.process_second(moment, batch, keys, states)
        })
    }
}

/// Runs a function with a broadcast input; `keyed_by([])` is one whose main input is not keyed.
pub struct BroadcastHarness<T> {
    operator: T,
    configuration: String,
    states: KeyedStates,
}

harness!(BroadcastHarness, BroadcastProcess);

impl<T: BroadcastProcess> BroadcastHarness<T> {
    /// Processes a batch of the main input, each record with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_at<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let operator = &mut self.operator;
        self.states.process(&Table::new(records), 0, |moment, batch, keys, states| {
            operator.process(moment, batch, keys, states)
        })
    }

    /// Processes a batch of the broadcast input, each record with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_broadcast<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let table = Table::new(records);
        let batch = table.batch(&self.states.description.inputs[1]);
        let operator = &mut self.operator;
        let result = self.states.call(&[], |moment, _| operator.process_broadcast(moment, batch));
        let none = TimerChanges { keys: Vec::new(), times: Vec::new(), domains: Vec::new(), actions: Vec::new() };
        self.states.change(&[], result.states, none);
        Outcome::new(self.states.description.clone(), vec![(table.timestamps, result.emission)])
    }
}
