//! Which rows of a batch a join takes in: those without a key are rejected, those that come too late are counted.
use super::{JoinSettings, Side};
use crate::{
    dataflow::{
        Outputs, Rejects, TaskError,
        keyed::{Keyless, take_rows, without_null_keys},
    },
    model::Batch,
};

/// The rows of a batch that have a key.
pub(super) async fn keyed(
    settings: &JoinSettings,
    side: Side,
    batch: Batch,
    rejects: &mut [Rejects; 2],
    outputs: &mut Outputs,
) -> Result<Batch, TaskError> {
    let numbers = rejects[side.index()].came(batch.rows());
    let key = &settings.inputs[side.index()].key;
    let (batch, rejected) = without_null_keys(batch, key).map_err(|what| settings.bug(what))?;
    if let Some(Keyless { batch, rows, .. }) = rejected {
        rejects[side.index()].rows(&batch, rows, (None, &numbers), outputs).await?;
    }
    Ok(batch)
}

/// The rows of a batch that are not late; counts the others.
pub(super) fn in_time(
    settings: &JoinSettings,
    batch: Batch,
    is_late: impl Fn(usize) -> bool,
    outputs: &Outputs,
) -> Result<Batch, TaskError> {
    let rows = batch.rows();
    let kept: Vec<u32> = (0..rows as u32).filter(|row| !is_late(*row as usize)).collect();
    if kept.len() == rows {
        return Ok(batch);
    }
    outputs.metrics().add(&outputs.metrics().late, rows - kept.len());
    take_rows(&batch, kept).map_err(|what| settings.bug(what))
}
