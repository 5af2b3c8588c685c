//! Runs transforms in tests.
//!
//! Guarantees and knowledge: as for all harnesses.

use super::{IDENTITY, MOMENT, Outcome, batch, succeeded};
use crate::bindings::types::Moment;
use crate::record::Record;
use crate::transform::Transform;

/// Runs a transform.
pub struct TransformHarness<T> {
    operator: T,
    /// The moment of the calls to come; change it at will.
    pub moment: Moment,
}

impl<T: Transform> TransformHarness<T> {
    /// A transform that needs no configuration.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self::configured("{}").unwrap_or_else(|error| panic!("{error}"))
    }

    /// A transform with a configuration, a JSON object; the error is the transform's.
    pub fn configured(json: &str) -> Result<Self, String> {
        Ok(Self { operator: T::new(json)?, moment: MOMENT })
    }

    /// Transforms a batch of these records, with event time 0.
    pub fn run<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = I>) -> Outcome {
        self.run_at(records.into_iter().map(|record| (0, record)))
    }

    /// Transforms a batch of these records, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_at<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Outcome {
        let description = T::describe(IDENTITY);
        let batch = batch(&description.inputs[0], records);
        let timestamps = batch.timestamps.clone();
        let emission = succeeded(self.operator.process(self.moment, batch));
        Outcome::new(description, vec![(timestamps, emission)])
    }
}
