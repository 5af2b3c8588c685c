//! Pairs of rows on their way out: which rows are paired is noted block by block, and the rows themselves are made of it in batches,
//! column by column.
use std::{ops::Range, sync::Arc, time::Duration};

use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, UInt32Array};
use arrow_select::take::take;

use super::{JoinSettings, Side, timeline::Page};
use crate::{
    dataflow::{Outputs, TaskError, windowed::elements::decode},
    model::{Batch, EventTime, Window},
};

/// All rows of one range with all of another.
struct Block {
    /// Rows of the first input, then of the second.
    rows: [Range<u32>; 2],
    /// In which they are.
    window: Option<Window>,
}

/// Pairs that are not out yet.
pub(super) struct Pairs {
    settings: JoinSettings,
    /// Rows from state of each input, as bytes.
    stored: [Vec<BinaryArray>; 2],
    stored_rows: [u32; 2],
    blocks: Vec<Block>,
    count: usize,
}

impl Pairs {
    pub(super) fn new(settings: &JoinSettings) -> Pairs {
        let (stored, blocks) = Default::default();
        Pairs { settings: settings.clone(), stored, stored_rows: [0; 2], blocks, count: 0 }
    }

    /// Whether what is noted should go out before more is.
    pub(super) fn is_full(&self) -> bool {
        let max = self.settings.batch_records;
        self.count >= max || self.stored_rows.iter().any(|rows| *rows as usize >= max)
    }

    fn keep(&mut self, side: Side, rows: BinaryArray) -> Range<u32> {
        let from = self.stored_rows[side.index()];
        let to = from + rows.len() as u32;
        self.stored[side.index()].push(rows);
        self.stored_rows[side.index()] = to;
        from..to
    }

    fn push(&mut self, rows: [Range<u32>; 2], window: Option<Window>) {
        self.count = self.count.saturating_add(rows[0].len().saturating_mul(rows[1].len()));
        self.blocks.push(Block { rows, window });
    }

    /// Every row of one page with every one of another.
    pub(super) fn cross(&mut self, first: &Page, second: &Page, window: Window) {
        if first.len() > 0 && second.len() > 0 {
            let first = self.keep(Side::First, first.rows.clone());
            let second = self.keep(Side::Second, second.rows.clone());
            self.push([first, second], Some(window));
        }
    }

    /// Rows of the batch that is given when pairs go out, which is of input `side`, each with some rows of a page of the other input.
    pub(super) fn match_rows(&mut self, side: Side, page: &Page, matches: &[(u32, Range<usize>)]) {
        let (Some(from), Some(to)) =
            (matches.iter().map(|(_, range)| range.start).min(), matches.iter().map(|(_, range)| range.end).max())
        else {
            return;
        };
        let start = self.keep(side.other(), page.rows.slice(from, to - from)).start;
        let place = |row: usize| start + (row - from) as u32;
        for (row, range) in matches {
            let (given, stored) = (*row..*row + 1, place(range.start)..place(range.end));
            self.push(if side == Side::First { [given, stored] } else { [stored, given] }, None);
        }
    }

    /// Emits what is noted. `given` is the batch of one input whose rows were matched; `arrived` is when the oldest of the rows came.
    pub(super) async fn emit(
        &mut self,
        given: Option<(Side, &Batch)>,
        arrived: Duration,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let stored = std::mem::take(&mut self.stored);
        let mut sides = Vec::with_capacity(2);
        for side in Side::BOTH {
            sides.push(match given {
                Some((of, batch)) if of == side => batch.clone(),
                _ => {
                    let rows = stored[side.index()].iter().flat_map(BinaryArray::iter).flatten();
                    decode(&self.settings.inputs[side.index()].schema, rows, arrived)
                        .map_err(|what| self.settings.bug(what))?
                }
            });
        }
        let blocks = std::mem::take(&mut self.blocks);
        (self.stored_rows, self.count) = ([0; 2], 0);
        let max = self.settings.batch_records;
        let mut chunk = Chunk::default();
        for block in &blocks {
            let [first, second] = &block.rows;
            for row in first.clone() {
                let mut rest = second.clone();
                while !rest.is_empty() {
                    let to = rest.start.saturating_add((max - chunk.len()) as u32).min(rest.end);
                    chunk.add(row, rest.start..to, block.window);
                    rest.start = to;
                    if chunk.len() == max {
                        let rows = chunk.rows(&self.settings, &sides, arrived)?;
                        outputs.emit(0, rows).await?;
                        chunk = Chunk::default();
                    }
                }
            }
        }
        if chunk.len() > 0 {
            let rows = chunk.rows(&self.settings, &sides, arrived)?;
            outputs.emit(0, rows).await?;
        }
        Ok(())
    }
}

/// The pairs of one batch.
#[derive(Default)]
struct Chunk {
    rows: [Vec<u32>; 2],
    windows: Vec<Window>,
}

impl Chunk {
    fn len(&self) -> usize {
        self.rows[0].len()
    }

    fn add(&mut self, first: u32, second: Range<u32>, window: Option<Window>) {
        let length = self.len() + second.len();
        self.rows[0].resize(length, first);
        self.rows[1].extend(second);
        if let Some(window) = window {
            self.windows.resize(length, window);
        }
    }

    fn rows(self, settings: &JoinSettings, sides: &[Batch], arrived: Duration) -> Result<Batch, TaskError> {
        let length = self.len();
        let timestamps: Vec<EventTime> = if self.windows.is_empty() {
            let time = |side: usize, row: u32| sides[side].timestamps[row as usize];
            self.rows[0]
                .iter()
                .zip(&self.rows[1])
                .map(|(first, second)| time(0, *first).max(time(1, *second)))
                .collect()
        } else {
            self.windows.iter().map(|window| window.last()).collect()
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(settings.schema.fields().len());
        for (rows, side) in self.rows.into_iter().zip(sides) {
            let rows = UInt32Array::from(rows);
            for column in side.columns.columns() {
                columns.push(take(column, &rows, None).map_err(|error| settings.bug(error))?);
            }
        }
        if !self.windows.is_empty() {
            columns.push(Arc::new(Int64Array::from_iter_values(self.windows.iter().map(|window| window.start))));
            columns.push(Arc::new(Int64Array::from_iter_values(self.windows.iter().map(|window| window.end))));
        }
        let columns = settings.schema.record_batch(columns, length).map_err(|what| settings.bug(what))?;
        Ok(Batch { columns, timestamps: timestamps.into(), arrived, key_hashes: None })
    }
}
