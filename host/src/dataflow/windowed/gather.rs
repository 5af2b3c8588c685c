//! How several accumulators of a key become one. Pure but for the call that merges.
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::ArrowError;
use arrow_select::{concat::concat, take::take};

/// Accumulators of some keys, of which each has none, one or several, in the order in which they are merged.
#[derive(Clone)]
pub(super) struct Gathering {
    /// The keys that have any, by index; those with more than one come first.
    pub(super) keys: Vec<u32>,
    /// The accumulators: the first of each key that has more than one, then the others of these, then those of all other keys.
    pub(super) order: Vec<u32>,
    /// How many of `keys` have more than one.
    several: usize,
    /// To which of `keys` each accumulator belongs that is not the first of its key.
    groups: Vec<u32>,
}

impl Gathering {
    /// Of `count` keys: accumulator `i` is of key `owners[i]`, if it is not null.
    pub(super) fn of(owners: &[u32], nulls: Option<&NullBuffer>, count: usize) -> Gathering {
        const NONE: u32 = u32::MAX;
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        let there = |at: usize| nulls.is_none_or(|nulls| nulls.is_valid(at));
        let mut amounts = vec![0_u32; count];
        for (at, key) in owners.iter().enumerate() {
            amounts[*key as usize] += u32::from(there(at));
        }
        let mut keys: Vec<u32> = (0..count as u32).filter(|key| amounts[*key as usize] > 1).collect();
        let several = keys.len();
        keys.extend((0..count as u32).filter(|key| amounts[*key as usize] == 1));
        let mut places = vec![NONE; count];
        keys.iter().enumerate().for_each(|(place, key)| places[*key as usize] = place as u32);
        let total = amounts.iter().sum::<u32>() as usize;
        let others = total - keys.len();
        let mut order = vec![NONE; total];
        let mut groups = Vec::with_capacity(others);
        for (at, key) in owners.iter().enumerate().filter(|(at, _)| there(*at)) {
            let place = places[*key as usize];
            let to = match place as usize {
                single if single >= several => single + others,
                first if order[first] == NONE => first,
                _ => {
                    groups.push(place);
                    several + groups.len() - 1
                }
            };
            order[to] = at as u32;
        }
        Gathering { keys, order, several, groups }
    }

    /// Accumulators that are not in order yet.
    pub(super) fn ordered(&self, accumulators: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        take(accumulators, &UInt32Array::from_iter_values(self.order.iter().copied()), None)
    }

    /// One accumulator for each of `keys`. `merge` joins its second into its first argument, where the third says; `wrong` makes an
    /// error of one of Arrow's.
    pub(super) fn merged<E>(
        &self,
        ordered: &ArrayRef,
        merge: impl FnOnce(&ArrayRef, &ArrayRef, &[u32]) -> Result<ArrayRef, E>,
        wrong: impl Fn(ArrowError) -> E,
    ) -> Result<ArrayRef, E> {
        if self.several == 0 {
            return Ok(ordered.clone());
        }
        let (others, end) = (self.groups.len(), self.several + self.groups.len());
        let merged = merge(&ordered.slice(0, self.several), &ordered.slice(self.several, others), &self.groups)?;
        match ordered.len() - end {
            0 => Ok(merged),
            single => concat(&[&merged, &ordered.slice(end, single)]).map_err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};

    use super::*;

    #[test]
    fn each_key_gets_the_sum_of_what_it_has() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..200 {
            let count = random.usize(1..12);
            let cells: Vec<(u32, Option<i64>)> = (0..random.usize(0..40))
                .map(|_| (random.u32(0..count as u32), (random.u8(0..4) > 0).then(|| random.i64(0..100))))
                .collect();
            let owners: Vec<u32> = cells.iter().map(|(key, _)| *key).collect();
            let column: ArrayRef = Arc::new(cells.iter().map(|(_, value)| *value).collect::<Int64Array>());
            let mut expected: BTreeMap<u32, (i64, usize)> = BTreeMap::new();
            for (key, value) in cells.iter().filter_map(|(key, value)| Some((*key, (*value)?))) {
                let (sum, amount) = expected.entry(key).or_default();
                (*sum, *amount) = (*sum + value, *amount + 1);
            }
            let gathering = Gathering::of(&owners, column.nulls(), count);
            let ordered = gathering.ordered(&column).expect("accumulators");
            let mut merged_keys = 0;
            let sums = gathering.merged(
                &ordered,
                |firsts, others, groups| {
                    let mut sums = firsts.as_primitive::<Int64Type>().values().to_vec();
                    assert_eq!((firsts.null_count(), others.null_count()), (0, 0));
                    for (i, group) in groups.iter().enumerate() {
                        sums[*group as usize] += others.as_primitive::<Int64Type>().value(i);
                    }
                    merged_keys = sums.len();
                    Ok(Arc::new(Int64Array::from(sums)) as ArrayRef)
                },
                |error| error,
            );
            let sums = sums.expect("sums");
            let seen: BTreeMap<u32, i64> =
                gathering.keys.iter().copied().zip(sums.as_primitive::<Int64Type>().values().iter().copied()).collect();
            let totals: BTreeMap<u32, i64> = expected.iter().map(|(key, (sum, _))| (*key, *sum)).collect();
            assert_eq!(seen, totals, "round {round}");
            let several = expected.values().filter(|(_, amount)| *amount > 1).count();
            assert_eq!(merged_keys, several, "only keys with several accumulators are merged");
        }
    }
}
