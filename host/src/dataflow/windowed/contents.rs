//! What windows hold until they fire: an accumulator, or all their rows. The first of the store's states.
use std::{sync::Arc, time::Duration};

use arrow_array::{Array, ArrayRef, UInt32Array, cast::AsArray, new_null_array};
use arrow_buffer::OffsetBuffer;
use arrow_select::{interleave::interleave, take::take};

use super::{
    AggregatePlugin, ProcessPlugin,
    elements::{decode, encode},
    firing::{Occasion, Panes},
    gather::Gathering,
    intake::Intake,
    rounds::chunks,
    state::{indices_of, many, single, states_of},
};
use crate::{
    dataflow::{Replacement, TaskError},
    model::{Batch, Kind, OperatorKind, Schema, Shape, StateChange, StateDescription, StateKind},
    plugin::Instance,
    state::{KeyedStore, Touched},
};

/// Where it lies in the store.
pub(super) const CONTENTS: usize = 0;

/// What windows hold.
pub(super) enum Contents {
    /// An accumulator; the columns are those of its results.
    Accumulators(Box<AggregatePlugin>, Schema),
    /// All rows, of these columns, which are these of the input.
    Elements(Schema, Vec<usize>),
}

/// What the panes of a call hold while it is worked on.
pub(super) enum Held {
    /// An accumulator each, null where there is none; not yet in the store.
    Accumulators(ArrayRef),
    /// Rows, which are in the store.
    Elements,
}

/// What some panes that fire hold.
pub(super) struct Fired {
    /// The panes; those that hold nothing are not among them.
    pub(super) panes: Vec<u32>,
    /// Results, one a pane, or rows.
    pub(super) rows: Batch,
    /// To which of `panes` each row belongs; ascending.
    pub(super) groups: Vec<u32>,
}

impl Contents {
    /// An aggregate's.
    pub(super) fn accumulators(aggregate: AggregatePlugin, intake: &Intake) -> Result<Contents, TaskError> {
        let fields = match &aggregate.instance.description().output {
            Shape::Columns(fields) => fields.clone(),
            Shape::InputRows => Vec::new(),
        };
        let schema = Schema::new(fields).map_err(|error| intake.bug(error))?;
        Ok(Contents::Accumulators(Box::new(aggregate), schema))
    }

    /// The rows a process reads.
    pub(super) fn elements(process: &ProcessPlugin, intake: &Intake) -> Result<Contents, TaskError> {
        let fields = process.instance.description().inputs.first().cloned().unwrap_or_default();
        let schema = Schema::new(fields).map_err(|error| intake.bug(error))?;
        Ok(Contents::Elements(schema, process.reads.clone()))
    }

    /// The state in the store. Rows that were written with other columns are not found again: they could not be read.
    pub(super) fn state(&self) -> Vec<StateDescription> {
        match self {
            Contents::Accumulators(aggregate, _) => {
                states_of(OperatorKind::Aggregate, &aggregate.instance.description().states).collect()
            }
            Contents::Elements(schema, _) => vec![StateDescription {
                name: format!("elements {schema}"),
                kind: StateKind::List,
                schema_version: 1,
                value: Kind::Binary,
                key: None,
                time_to_live: None,
            }],
        }
    }

    /// From now on another aggregate works.
    pub(super) fn replace(&mut self, new: Replacement) {
        if let Contents::Accumulators(aggregate, _) = self {
            **aggregate = AggregatePlugin { instance: new.instance, reads: new.reads };
        }
    }

    /// The guest, if there is one.
    pub(super) fn instance(&mut self) -> Option<&mut Instance> {
        match self {
            Contents::Accumulators(aggregate, _) => Some(&mut aggregate.instance),
            Contents::Elements(..) => None,
        }
    }

    /// The columns of what fires.
    pub(super) fn schema(&self) -> &Schema {
        match self {
            Contents::Accumulators(_, schema) | Contents::Elements(schema, _) => schema,
        }
    }

