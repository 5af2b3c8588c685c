//! Plugins that take the place of others while a job runs. They are made ready while the others still work; a barrier then has each stage
//! take its own, so that all records before it have seen the old one, and all after it the new. Must not know who asked for that.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Barrier, CanaryChange, NodeMetrics, OpenOperator, Operator, Outputs, ShadowStart, Stage, StageIdentity, TaskError,
    shadow::Shadow,
};
use crate::{
    job::InputSide,
    model::{Batch, OperatorKind, SnapshotKind, SnapshotRequest, SubtaskState},
    plugin::Instance,
};

/// What a stage runs from now on, in place of what it ran as the same kind.
pub struct Replacement {
    /// As what.
    pub kind: OperatorKind,
    /// The guest, configured.
    pub instance: Instance,
    /// Columns it reads of the first input, in its order.
    pub reads: Vec<usize>,
    /// Columns it reads of the second input, in its order.
    pub second_reads: Vec<usize>,
    /// Key columns it wants to see, in its order, as indices in the key.
    pub keys: Vec<usize>,
}

/// An operator that takes the place of another, with the state of that, which it declares otherwise.
pub struct Reopening {
    /// Its name in the job.
    pub operator: String,
    /// Opens it.
    pub open: OpenOperator,
}

/// Rows that an operator is given besides those that come.
pub struct Replay {
    /// The rows.
    pub batch: Batch,
    /// Of which input they are.
    pub side: InputSide,
    /// What processes them in place of what is in force, and what is in force, anew, for what comes after them; nothing if that is to process
    /// them itself.
    pub by: Option<[Replacement; 2]>,
}

/// A rule that joins those of an operator.
pub struct NewRule {
    /// Its name in the job.
    pub operator: String,
    /// By which its state will be found.
    pub uid: String,
    /// Opens it.
    pub open: OpenOperator,
    /// What it counts.
    pub metrics: Arc<NodeMetrics>,
}

/// What a stage takes as the barrier of a change passes it.
pub enum Offer {
    /// Another plugin. A shadow it had ends with that.
    Replace(Box<Replacement>),
    /// Another operator, with what a copy of the state there is comes to. A shadow it had ends with that.
    Reopen(Box<Reopening>),
    /// Nothing: a copy of the state there is goes to somebody.
    Copy(Box<dyn FnOnce(SubtaskState) + Send>),
    /// More rows.
    Replay(Box<Replay>),
    /// Another version beside its own.
    Shadow(Box<ShadowStart>),
    /// No shadow any more.
    Discard,
    /// Something about another version for a share of the keys.
    Canary(CanaryChange),
    /// Another rule beside those of an operator.
    AddRule(Box<NewRule>),
    /// No rule of this uid any more.
    RemoveRule(String),
}

/// Who takes an offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The operator or sink.
    pub uid: String,
    /// The edge, for what aggregates rows before they take it; `None` for the stage itself.
    pub edge: Option<usize>,
    /// Which subtask: of the operator, or of what feeds the edge.
    pub subtask: u32,
}

/// Offers that wait for their barrier, by its number.
#[derive(Default)]
pub struct Changes(Mutex<HashMap<(u64, Place), Offer>>);

impl Changes {
    fn waiting(&self) -> MutexGuard<'_, HashMap<(u64, Place), Offer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays an offer ready for the barrier of this change.
    pub fn offer(&self, change: u64, place: Place, offer: Offer) {
        self.waiting().insert((change, place), offer);
    }

    /// What a change has for this place, if anything.
    pub(super) fn take(&self, change: u64, place: &Place) -> Option<Offer> {
        self.waiting().remove(&(change, place.clone()))
    }

    /// Throws away what nobody has taken.
    pub fn withdraw(&self, change: u64) {
        self.waiting().retain(|(other, _), _| *other != change);
    }
}

impl Stage {
    /// Takes what is offered at this barrier.
    pub(super) async fn accept(&mut self, offer: Offer, barrier: Barrier) -> Result<(), TaskError> {
        let offer = match offer {
            Offer::Copy(take) => {
                take(self.copy(barrier, false).await?);
                return Ok(());
            }
            Offer::Replay(replay) => return self.replay(*replay).await,
            offer => offer,
        };
        self.shadow = None;
        match offer {
            Offer::Replace(new) => {
                let operator = new.instance.operator().to_owned();
                self.operator.replace(*new).map_err(|error| not_taken_over(operator, error))?;
            }
            Offer::Reopen(new) => self.reopen(*new, barrier).await?,
            Offer::Canary(change) => self.operator.canary(change)?,
            Offer::Discard | Offer::Copy(_) | Offer::Replay(_) => {}
            Offer::AddRule(new) => {
                let identity = StageIdentity { uid: new.uid.as_str().into(), ..self.identity.clone() };
                self.operator.add_rule(identity, *new)?;
            }
            Offer::RemoveRule(uid) => self.operator.remove_rule(&uid),
            Offer::Shadow(start) => {
                let state = self.copy(barrier, true).await?;
                let comparison = start.comparison.clone();
                match Shadow::begin(*start, state) {
                    Ok(shadow) => self.shadow = Some(Box::new(shadow)),
                    Err(error) => comparison.failed(&error),
                }
            }
        }
        self.keep_outputs();
        Ok(())
    }

    async fn replay(&mut self, Replay { batch, side, by }: Replay) -> Result<(), TaskError> {
        let mut in_force = None;
        if let Some([other, back]) = by {
            self.operator.replace(other)?;
            in_force = Some(back);
        }
        match side {
            InputSide::First => self.batch(batch).await?,
            InputSide::Second => self.second(batch).await?,
        }
        in_force.map_or(Ok(()), |back| self.operator.replace(back))
    }

    /// All that its operator keeps, by this barrier: to be opened beside it at once, or as a savepoint.
    async fn copy(&mut self, barrier: Barrier, beside: bool) -> Result<SubtaskState, TaskError> {
        let barrier = Barrier { kind: SnapshotKind::Savepoint, kept: true, ..barrier };
        let request = SnapshotRequest { beside, ..self.identity.request(barrier) };
        let mut state = self.operator.copy_state(&request).await?;
        let bug = |what: String| TaskError::Bug { node: self.identity.uid.to_string(), what };
        state.stores.iter_mut().try_for_each(|store| store.finish().map_err(bug))?;
        Ok(state)
    }

    async fn reopen(&mut self, new: Reopening, barrier: Barrier) -> Result<(), TaskError> {
        let state = self.copy(barrier, false).await?;
        // The old one goes first: there need not be memory for both.
        self.operator = Box::new(Nobody);
        let opened = (new.open)(state, self.identity.start);
        self.operator = opened.map_err(|error| not_taken_over(new.operator, error))?;
        Ok(())
    }
}

pub(super) fn not_taken_over(operator: String, error: TaskError) -> TaskError {
    TaskError::TakeOver { operator, error: Box::new(error) }
}

/// In the place of an operator that is gone, until the next one is there.
struct Nobody;

#[async_trait]
impl Operator for Nobody {
    async fn batch(&mut self, _: Batch, _: &mut Outputs) -> Result<(), TaskError> {
        Err(TaskError::Bug { node: "change".to_owned(), what: "an operator is gone, and none in its place".to_owned() })
    }
}
