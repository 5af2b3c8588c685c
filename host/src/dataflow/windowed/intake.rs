//! Which rows of a batch are taken in: those without a key are rejected, those too late go to the output of late rows.
use arrow_array::{Array, UInt32Array};
use arrow_select::take::take_record_batch;

use crate::{
    dataflow::{Outputs, Rejects, RowNumbers, TaskError},
    model::Batch,
};

/// Where rows go that are not taken in.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// The operator's name in the job.
    pub(super) node: String,
    /// Key columns.
    pub(super) key: Vec<usize>,
    /// Output of rows that come too late, if there can be any.
    pub(super) late: Option<usize>,
}

impl Intake {
    /// The rows of a batch that have a key, if any has none, and their numbers.
    pub(super) async fn keyed(
        &self,
        batch: Batch,
        numbers: &mut RowNumbers,
        rejects: &mut Rejects,
        outputs: &mut Outputs,
    ) -> Result<Batch, TaskError> {
        let keys = || self.key.iter().map(|column| batch.columns.column(*column));
        if keys().all(|column| column.null_count() == 0) {
            return Ok(batch);
        }
        let (keyless, kept): (Vec<u32>, Vec<u32>) =
            (0..batch.rows() as u32).partition(|row| keys().any(|column| column.is_null(*row as usize)));
        let rejected = keyless.into_iter().map(|row| (row as usize, "its key is null".to_owned())).collect();
        rejects.rows(&batch, rejected, (None, numbers), outputs).await?;
        *numbers = numbers.take(&kept);
        self.take(&batch, kept)
    }

    /// Counts late rows, and emits them if anybody wants them.
    pub(super) async fn late(&self, batch: &Batch, rows: Vec<u32>, outputs: &mut Outputs) -> Result<(), TaskError> {
        outputs.metrics().add(&outputs.metrics().late, rows.len());
        match self.late {
            Some(port) if outputs.is_read(port) && !rows.is_empty() => {
                // Whoever reads them may have another key.
                let rows = Batch { key_hashes: None, ..self.take(batch, rows)? };
                outputs.emit(port, rows).await
            }
            _ => Ok(()),
        }
    }

    /// These rows of a batch; a row may be taken several times.
    pub(super) fn take(&self, batch: &Batch, rows: Vec<u32>) -> Result<Batch, TaskError> {
        let timestamps = rows.iter().map(|row| batch.timestamps[*row as usize]).collect();
        let key_hashes = batch.key_hashes.as_ref().map(|hashes| rows.iter().map(|row| hashes[*row as usize]).collect());
        let columns = take_record_batch(&batch.columns, &UInt32Array::from(rows)).map_err(|error| self.bug(error))?;
        Ok(Batch { columns, timestamps, arrived: batch.arrived, key_hashes })
    }

    /// What cannot be, was.
    pub(super) fn bug(&self, what: impl ToString) -> TaskError {
        TaskError::Bug { node: self.node.clone(), what: what.to_string() }
    }
}
