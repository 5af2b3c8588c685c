//! Runs aggregates in tests.
//!
//! Guarantees and knowledge: as for all harnesses.

use super::cells::{Cell, column};
use super::{IDENTITY, MOMENT, batch, read, succeeded};
use crate::aggregate::Aggregate;
use crate::bindings::types::{Column, Moment};
use crate::record::Record;

/// Runs an aggregate.
pub struct AggregateHarness<A> {
    operator: A,
    /// The moment of the calls to come; change it at will.
    pub moment: Moment,
}

impl<A: Aggregate> AggregateHarness<A> {
    /// An aggregate that needs no configuration.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self::configured("{}").unwrap_or_else(|error| panic!("{error}"))
    }

    /// An aggregate with a configuration, a JSON object; the error is the aggregate's.
    pub fn configured(json: &str) -> Result<Self, String> {
        Ok(Self { operator: A::new(json)?, moment: MOMENT })
    }

    /// Folds these records, with event time 0, into a new accumulator.
    pub fn fold<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = I>) -> Folded {
        self.fold_at(records.into_iter().map(|record| (0, record)))
    }

    /// Folds these records, each with its event time in milliseconds since 1970-01-01 UTC, into a new accumulator.
    pub fn fold_at<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Folded {
        let batch = batch(&A::describe(IDENTITY).inputs[0], records);
        let groups = vec![0; batch.rows as usize];
        let new = self.null();
        let folded = succeeded(self.operator.accumulate(self.moment, batch, groups, new));
        let rejected = folded.rejections.into_iter().map(|rejection| (rejection.row, rejection.reason)).collect();
        self.folded(folded.accumulators, rejected)
    }

    /// Joins two accumulators.
    pub fn merge(&mut self, left: &Folded, right: &Folded) -> Folded {
        let (left, right) = (left.accumulator.clone(), right.accumulator.clone());
        let merged = succeeded(self.operator.merge(left, right, vec![0]));
        self.folded(merged, Vec::new())
    }

    fn folded(&mut self, accumulator: Column, rejected: Vec<(u32, String)>) -> Folded {
        let results = succeeded(self.operator.results(accumulator.clone()));
        Folded { accumulator, results, rejected }
    }

    /// One null accumulator: a new one.
    fn null(&self) -> Column {
        column(A::describe(IDENTITY).states[0].value_kind, &[Cell::Null])
    }
}

/// An accumulator, and what came of the records folded into it.
#[derive(Debug)]
pub struct Folded {
    accumulator: Column,
    results: Vec<Column>,
    rejected: Vec<(u32, String)>,
}

impl Folded {
    /// The accumulator's result.
    pub fn result<O: Record>(&self) -> O::At<'_> {
        read::<O>(&self.results, 1).pop().unwrap_or_else(|| panic!("{:?} has no row", self.results))
    }

    /// The records rejected, counted from 0, and why.
    pub fn rejected(&self) -> Vec<(u32, &str)> {
        self.rejected.iter().map(|(row, reason)| (*row, reason.as_str())).collect()
    }
}
