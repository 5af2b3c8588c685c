//! What a transform emits: its main output and its side outputs.
//!
//! Guarantees: rows go straight into columns; what was emitted for a row that is then rejected is taken back. Must not know:
//! how records are read, the exports of the component.

use std::convert::Infallible;

use crate::bindings::types::{self, SideRows};
use crate::record::{Record, shape};

/// Rows of one output, being written.
pub struct Rows<R: Record> {
    /// The origins of all rows but those of the input row in hand.
    origins: Vec<u32>,
    /// Event times given by the author, each with the index of its row.
    timestamps: Vec<(usize, i64)>,
    columns: R::Builder,
}

impl<R: Record> Rows<R> {
    /// Starts an output, with space for `rows` rows to begin with.
    pub fn new(rows: usize) -> Self {
        Self { origins: Vec::with_capacity(rows), timestamps: Vec::new(), columns: R::builder(rows) }
    }

    /// Adds a row.
    #[inline(always)]
    pub fn push(&mut self, record: R::At<'_>) {
        R::push(&mut self.columns, record);
    }

    /// Adds a row with an event time of its own, in milliseconds since 1970-01-01 UTC.
    pub fn push_at(&mut self, timestamp_ms: i64, record: R::At<'_>) {
        self.timestamps.push((R::rows(&self.columns), timestamp_ms));
        self.push(record);
    }

    /// Ends the input row in hand: the rows added since the last one stem from it.
    #[inline(always)]
    pub fn end(&mut self, origin: u32) {
        let rows = R::rows(&self.columns);
        if rows != self.origins.len() {
            self.origins.resize(rows, origin);
        }
    }

    /// Drops the rows of the input row in hand.
    pub fn take_back(&mut self) {
        let kept = self.origins.len();
        self.timestamps.retain(|&(row, _)| row < kept);
        R::truncate(&mut self.columns, kept);
    }

    /// The rows written; `inherited` are the event times of the input rows.
    pub fn finish(self, inherited: &[i64]) -> types::Rows {
        let timestamps = (!self.timestamps.is_empty()).then(|| {
            let mut all: Vec<i64> = self.origins.iter().map(|&origin| inherited[origin as usize]).collect();
            self.timestamps.iter().for_each(|&(row, timestamp)| all[row] = timestamp);
            all
        });
        types::Rows { origins: self.origins, timestamps, columns: R::finish(self.columns) }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }
}

/// The side outputs of a transform: an enum with a variant for each. Implement it by `#[derive(SideOutputs)]`; `()` is none.
pub trait SideOutputs {
    /// The same enum borrowing for another lifetime.
    type At<'r>;
    /// The rows of each side output, being written.
    type Builders;

    /// The declarations, in order.
    fn describe() -> Vec<types::SideOutput>;
    /// Starts all of them empty.
    fn builders() -> Self::Builders;
    /// Adds a row, with an event time of its own or the inherited one.
    fn push(builders: &mut Self::Builders, timestamp_ms: Option<i64>, record: Self::At<'_>);
    /// Ends the input row in hand: the rows added since the last one stem from it.
    fn end(builders: &mut Self::Builders, origin: u32);
    /// Drops the rows of the input row in hand.
    fn take_back(builders: &mut Self::Builders);
    /// The rows written, of those outputs that have any.
    fn finish(builders: Self::Builders, inherited: &[i64]) -> Vec<SideRows>;
}

impl SideOutputs for () {
    type At<'r> = Infallible;
    type Builders = ();

    fn describe() -> Vec<types::SideOutput> {
        Vec::new()
    }
    fn builders() {}
    fn push(_: &mut (), _: Option<i64>, never: Self::At<'_>) {
        match never {}
    }
    #[inline(always)]
    fn end(_: &mut (), _: u32) {}
    fn take_back(_: &mut ()) {}
    fn finish(_: (), _: &[i64]) -> Vec<SideRows> {
        Vec::new()
    }
}

/// The declaration of a side output of records `R`.
pub fn side_output<R: Record>(name: &str) -> types::SideOutput {
    types::SideOutput { name: name.into(), shape: shape::<R>() }
}

/// Adds a row to a side output.
pub fn push_side<R: Record>(rows: &mut Rows<R>, timestamp_ms: Option<i64>, record: R::At<'_>) {
    match timestamp_ms {
        Some(timestamp_ms) => rows.push_at(timestamp_ms, record),
        None => rows.push(record),
    }
}

/// Adds the rows of a side output to the result, if there are any.
pub fn finish_side<R: Record>(index: u32, rows: Rows<R>, inherited: &[i64], result: &mut Vec<SideRows>) {
    if !rows.is_empty() {
        result.push(SideRows { side_output: index, rows: rows.finish(inherited) });
    }
}

/// Where a transform puts the records it emits.
pub struct Output<O: Record, S: SideOutputs = ()> {
    main: Rows<O>,
    sides: S::Builders,
}

impl<O: Record, S: SideOutputs> Output<O, S> {
    pub(crate) fn new(rows: usize) -> Self {
        Self { main: Rows::new(rows), sides: S::builders() }
    }

    #[inline(always)]
    pub(crate) fn end(&mut self, row: u32) {
        self.main.end(row);
        S::end(&mut self.sides, row);
    }

    #[cold]
    pub(crate) fn take_back(&mut self) {
        self.main.take_back();
        S::take_back(&mut self.sides);
    }

    pub(crate) fn finish(self, inherited: &[i64]) -> (types::Rows, Vec<SideRows>) {
        (self.main.finish(inherited), S::finish(self.sides, inherited))
    }

    /// Emits a record. It has the event time of the record it stems from.
    #[inline(always)]
    pub fn emit(&mut self, record: O::At<'_>) {
        self.main.push(record);
    }

    /// Emits a record with an event time of its own, in milliseconds since 1970-01-01 UTC.
    #[inline]
    pub fn emit_at(&mut self, timestamp_ms: i64, record: O::At<'_>) {
        self.main.push_at(timestamp_ms, record);
    }

    /// Emits a record to a side output. It has the event time of the record it stems from.
    #[inline]
    pub fn side(&mut self, record: S::At<'_>) {
        S::push(&mut self.sides, None, record);
    }

    /// Emits a record to a side output with an event time of its own, in milliseconds since 1970-01-01 UTC.
    #[inline]
    pub fn side_at(&mut self, timestamp_ms: i64, record: S::At<'_>) {
        S::push(&mut self.sides, Some(timestamp_ms), record);
    }
}
