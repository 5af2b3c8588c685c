//! A batch may have a window fire more than once. So that what fires has the rows up to there and no others, the batch is worked on in
//! rounds: in each, a window fires at most once, after all its rows of the round. Pure.
use crate::model::Decision;

/// Part of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Rows, in their order.
    pub(super) rows: Vec<u32>,
    /// What becomes of which windows after that.
    pub(super) decided: Vec<(u32, Decision)>,
}

/// The rounds of a batch: row `i` is of window `groups[i]` (below `count`), and once it has been added `decisions[i]` holds.
pub(super) fn rounds(groups: &[u32], decisions: &[Decision], count: usize) -> Vec<Round> {
    let mut round_of = vec![0usize; count];
    let mut rounds: Vec<Round> = Vec::new();
    for (row, (group, decision)) in groups.iter().zip(decisions).enumerate() {
        let round = &mut round_of[*group as usize];
        if rounds.len() == *round {
            rounds.push(Round::default());
        }
        rounds[*round].rows.push(row as u32);
        if *decision != Decision::Continue {
            rounds[*round].decided.push((*group, *decision));
            *round += 1;
        }
    }
    rounds
}

/// Consecutive parts of `items`, each of at most `max` in all as `size` says, but of one item at least.
pub(super) fn chunks<'a>(
    items: &'a [u32],
    max: usize,
    size: impl Fn(u32) -> usize + 'a,
) -> impl Iterator<Item = &'a [u32]> + 'a {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut sum = size(*rest.first()?);
        let more = rest[1..].iter().take_while(|item| {
            sum = sum.saturating_add(size(**item));
            sum <= max
        });
        let (chunk, after) = rest.split_at(1 + more.count());
        rest = after;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_fires_has_seen_just_the_rows_of_its_window_up_to_there() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..300 {
            let (rows, count) = (random.usize(0..40), random.u32(1..5));
            let groups: Vec<u32> = (0..rows).map(|_| random.u32(0..count)).collect();
            let decisions: Vec<Decision> = (0..rows)
                .map(|_| *random.choice(&[Decision::Continue, Decision::Fire, Decision::Purge]).expect("one"))
                .collect();
            // What each window has seen when something is decided, row by row and in rounds.
            let mut expected = vec![Vec::new(); count as usize];
            let mut seen = vec![Vec::new(); count as usize];
            for row in 0..rows {
                let group = groups[row] as usize;
                seen[group].push(row as u32);
                if decisions[row] != Decision::Continue {
                    expected[group].push((seen[group].clone(), decisions[row]));
                }
            }
            let last = seen;
            let mut decided = vec![Vec::new(); count as usize];
            let mut seen = vec![Vec::new(); count as usize];
            for round in rounds(&groups, &decisions, count as usize) {
                assert!(!round.rows.is_empty());
                round.rows.iter().for_each(|row| seen[groups[*row as usize] as usize].push(*row));
                for (group, decision) in round.decided {
                    decided[group as usize].push((seen[group as usize].clone(), decision));
                }
            }
            assert_eq!((decided, seen), (expected, last));
        }
    }

    #[test]
    fn chunks_are_as_long_as_they_may_be_and_none_is_empty() {
        let sizes = [3, 1, 1, 9, 0, 5, 5];
        let items: Vec<u32> = (0..7).collect();
        let parts: Vec<&[u32]> = chunks(&items, 5, |item| sizes[item as usize]).collect();
        assert_eq!(parts, [&[0, 1, 2][..], &[3], &[4, 5], &[6]]);
    }
}