    /// What panes hold.
    pub(super) fn load(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        intake: &Intake,
        occasion: &Occasion,
    ) -> Result<Held, TaskError> {
        match self {
            Contents::Accumulators(..) => {
                Ok(Held::Accumulators(single(store.read(touched, CONTENTS, occasion.now_ms())?, intake)?))
            }
            Contents::Elements(..) => Ok(Held::Elements),
        }
    }

    /// What panes hold now goes to the store.
    pub(super) fn save(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        held: &Held,
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        if let Held::Accumulators(accumulators) = held {
            store.put_column(touched, CONTENTS, accumulators, occasion.now_ms())?;
        }
        Ok(())
    }

    /// Adds rows: row `i` of the batch to pane `groups[i]`. Gives those rejected, and why.
    pub(super) fn add(
        &mut self,
        (store, touched): (&mut KeyedStore, &Touched),
        held: &mut Held,
        (batch, groups): (&Batch, &[u32]),
        intake: &Intake,
        occasion: &Occasion,
    ) -> Result<Vec<(usize, String)>, TaskError> {
        // The panes the rows are of, and for each row which of these.
        let mut place = vec![u32::MAX; touched.len()];
        let mut panes = Vec::new();
        let dense: Vec<u32> = groups
            .iter()
            .map(|group| {
                let place = &mut place[*group as usize];
                if *place == u32::MAX {
                    *place = panes.len() as u32;
                    panes.push(*group);
                }
                *place
            })
            .collect();
        match (self, held) {
            (Contents::Accumulators(aggregate, _), Held::Accumulators(held)) => {
                let AggregatePlugin { instance, reads } = &mut **aggregate;
                let before = pick_values(held, &panes, intake)?;
                let (moment, records) = (occasion.moment, occasion.records.clone());
                let after = instance.accumulate(moment, batch, reads, &dense, &before, records)?;
                *held = overlay(held, &after.values, &panes, intake)?;
                Ok(after.rejections)
            }
            (Contents::Elements(_, reads), _) => {
                let mut lists: Vec<Vec<u32>> = vec![Vec::new(); panes.len()];
                dense.iter().enumerate().for_each(|(row, list)| lists[*list as usize].push(row as u32));
                let offsets = OffsetBuffer::from_lengths(lists.iter().map(Vec::len));
                let values = Arc::new(encode(batch, reads, lists.into_iter().flatten()));
                let append = StateChange::Append { state: CONTENTS, keys: panes, offsets, values };
                store.apply(touched, &[append], occasion.now_ms())?;
                Ok(Vec::new())
            }
            (Contents::Accumulators(..), Held::Elements) => Err(intake.bug("an aggregate's windows hold rows")),
        }
    }

    /// What panes that fire hold, in parts of about `max` rows.
    pub(super) fn fire(
        &mut self,
        store: &mut KeyedStore,
        panes: &Panes,
        (held, fired): (&Held, &[u32]),
        (max, arrived): (usize, Duration),
        intake: &Intake,
        occasion: &Occasion,
    ) -> Result<Vec<Fired>, TaskError> {
        match (self, held) {
            (Contents::Accumulators(aggregate, schema), Held::Accumulators(held)) => {
                let there: Vec<u32> = fired.iter().copied().filter(|pane| held.is_valid(*pane as usize)).collect();
                chunks(&there, max, |_| 1)
                    .map(|part| {
                        let accumulators = pick_values(held, part, intake)?;
                        let columns = aggregate.instance.results(&accumulators, occasion.records.clone())?;
                        let columns = schema.record_batch(columns, part.len()).map_err(|what| intake.bug(what))?;
                        let timestamps = part.iter().map(|pane| panes.windows[*pane as usize].last()).collect();
                        let rows = Batch { columns, timestamps, arrived, key_hashes: None };
                        Ok(Fired { panes: part.to_vec(), rows, groups: (0..part.len() as u32).collect() })
                    })
                    .collect()
            }
            (Contents::Elements(schema, _), _) => {
                let (offsets, values) = many(store.read(&panes.touched, CONTENTS, occasion.now_ms())?, intake)?;
                let length = |pane: u32| (offsets[pane as usize + 1] - offsets[pane as usize]) as usize;
                let there: Vec<u32> = fired.iter().copied().filter(|pane| length(*pane) > 0).collect();
                let values = values.as_binary::<i32>();
                chunks(&there, max, length)
                    .map(|part| {
                        let bytes = indices_of(&offsets, part).map(|index| values.value(index as usize));
                        let rows = decode(schema, bytes, arrived).map_err(|what| intake.bug(what))?;
                        let of = |(place, pane): (usize, &u32)| std::iter::repeat_n(place as u32, length(*pane));
                        let groups = part.iter().enumerate().flat_map(of).collect();
                        Ok(Fired { panes: part.to_vec(), rows, groups })
                    })
                    .collect()
            }
            (Contents::Accumulators(..), Held::Elements) => Err(intake.bug("an aggregate's windows hold rows")),
        }
    }

