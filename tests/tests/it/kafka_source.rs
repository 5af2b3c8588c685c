//! Kafka as a source, against a real broker: what is read, from where to where, and what is said when it cannot be. What is read is
//! compared with what was written. Must not know how partitions are read.
use std::{path::Path, sync::Arc, time::Duration};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _},
};
use wasmill::{
    connector::{BatchLimits, Opening},
    control::RunError,
    job::parse,
    model::{RawBatch, SystemClock},
};
use wasmill_tests::kafka::{Broker, PATIENCE, Topic};

use super::jobs;

/// Copies what is read to files below `out`.
fn copy(broker: &Broker, kafka: &str, rest: &str, base: &Path, parallelism: u32) -> Result<Vec<String>, RunError> {
    let address = broker.address();
    let text = format!(
        "name: copy
parallelism: {parallelism}
sources: {{ in: {{ kafka: {{ brokers: '{address}', until: latest, {kafka} }}, format: json, schema: {{ n: i64 }}{rest} }} }}
sinks:
  out: {{ input: in, file: {{ path: out }} }}
  dead: {{ input: in.rejected, columns: [reason, record, position], file: {{ path: dead }} }}"
    );
    let _ = std::fs::remove_dir_all(base.join("out"));
    jobs::run(&text, base, &Default::default())?;
    Ok(jobs::lines(&base.join("out")))
}

fn numbers(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    let mut lines: Vec<_> = numbers.into_iter().map(|number| format!("{{\"n\":{number}}}")).collect();
    lines.sort();
    lines
}

fn to(topic: &Topic, partition: i32, numbers: std::ops::Range<u32>, timestamp: i64) {
    let producer = topic.producer();
    for number in numbers {
        let value = format!("{{\"n\":{number}}}");
        let record = BaseRecord::<(), str>::to(topic.name()).partition(partition).payload(&value);
        producer.send(record.timestamp(timestamp + i64::from(number)));
    }
    producer.flush();
}

#[test]
fn records_come_with_what_is_known_of_them_and_those_that_are_none_go_elsewhere() {
    let (broker, base) = (Broker::shared(), tempfile::tempdir().unwrap());
    let topic = Topic::new(broker, "known", 2);
    let producer = topic.producer();
    let record =
        |value| BaseRecord::<str, str>::to(topic.name()).partition(1).timestamp(1_700_000_000_000).payload(value);
    producer
        .send(record("{\"n\":1}").key("k").headers(OwnedHeaders::new().insert(Header { key: "h", value: Some("v") })));
    producer.send(record("{\"n\":\"two\"}").key("k"));
    producer.send(BaseRecord::<str, str>::to(topic.name()).partition(1).key("gone"));
    producer.send(record("{\"n\":4}"));
    producer.flush();
    // What is aborted is neither seen nor waited for, though it is the last.
    let aborted = topic.transactional_producer(topic.name());
    aborted.client().begin_transaction().unwrap();
    aborted.send(record("{\"n\":5}").key("k"));
    aborted.flush();
    aborted.client().abort_transaction(PATIENCE).unwrap();

    let rest = ", metadata: { key: key, at: timestamp, where: topic, part: partition, number: offset, more: headers }";
    let found = copy(broker, &format!("topic: {}", topic.name()), rest, base.path(), 3).unwrap();
    let line = |n: u32, key: &str, number: u32, more: &str| {
        let name = topic.name();
        format!(
            "{{\"n\":{n},\"key\":{key},\"at\":1700000000000,\"where\":\"{name}\",\"part\":1,\"number\":{number},\"more\":\"{more}\"}}"
        )
    };
    assert_eq!(found, [line(1, "\"k\"", 0, "{\\\"h\\\":\\\"v\\\"}"), line(4, "null", 3, "{}")]);
    let dead = jobs::lines(&base.path().join("dead"));
    let position = |number: u32| format!("\"position\":\"{}/1:{number}\"", topic.name());
    assert!(dead.len() == 2, "{dead:?}");
    assert!(dead.iter().any(|line| line.contains(&position(1)) && line.contains("two")), "{dead:?}");
    assert!(dead.iter().any(|line| line.contains(&position(2)) && line.contains("tombstone")), "{dead:?}");
}

