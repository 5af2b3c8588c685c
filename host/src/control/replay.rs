//! Dead letters that an operator is given again: made rows, laid ready for the subtasks that own their keys, and given at a barrier. Guarantees that
//! a replay is done only if a checkpoint has what came of it. Must not know where letters are kept meanwhile.
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{
    Bound, ChangeError, ChangeRequest, JobView, PluginId, Prepared,
    change::{Checked, check, columns, replacement},
    run::{Purpose, Shared},
};
use crate::{
    codec::{Format, NoSchemas},
    dataflow::{Last, Offer, Place, Replay, partition},
    job::{InputSide, PlanNode, Role},
    model::{Batch, EventTime, OperatorVersion, RawBatch},
};

/// Letters of one request.
pub const REPLAY_LETTERS_MAX: usize = 1000;

/// Checkpoints begun for letters that were replayed, until one is complete.
const REPLAY_CHECKPOINTS_MAX: usize = 3;

/// A row that was rejected, or that a call has failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The row as JSON, as the `rejected` output has it.
    pub record: String,
    /// Its event time, in ms since 1970-01-01 UTC.
    pub event_time: EventTime,
}

/// What is to be given to an operator again.
pub struct ReplayRequest {
    /// To which, and by which plugin with which configuration it is to be processed; that in force if it says nothing else. Nothing is put
    /// in force.
    pub by: ChangeRequest,
    /// Of which input it is.
    pub side: InputSide,
    /// At most [`REPLAY_LETTERS_MAX`].
    pub letters: Vec<Letter>,
}

/// Letters that are ready to be given to an operator.
pub struct ReadyReplay {
    pub(super) base: Arc<Prepared>,
    /// The operator, by name.
    pub(super) operator: String,
    /// What is in force there.
    pub(super) in_force: OperatorVersion,
    /// What is to process them.
    pub(super) by: OperatorVersion,
    pub(super) offers: Vec<(Place, Offer)>,
}

impl JobView {
    /// Checks dead letters as a change is checked. Blocks as long as a plugin takes to be configured.
    pub fn prepare_replay(&self, request: ReplayRequest) -> Result<ReadyReplay, ChangeError> {
        ready_replay(&self.shared, request)
    }

    /// Gives letters to an operator at a barrier, as rows that come after all before it. When this returns they are processed, and a checkpoint
    /// has all that came of it, if the job keeps any. If it fails the job may have failed with them, which undoes what came of them, unless a
    /// checkpoint was complete just then.
    pub async fn replay(&self, ready: ReadyReplay) -> Result<(), ChangeError> {
        let ReadyReplay { base, operator, in_force, offers, .. } = ready;
        let _one_at_a_time = self.shared.changing.lock().await;
        self.is_current(&base)?;
        if self.holds_checkpoints() {
            let what = "a version is on trial with its state, so no checkpoint is taken now".to_owned();
            return Err(ChangeError::Replay { operator, what });
        }
        let start = self.starts();
        let purpose = Purpose::Replay(operator, Box::new(in_force));
        let barrier = self.pass(&base, offers, purpose).await.map_err(|_| ChangeError::Undone)?;
        if self.shared.prepared.spec.checkpoints.is_none() {
            return Ok(());
        }
        for _ in 0..REPLAY_CHECKPOINTS_MAX {
            // Any that comes after the letters has what came of them, also the last.
            let asked = self.while_running(async { Some(self.checkpoint(Last::No).await) }).await;
            if self.shared.has_complete(start, barrier) {
                return Ok(());
            }
            match asked {
                Some(Err(what)) if self.starts() == start => {
                    tracing::debug!("no checkpoint after a replay yet: {what}")
                }
                // The job has failed: it is not to be waited for.
                _ => break,
            }
        }
        Err(ChangeError::Undone)
    }
}

impl ReadyReplay {
    /// What is to process them; of no change if it is not in force.
    pub fn by(&self) -> &OperatorVersion {
        &self.by
    }
}

