//! What becomes of records that cannot be processed: read by somebody, skipped, or the end of the job. Never lost unseen: they
//! are counted in any case.
use std::{sync::Arc, time::Duration};

use arrow_array::{ArrayRef, RecordBatch, StringArray};

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
}

impl Rejects {
    /// `port` is the node's output of rejects; `encoder` turns a row into the text shown.
    pub fn new(node: &str, port: usize, on_error: OnError, encoder: Box<dyn Encoder>) -> Rejects {
        Rejects { port: Some(port), ..Rejects::unread(node, on_error, encoder) }
    }

    /// Of a node without such an output.
    pub fn unread(node: &str, on_error: OnError, encoder: Box<dyn Encoder>) -> Rejects {
        Rejects { node: node.to_owned(), port: None, on_error, schema: rejected_schema(), encoder }
    }

    /// Rejects rows of a batch.
    pub async fn rows(
        &mut self,
        batch: &Batch,
        rows: Vec<(usize, String)>,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if rows.is_empty() {
            return Ok(());
        }
        let rejects = rows
            .into_iter()
            .map(|(row, reason)| Reject {
                reason,
                record: self.text(&batch.columns, row),
                timestamp: batch.timestamps[row],
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
        if let Some(port) = self.port.filter(|port| outputs.is_read(*port)) {
            let column = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
            let columns = vec![
                column(vec![&self.node; rejects.len()]),
                column(rejects.iter().map(|reject| reject.reason.as_str()).collect()),
                column(rejects.iter().map(|reject| reject.record.as_str()).collect()),
            ];
            let columns = self
                .schema
                .record_batch(columns, rejects.len())
                .map_err(|what| TaskError::Bug { node: self.node.clone(), what })?;
            let timestamps = rejects.iter().map(|reject| reject.timestamp).collect();
            return outputs.emit(port, Batch { columns, timestamps, arrived, key_hashes: None }).await;
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

    fn text(&mut self, rows: &RecordBatch, row: usize) -> String {
        let mut encoded = Encoded::default();
        self.encoder.encode(&rows.slice(row, 1), &mut encoded);
        String::from_utf8_lossy(&encoded.data).trim_end().to_owned()
    }
}
