//! Where the outputs of a stage lead: on to stages of the same task, or over an exchange to other tasks. Must not know what rows mean.
use super::{Combiner, Message, Sender, Stage, TaskError, operator::bug, partition::partition};
use crate::model::{Batch, Schema};

/// Where an output leads.
pub struct Target {
    /// For each column the reader expects, its place in the output, and the reader's columns; `None` if they are the same.
    pub adapt: Option<(Vec<usize>, Schema)>,
    /// The way there.
    pub route: Route,
}

/// The way to a reader.
pub enum Route {
    /// In the same task.
    Chained(Box<Stage>),
    /// To this subtask of another task.
    Forward(Box<dyn Sender>),
    /// To each subtask of another task in turn; the number is whose turn it is.
    Rebalance(Vec<Box<dyn Sender>>, usize),
    /// To every subtask of another task.
    Broadcast(Vec<Box<dyn Sender>>),
    /// Aggregated before, on another way.
    Combined(Box<Combiner>, Box<Route>),
    /// To the subtask that owns the row's key.
    Hash {
        /// One per subtask.
        senders: Vec<Box<dyn Sender>>,
        /// Key columns, in the reader's columns.
        key: Vec<usize>,
        /// Number of key groups.
        max_parallelism: u32,
    },
}

impl Target {
    pub(super) async fn batch(&mut self, mut batch: Batch) -> Result<(), TaskError> {
        if let Some((columns, schema)) = &self.adapt {
            let picked = columns.iter().map(|column| batch.columns.column(*column).clone()).collect();
            batch.columns = schema.record_batch(picked, batch.rows()).map_err(bug)?;
        }
        self.route.batch(batch).await
    }
}

impl Route {
    async fn batch(&mut self, batch: Batch) -> Result<(), TaskError> {
        match self {
            Route::Chained(stage) => Box::pin(stage.batch(batch)).await,
            Route::Combined(combiner, route) => {
                let batch = Box::pin(combiner.combine(batch)).await?;
                Box::pin(route.batch(batch)).await
            }
            Route::Forward(sender) => sender.send(Message::Batch(batch)).await,
            Route::Rebalance(senders, next) => {
                *next = (*next + 1) % senders.len();
                senders[*next].send(Message::Batch(batch)).await
            }
            Route::Broadcast(senders) => {
                for sender in senders {
                    sender.send(Message::Batch(batch.clone())).await?;
                }
                Ok(())
            }
            Route::Hash { senders, key, max_parallelism } => {
                let parts = partition(&batch, key, senders.len(), *max_parallelism).map_err(bug)?;
                for (sender, part) in senders.iter_mut().zip(parts) {
                    if part.rows() > 0 {
                        sender.send(Message::Batch(part)).await?;
                    }
                }
                Ok(())
            }
        }
    }

    pub(super) async fn broadcast(&mut self, message: Message) -> Result<(), TaskError> {
        let senders = match self {
            Route::Chained(_) => return Ok(()),
            Route::Combined(_, route) => return Box::pin(route.broadcast(message)).await,
            Route::Forward(sender) => std::slice::from_mut(sender),
            Route::Rebalance(senders, _) | Route::Broadcast(senders) | Route::Hash { senders, .. } => &mut senders[..],
        };
        for sender in senders {
            sender.send(message.clone()).await?;
        }
        Ok(())
    }
}
