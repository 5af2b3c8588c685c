//! What becomes of records that cannot be processed: read by somebody, skipped, or the end of the job. Never lost unseen: they
//! are counted in any case.
use std::{ops::Range, sync::Arc, time::Duration};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::{Outputs, TaskError};
use crate::{
    codec::Encoder,
    job::{OnError, rejected_schema},
    model::{Batch, Encoded, EventTime, Schema},
};

/// Bytes of a record shown in an error.
const SHOWN_BYTES_MAX: usize = 200;

/// The rejects of a node.
pub struct Rejects {
    node: String,
    subtask: u32,
    /// Rows that came, as far as it was told.
    seen: u64,
    /// Where they can be read; sinks have no outputs.
    port: Option<usize>,
    on_error: OnError,
    schema: Schema,
    encoder: Box<dyn Encoder>,
}

/// One rejected record.
#[derive(Debug)]
pub struct Reject {
    /// Why.
    pub reason: String,
    /// The record as text.
    pub record: String,
    /// Its event time, or the time it was rejected at.
    pub timestamp: EventTime,
    /// The plugin concerned, as `name@version`; empty where none is.
    pub plugin: Arc<str>,
    /// Where it came.
    pub position: String,
}

/// Which rows of its input a subtask has in a batch, counted since it started.
#[derive(Clone, Debug)]
pub struct RowNumbers {
    /// The number of the first.
    first: u64,
    /// How far behind it each is, if they are not all that came.
    kept: Option<Vec<u32>>,
}

impl RowNumbers {
    /// Of all rows after as many.
    pub fn after(rows: u64) -> RowNumbers {
        RowNumbers { first: rows, kept: None }
    }

    /// Of some of these rows.
    pub(super) fn take(&self, rows: &[u32]) -> RowNumbers {
        let kept = match &self.kept {
            Some(kept) => rows.iter().map(|row| kept[*row as usize]).collect(),
            None => rows.to_vec(),
        };
        RowNumbers { first: self.first, kept: Some(kept) }
    }

    /// Of rows that are next to each other.
    pub(super) fn slice(&self, rows: &Range<usize>) -> RowNumbers {
        match &self.kept {
            Some(kept) => RowNumbers { first: self.first, kept: Some(kept[rows.clone()].to_vec()) },
            None => RowNumbers::after(self.first + rows.start as u64),
        }
    }

    /// Of one row.
    pub(super) fn of(&self, row: usize) -> u64 {
        self.first + self.kept.as_ref().map_or(row as u64, |kept| u64::from(kept[row]))
    }

    /// From the first of these rows to behind the last.
    pub(super) fn span(&self, rows: &Range<usize>) -> Range<u64> {
        match rows.is_empty() {
            true => self.first..self.first,
            false => self.of(rows.start)..self.of(rows.end - 1) + 1,
        }
    }
}

impl Rejects {
    /// `port` is the node's output of rejects; `encoder` turns a row into the text shown.
    pub fn new(node: &str, port: usize, on_error: OnError, encoder: Box<dyn Encoder>) -> Rejects {
        Rejects { port: Some(port), ..Rejects::unread(node, on_error, encoder) }
    }

    /// Of a node without such an output.
    pub fn unread(node: &str, on_error: OnError, encoder: Box<dyn Encoder>) -> Rejects {
        Rejects { node: node.to_owned(), subtask: 0, seen: 0, port: None, on_error, schema: rejected_schema(), encoder }
    }

    /// Of this subtask, instead of the first.
    pub fn of_subtask(self, subtask: u32) -> Rejects {
        Rejects { subtask, ..self }
    }

    /// The numbers of rows that have come, where nobody else counts them.
    pub(super) fn came(&mut self, rows: usize) -> RowNumbers {
        let numbers = RowNumbers::after(self.seen);
        self.seen += rows as u64;
        numbers
    }

    /// Rejects rows of a batch, which have these numbers; the plugin is that which refused them, if it was one.
    pub async fn rows(
        &mut self,
        batch: &Batch,
        rows: Vec<(usize, String)>,
        (plugin, numbers): (Option<&Arc<str>>, &RowNumbers),
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if rows.is_empty() {
            return Ok(());
        }
        let plugin = plugin.cloned().unwrap_or_else(|| "".into());
        let rejects = rows
            .into_iter()
            .map(|(row, reason)| Reject {
                reason,
                record: self.text(&batch.columns, row),
                timestamp: batch.timestamps[row],
                plugin: plugin.clone(),
                position: self.position(Some(numbers.of(row))),
            })
            .collect();
        self.records(rejects, batch.arrived, outputs).await
    }

    /// Rejects records.
    pub async fn records(
        &mut self,
        rejects: Vec<Reject>,
        arrived: Duration,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        let Some(first) = rejects.first() else { return Ok(()) };
        let metrics = outputs.metrics();
        metrics.add(&metrics.rejected, rejects.len());
        if self.port.is_some_and(|port| outputs.is_read(port)) {
            return self.emit(&rejects, arrived, outputs).await;
        }
        match self.on_error {
            OnError::Skip => Ok(()),
            OnError::Fail => {
                let shown = first.record.floor_char_boundary(SHOWN_BYTES_MAX);
                let mut record = first.record[..shown].to_owned();
                if shown < first.record.len() {
                    record.push_str("...");
                }
                let (node, reason, readable) = (self.node.clone(), first.reason.clone(), self.port.is_some());
                Err(TaskError::Rejected { node, reason, record, readable })
            }
        }
    }

    /// Counts what calls have failed on, and sends it where rejects can be read.
    pub(super) async fn dead_letters(
        &mut self,
        letters: Vec<Reject>,
        arrived: Duration,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        outputs.metrics().add(&outputs.metrics().failed, letters.len());
        self.emit(&letters, arrived, outputs).await
    }

    async fn emit(&mut self, rejects: &[Reject], arrived: Duration, outputs: &mut Outputs) -> Result<(), TaskError> {
        let Some(port) = self.port.filter(|_| !rejects.is_empty()) else { return Ok(()) };
        let column =
            |of: fn(&Reject) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rejects.iter().map(of))) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.node, rejects.len()))),
            column(|reject| &reject.reason),
            column(|reject| &reject.record),
            column(|reject| &reject.plugin),
            column(|reject| &reject.position),
            Arc::new(Int64Array::from_iter_values(rejects.iter().map(|reject| reject.timestamp))),
        ];
        let columns = self
            .schema
            .record_batch(columns, rejects.len())
            .map_err(|what| TaskError::Bug { node: self.node.clone(), what })?;
        let timestamps = rejects.iter().map(|reject| reject.timestamp).collect();
        outputs.emit(port, Batch { columns, timestamps, arrived, key_hashes: None }).await
    }

    /// Where something came in the subtask: the row of this number, if it was a row of its input.
    pub(super) fn position(&self, row: Option<u64>) -> String {
        let subtask = self.subtask;
        row.map_or_else(|| format!("subtask {subtask}"), |row| format!("subtask {subtask}, row {row}"))
    }

    /// A row as it is shown.
    pub(super) fn text(&mut self, rows: &RecordBatch, row: usize) -> String {
        let mut encoded = Encoded::default();
        self.encoder.encode(&rows.slice(row, 1), &mut encoded);
        String::from_utf8_lossy(&encoded.data).trim_end().to_owned()
    }
}
