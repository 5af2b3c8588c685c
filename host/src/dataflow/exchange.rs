//! How rows get from one task to another. Within a host that is memory: a bounded queue per pair of subtasks, so that an input
//! can be left unread for a while without holding up its neighbours. Other carriers implement [`Exchanges`].
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Message, TaskError};

/// Messages a queue between two subtasks holds before the sender waits.
pub const QUEUE_BATCHES_MAX: usize = 4;

/// The sending end of a queue.
#[async_trait]
pub trait Sender: Send {
    /// Hands a message over, waiting while the queue is full. Fails if the other end is gone.
    async fn send(&mut self, message: Message) -> Result<(), TaskError>;
}

/// The receiving end of a queue.
pub trait Receiver: Send {
    /// The next message; `None` if the other end is gone without having sent [`Message::End`].
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Message>>;
}

/// Makes the queues of a job.
pub trait Exchanges: Send + Sync {
    /// A queue from one subtask to another. `name` says which, for messages and for carriers that need a stable name.
    fn connect(&self, name: &str) -> (Box<dyn Sender>, Box<dyn Receiver>);
}

/// Queues in memory.
#[derive(Debug, Default, Clone, Copy)]
pub struct MemoryExchanges;

impl Exchanges for MemoryExchanges {
    fn connect(&self, _name: &str) -> (Box<dyn Sender>, Box<dyn Receiver>) {
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES_MAX);
        (Box::new(MemorySender(sender)), Box::new(MemoryReceiver(receiver)))
    }
}

struct MemorySender(mpsc::Sender<Message>);

#[async_trait]
impl Sender for MemorySender {
    async fn send(&mut self, message: Message) -> Result<(), TaskError> {
        self.0.send(message).await.map_err(|_| TaskError::Disconnected)
    }
}

struct MemoryReceiver(mpsc::Receiver<Message>);

impl Receiver for MemoryReceiver {
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<Message>> {
        self.0.poll_recv(context)
    }
}