    /// What these panes hold goes.
    pub(super) fn purge(
        &self,
        (store, touched): (&mut KeyedStore, &Touched),
        held: &mut Held,
        panes: Vec<u32>,
        intake: &Intake,
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        match held {
            Held::Accumulators(held) => {
                let nothing = new_null_array(held.data_type(), panes.len());
                *held = overlay(held, &nothing, &panes, intake)?;
                Ok(())
            }
            Held::Elements => {
                let clear = StateChange::Clear { state: CONTENTS, keys: panes };
                Ok(store.apply(touched, &[clear], occasion.now_ms())?)
            }
        }
    }

    /// What panes hold that are about to become part of others; to be given to [`join`](Contents::join).
    pub(super) fn lift(
        &self,
        store: &mut KeyedStore,
        touched: &Touched,
        intake: &Intake,
        occasion: &Occasion,
    ) -> Result<Lifted, TaskError> {
        let values = store.read(touched, CONTENTS, occasion.now_ms())?;
        match self {
            Contents::Accumulators(..) => Ok(Lifted::Accumulators(single(values, intake)?)),
            Contents::Elements(..) => many(values, intake).map(|(offsets, values)| Lifted::Elements(offsets, values)),
        }
    }

    /// Joined sessions: what was lifted from pane `i` becomes part of pane `groups[i]`, which held nothing.
    pub(super) fn join(
        &mut self,
        (store, touched): (&mut KeyedStore, &Touched),
        lifted: Lifted,
        groups: &[u32],
        intake: &Intake,
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        match (self, lifted) {
            (Contents::Accumulators(aggregate, _), Lifted::Accumulators(before)) => {
                let merge = |firsts: &ArrayRef, others: &ArrayRef, of: &[u32]| {
                    let records = occasion.records.clone();
                    aggregate.instance.merge(firsts, others, of, records).map_err(TaskError::from)
                };
                let (joined, panes) = joined(&before, groups, touched.len(), merge, intake)?;
                let nothing = new_null_array(before.data_type(), touched.len());
                let joined = overlay(&nothing, &joined, &panes, intake)?;
                Ok(store.put_column(touched, CONTENTS, &joined, occasion.now_ms())?)
            }
            (Contents::Elements(..), Lifted::Elements(offsets, values)) => {
                // One list a pane, of the lists of all that became part of it.
                let mut order: Vec<u32> = (0..groups.len() as u32).collect();
                order.sort_by_key(|source| groups[*source as usize]);
                let length = |source: &u32| (offsets[*source as usize + 1] - offsets[*source as usize]) as usize;
                let mut lengths = vec![0; touched.len()];
                order.iter().for_each(|source| lengths[groups[*source as usize] as usize] += length(source));
                let indices = UInt32Array::from_iter_values(indices_of(&offsets, &order));
                let values = take(&values, &indices, None).map_err(|error| intake.bug(error))?;
                let keys = (0..touched.len() as u32).collect();
                let offsets = OffsetBuffer::from_lengths(lengths);
                let replace = StateChange::Replace { state: CONTENTS, keys, offsets, values };
                Ok(store.apply(touched, &[replace], occasion.now_ms())?)
            }
            _ => Err(intake.bug("what sessions held is not what they hold")),
        }
    }
}

