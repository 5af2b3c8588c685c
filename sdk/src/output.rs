//! What a transform emits: its main output and its side outputs.
//!
//! Guarantees: rows go straight into columns; what was emitted for a row that is then rejected is taken back. Must not know:
//! how records are read, the exports of the component.

use std::convert::Infallible;

use crate::bindings::types::{self, SideRows};
use crate::record::{Record, shape};

/// Rows of one output, being written.
pub struct Rows<R: Record> {
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

    /// Adds a row that stems from input row `origin`.
    #[inline(always)]
    pub fn push(&mut self, origin: u32, record: R::At<'_>) {
        R::push(&mut self.columns, record);
        self.origins.push(origin);
    }

    /// The same with an event time of its own, in milliseconds since 1970-01-01 UTC.
    pub fn push_at(&mut self, origin: u32, timestamp_ms: i64, record: R::At<'_>) {
        self.timestamps.push((self.origins.len(), timestamp_ms));
        self.push(origin, record);
    }

    /// Drops the rows at the end that stem from input row `origin`.
    pub fn take_back(&mut self, origin: u32) {
        let kept = self.origins.iter().rposition(|&of| of != origin).map_or(0, |last| last + 1);
        self.origins.truncate(kept);
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
    fn push(builders: &mut Self::Builders, origin: u32, timestamp_ms: Option<i64>, record: Self::At<'_>);
    /// Drops the rows at the end that stem from input row `origin`.
    fn take_back(builders: &mut Self::Builders, origin: u32);
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
    fn push(_: &mut (), _: u32, _: Option<i64>, never: Self::At<'_>) {
        match never {}
    }
    fn take_back(_: &mut (), _: u32) {}
    fn finish(_: (), _: &[i64]) -> Vec<SideRows> {
        Vec::new()
    }
}

/// The declaration of a side output of records `R`.
pub fn side_output<R: Record>(name: &str) -> types::SideOutput {
    types::SideOutput { name: name.into(), shape: shape::<R>() }
}

/// Adds a row to a side output.
pub fn push_side<R: Record>(rows: &mut Rows<R>, origin: u32, timestamp_ms: Option<i64>, record: R::At<'_>) {
    match timestamp_ms {
        Some(timestamp_ms) => rows.push_at(origin, timestamp_ms, record),
        None => rows.push(origin, record),
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
    row: u32,
    main: Rows<O>,
    sides: S::Builders,
}

impl<O: Record, S: SideOutputs> Output<O, S> {
    pub(crate) fn new(rows: usize) -> Self {
        Self { row: 0, main: Rows::new(rows), sides: S::builders() }
    }

    #[inline(always)]
    pub(crate) fn at_row(&mut self, row: u32) {
        self.row = row;
    }

    #[cold]
    pub(crate) fn take_back(&mut self) {
        self.main.take_back(self.row);
        S::take_back(&mut self.sides, self.row);
    }

    pub(crate) fn finish(self, inherited: &[i64]) -> (types::Rows, Vec<SideRows>) {
        (self.main.finish(inherited), S::finish(self.sides, inherited))
    }

    /// Emits a record. It has the event time of the record it stems from.
    #[inline(always)]
    pub fn emit(&mut self, record: O::At<'_>) {
        self.main.push(self.row, record);
    }

    /// Emits a record with an event time of its own, in milliseconds since 1970-01-01 UTC.
    #[inline]
    pub fn emit_at(&mut self, timestamp_ms: i64, record: O::At<'_>) {
        self.main.push_at(self.row, timestamp_ms, record);
    }

    /// Emits a record to a side output. It has the event time of the record it stems from.
    #[inline]
    pub fn side(&mut self, record: S::At<'_>) {
        S::push(&mut self.sides, self.row, None, record);
    }

    /// Emits a record to a side output with an event time of its own, in milliseconds since 1970-01-01 UTC.
    #[inline]
    pub fn side_at(&mut self, timestamp_ms: i64, record: S::At<'_>) {
        S::push(&mut self.sides, self.row, Some(timestamp_ms), record);
    }
}
