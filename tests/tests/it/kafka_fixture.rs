//! What tests with Kafka rest on: a broker that can be killed and that nobody is left with, and readers that see what is committed.
use std::{
    io::Read,
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    producer::{BaseRecord, Producer as _},
    types::RDKafkaErrorCode,
};
use wasmill_tests::{
    guests,
    kafka::{Broker, PATIENCE, Record, Topic, USER},
};

fn texts(records: &[Record]) -> Vec<&str> {
    records.iter().map(Record::text).collect()
}

#[test]
fn only_what_is_committed_is_read_and_python_reads_the_same() {
    let topic = Topic::new(Broker::shared(), "transactions", 1);
    let mut reader = topic.reader();
    let producer = topic.transactional_producer(topic.name());
    let send = |partition: i32, value: &[u8]| {
        let record = BaseRecord::to(topic.name()).partition(partition).key("k").payload(value).timestamp(1000);
        producer.send(record);
        producer.flush();
    };
    let client = producer.client();
    for (value, commit) in [("first", true), ("aborted", false)] {
        client.begin_transaction().unwrap();
        send(0, value.as_bytes());
        if commit { client.commit_transaction(PATIENCE) } else { client.abort_transaction(PATIENCE) }.unwrap();
    }
    topic.extend(2);
    client.begin_transaction().unwrap();
    send(0, b"second");
    send(1, b"\xff");
    client.commit_transaction(PATIENCE).unwrap();
    client.begin_transaction().unwrap();
    send(0, b"open");
    // A reader that was there before the second partition finds it.
    assert_eq!(reader.wait_for(3).len(), 3);
    let found = topic.read();
    assert_eq!(texts(&found[..2]), ["first", "second"]);
    let last = Record { partition: 1, offset: 0, timestamp: 1000, value: Some(vec![0xff]), ..found[0].clone() };
    assert_eq!(found[2..], [last]);
    assert_eq!(topic.read_by_python(), found);
    client.abort_transaction(PATIENCE).unwrap();
}

#[test]
fn a_wrong_password_is_refused() {
    let broker = Broker::shared();
    let (user, password) = USER;
    let client = |mechanism: &str, password: &str| -> BaseConsumer {
        let mut config = broker.config();
        config.set("bootstrap.servers", broker.sasl()).set("security.protocol", "SASL_PLAINTEXT");
        config.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
        config.create().unwrap()
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        client(mechanism, password).fetch_metadata(None, PATIENCE).unwrap();
        let refused = client(mechanism, "wrong");
        let until = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < until, "{mechanism}: nobody is refused");
            assert!(refused.fetch_metadata(None, Duration::from_millis(100)).is_err(), "{mechanism}");
            let event = refused.poll(Duration::ZERO).and_then(Result::err);
            if event.and_then(|error| error.rdkafka_error_code()) == Some(RDKafkaErrorCode::Authentication) {
                break;
            }
        }
    }
}

#[test]
fn a_broker_that_was_killed_comes_back_with_what_it_had() {
    for nodes in [1, 3] {
        let broker = Broker::own_with(nodes, &[]);
        let topic = Topic::new(&broker, "numbers", 2);
        let producer = topic.producer();
        let send = |number: usize| {
            producer.send(BaseRecord::to(topic.name()).key("k").payload(number.to_string().as_bytes()));
        };
        (0..100).for_each(send);
        producer.flush();
        broker.kill(None);
        (100..200).for_each(send);
        broker.restart(None);
        // Of three, two can do without the first.
        let first = (nodes > 1).then_some(1);
        if first.is_some() {
            broker.kill(first);
        }
        producer.flush();
        let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(texts(&topic.read()), expected);
    }
}

#[test]
fn a_broker_ends_with_the_process_it_is_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let started = Command::new(guests::root().join("tests/kafka/broker"))
        .args(["start", "--while", &process.id().to_string(), "--directory"])
        .arg(directory.path())
        .output()
        .unwrap();
    let address = String::from_utf8(started.stdout).unwrap();
    let mut connection = TcpStream::connect(address.trim()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let end = connection.read(&mut [0]);
    let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
    assert!(matches!(&end, Ok(0)) || end.as_ref().is_err_and(reset), "{end:?}");
}
