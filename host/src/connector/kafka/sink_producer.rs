//! A producer of librdkafka: records go in without waiting, deliveries are counted as they come. Guarantees that nothing here blocks
//! a thread of the runtime, that no record is dropped for want of room, and that the first record which is not delivered is remembered.
//! Must not know rows or checkpoints.
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer},
};
use tokio::{sync::Notify, task::spawn_blocking};

use super::{
    client::{self, Client},
    error::Failure,
};
use crate::{connector::ConnectorError, model::Clock};

/// How long making a producer known to its coordinator may take.
const INIT_TIME: Duration = Duration::from_secs(60);

/// How long to go on trying to commit, and how long an attempt may take. What is not committed then is after a restart.
const COMMIT_TIME: Duration = Duration::from_secs(60);
const COMMIT_ATTEMPT: Duration = Duration::from_secs(10);

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

/// A record with a topic, and whatever else.
pub type Record<'a> = BaseRecord<'a, [u8], [u8], ()>;

/// A record that has not been delivered.
#[derive(Clone, Debug)]
struct Undelivered {
    code: Code,
    topic: String,
    /// Of its value.
    bytes: usize,
}

/// Hears of deliveries.
struct Deliveries {
    /// Delivered or not, but done with.
    done: AtomicU64,
    /// How many must be done with for the writer to be woken.
    awaited: AtomicU64,
    woken: Notify,
    failed: AtomicU64,
    first: Mutex<Option<Undelivered>>,
    transactional: bool,
    /// Topics and partitions where records are that were delivered since the transaction began.
    places: Mutex<Vec<(String, i32)>>,
}

impl Deliveries {
    /// A record was delivered there.
    fn note(&self, topic: &str, partition: i32) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(known, number): &(String, i32)| *number == partition && known == topic;
        // They come in runs of one partition: that of the latest is the last.
        match places.iter().rposition(is_it) {
            Some(at) => {
                let last = places.len() - 1;
                places.swap(at, last);
            }
            None => places.push((topic.to_owned(), partition)),
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::trouble(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) if self.transactional => self.note(message.topic(), message.partition()),
            Ok(_) => {}
            Err((error, message)) => {
                self.failed.fetch_add(1, SeqCst);
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| Undelivered {
                    code: error.rdkafka_error_code().unwrap_or(Code::Unknown),
                    topic: message.topic().to_owned(),
                    bytes: message.payload_len(),
                });
            }
        }
        if self.done.fetch_add(1, SeqCst) + 1 >= self.awaited.load(SeqCst) {
            self.woken.notify_one();
        }
    }
}

/// A producer, used by one writer.
pub struct Producer {
    /// Absent once it is being dropped.
    inner: Option<Arc<ThreadedProducer<Deliveries>>>,
    /// Its transactional id, if it has one.
    id: Option<String>,
    /// Records, since the transaction began if there are such.
    sent: u64,
    /// The last failures told of, with `at_most_once`.
    told: u64,
}

impl Producer {
    /// A producer; with an id, one whose id no other can write under any more. Fails with C0406 for settings that do not go together.
    pub async fn open(client: &Client, config: &ClientConfig, id: Option<String>) -> Result<Producer, ConnectorError> {
        let mut config = config.clone();
        if let Some(id) = &id {
            config.set("transactional.id", id);
        }
        let transactional = id.is_some();
        let deliveries = Deliveries {
            done: AtomicU64::new(0),
            awaited: AtomicU64::new(NOBODY),
            woken: Notify::new(),
            failed: AtomicU64::new(0),
            first: Mutex::new(None),
            transactional,
            places: Mutex::default(),
        };
        let opened = blocking(move || {
            let producer = ThreadedProducer::from_config_and_context(&config, deliveries)?;
            if transactional {
                producer.init_transactions(INIT_TIME)?;
            }
            Ok(producer)
        });
        let inner = opened.await.map_err(|error| match Failure::of(&error) {
            Failure::Setting => client.refused(&error),
            failure => {
                let place = id.clone().unwrap_or_else(|| client.brokers.to_string());
                failure.at(place, format!("no producer can be made: {error}"))
            }
        })?;
        Ok(Producer { inner: Some(Arc::new(inner)), id, sent: 0, told: 0 })
    }

    fn inner(&self) -> &Arc<ThreadedProducer<Deliveries>> {
        match &self.inner {
            Some(inner) => inner,
            // It is taken by `drop` only.
            None => unreachable!("a producer is used after it was dropped"),
        }
    }

    fn deliveries(&self) -> &Deliveries {
        self.inner().context()
    }

    /// Begins a transaction.
    pub async fn begin(&mut self) -> Result<(), ConnectorError> {
        // All that was sent before is done with, for it is committed.
        self.sent = 0;
        let deliveries = self.deliveries();
        deliveries.done.store(0, SeqCst);
        deliveries.places.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let inner = self.inner().clone();
        blocking(move || inner.begin_transaction()).await.map_err(|error| self.explain(&error, "no transaction begins"))
    }

