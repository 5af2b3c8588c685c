//! How the accumulators that keys have in several slices of a window become one a key. Pure but for the call that merges.
use arrow_array::{Array, ArrayRef};
use arrow_schema::ArrowError;
use arrow_select::{concat::concat, interleave::interleave};

/// Some keys' accumulators in each of several slices.
pub(super) struct Gathering {
    /// The keys that have any, by index; those with more than one come first.
    pub(super) keys: Vec<u32>,
    /// The first accumulator of each of `keys`, as (slice, key).
    firsts: Vec<(usize, usize)>,
    /// How many of `keys` have more than one.
    several: usize,
    /// All accumulators but the first of a key.
    others: Vec<(usize, usize)>,
    /// To which of `keys` each of `others` belongs.
    groups: Vec<u32>,
}

impl Gathering {
    /// Of `count` keys; `slices` are their accumulators in each slice, null where there is none.
    pub(super) fn of(slices: &[ArrayRef], count: usize) -> Gathering {
        const NONE: u32 = u32::MAX;
        let mut firsts = vec![NONE; count];
        let mut others: Vec<(usize, usize)> = Vec::new();
        for (slice, column) in slices.iter().enumerate() {
            let mut see = |key: usize| {
                if firsts[key] == NONE {
                    firsts[key] = slice as u32;
                } else {
                    others.push((slice, key));
                }
            };
            match column.nulls().filter(|nulls| nulls.null_count() > 0) {
                Some(nulls) => nulls.valid_indices().for_each(see),
                None => (0..count).for_each(&mut see),
            }
        }
        // The place of each key among those with several accumulators.
        let mut places = vec![NONE; count];
        let mut keys = Vec::with_capacity(count);
        let mut groups = Vec::with_capacity(others.len());
        for (_, key) in &others {
            if places[*key] == NONE {
                places[*key] = keys.len() as u32;
                keys.push(*key as u32);
            }
            groups.push(places[*key]);
        }
        let several = keys.len();
        keys.extend((0..count).filter(|key| firsts[*key] != NONE && places[*key] == NONE).map(|key| key as u32));
        let firsts = keys.iter().map(|key| (firsts[*key as usize] as usize, *key as usize)).collect();
        Gathering { keys, firsts, several, others, groups }
    }

    /// One accumulator for each of `keys`. `merge` joins its second into its first argument, where the third says; `wrong` makes an
    /// error of one of Arrow's.
    pub(super) fn merged<E>(
        &self,
        slices: &[ArrayRef],
        merge: impl FnOnce(&ArrayRef, &ArrayRef, &[u32]) -> Result<ArrayRef, E>,
        wrong: impl Fn(ArrowError) -> E,
    ) -> Result<ArrayRef, E> {
        let slices: Vec<&dyn Array> = slices.iter().map(|column| &**column).collect();
        let pick = |from: &[(usize, usize)]| interleave(&slices, from).map_err(&wrong);
        let (several, single) = self.firsts.split_at(self.several);
        if several.is_empty() {
            return pick(single);
        }
        let merged = merge(&pick(several)?, &pick(&self.others)?, &self.groups)?;
        match single.is_empty() {
            true => Ok(merged),
            false => concat(&[&merged, &pick(single)?]).map_err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use arrow_array::{Int64Array, cast::AsArray, types::Int64Type};

    use super::*;

    #[test]
    fn each_key_gets_the_sum_of_what_it_has_in_the_slices() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..200 {
            let count = random.usize(0..12);
            let cells: Vec<Vec<Option<i64>>> = (0..random.usize(1..6))
                .map(|_| (0..count).map(|_| random.bool().then(|| random.i64(0..100))).collect())
                .collect();
            let slices: Vec<ArrayRef> =
                cells.iter().map(|column| Arc::new(Int64Array::from(column.clone())) as ArrayRef).collect();
            let mut expected: BTreeMap<u32, i64> = BTreeMap::new();
            for column in &cells {
                for (key, value) in column.iter().enumerate() {
                    if let Some(value) = value {
                        *expected.entry(key as u32).or_default() += value;
                    }
                }
            }
            let gathering = Gathering::of(&slices, count);
            let mut merged_keys = 0;
            let sums = gathering.merged(
                &slices,
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
            assert_eq!(seen, expected, "round {round}");
            let several = (0..count).filter(|key| cells.iter().filter(|column| column[*key].is_some()).count() > 1);
            assert_eq!(merged_keys, several.count(), "only keys with several accumulators are merged");
        }
    }
}
