//! Plugins that take the place of others while a job runs. They are made ready while the others still work; a barrier then has each stage
//! take its own, so that all records before it have seen the old one, and all after it the new. Must not know who asked for that.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::ShadowStart;
use crate::{model::OperatorKind, plugin::Instance};

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

/// What a stage takes as the barrier of a change passes it.
pub enum Offer {
    /// Another plugin. A shadow it had ends with that.
    Replace(Box<Replacement>),
    /// Another version beside its own.
    Shadow(Box<ShadowStart>),
    /// No shadow any more.
    Discard,
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
