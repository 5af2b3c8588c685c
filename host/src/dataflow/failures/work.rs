//! What a call was to be given, while part of it fails: the parts still to be tried, each a call of its own, and what was found to be
//! poison. Parts come in order, so what is behind sees rows in theirs. Pure.
use std::{ops::Range, sync::Arc};

use crate::{
    dataflow::{Moments, RowNumbers},
    model::{Batch, EventTime},
    plugin::{CallError, CallMoment},
};

/// What failed calls of one batch may cost before the rest of what fails is given up without seeking further.
pub(super) const COST_MAX: u32 = 256;
/// What a call costs whose time ran out; any other costs 1.
pub(super) const LATE_COST: u32 = 8;

/// Something a call fails on.
#[derive(Clone, Debug)]
pub(super) struct Poison {
    /// Which row, timer or window.
    pub(super) item: usize,
    /// Why.
    pub(super) reason: Arc<str>,
    /// Whose call.
    pub(super) plugin: Arc<str>,
}

/// Rows for a call.
pub(in crate::dataflow) struct Rows {
    /// Which of the work's.
    pub(in crate::dataflow) part: Range<usize>,
    /// The rows.
    pub(in crate::dataflow) batch: Batch,
    /// Their numbers.
    pub(in crate::dataflow) numbers: RowNumbers,
    /// The span of these, for errors.
    pub(in crate::dataflow) records: Range<u64>,
}

/// Rows, timers or windows for a call.
pub(in crate::dataflow) struct Work {
    batch: Option<Batch>,
    pub(super) numbers: RowNumbers,
    /// Whether parts of it can be calls of their own.
    divisible: bool,
    items: usize,
    /// What is next.
    current: Option<Range<usize>>,
    /// What comes after it, the next last.
    later: Vec<Range<usize>>,
    /// How often the current part was tried again.
    pub(super) retries: u32,
    /// What failed calls have cost so far.
    cost: u32,
    moment: Option<CallMoment>,
    pub(super) poison: Vec<Poison>,
}

impl Work {
    /// Timers, windows or whatever else.
    pub(in crate::dataflow) fn items(items: usize) -> Work {
        Work {
            batch: None,
            numbers: RowNumbers::after(0),
            divisible: true,
            items,
            current: Some(0..items),
            later: Vec::new(),
            retries: 0,
            cost: 0,
            moment: None,
            poison: Vec::new(),
        }
    }

    /// Rows. They are let go of once they are done.
    pub(in crate::dataflow) fn rows(batch: Batch, numbers: RowNumbers) -> Work {
        let items = batch.rows();
        Work { batch: Some(batch), numbers, ..Work::items(items) }
    }

    /// All or nothing: what can be tried again, but not in parts.
    pub(in crate::dataflow) fn whole(self) -> Work {
        Work { divisible: false, ..self }
    }

    /// These rows; none if the work is of no rows.
    pub(super) fn rows_of(&self, part: Range<usize>) -> Option<Rows> {
        let batch = self.batch.as_ref()?;
        let records = self.numbers.span(&part);
        let (batch, numbers) = match part.len() == batch.rows() {
            true => (batch.clone(), self.numbers.clone()),
            false => (batch.slice(part.start, part.len()), self.numbers.slice(&part)),
        };
        Some(Rows { part, batch, numbers, records })
    }

    /// The moment of the current part's call: the same when it is tried again.
    pub(in crate::dataflow) fn moment(&mut self, moments: &mut Moments, watermark: EventTime) -> CallMoment {
        *self.moment.get_or_insert_with(|| moments.next(watermark))
    }

    /// Whether anything was poison.
    pub(in crate::dataflow) fn has_poison(&self) -> bool {
        !self.poison.is_empty()
    }

    /// The items that were poison.
    pub(in crate::dataflow) fn poisoned(&self) -> impl Iterator<Item = usize> {
        self.poison.iter().map(|poison| poison.item)
    }

    /// What is next.
    pub(super) fn current(&self) -> Option<Range<usize>> {
        self.current.clone()
    }

    /// Whether nothing was divided yet.
    pub(super) fn is_whole(&self) -> bool {
        self.current.as_ref().is_some_and(|part| part.len() == self.items)
    }

    /// Whether failures may cost more.
    pub(super) fn may_cost(&self) -> bool {
        self.cost < COST_MAX
    }

    /// A call has failed.
    pub(super) fn count(&mut self, error: &CallError) {
        self.cost += if error.failure.is_late() { LATE_COST } else { 1 };
    }

