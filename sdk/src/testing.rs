//! Runs operators in ordinary tests, without WebAssembly.
//!
//! Guarantees: records go through the very code they go through in a component: into columns, through the operator's batch,
//! out of columns; input columns are found by name, as the host does. Everything that does not fit is a panic that says so.
//! Must not know: the host.

use crate::aggregate::Aggregate;
use crate::bindings::types::{Batch, Column, Description, Emission, Fault, Moment, Rows, Values, Variable};
use crate::operator::Identity;
use crate::record::{FieldInfo, Record, shape};
use crate::transform::Transform;

const IDENTITY: Identity = Identity { name: "test", version: "0.0.0" };

/// A moment with all zero, but for the watermark, of which there is none yet.
const MOMENT: Moment = Moment { processing_time: 0, watermark: i64::MIN, seed: 0 };

/// The columns of the input by name, among which the operator's are looked up.
fn batch<'i, I: Record<At<'i> = I>>(description: &Description, records: impl IntoIterator<Item = (i64, I)>) -> Batch {
    let mut timestamps = Vec::new();
    let mut builder = I::builder(0);
    for (timestamp_ms, record) in records {
        timestamps.push(timestamp_ms);
        I::push(&mut builder, record);
    }
    let columns = I::finish(builder);
    let declared = &description.inputs[0];
    let column = |name: &str| {
        let found = I::FIELDS.iter().position(|field| field.name == name);
        columns[found.unwrap_or_else(|| panic!("the operator reads `{name}`, which the records do not have"))].clone()
    };
    let columns = declared.iter().map(|field| column(&field.name)).collect();
    Batch { rows: timestamps.len() as u32, timestamps, columns }
}

fn succeeded<T>(result: Result<T, Fault>) -> T {
    result.unwrap_or_else(|fault| panic!("the operator failed: {fault:?}"))
}

/// The records in columns, which must be those of `O`.
fn read<'c, O: Record>(columns: &'c [Column], rows: usize) -> Vec<O::At<'c>> {
    assert_eq!(columns.len(), O::FIELDS.len(), "columns against those of {:?}", O::FIELDS);
    let reader = O::reader(columns, rows).unwrap_or_else(|error| panic!("the output is not {:?}: {error}", O::FIELDS));
    (0..rows).map(|row| O::read(&reader, row)).collect()
}

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
    pub fn run<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = I>) -> Transformed {
        self.run_at(records.into_iter().map(|record| (0, record)))
    }

    /// Transforms a batch of these records, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn run_at<'i, I: Record<At<'i> = I>>(&mut self, records: impl IntoIterator<Item = (i64, I)>) -> Transformed {
        let description = T::describe(IDENTITY);
        let batch = batch(&description, records);
        let timestamps = batch.timestamps.clone();
        let emission = succeeded(self.operator.process(self.moment, batch));
        Transformed { description, timestamps, emission }
    }
}

/// What came of a batch.
#[derive(Debug)]
pub struct Transformed {
    description: Description,
    timestamps: Vec<i64>,
    emission: Emission,
}

impl Transformed {
    /// The records emitted, in order. For a filter, see [`Self::origins`].
    pub fn emitted<O: Record>(&self) -> Vec<O::At<'_>> {
        assert_eq!(format!("{:?}", self.description.output), format!("{:?}", shape::<O>()), "the declared output");
        read::<O>(&self.emission.main.columns, self.emission.main.origins.len())
    }

    /// For each record emitted, which input record it stems from, counted from 0.
    pub fn origins(&self) -> &[u32] {
        &self.emission.main.origins
    }

    /// For each record emitted, its event time in milliseconds since 1970-01-01 UTC.
    pub fn timestamps_ms(&self) -> Vec<i64> {
        self.event_times(&self.emission.main)
    }

    fn event_times(&self, rows: &Rows) -> Vec<i64> {
        let inherited = || rows.origins.iter().map(|&origin| self.timestamps[origin as usize]).collect();
        rows.timestamps.clone().unwrap_or_else(inherited)
    }

    /// The records emitted to the side output of this name, each with its event time in milliseconds since 1970-01-01 UTC.
    pub fn side<O: Record>(&self, name: &str) -> Vec<(i64, O::At<'_>)> {
        let declared = self.description.side_outputs.iter().position(|output| output.name == name);
        let index = declared.unwrap_or_else(|| panic!("no side output `{name}` is declared"));
        let emitted = self.emission.side_outputs.iter().filter(|side| side.side_output as usize == index);
        emitted
            .flat_map(|side| {
                let records = read::<O>(&side.rows.columns, side.rows.origins.len());
                self.event_times(&side.rows).into_iter().zip(records)
            })
            .collect()
    }

    /// The records rejected, counted from 0, and why.
    pub fn rejected(&self) -> Vec<(u32, &str)> {
        self.emission.rejections.iter().map(|rejection| (rejection.row, rejection.reason.as_str())).collect()
    }

    /// The readings of the metric of this name.
    pub fn metric(&self, name: &str) -> Vec<f64> {
        let declared = self.description.metrics.iter().position(|metric| metric.name == name);
        let index = declared.unwrap_or_else(|| panic!("no metric `{name}` is declared"));
        let readings = self.emission.measurements.iter().filter(|reading| reading.metric as usize == index);
        readings.map(|reading| reading.value).collect()
    }
}

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
        let batch = batch(&A::describe(IDENTITY), records);
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
        use crate::bindings::types::Kind;
        let nothing = || Variable { offsets: vec![0, 0], data: Vec::new() };
        let values = match A::describe(IDENTITY).states[0].value_kind {
            Kind::Boolean => Values::Boolean(vec![0]),
            Kind::Int64 => Values::Int64(vec![0]),
            Kind::Float64 => Values::Float64(vec![0.0]),
            Kind::Utf8 => Values::Utf8(nothing()),
            Kind::Binary => Values::Binary(nothing()),
        };
        Column { validity: Some(vec![0]), values }
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

/// A description of an operator as the host sees it, for tests of declarations.
pub fn describe<T: Transform>() -> Description {
    T::describe(IDENTITY)
}

/// The columns that records of type `R` have.
pub fn fields<R: Record>() -> &'static [FieldInfo] {
    R::FIELDS
}
