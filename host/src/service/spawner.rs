//! Runs a job's tasks on the data path's threads, whoever starts them, within the job's span, and knows when the last is gone.
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::{runtime::Handle, sync::watch};
use tracing::{Instrument, Span};

use crate::dataflow::{Spawned, Spawner};

/// How many tasks of a job there are. Clones share.
#[derive(Clone, Default)]
pub(super) struct Alive(Arc<watch::Sender<usize>>);

impl Alive {
    fn begin(&self) -> Guard {
        self.0.send_modify(|count| *count += 1);
        Guard(self.clone())
    }

    /// Waits until there is none: a task that was aborted goes on to its next pause.
    pub(super) async fn none(&self) {
        // The sender is here, so it does not end.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

struct Guard(Alive);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

/// Runs the tasks of one job.
pub(super) struct JobSpawner {
    pub(super) runtime: Handle,
    pub(super) span: Span,
    pub(super) alive: Alive,
}

impl Spawner for JobSpawner {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) -> Spawned {
        let alive = self.alive.begin();
        let future = async move {
            // Dropped after the future.
            let _alive = alive;
            future.await;
        };
        let handle = self.runtime.spawn(future.instrument(self.span.clone())).abort_handle();
        Spawned::new(move || handle.abort())
    }
}
