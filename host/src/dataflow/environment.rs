//! Everything a dataflow may touch that does not follow from its input: replaced as a whole in a simulation.
use std::sync::Arc;

use super::exchange::Exchanges;
use crate::model::Clock;

/// Time, randomness, and how tasks reach each other.
#[derive(Clone)]
pub struct Environment {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// From which every task derives its own randomness.
    pub seed: u64,
    /// What connects the tasks.
    pub exchanges: Arc<dyn Exchanges>,
}