#[test]
fn records_without_a_value_are_what_the_job_takes_them_for() {
    let (broker, base) = (Broker::shared(), tempfile::tempdir().unwrap());
    let topic = Topic::with(broker, "compacted", 1, &[("cleanup.policy", "compact")]);
    let producer = topic.producer();
    producer.send(BaseRecord::<str, str>::to(topic.name()).key("a").payload("{\"n\":1,\"text\":\"x\"}"));
    producer.send(BaseRecord::<str, str>::to(topic.name()).key("a"));
    producer.flush();
    let read = |tombstones: &str| {
        let text = format!(
            "name: compacted
sources: {{ in: {{ kafka: {{ brokers: '{}', topic: {}, until: latest, tombstones: {tombstones} }}, format: json,
  schema: {{ n: 'i64?', text: 'string?' }}, metadata: {{ key: key }} }} }}
sinks: {{ out: {{ input: in, file: {{ path: out }} }} }}",
            broker.address(),
            topic.name()
        );
        let _ = std::fs::remove_dir_all(base.path().join("out"));
        jobs::run(&text, base.path(), &Default::default()).unwrap();
        jobs::lines(&base.path().join("out"))
    };
    let (there, gone) = (r#"{"n":1,"text":"x","key":"a"}"#, r#"{"n":null,"text":null,"key":"a"}"#);
    assert_eq!(read("skip"), [there]);
    assert_eq!(read("{ value: '{}' }"), [there, gone]);
    assert_eq!(read("{ value: '{\"n\":-1}' }"), [r#"{"n":-1,"text":null,"key":"a"}"#, there]);
}

#[test]
fn reading_starts_and_ends_where_it_is_told_to() {
    let (broker, base) = (Broker::shared(), tempfile::tempdir().unwrap());
    let (topic, base) = (Topic::new(broker, "bounds", 3), base.path());
    for partition in 0..3 {
        let first = partition as u32 * 100;
        to(&topic, partition, first..first + 10, 1_000_000);
    }
    let name = topic.name();
    let read = |kafka: &str, parallelism| copy(broker, kafka, "", base, parallelism).unwrap();
    let all = || (0..3).flat_map(|partition| partition * 100..partition * 100 + 10);
    for parallelism in [1, 2, 5] {
        assert_eq!(read(&format!("topic: {name}"), parallelism), numbers(all()));
    }
    assert_eq!(read(&format!("pattern: '{}.*'", &name[..name.len() - 1]), 2), numbers(all()));
    assert_eq!(read(&format!("topic: {name}, start: latest"), 2), numbers([]));
    let since = read(&format!("topic: {name}, start: {{ timestamp: 1000105 }}"), 2);
    assert_eq!(since, numbers(all().filter(|number| *number >= 105)));
    let some = read(&format!("topic: {name}, start: {{ offsets: {{ {name}/0: 7, {name}/2: 9 }} }}"), 2);
    assert_eq!(some, numbers((7..10).chain(100..110).chain([209])));

    // A group is told how far it has come when a checkpoint is complete.
    let text = format!(
        "name: told
checkpoints: {{ directory: checkpoints, interval: 20ms }}
sources: {{ in: {{ kafka: {{ brokers: '{}', topic: {name}, until: latest, group: {name} }}, format: json, schema: {{ n: i64 }} }} }}
sinks: {{ out: {{ input: in, file: {{ path: told }} }} }}",
        broker.address()
    );
    jobs::run(&text, base, &Default::default()).unwrap();
    assert_eq!(jobs::lines(&base.join("told")), numbers(all()));
    let client: BaseConsumer = broker.config().set("group.id", name).create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..3 {
        partitions.add_partition(name, partition);
    }
    let committed = client.committed_offsets(partitions, PATIENCE).unwrap();
    let committed: Vec<_> = committed.elements().iter().map(|element| element.offset().to_raw()).collect();
    assert_eq!(committed, [Some(10); 3]);
    to(&topic, 1, 900..902, 1_000_000);
    assert_eq!(read(&format!("topic: {name}, start: committed, group: {name}"), 2), numbers(900..902));
}

#[test]
fn partitions_read_one_after_the_other_make_nothing_late() {
    let (broker, base) = (Broker::shared(), tempfile::tempdir().unwrap());
    let topic = Topic::new(broker, "times", 2);
    let producer = topic.producer();
    // Far more than is read of one partition at a time.
    let (minutes, words) = (20_i64, 20_000_i64);
    for partition in 0..2 {
        for word in 0..words {
            let value = format!("{{\"at\":{},\"word\":\"w{partition}\"}}", word * minutes * 60_000 / words);
            producer.send(BaseRecord::<(), str>::to(topic.name()).partition(partition).payload(&value));
        }
    }
    producer.flush();
    let text = format!(
        "name: times
sources:
  in:
    kafka: {{ brokers: '{}', topic: {}, until: latest }}
    format: json
    schema: {{ at: i64, word: string }}
    time: {{ column: at, idle: 1min, drift: 2min }}
operators: {{ counts: {{ input: in, key: word, window: {{ tumbling: 1min }}, aggregate: {{ plugin: '{}' }} }} }}
sinks: {{ out: {{ input: counts, columns: [word, window_start, count], file: {{ path: out }} }} }}",
        broker.address(),
        topic.name(),
        jobs::plugin("word-count"),
    );
    jobs::run(&text, base.path(), &Default::default()).unwrap();
    let mut expected: Vec<String> = (0..2)
        .flat_map(|partition| (0..minutes).map(move |minute| (partition, minute)))
        .map(|(partition, minute)| {
            let start = minute * 60_000;
            format!("{{\"word\":\"w{partition}\",\"window_start\":{start},\"count\":{}}}", words / minutes)
        })
        .collect();
    expected.sort();
    assert_eq!(jobs::lines(&base.path().join("out")), expected);
}

#[test]
fn what_cannot_be_read_is_refused_with_its_reason() {
    let (broker, base) = (Broker::shared(), tempfile::tempdir().unwrap());
    let topic = Topic::new(broker, "refused", 1);
    to(&topic, 0, 0..3, 0);
    let (name, address) = (topic.name(), broker.address());
    let sasl = |password: &str| {
        format!(
            "brokers: '{}', topic: {name}, properties: {{ security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, sasl.username: \
             alice, sasl.password: {password} }}",
            broker.sasl()
        )
    };
    for (kafka, code, part) in [
        (format!("brokers: '{address}', topic: nowhere"), "C0404", "nowhere"),
        (format!("brokers: '{address}', topic: {name}, start: {{ offsets: {{ {name}/0: 77 }} }}"), "C0411", name),
        (format!("brokers: '{address}', topic: {name}, properties: {{ fetch.max: 3 }}"), "C0406", "fetch.max"),
        (format!("brokers: '{address}', topic: {name}, properties: {{ group.id: x }}"), "C0406", "group.id"),
        (sasl("wrong"), "C0403", "authentication"),
    ] {
        let text = format!(
            "name: refused
sources: {{ in: {{ kafka: {{ {kafka} }}, format: json, schema: {{ n: i64 }} }} }}
sinks: {{ out: {{ input: in, discard: {{}} }} }}"
        );
        let error = jobs::run(&text, base.path(), &Default::default()).map(drop).unwrap_err().to_string();
        let shown = error.to_lowercase();
        assert!(error.contains(&format!("[{code}]")) && shown.contains(&part.to_lowercase()), "{kafka}: {error}");
        assert!(!error.contains("wrong"), "{error}");
    }
    let text = format!(
        "name: let-in
sources: {{ in: {{ kafka: {{ until: latest, {} }}, format: json, schema: {{ n: i64 }} }} }}
sinks: {{ out: {{ input: in, file: {{ path: out }} }} }}",
        sasl("secret")
    );
    jobs::run(&text, base.path(), &Default::default()).unwrap();
    assert_eq!(jobs::lines(&base.path().join("out")), numbers(0..3));
}

#[tokio::test]
async fn what_was_read_ahead_is_not_lost_while_brokers_are_asked_in_vain() {
    let broker = Broker::own();
    let topic = Topic::new(&broker, "ahead", 1);
    let texts: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    topic.produce(texts.iter().map(|text| ("", text)));
    let text = format!(
        "name: ahead\nsources: {{ in: {{ kafka: {{ brokers: '{}', topic: {}, discover: 1ms }}, format: text }} }}\n\
         sinks: {{ out: {{ input: in, discard: {{}} }} }}",
        broker.address(),
        topic.name()
    );
    let source = parse(&text, "job.yaml", &|_| None, Path::new("")).unwrap().sources.swap_remove("in").unwrap();
    let (clock, uid) = (Arc::new(SystemClock::new()), "in".to_owned());
    let opening =
        Opening { job: "ahead".into(), uid, subtask: 0, parallelism: 1, start: 1, metadata: Vec::new(), clock };
    let mut reader = source.connector.open(&opening, None).unwrap();
    reader.start().await.unwrap();
    let (mut found, mut raw) = (Vec::new(), RawBatch::default());
    let mut read = async |records| {
        raw.clear();
        reader.read(&mut raw, BatchLimits { records, bytes: 1 << 20 }).await.unwrap();
        found.extend((0..raw.len()).map(|record| String::from_utf8(raw.record(record).to_vec()).unwrap()));
        assert!(found == texts[..found.len()], "they are not the same, or in another order");
        found.len()
    };
    // From then on the client has more, and at each read it is time to look for new partitions.
    read(1).await;
    broker.kill(None);
    read(1).await;
    // Longer than the source waits for an answer.
    assert!(topic.is_out_of_reach(Duration::from_secs(5)));
    broker.restart(None);
    let all = async { while read(1000).await < texts.len() {} };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
}
