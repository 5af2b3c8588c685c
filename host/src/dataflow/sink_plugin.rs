//! The plugin of a sink: makes of rows what is written, and keeps lists of its subtask meanwhile. Must not know how, or where, anything is
//! written.
use super::{
    Failures, Guests, Outputs, Rejects, Replacement, RowNumbers, TaskError,
    failures::{Rows, Work},
    moments::Moments,
};
use crate::{
    model::{Batch, EventTime, Schema, SubtaskState},
    plugin::{Instance, Written},
    state::OperatorLists,
};

/// A sink plugin at work.
pub struct SinkPlugin {
    pub(super) instance: Instance,
    /// Columns it reads, in its order.
    reads: Vec<usize>,
    /// Of what it puts out.
    shaped: [Schema; 1],
    rejects: Rejects,
    failures: Failures,
    moments: Moments,
    lists: OperatorLists,
    pub(super) watermark: EventTime,
    seen: u64,
}

impl SinkPlugin {
    /// `reads` are the columns it reads, in its order, `shaped` those it puts out; `lists` hold what was restored, event time had come
    /// to `watermark`.
    pub fn new(
        instance: Instance,
        reads: Vec<usize>,
        shaped: Schema,
        (rejects, failures): (Rejects, Failures),
        moments: Moments,
        lists: OperatorLists,
        watermark: EventTime,
    ) -> SinkPlugin {
        SinkPlugin { instance, reads, shaped: [shaped], rejects, failures, moments, lists, watermark, seen: 0 }
    }

    /// What is written now that these rows have come, in order.
    pub(super) async fn write(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<Vec<Batch>, TaskError> {
        let numbers = RowNumbers::after(self.seen);
        self.seen += batch.rows() as u64;
        let (mut work, mut shaped) = (Work::rows(batch, numbers), Vec::new());
        while let Some(Rows { batch, numbers, records, .. }) = self.failures.next_rows(&mut work) {
            let (moment, states) = (work.moment(&mut self.moments, self.watermark), self.lists.read()?);
            let result = self.instance.write(moment, &batch, &self.reads, &states, &self.shaped, records);
            let after = self.failures.after(&mut work, result, outputs.metrics()).await?;
            let Some(Written { emitted, states }) = after else { continue };
            self.lists.apply(&states)?;
            outputs.metrics().set_guests_replaced(self.instance.replaced());
            let from = (Some(self.instance.name()), &numbers);
            self.rejects.rows(&batch, emitted.rejections, from, outputs).await?;
            shaped.push(emitted.main);
        }
        self.failures.report(work, &mut self.rejects, outputs).await?;
        Ok(shaped)
    }

    /// What is written now that the input has ended.
    pub(super) async fn finish(&mut self, outputs: &mut Outputs) -> Result<Option<Batch>, TaskError> {
        let mut work = Work::items(1).whole();
        while self.failures.next(&mut work).is_some() {
            let (moment, states) = (work.moment(&mut self.moments, self.watermark), self.lists.read()?);
            let (arrived, seen) = (self.moments.monotonic(), self.seen);
            let result = self.instance.finish(moment, &states, &self.shaped, arrived, seen..seen);
            let after = self.failures.after(&mut work, result, outputs.metrics()).await?;
            let Some(Written { emitted, states }) = after else { continue };
            self.lists.apply(&states)?;
            outputs.metrics().set_guests_replaced(self.instance.replaced());
            return Ok(Some(emitted.main));
        }
        Ok(None)
    }

    /// Another plugin goes on with the lists, which become what it declares.
    pub(super) fn replace(&mut self, mut new: Replacement) -> Result<(), TaskError> {
        let states = &new.instance.description().states;
        if self.lists.states() != states.as_slice() {
            let states = states.clone();
            let mut guests = Guests::new(&[]).with(0, Some(&mut new.instance));
            self.lists = self.lists.reopened(states, &mut guests)?;
        }
        (self.instance, self.reads) = (new.instance, new.reads);
        self.failures.replaced();
        Ok(())
    }

    pub(super) fn snapshot(&self) -> Result<SubtaskState, TaskError> {
        let operator_states = self.lists.snapshot()?;
        Ok(SubtaskState { watermark: self.watermark, operator_states, ..SubtaskState::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};
    use arrow_buffer::OffsetBuffer;

    use super::*;
    use crate::{
        checkpoint::{NodeState, SubtaskEntry, redistribute},
        model::{Kind, OperatorState, StateChange, StateDescription, StateKind, StateValues},
        state::TaskSettings,
    };

    fn lists(restored: &[OperatorState]) -> OperatorLists {
        let state = |name: &str, kind| StateDescription {
            name: name.into(),
            kind,
            schema_version: 1,
            value: Kind::Int64,
            key: None,
            time_to_live: None,
        };
        let states = vec![state("kept", StateKind::OperatorList), state("seen", StateKind::OperatorUnion)];
        let settings = TaskSettings { name: "out".into(), states, drop_vanished: false };
        OperatorLists::open(settings, restored).unwrap()
    }

    /// A checkpoint of subtasks that keep these numbers in both states.
    fn checkpoint(kept: &[Vec<i64>]) -> NodeState {
        let subtask = |numbers: &Vec<i64>| {
            let mut lists = lists(&[]);
            let append = |state| StateChange::Append {
                state,
                keys: vec![0],
                offsets: OffsetBuffer::from_lengths([numbers.len()]),
                values: Arc::new(Int64Array::from(numbers.clone())),
            };
            lists.apply(&[append(0), append(1)]).unwrap();
            let operator_states = lists.snapshot().unwrap();
            SubtaskEntry { watermark: 0, splits: vec![], stores: vec![], operator_states, committables: vec![] }
        };
        NodeState { uid: "out".into(), parallelism: kept.len() as u32, subtasks: kept.iter().map(subtask).collect() }
    }

    fn numbers(values: &StateValues) -> Vec<i64> {
        let StateValues::Many { values, .. } = values else { panic!("{values:?}") };
        values.as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn lists_survive_any_change_of_parallelism() {
        let kept = [vec![1, 2, 3, 4, 5], vec![], vec![6, 7]];
        let all: Vec<i64> = (1..=7).collect();
        for parallelism in 1..=9 {
            let shares = redistribute(&checkpoint(&kept), parallelism, 128);
            let mut dealt = Vec::new();
            for share in &shares {
                let read = lists(&share.operator_states).read().unwrap();
                let mine = numbers(&read[0]);
                let even = all.len() / parallelism as usize..=all.len().div_ceil(parallelism as usize);
                assert!(even.contains(&mine.len()), "{mine:?} of {parallelism}");
                dealt.extend(mine);
                assert_eq!(numbers(&read[1]), all, "each has all of a union");
            }
            dealt.sort_unstable();
            assert_eq!(dealt, all, "each is with one of {parallelism}");
        }
    }
}
