//! Everything a dataflow may touch that does not follow from its input: replaced as a whole in a simulation.
use std::sync::Arc;

use futures::future::BoxFuture;

use super::exchange::Exchanges;
use crate::model::Clock;

/// Time, randomness, threads, and how tasks reach each other.
#[derive(Clone)]
pub struct Environment {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// From which every task derives its own randomness.
    pub seed: u64,
    /// What connects the tasks.
    pub exchanges: Arc<dyn Exchanges>,
    /// What runs the tasks.
    pub spawner: Arc<dyn Spawner>,
}

/// Runs futures side by side.
pub trait Spawner: Send + Sync {
    /// Runs a future until it ends or the handle is dropped. `name` is for logs.
    fn spawn(&self, name: &str, future: BoxFuture<'static, ()>) -> Spawned;
}

/// A running future, which is dropped where it is when this is.
pub struct Spawned(Option<Box<dyn FnOnce() + Send>>);

impl Spawned {
    /// `abort` is called when the handle is dropped.
    pub fn new(abort: impl FnOnce() + Send + 'static) -> Spawned {
        Spawned(Some(Box::new(abort)))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(abort) = self.0.take() {
            abort();
        }
    }
}

/// Runs futures on the threads of the current tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioSpawner;

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) -> Spawned {
        let handle = tokio::spawn(future).abort_handle();
        Spawned::new(move || handle.abort())
    }
}
