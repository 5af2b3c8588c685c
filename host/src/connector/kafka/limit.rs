//! For measurements: the least that can be done with the client, and the topics that takes.
use std::time::Duration;

use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};

/// How long a broker may take to answer, and records to come.
const LIMIT: Duration = Duration::from_secs(30);
/// Records in a transaction.
const TRANSACTION_RECORDS: u64 = 200_000;

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn admin(brokers: &str) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    config(brokers).create()
}

fn text(error: KafkaError) -> String {
    error.to_string()
}

/// Makes topics of so many partitions.
pub async fn create_topics(brokers: &str, topics: &[&str], partitions: i32) -> Result<(), String> {
    let new: Vec<_> = topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(1))).collect();
    let made = admin(brokers).map_err(text)?.create_topics(&new, &AdminOptions::new()).await;
    made.map_err(text)?
        .into_iter()
        .try_for_each(|made| made.map(drop).map_err(|(topic, code)| format!("{topic}: {code}")))
}

/// Deletes topics.
pub async fn delete_topics(brokers: &str, topics: &[&str]) -> Result<(), String> {
    let gone = admin(brokers).map_err(text)?.delete_topics(topics, &AdminOptions::new()).await;
    gone.map_err(text)?
        .into_iter()
        .try_for_each(|gone| gone.map(drop).map_err(|(topic, code)| format!("{topic}: {code}")))
}

/// Reads `events` records and writes `outputs` of them, spread evenly, in transactions. How many were written. Blocks.
pub fn copy(brokers: &str, from: &str, to: &str, events: u64, outputs: u64) -> Result<u64, String> {
    let consumer: BaseConsumer = config(brokers)
        .set("group.id", "wasmill-bench")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "10")
        .create()
        .map_err(text)?;
    let producer: ThreadedProducer<DefaultProducerContext> =
        config(brokers).set("transactional.id", format!("limit-{to}")).set("linger.ms", "5").create().map_err(text)?;
    producer.init_transactions(LIMIT).map_err(text)?;
    let metadata = consumer.fetch_metadata(Some(from), LIMIT).map_err(text)?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        list.add_partition_offset(from, partition.id(), rdkafka::Offset::Beginning).map_err(text)?;
    }
    consumer.assign(&list).map_err(text)?;
    let (mut read, mut written) = (0, 0);
    producer.begin_transaction().map_err(text)?;
    while read < events {
        let message = consumer.poll(LIMIT).ok_or("no record has come for too long")?.map_err(text)?;
        read += 1;
        if read * outputs / events > written {
            let mut record = BaseRecord::<(), [u8]>::to(to).payload(message.payload().unwrap_or_default());
            while let Err((error, back)) = producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(text(error));
                }
                producer.flush(LIMIT).map_err(text)?;
                record = back;
            }
            written += 1;
        }
        if read % TRANSACTION_RECORDS == 0 {
            producer.commit_transaction(LIMIT).map_err(text)?;
            producer.begin_transaction().map_err(text)?;
        }
    }
    producer.commit_transaction(LIMIT).map_err(text)?;
    Ok(written)
}