/// Checks letters, and lays them ready. May take as long as the plugin takes to be configured.
pub(super) fn ready_replay(shared: &Shared, request: ReplayRequest) -> Result<ReadyReplay, ChangeError> {
    let Checked { base, prepared, id, node, from, to, bound, fit } = check(shared, request.by)?;
    let refused = |what: &str| ChangeError::Replay { operator: node.name.clone(), what: what.to_owned() };
    if !fit.is_same() {
        return Err(refused("the plugin declares other states than that in force"));
    }
    let in_force = &base.plugins[&id];
    let other = in_force.plugin.digest() != bound.plugin.digest() || in_force.configuration != bound.configuration;
    let rows = rows(&prepared, &node, request.side, &request.letters, shared).map_err(|what| refused(&what))?;
    let guests = |subtask| -> Result<_, ChangeError> {
        let failed = |error| ChangeError::Plugin { operator: node.name.clone(), error };
        let of = |prepared: &Prepared, bound: &Bound, (_, kind): &PluginId| {
            let node = prepared.plan.find(&node.name).ok_or_else(|| ChangeError::NoOperator(node.name.clone()))?;
            let reads = columns(&node, *kind).map_err(failed)?;
            replacement((shared, prepared), &node, (*kind, reads), bound, subtask).map_err(failed)
        };
        Ok([of(&prepared, &bound, &id)?, of(&base, in_force, &id)?])
    };
    let mut offers = Vec::new();
    for (subtask, batch) in (0..).zip(rows).filter(|(_, batch)| batch.rows() > 0) {
        let by = if other { Some(guests(subtask)?) } else { None };
        let place = Place { uid: node.uid.clone(), edge: None, subtask };
        offers.push((place, Offer::Replay(Box::new(Replay { batch, side: request.side, by }))));
    }
    let by = if other { OperatorVersion { change: 0, ..to } } else { from.clone() };
    Ok(ReadyReplay { operator: node.name.clone(), base, in_force: from, by, offers })
}

/// The rows for each subtask.
fn rows(
    prepared: &Prepared,
    node: &PlanNode,
    side: InputSide,
    letters: &[Letter],
    shared: &Shared,
) -> Result<Vec<Batch>, String> {
    let Role::Operator { key, second_key, .. } = &node.role else { return Err("a sink has no dead letters".into()) };
    if prepared.plan.edges.iter().any(|edge| edge.to == node.id && edge.combined) {
        return Err("its rows are aggregated before they reach it".into());
    }
    if letters.is_empty() || letters.len() > REPLAY_LETTERS_MAX {
        return Err(format!("there are {} letters, 1 to {REPLAY_LETTERS_MAX} can be replayed at once", letters.len()));
    }
    let batch = Batch {
        columns: decode(node, side, letters)?,
        timestamps: letters.iter().map(|letter| letter.event_time).collect(),
        arrived: shared.environment.clock.monotonic(),
        key_hashes: None,
    };
    let subtasks = node.parallelism as usize;
    let key = if side == InputSide::First { key } else { second_key };
    match (key.is_empty(), side) {
        (false, _) => {
            partition(&batch, key, subtasks, prepared.plan.max_parallelism).map_err(|error| error.to_string())
        }
        (true, InputSide::First) => Ok(vec![batch]),
        (true, InputSide::Second) => Ok(vec![batch; subtasks]),
    }
}

/// The letters as rows of an input.
fn decode(node: &PlanNode, side: InputSide, letters: &[Letter]) -> Result<RecordBatch, String> {
    let schema = node.input_of(side).ok_or("it has no second input")?;
    let mut raw = RawBatch::default();
    for letter in letters {
        raw.data.extend_from_slice(letter.record.as_bytes());
        let end = u32::try_from(raw.data.len()).map_err(|_| "the letters are longer than 4 GiB")?;
        raw.ends.push(end);
    }
    let mut decoder = Format::Json.decoder(schema, &NoSchemas::shared())?;
    let decoded = decoder.decode(&mut raw);
    match decoded.malformed.first() {
        None => Ok(decoded.rows),
        Some(malformed) => Err(format!("letter {} is no row of its input: {}", malformed.record + 1, malformed.reason)),
    }
}
