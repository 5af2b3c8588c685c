//! What came of a call, or of several.
//!
//! Guarantees: records come out of columns in the order they were emitted. Must not know: operators.

use super::read;
use crate::bindings::types::{Description, Emission, Rows};
use crate::record::{Record, shape};

/// What an operator emitted, rejected and measured.
#[derive(Debug)]
pub struct Outcome {
    description: Description,
    /// For each call, the event times of its input, and what came of it.
    calls: Vec<(Vec<i64>, Emission)>,
}

impl Outcome {
    pub(super) fn new(description: Description, calls: Vec<(Vec<i64>, Emission)>) -> Self {
        Self { description, calls }
    }

    fn emissions(&self) -> impl Iterator<Item = &Emission> {
        self.calls.iter().map(|(_, emission)| emission)
    }

    /// The records emitted, in order. For a filter, see [`Self::origins`].
    pub fn emitted<O: Record>(&self) -> Vec<O::At<'_>> {
        assert_eq!(format!("{:?}", self.description.output), format!("{:?}", shape::<O>()), "the declared output");
        self.emissions().flat_map(|emission| read::<O>(&emission.main.columns, emission.main.origins.len())).collect()
    }

    /// For each record emitted, which input record, window or timer of its call it stems from, counted from 0.
    pub fn origins(&self) -> Vec<u32> {
        self.emissions().flat_map(|emission| emission.main.origins.iter().copied()).collect()
    }

    /// For each record emitted, its event time in milliseconds since 1970-01-01 UTC.
    pub fn timestamps_ms(&self) -> Vec<i64> {
        self.calls.iter().flat_map(|(inherited, emission)| event_times(inherited, &emission.main)).collect()
    }

    /// The records emitted to the side output of this name, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn side<O: Record>(&self, name: &str) -> Vec<(i64, O::At<'_>)> {
        let declared = self.description.side_outputs.iter().position(|output| output.name == name);
        let index = declared.unwrap_or_else(|| panic!("no side output `{name}` is declared"));
        let mut records = Vec::new();
        for (inherited, emission) in &self.calls {
            for side in emission.side_outputs.iter().filter(|side| side.side_output as usize == index) {
                let emitted = read::<O>(&side.rows.columns, side.rows.origins.len());
                records.extend(event_times(inherited, &side.rows).into_iter().zip(emitted));
            }
        }
        records
    }

    /// The records rejected, counted from 0, and why.
    pub fn rejected(&self) -> Vec<(u32, &str)> {
        let rejections = self.emissions().flat_map(|emission| &emission.rejections);
        rejections.map(|rejection| (rejection.row, rejection.reason.as_str())).collect()
    }

    /// The readings of the metric of this name.
    pub fn metric(&self, name: &str) -> Vec<f64> {
        let declared = self.description.metrics.iter().position(|metric| metric.name == name);
        let index = declared.unwrap_or_else(|| panic!("no metric `{name}` is declared"));
        let readings = self.emissions().flat_map(|emission| &emission.measurements);
        readings.filter(|reading| reading.metric as usize == index).map(|reading| reading.value).collect()
    }
}

fn event_times(inherited: &[i64], rows: &Rows) -> Vec<i64> {
    let of_origins = || rows.origins.iter().map(|&origin| inherited[origin as usize]).collect();
    rows.timestamps.clone().unwrap_or_else(of_origins)
}
