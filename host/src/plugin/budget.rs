//! What a call may cost beside memory: rows it puts out, time for what it is given, state it writes for a key. Pure.
use std::time::Duration;

use arrow_array::{Array, ArrayRef};

use super::{columns::bytes_of, engine::EPOCH_TICK, error::CallFailure};
use crate::model::StateChange;

/// Rows every call may put out, however few it is given.
pub const OUTPUT_ROWS_FLOOR: usize = 1024;

/// What a call may cost. Limits that are not there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Rows put out for each row, timer or window given, all outputs together; a call has at least [`OUTPUT_ROWS_FLOOR`].
    pub outputs_per_record: Option<u32>,
    /// Time on a processor for each row, timer or window given; a call has at least [`EPOCH_TICK`] and at most its `batch_time`.
    pub record_time: Option<Duration>,
    /// Bytes of state written for one key, all states together; of an aggregate, bytes of one accumulator.
    pub state_bytes_per_key: Option<usize>,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) time: Duration,
    /// Whether that is time on a processor, which it costs the call nothing to wait for; otherwise time that passes.
    pub(super) on_processor: bool,
    /// Of how many rows, if it is their number that makes it shorter than `batch_time`.
    pub(super) records: Option<usize>,
}

impl Deadline {
    /// Of any call.
    pub(super) fn of_batch(time: Duration) -> Deadline {
        Deadline { time, on_processor: true, records: None }
    }

    /// What is left after this time on a processor; `None` if nothing is.
    pub(super) fn left(self, used: Duration) -> Option<Duration> {
        self.time.checked_sub(used).filter(|left| self.on_processor && !left.is_zero())
    }

    /// What it is to pass it.
    pub(super) fn passed(self) -> CallFailure {
        match self.records {
            None => CallFailure::Deadline(self.time),
            Some(records) => CallFailure::RecordTime { records, time: self.time },
        }
    }
}

impl Budget {
    /// How long a call with so many rows, timers or windows may take.
    pub(super) fn deadline(&self, records: usize, batch_time: Duration) -> Deadline {
        let by_record = self
            .record_time
            .map(|time| time.saturating_mul(u32::try_from(records).unwrap_or(u32::MAX)).max(EPOCH_TICK));
        match by_record.filter(|time| *time < batch_time) {
            Some(time) => Deadline { records: Some(records), ..Deadline::of_batch(time) },
            None => Deadline::of_batch(batch_time),
        }
    }

    /// How many rows a call with so many rows, timers or windows may put out.
    pub(super) fn outputs_max(&self, records: usize) -> usize {
        self.outputs_per_record.map_or(usize::MAX, |each| records.saturating_mul(each as usize).max(OUTPUT_ROWS_FLOOR))
    }

    /// Whether the changes write no more for any of `keys` keys than they may.
    pub(super) fn check_changes(&self, changes: &[StateChange], keys: usize) -> Result<(), CallFailure> {
        let Some(max) = self.state_bytes_per_key else { return Ok(()) };
        let mut bytes = vec![0_usize; keys];
        for change in changes {
            match change {
                StateChange::Put { keys, values, .. } => {
                    let each = keys.iter().enumerate();
                    each.for_each(|(at, key)| bytes[*key as usize] += bytes_of(values, at..at + 1));
                }
                StateChange::Replace { keys, offsets, values, .. }
                | StateChange::Append { keys, offsets, values, .. } => {
                    for (at, key) in keys.iter().enumerate() {
                        bytes[*key as usize] += bytes_of(values, offsets[at] as usize..offsets[at + 1] as usize);
                    }
                }
                StateChange::PutEntries { keys, map_keys, values, .. } => {
                    for (at, key) in keys.iter().enumerate() {
                        bytes[*key as usize] += bytes_of(map_keys, at..at + 1) + bytes_of(values, at..at + 1);
                    }
                }
                StateChange::Clear { .. } => {}
            }
        }
        match bytes.into_iter().max().filter(|most| *most > max) {
            Some(bytes) => Err(CallFailure::State { bytes, max }),
            None => Ok(()),
        }
    }

    /// Whether none of the accumulators is larger than it may be.
    pub(super) fn check_accumulators(&self, values: &ArrayRef) -> Result<(), CallFailure> {
        let Some(max) = self.state_bytes_per_key else { return Ok(()) };
        let most = (0..values.len()).map(|at| bytes_of(values, at..at + 1)).max().unwrap_or(0);
        if most > max { Err(CallFailure::State { bytes: most, max }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};
    use arrow_buffer::OffsetBuffer;

    use super::*;

    #[test]
    fn a_call_has_the_time_of_its_rows_within_bounds() {
        let second = Duration::from_secs(1);
        let budget = Budget { record_time: Some(Duration::from_millis(2)), ..Budget::default() };
        let some = Deadline { records: Some(100), ..Deadline::of_batch(Duration::from_millis(200)) };
        assert_eq!(budget.deadline(100, second), some);
        assert_eq!(budget.deadline(1, second), Deadline { records: Some(1), ..Deadline::of_batch(EPOCH_TICK) });
        for (budget, rows) in [(budget, 500), (budget, usize::MAX), (Budget::default(), 1)] {
            assert_eq!(budget.deadline(rows, second), Deadline::of_batch(second));
        }
    }

    #[test]
    fn a_call_that_was_kept_from_its_processor_has_the_rest_of_its_time() {
        let [used, time] = [3, 10].map(Duration::from_millis);
        let on_processor = Deadline::of_batch(time);
        assert_eq!(on_processor.left(used), Some(Duration::from_millis(7)));
        assert_eq!([time, 2 * time].map(|used| on_processor.left(used)), [None; 2]);
        assert_eq!(Deadline { on_processor: false, ..on_processor }.left(used), None);
    }

    #[test]
    fn small_calls_have_a_floor_of_rows() {
        let budget = Budget { outputs_per_record: Some(3), ..Budget::default() };
        assert_eq!([0, 1, 342, usize::MAX].map(|rows| budget.outputs_max(rows)), [1024, 1024, 1026, usize::MAX]);
        assert_eq!(Budget::default().outputs_max(1), usize::MAX);
    }

    #[test]
    fn bytes_are_counted_by_key_over_all_changes() {
        let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let changes = [
            StateChange::Put { state: 0, keys: vec![1, 0], values: Arc::new(Int64Array::from(vec![1, 2])) },
            StateChange::Append {
                state: 1,
                keys: vec![0, 1],
                offsets: OffsetBuffer::from_lengths([2, 1]),
                values: text(&["a", "bb", "c"]),
            },
            StateChange::PutEntries { state: 2, keys: vec![1], map_keys: text(&["key"]), values: text(&["value"]) },
        ];
        let of = |max| Budget { state_bytes_per_key: Some(max), ..Budget::default() };
        assert_eq!(of(17).check_changes(&changes, 2), Ok(()));
        assert_eq!(of(16).check_changes(&changes, 2), Err(CallFailure::State { bytes: 17, max: 16 }));
        assert_eq!(of(2).check_accumulators(&text(&["", "bb"])), Ok(()));
        assert_eq!(of(1).check_accumulators(&text(&["", "bb"])), Err(CallFailure::State { bytes: 2, max: 1 }));
    }
}
