//! Topics of tests: created, extended, written to. Guarantees: a topic's name is its own, on a broker that others use too; what was
//! written and flushed is there. Must not know what is written.
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult},
    message::ToBytes,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};

use super::{Broker, PATIENCE, Reader, Record, read};

/// A topic that is there.
pub struct Topic {
    config: ClientConfig,
    name: String,
    /// Whether the broker outlives it.
    shared: bool,
}

impl Topic {
    /// Creates one whose name begins like this.
    pub fn new(broker: &Broker, prefix: &str, partitions: i32) -> Topic {
        Topic::with(broker, prefix, partitions, &[])
    }

    /// The same with settings of topics, such as `cleanup.policy`.
    pub fn with(broker: &Broker, prefix: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
        let name = fresh(prefix);
        // As many copies as the broker's settings say.
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(-1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let config = broker.config();
        admin(&config, async |admin, options| admin.create_topics([&topic], options).await);
        let topic = Topic { config, name, shared: broker.directory.is_none() };
        topic.wait_for_partitions(partitions);
        topic
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds partitions, so that there are so many.
    pub fn extend(&self, partitions: i32) {
        let more = NewPartitions::new(&self.name, usize::try_from(partitions).expect("a number of partitions"));
        admin(&self.config, async |admin, options| admin.create_partitions([&more], options).await);
        self.wait_for_partitions(partitions);
    }

    /// A topic is created before all brokers know of it.
    fn wait_for_partitions(&self, partitions: i32) {
        let client: BaseConsumer = self.config.create().expect("a client");
        let until = Instant::now() + PATIENCE;
        while read::partitions(&client, &self.name, until) < partitions {
            assert!(Instant::now() < until, "{} does not get {partitions} partitions", self.name);
        }
    }

    /// Writes keys and values, each to the partition that its key leads to, and waits until they are there.
    pub fn produce<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, records: impl IntoIterator<Item = (K, V)>) {
        let producer = self.producer();
        for (key, value) in records {
            producer.send(BaseRecord::to(&self.name).key(key.as_ref()).payload(value.as_ref()));
        }
        producer.flush();
    }

    /// To write more than once. Records are there once, in order, also when the broker is killed meanwhile.
    pub fn producer(&self) -> Producer {
        let mut config = self.config.clone();
        config.set("enable.idempotence", "true").set("linger.ms", "1").set("message.timeout.ms", "0");
        Producer::new(&config, &self.name)
    }

    /// The same in transactions, begun and ended through [`Producer::client`].
    pub fn transactional_producer(&self, id: &str) -> Producer {
        let mut config = self.config.clone();
        config.set("transactional.id", id).set("linger.ms", "1");
        let producer = Producer::new(&config, &self.name);
        producer.client().init_transactions(PATIENCE).expect("a transactional producer");
        producer
    }

    /// Whether records of a transaction are there that is neither committed nor aborted.
    pub fn has_open_transaction(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        let [settled, all] = ["read_committed", "read_uncommitted"].map(|isolation| {
            let mut config = self.config.clone();
            let client: BaseConsumer = config.set("isolation.level", isolation).create().expect("a client");
            let partitions = 0..read::partitions(&client, &self.name, until);
            partitions.map(|partition| read::end(&client, &self.name, partition, until)).collect::<Vec<_>>()
        });
        settled.iter().zip(&all).any(|(settled, all)| settled < all)
    }

    /// Whether nobody answers a client that asks about it for so long.
    pub fn is_out_of_reach(&self, time: Duration) -> bool {
        let client: BaseConsumer = self.config.create().expect("a client");
        client.fetch_metadata(Some(&self.name), time).is_err()
    }

    /// Waits until all transactions are committed or aborted, which becomes known shortly after it is done.
    #[track_caller]
    pub fn wait_until_settled(&self) {
        let until = Instant::now() + PATIENCE;
        while self.has_open_transaction() {
            assert!(Instant::now() < until, "a transaction is left open in {}", self.name);
        }
    }

    /// All that is committed now, by partition and offset.
    pub fn read(&self) -> Vec<Record> {
        self.reader().read_to_end()
    }

    /// To read what is committed as it comes.
    pub fn reader(&self) -> Reader {
        Reader::new(self.config.clone(), &self.name)
    }

    /// All that is committed now, by partition and offset, as another client tells it.
    pub fn read_by_python(&self) -> Vec<Record> {
        read::by_python(self.config.get("bootstrap.servers").unwrap_or_default(), &self.name)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self.shared && !std::thread::panicking() {
            admin(&self.config, async |admin, options| admin.delete_topics(&[&self.name], options).await);
        }
    }
}

/// A name that nobody else has.
fn fresh(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{:08x}-{}", fastrand::u32(..), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Has the brokers do something.
fn admin(
    config: &ClientConfig,
    act: impl AsyncFnOnce(
        &AdminClient<DefaultClientContext>,
        &AdminOptions,
    ) -> KafkaResult<Vec<Result<String, (String, RDKafkaErrorCode)>>>
    + Send,
) {
    let work = || {
        let admin: AdminClient<DefaultClientContext> = config.create().expect("a client");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let results = runtime.block_on(act(&admin, &options)).expect("an answer of the broker");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("{topic}: {error}"));
        }
    };
    // On a thread of its own, since a caller may be in a runtime.
    std::thread::scope(|scope| scope.spawn(work).join()).expect("it is done");
}

/// Writes records.
pub struct Producer(BaseProducer<Deliveries>);

/// The first record that could not be written.
#[derive(Default)]
pub struct Deliveries(Mutex<Option<String>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
        }
    }
}

impl Producer {
    /// One that knows the topic's partitions: otherwise records that name theirs may fail at first.
    fn new(config: &ClientConfig, topic: &str) -> Producer {
        let producer: BaseProducer<Deliveries> = config.create_with_context(Deliveries::default()).expect("a producer");
        let metadata = producer.client().fetch_metadata(Some(topic), PATIENCE).expect("partitions");
        assert!(metadata.topics().iter().all(|topic| !topic.partitions().is_empty()), "{topic} has no partitions");
        Producer(producer)
    }

    /// Has a record written, soon.
    pub fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(&self, record: BaseRecord<'_, K, V>) {
        let until = Instant::now() + PATIENCE;
        let mut left = Some(record);
        while let Some(record) = left.take() {
            match self.0.send(record) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) if Instant::now() < until => {
                    self.0.poll(Duration::from_millis(10));
                    left = Some(record);
                }
                // It looks for partitions that are new every few minutes only.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), record))
                    if Instant::now() < until =>
                {
                    self.0.client().fetch_metadata(Some(record.topic), PATIENCE).expect("partitions");
                    left = Some(record);
                }
                Err((error, _)) => panic!("cannot write: {error}"),
            }
        }
        self.0.poll(std::time::Duration::ZERO);
    }

    /// Waits until all of it is there.
    pub fn flush(&self) {
        let until = Instant::now() + PATIENCE;
        // The client's own way takes a tenth of a second at least.
        while self.0.in_flight_count() > 0 {
            assert!(Instant::now() < until, "{} records are not written", self.0.in_flight_count());
            self.0.poll(std::time::Duration::from_millis(1));
        }
        let failed = self.0.context().0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(failed, None, "a record was not written");
    }

    /// For transactions.
    pub fn client(&self) -> &BaseProducer<Deliveries> {
        &self.0
    }
}