/// What panes held that are no more.
pub(super) enum Lifted {
    /// An accumulator each, or null.
    Accumulators(ArrayRef),
    /// A list each.
    Elements(OffsetBuffer<i32>, ArrayRef),
}

/// The accumulators of `count` panes, and for each of them which pane it is of: `before[i]`, if there is one, becomes part of that of
/// pane `groups[i]`.
fn joined(
    before: &ArrayRef,
    groups: &[u32],
    count: usize,
    merge: impl FnOnce(&ArrayRef, &ArrayRef, &[u32]) -> Result<ArrayRef, TaskError>,
    intake: &Intake,
) -> Result<(ArrayRef, Vec<u32>), TaskError> {
    let gathering = Gathering::of(groups, before.nulls(), count);
    let ordered = gathering.ordered(before).map_err(|error| intake.bug(error))?;
    let joined = gathering.merged(&ordered, merge, |error| intake.bug(error))?;
    Ok((joined, gathering.keys))
}

fn pick_values(values: &ArrayRef, at: &[u32], intake: &Intake) -> Result<ArrayRef, TaskError> {
    if at.len() == values.len() && at.iter().enumerate().all(|(i, at)| i == *at as usize) {
        return Ok(values.clone());
    }
    take(values, &UInt32Array::from_iter_values(at.iter().copied()), None).map_err(|error| intake.bug(error))
}

/// `values`, but `new[i]` at `at[i]`.
fn overlay(values: &ArrayRef, new: &ArrayRef, at: &[u32], intake: &Intake) -> Result<ArrayRef, TaskError> {
    if at.len() == values.len() && at.iter().enumerate().all(|(i, at)| i == *at as usize) {
        return Ok(new.clone());
    }
    let mut from: Vec<(usize, usize)> = (0..values.len()).map(|i| (0, i)).collect();
    at.iter().enumerate().for_each(|(i, at)| from[*at as usize] = (1, i));
    interleave(&[&**values, &**new], &from).map_err(|error| intake.bug(error))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int64Array, types::Int64Type};

    use super::*;

    fn intake() -> Intake {
        Intake { node: "x".into(), key: Vec::new(), late: None }
    }

    fn numbers(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn new_values_are_laid_over_the_old_and_the_rest_stays() {
        let old = numbers(&[Some(1), None, Some(3)]);
        let new = numbers(&[Some(30), None]);
        let over = overlay(&old, &new, &[2, 0], &intake()).expect("values");
        assert_eq!(&over, &numbers(&[None, None, Some(30)]));
        let whole = numbers(&[Some(7), Some(8), Some(9)]);
        assert_eq!(&overlay(&old, &whole, &[0, 1, 2], &intake()).expect("values"), &whole);
        assert_eq!(&pick_values(&old, &[2, 2, 1], &intake()).expect("values"), &numbers(&[Some(3), Some(3), None]));
    }

    #[test]
    fn sessions_that_are_joined_have_the_sum_of_theirs_and_empty_ones_add_nothing() {
        let before = numbers(&[Some(1), Some(10), None, Some(100), None, Some(1000)]);
        let merge = |firsts: &ArrayRef, others: &ArrayRef, of: &[u32]| {
            let mut sums = firsts.as_primitive::<Int64Type>().values().to_vec();
            others
                .as_primitive::<Int64Type>()
                .iter()
                .zip(of)
                .for_each(|(other, of)| sums[*of as usize] += other.unwrap());
            Ok(Arc::new(Int64Array::from(sums)) as ArrayRef)
        };
        let (sums, panes) = joined(&before, &[1, 0, 1, 1, 2, 3], 4, merge, &intake()).expect("sums");
        let all = overlay(&numbers(&[None; 4]), &sums, &panes, &intake()).expect("values");
        assert_eq!(&all, &numbers(&[Some(10), Some(101), None, Some(1000)]));
    }
}