    /// Commits the transaction, all of whose records are delivered. Tries again for a while what can be tried again.
    pub async fn commit(&self, clock: &dyn Clock) -> Result<(), ConnectorError> {
        let until = clock.monotonic() + COMMIT_TIME;
        loop {
            let inner = self.inner().clone();
            match blocking(move || inner.commit_transaction(COMMIT_ATTEMPT)).await {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error)) if error.is_retriable() && clock.monotonic() < until => {
                    tracing::warn!("a transaction is not committed yet, trying again: {error}");
                }
                Err(error) => return Err(self.explain(&error, "a transaction cannot be committed")),
            }
        }
    }

    /// Hands a record over; waits while there is no room for it.
    pub async fn send(&mut self, mut record: Record<'_>) -> Result<(), ConnectorError> {
        loop {
            match self.inner().send(record) {
                Ok(()) => {
                    self.sent += 1;
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                    record = back;
                    // Half of what is there is a good piece of work: waking for each would be much ado.
                    let waiting = self.sent - self.deliveries().done.load(SeqCst);
                    self.wait(self.sent - waiting / 2).await;
                }
                Err((error, record)) => {
                    let bytes = record.payload.map_or(0, <[u8]>::len);
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    return Err(self.undelivered(&Undelivered { code, topic: record.topic.to_owned(), bytes }));
                }
            }
        }
    }

    /// Waits until all records are delivered. Fails with the first that is not.
    pub async fn flush(&self) -> Result<(), ConnectorError> {
        self.wait(self.sent).await;
        self.check()
    }

    /// A topic and partition where records of the transaction are, that is none of those which the coordinator counts as part of it: a commit would
    /// leave these out.
    pub fn stray(&self, counted: &BTreeSet<(String, i32)>) -> Option<(String, i32)> {
        let places = self.deliveries().places.lock().unwrap_or_else(PoisonError::into_inner);
        places.iter().find(|place| !counted.contains(place)).cloned()
    }

    /// Fails if a record was not delivered.
    pub fn check(&self) -> Result<(), ConnectorError> {
        if self.deliveries().failed.load(SeqCst) == 0 {
            return Ok(());
        }
        let first = self.deliveries().first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        first.map_or(Ok(()), |first| Err(self.undelivered(&first)))
    }

    /// Records that were not delivered since this was last asked, and why the first of all was not.
    pub fn lost(&mut self) -> Option<(u64, ConnectorError)> {
        let failed = self.deliveries().failed.load(SeqCst);
        let lost = failed - std::mem::replace(&mut self.told, failed);
        self.check().err().filter(|_| lost > 0).map(|error| (lost, error))
    }

    /// Waits until so many records are done with.
    async fn wait(&self, records: u64) {
        let deliveries = self.deliveries();
        loop {
            deliveries.awaited.store(records, SeqCst);
            if deliveries.done.load(SeqCst) >= records {
                deliveries.awaited.store(NOBODY, SeqCst);
                return;
            }
            deliveries.woken.notified().await;
        }
    }

    fn undelivered(&self, record: &Undelivered) -> ConnectorError {
        // What has gone wrong for good has made all others fail too, with less to say.
        let (code, why) = match self.inner().client().fatal_error() {
            Some((code, why)) => (code, why),
            None => (record.code, record.code.to_string()),
        };
        let what = match Failure::of_code(code) {
            Failure::TooLarge => format!(
                "a record of {} bytes is larger than it may be ({why}): `message.max.bytes` in `properties` is the limit here, \
                 `max.message.bytes` that of the topic",
                record.bytes
            ),
            _ => format!("a record is not delivered: {why}"),
        };
        self.explained(code, &record.topic, what)
    }

    fn explain(&self, error: &KafkaError, what: &str) -> ConnectorError {
        let (code, why) = match (self.inner().client().fatal_error(), error) {
            (Some(fatal), _) => fatal,
            (None, KafkaError::Transaction(error)) => (error.code(), error.to_string()),
            (None, other) => (other.rdkafka_error_code().unwrap_or(Code::Unknown), other.to_string()),
        };
        self.explained(code, self.id.as_deref().unwrap_or_default(), format!("{what}: {why}"))
    }

    fn explained(&self, code: Code, place: &str, what: String) -> ConnectorError {
        match Failure::of_code(code) {
            Failure::Fenced => {
                let id = self.id.as_deref().unwrap_or_default();
                let what = format!("another run of this job has taken over: it writes as `{id}` now ({what})");
                Failure::Fenced.at(place, what)
            }
            failure => failure.at(place, what),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // What is left is thrown away, and that takes its time.
        let inner = self.inner.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(inner))),
            Err(_) => drop(inner),
        }
    }
}

/// Does something on a thread where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    spawn_blocking(work).await.unwrap_or(Err(KafkaError::Canceled))
}
