//! What goes into a guest with a call, borrowed from where it lies: columns, keys, states, windows and timers.
use arrow_array::ArrayRef;
use arrow_buffer::OffsetBuffer;

use super::super::{
    columns::Realigned,
    contract::{BatchRef, ColumnRef, KeysRef, ListsRef, StateValuesRef, TimersRef, WindowsRef, types},
};
use crate::model::{Batch, EventTime, StateValues, TimeDomain, Window};

/// The distinct keys of a call.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    /// How many there are.
    pub count: usize,
    /// The key of each row, window or timer, as an index below `count`.
    pub rows: &'a [u32],
    /// The key columns the operator wants to see, in the order of its description, a value a key.
    pub columns: &'a [ArrayRef],
}

/// Elements of windows.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    /// The elements.
    pub batch: &'a Batch,
    /// Which of the batch's columns the operator reads, in the order it declared them.
    pub reads: &'a [usize],
    /// The window of each element, as an index of the call's windows.
    pub groups: &'a [u32],
}

/// Columns on their way into the guest.
pub(super) struct Projection<'a> {
    columns: Vec<(&'a ArrayRef, Realigned)>,
}

impl<'a> Projection<'a> {
    /// The columns of a batch with these indices, in this order.
    pub(super) fn of(batch: &'a Batch, columns: &[usize]) -> Projection<'a> {
        Projection::all(columns.iter().map(|index| batch.columns.column(*index)))
    }

    pub(super) fn all(columns: impl IntoIterator<Item = &'a ArrayRef>) -> Projection<'a> {
        Projection { columns: columns.into_iter().map(|column| (column, Realigned::of(column))).collect() }
    }

    pub(super) fn refs(&self) -> Vec<ColumnRef<'_>> {
        self.columns.iter().map(|(column, parts)| parts.column(column)).collect()
    }
}

/// A batch with the columns of `refs`.
pub(super) fn batch_ref<'a>(batch: &'a Batch, refs: &'a [ColumnRef<'a>]) -> BatchRef<'a> {
    BatchRef { rows: batch.rows() as u32, timestamps: &batch.timestamps, columns: refs }
}

/// Keys with the columns of `refs`.
pub(super) fn keys_ref<'a>(keys: &Keys<'a>, refs: &'a [ColumnRef<'a>]) -> KeysRef<'a> {
    KeysRef { count: keys.count as u32, rows: keys.rows, columns: refs }
}

/// States on their way into the guest.
pub(super) struct States<'a> {
    states: Vec<State<'a>>,
}

enum State<'a> {
    Single(&'a ArrayRef, Realigned),
    Many(&'a OffsetBuffer<i32>, &'a ArrayRef, Realigned),
    ByImport,
}

impl State<'_> {
    fn as_ref(&self) -> StateValuesRef<'_> {
        match self {
            State::Single(values, parts) => StateValuesRef::Single(parts.column(values)),
            State::Many(offsets, values, parts) => StateValuesRef::Many(ListsRef {
                offsets: bytemuck::cast_slice(&offsets[..]),
                values: parts.column(values),
            }),
            State::ByImport => StateValuesRef::ByImport,
        }
    }
}

impl<'a> States<'a> {
    pub(super) fn of(states: &'a [StateValues]) -> States<'a> {
        let state = |values: &'a StateValues| match values {
            StateValues::Single(values) => State::Single(values, Realigned::of(values)),
            StateValues::Many { offsets, values } => State::Many(offsets, values, Realigned::of(values)),
            StateValues::ByImport => State::ByImport,
        };
        States { states: states.iter().map(state).collect() }
    }

    pub(super) fn refs(&self) -> Vec<StateValuesRef<'_>> {
        self.states.iter().map(State::as_ref).collect()
    }
}

/// Timers on their way into the guest.
pub(super) struct Timers {
    pub(super) times: Vec<EventTime>,
    domains: Vec<types::TimeDomain>,
}

impl Timers {
    pub(super) fn of(timers: &[(EventTime, TimeDomain)]) -> Timers {
        let domain = |domain: TimeDomain| match domain {
            TimeDomain::Event => types::TimeDomain::EventTime,
            TimeDomain::Processing => types::TimeDomain::ProcessingTime,
        };
        Timers {
            times: timers.iter().map(|(time, _)| *time).collect(),
            domains: timers.iter().map(|(_, of)| domain(*of)).collect(),
        }
    }

    pub(super) fn as_ref(&self) -> TimersRef<'_> {
        TimersRef { times: &self.times, domains: &self.domains }
    }
}

/// Windows on their way into the guest.
pub(super) struct Windows {
    starts: Vec<EventTime>,
    ends: Vec<EventTime>,
}

impl Windows {
    pub(super) fn of(windows: &[Window]) -> Windows {
        Windows {
            starts: windows.iter().map(|window| window.start).collect(),
            ends: windows.iter().map(|window| window.end).collect(),
        }
    }

    pub(super) fn as_ref(&self) -> WindowsRef<'_> {
        WindowsRef { starts: &self.starts, ends: &self.ends }
    }
}