    /// The current part is done.
    pub(super) fn done(&mut self) {
        self.next();
        if self.current.is_none() && self.poison.is_empty() {
            self.batch = None;
        }
    }

    fn next(&mut self) {
        self.current = self.later.pop();
        (self.retries, self.moment) = (0, None);
    }

    /// The rows, if any were poison.
    pub(super) fn poisoned_batch(&self) -> Option<&Batch> {
        self.batch.as_ref().filter(|_| self.has_poison())
    }

    /// The current part has failed: its halves are next, or it is poison. None if it can neither be halved nor do without.
    pub(super) fn divide(&mut self, reason: &str, plugin: &Arc<str>, give_up: bool) -> Option<()> {
        let part = self.current.clone().filter(|_| self.divisible)?;
        if part.len() > 1 && !give_up && self.may_cost() {
            let middle = part.start + part.len() / 2;
            self.later.push(middle..part.end);
            (self.retries, self.moment) = (0, None);
            self.current = Some(part.start..middle);
            return Some(());
        }
        let reason = match part.len() {
            0 | 1 => reason.into(),
            rows => format!("{reason}; one of {rows} given up together, for too many calls have failed").into(),
        };
        self.lose(part, &reason, plugin);
        self.next();
        Some(())
    }

    /// All that is left is not tried. Whether that can be.
    pub(super) fn refuse(&mut self, reason: &Arc<str>, plugin: &Arc<str>) -> bool {
        while let Some(part) = self.current.clone().filter(|_| self.divisible) {
            self.lose(part, reason, plugin);
            self.next();
        }
        self.current.is_none()
    }

    fn lose(&mut self, part: Range<usize>, reason: &Arc<str>, plugin: &Arc<str>) {
        let poison = |item| Poison { item, reason: reason.clone(), plugin: plugin.clone() };
        self.poison.extend(part.map(poison));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plugin::CallFailure;

    fn error(failure: CallFailure) -> CallError {
        CallError { plugin: "p@1".into(), operator: "x".into(), subtask: 0, records: 0..1, failure }
    }

    /// Does the work with a call that fails on these items: what was done, in order, what was lost, and how many calls failed.
    fn run(items: usize, bad: &BTreeSet<usize>, failure: &CallFailure) -> (Vec<usize>, Vec<usize>, usize) {
        let mut work = Work::items(items);
        let (mut done, mut failed) = (Vec::new(), 0);
        while let Some(part) = work.current() {
            if bad.range(part.clone()).next().is_none() {
                done.extend(part);
                work.done();
            } else {
                failed += 1;
                work.count(&error(failure.clone()));
                work.divide("bad", &"p@1".into(), false).unwrap();
            }
        }
        (done, work.poisoned().collect(), failed)
    }

    #[test]
    fn exactly_what_calls_fail_on_is_lost_and_the_rest_is_done_in_order() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..300 {
            let items = random.usize(1..200);
            let bad: BTreeSet<usize> = (0..random.usize(0..8)).map(|_| random.usize(0..items)).collect();
            let (done, lost, _) = run(items, &bad, &CallFailure::Stack);
            assert_eq!(lost, bad.iter().copied().collect::<Vec<_>>());
            assert_eq!(done, (0..items).filter(|item| !bad.contains(item)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_failures_may_cost_is_bounded_and_nothing_is_lost_unseen() {
        let bad: BTreeSet<usize> = (0..4096).collect();
        // Beyond the bound, only parts that are already there are tried.
        let (done, lost, failed) = run(4096, &bad, &CallFailure::Stack);
        assert_eq!((done.len(), lost), (0, (0..4096).collect()));
        assert!((COST_MAX as usize..COST_MAX as usize + 13).contains(&failed), "{failed}");
        let (.., failed) = run(4096, &bad, &CallFailure::Deadline(std::time::Duration::ZERO));
        let bound = (COST_MAX / LATE_COST) as usize;
        assert!((bound..bound + 13).contains(&failed), "{failed}");
    }

    #[test]
    fn what_is_refused_or_whole_is_not_divided() {
        let mut work = Work::items(4);
        work.divide("bad", &"p@1".into(), false).unwrap();
        work.done();
        assert!(work.refuse(&"open".into(), &"p@1".into()));
        assert_eq!((work.poisoned().collect::<Vec<_>>(), work.current()), (vec![2, 3], None));
        let mut whole = Work::items(4).whole();
        assert_eq!(whole.divide("bad", &"p@1".into(), false), None);
        assert!(!whole.refuse(&"open".into(), &"p@1".into()), "it must be tried");
    }
}
