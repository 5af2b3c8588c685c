//! Barriers at a task with several inputs: when all have come, and which inputs wait until then. Pure.
use std::collections::BTreeMap;

use super::Barrier;

/// What is known of the barriers on a task's inputs. Checkpoints come in the same order on every input.
#[derive(Clone, Debug)]
pub struct Alignment {
    ended: Vec<bool>,
    /// By checkpoint: its barrier, and on which inputs it has come.
    pending: BTreeMap<u64, (Barrier, Vec<bool>)>,
}

impl Alignment {
    /// For this many inputs.
    pub fn new(inputs: usize) -> Alignment {
        Alignment { ended: vec![false; inputs], pending: BTreeMap::new() }
    }

    /// A barrier has come on an input; the barrier if it has now come on all that have not ended. Earlier ones that are still missing
    /// somewhere can then not be completed any more: every input has gone past them.
    pub fn barrier(&mut self, input: usize, barrier: Barrier) -> Option<Barrier> {
        let inputs = self.ended.len();
        let (_, come) = self.pending.entry(barrier.checkpoint).or_insert_with(|| (barrier, vec![false; inputs]));
        come[input] = true;
        self.complete()
    }

    /// An input has ended; the barrier that waited only for it.
    pub fn end(&mut self, input: usize) -> Option<Barrier> {
        self.ended[input] = true;
        self.complete()
    }

    /// Whether what comes on an input has to wait.
    pub fn is_blocked(&self, input: usize) -> bool {
        self.pending.values().any(|(barrier, come)| barrier.aligned && come[input])
    }

    fn complete(&mut self) -> Option<Barrier> {
        let all = |come: &[bool]| come.iter().zip(&self.ended).all(|(come, ended)| *come || *ended);
        let (checkpoint, barrier) =
            self.pending.iter().find(|(_, (_, come))| all(come)).map(|(id, (barrier, _))| (*id, *barrier))?;
        self.pending = self.pending.split_off(&(checkpoint + 1));
        Some(barrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dataflow::Last, model::SnapshotKind};

    fn barrier(checkpoint: u64, aligned: bool) -> Barrier {
        Barrier { checkpoint, kind: SnapshotKind::Checkpoint, kept: true, last: Last::No, aligned, change: None }
    }

    #[test]
    fn an_aligned_barrier_blocks_the_inputs_it_came_on_until_it_came_on_all() {
        let mut alignment = Alignment::new(3);
        assert_eq!(alignment.barrier(1, barrier(7, true)), None);
        assert!(alignment.is_blocked(1) && !alignment.is_blocked(0));
        assert_eq!(alignment.barrier(0, barrier(7, true)), None);
        assert_eq!(alignment.barrier(2, barrier(7, true)), Some(barrier(7, true)));
        assert!((0..3).all(|input| !alignment.is_blocked(input)));
    }

    #[test]
    fn the_end_of_an_input_stands_for_every_barrier_to_come() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, barrier(1, true)), None);
        assert_eq!(alignment.end(1), Some(barrier(1, true)));
        assert_eq!(alignment.barrier(0, barrier(2, true)), Some(barrier(2, true)));
    }

    #[test]
    fn an_unaligned_barrier_blocks_nobody_and_a_later_one_overtakes() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, barrier(1, false)), None);
        assert_eq!(alignment.barrier(0, barrier(2, false)), None);
        assert!(!alignment.is_blocked(0));
        assert_eq!(alignment.barrier(1, barrier(1, false)), Some(barrier(1, false)));
        assert_eq!(alignment.barrier(1, barrier(2, false)), Some(barrier(2, false)));
    }
}
