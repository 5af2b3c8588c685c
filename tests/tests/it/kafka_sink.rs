//! The Kafka sink against a real broker: whatever happens between writing, preparing and committing, readers of committed records see
//! what checkpoints have, once.
use std::{fs, path::Path, process::Command, sync::Arc, time::Duration};

use arrow_array::{Int64Array, RecordBatch, StringArray};
use wasmill::{
    connector::{ConnectorError, Opening, Recovery, Sink, SinkWriter},
    job::parse,
    model::{Batch, Clock, Encoded, Field, Kind, Schema, SystemClock},
};
use wasmill_tests::kafka::{Broker, Record, Topic, USER};

const JOB: &str = "name: JOB\nsources: { in: { stdin: {}, format: text, schema: { line: string } } }\n\
                   sinks: { out: { input: in, kafka: KAFKA } }\n";

/// The sink of a job with these settings.
pub fn sink_of(settings: &str) -> Arc<dyn Sink> {
    let text = JOB.replace("KAFKA", settings);
    parse(&text, "job.yaml", &|_| None, Path::new("")).unwrap().sinks.swap_remove("out").unwrap().connector
}

fn sink(topic: &Topic, more: &str) -> Arc<dyn Sink> {
    let (brokers, name) = (Broker::shared().address(), topic.name());
    sink_of(&format!("{{ brokers: '{brokers}', topic: {name}, key: line, headers: {{ n: line }}{more} }}"))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// The topic's name is the job's too, so that nobody else has its transactional ids.
pub fn open(sink: &dyn Sink, topic: &Topic, subtask: usize) -> Box<dyn SinkWriter> {
    let (job, uid) = (topic.name().into(), "out".to_owned());
    let opening = Opening { job, uid, subtask, parallelism: 2, start: 1, metadata: Vec::new(), clock: clock() };
    sink.open(&opening).unwrap()
}

/// Settles what an earlier start has left.
pub async fn recover(sink: &dyn Sink, job: &str, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
    sink.recover(&Recovery { job: job.into(), uid: "out".into(), start: 2, clock: clock() }, committables).await
}

/// Writes lines, all of part 0.
pub async fn write(writer: &mut dyn SinkWriter, values: &[&str]) -> Result<(), ConnectorError> {
    let schema = Schema::new([Field::new("line", Kind::Utf8), Field::new("part", Kind::Int64)]).unwrap();
    let (lines, parts) = (StringArray::from(values.to_vec()), Int64Array::from(vec![0; values.len()]));
    let columns = RecordBatch::try_new(schema.arrow().clone(), vec![Arc::new(lines), Arc::new(parts)]).unwrap();
    let mut encoded = Encoded { separator: 1, ..Encoded::default() };
    for value in values {
        encoded.data.extend_from_slice(value.as_bytes());
        encoded.data.push(b'\n');
        encoded.ends.push(encoded.data.len());
    }
    let timestamps = vec![1000; values.len()].into();
    writer.write(&Batch { columns, timestamps, arrived: Duration::ZERO, key_hashes: None }, &encoded).await
}

/// What is committed, in the order of the alphabet, once no transaction is open.
pub fn texts(topic: &Topic) -> Vec<String> {
    topic.wait_until_settled();
    let mut texts: Vec<String> = topic.read().iter().map(|record| record.text().to_owned()).collect();
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_is_committed_by_another_process_and_nothing_else() {
    let topic = Topic::new(Broker::shared(), "sink", 1);
    let sink = sink(&topic, "");
    let mut writers = [open(&*sink, &topic, 0), open(&*sink, &topic, 1)];
    let mut prepared = Vec::new();
    for (writer, values) in writers.iter_mut().zip([["a", "b"], ["c", "d"]]) {
        write(&mut **writer, &values).await.unwrap();
        prepared.push(writer.prepare(1).await.unwrap().swap_remove(0));
        // A checkpoint that will not be complete, and what comes after it.
        write(&mut **writer, &["lost"]).await.unwrap();
        assert_eq!(writer.prepare(2).await.unwrap().len(), 1);
        write(&mut **writer, &["lost too"]).await.unwrap();
    }
    // One has come to commit, the other not.
    writers[0].commit(&prepared[..1]).await.unwrap();
    drop(writers);
    for _ in 0..2 {
        recover(&*sink, topic.name(), &prepared).await.unwrap();
        // Nothing is open any more, or readers would not come to what is written now.
        topic.produce([("k", "e")]);
    }
    assert_eq!(texts(&topic), ["a", "b", "c", "d", "e", "e"]);
    let found = topic.read().into_iter().find(|record| record.text() == "a").unwrap();
    let headers = vec![("n".to_owned(), Some(b"a".to_vec()))];
    assert_eq!(found, Record { key: Some(b"a".to_vec()), timestamp: 1000, headers, ..found.clone() });
    // Going on, and yet another start from the same checkpoint: what any subtask has begun is aborted, however many there are then.
    let mut writers = [open(&*sink, &topic, 0), open(&*sink, &topic, 1)];
    for writer in &mut writers {
        write(&mut **writer, &["lost as well"]).await.unwrap();
        writer.prepare(3).await.unwrap();
    }
    recover(&*sink, topic.name(), &prepared).await.unwrap();
    topic.produce([("k", "f")]);
    assert_eq!(texts(&topic), ["a", "b", "c", "d", "e", "e", "f"]);
    // Those are shut out, and are told so.
    for writer in &mut writers {
        let last = async {
            write(&mut **writer, &["zombie"]).await?;
            writer.prepare(4).await
        };
        let error = last.await.unwrap_err();
        assert_eq!((error.code, error.retry), ("C0409", false), "{error}");
    }
    assert_eq!(texts(&topic).len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sinks_are_left_alone() {
    let topic = Topic::new(Broker::shared(), "neighbours", 1);
    let sink = sink(&topic, "");
    let mut writer = open(&*sink, &topic, 0);
    write(&mut *writer, &["a"]).await.unwrap();
    let prepared = writer.prepare(1).await.unwrap();
    let recovery = |job: &str, uid: &str| Recovery { job: job.into(), uid: uid.into(), start: 2, clock: clock() };
    for (job, uid) in [(topic.name(), "out-1"), (topic.name(), "ou"), (&format!("{}.out", topic.name()), "out")] {
        sink.recover(&recovery(job, uid), &[]).await.unwrap();
    }
    writer.commit(&prepared).await.unwrap();
    assert_eq!(texts(&topic), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_time_is_over_is_reported_lost() {
    let topic = Topic::new(Broker::shared(), "late", 1);
    let late = sink(&topic, ", transaction_timeout: 1s");
    let mut writer = open(&*late, &topic, 0);
    write(&mut *writer, &["a"]).await.unwrap();
    let prepared = writer.prepare(1).await.unwrap();
    // Readers come to this once the brokers have aborted the transaction.
    topic.produce([("k", "b")]);
    let mut reader = topic.reader();
    reader.wait_for(1);
    let error = writer.commit(&prepared).await.unwrap_err();
    assert_eq!((error.code, error.retry), ("C0410", false), "{error}");
    assert_eq!(recover(&*late, topic.name(), &prepared).await.unwrap_err().code, "C0410");
    let ignoring = sink(&topic, ", on_lost_transaction: ignore");
    recover(&*ignoring, topic.name(), &prepared).await.unwrap();
    assert_eq!(texts(&topic), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_code() {
    let topic = Topic::new(Broker::shared(), "refused", 1);
    let (brokers, sasl, name) = (Broker::shared().address(), Broker::shared().sasl(), topic.name());
    let login = |mechanism: &str, password: &str| {
        let user = USER.0;
        format!(
            "{{ brokers: '{sasl}', topic: {name}, properties: {{ security.protocol: sasl_plaintext, \
             sasl.mechanism: {mechanism}, sasl.username: {user}, sasl.password: '{password}' }} }}"
        )
    };
    for (settings, code) in [
        (format!("{{ brokers: '{brokers}', topic: {name}, transaction_timeout: 1day }}"), "C0408"),
        (format!("{{ brokers: '{brokers}', topic: {name}, compression: brotli }}"), "C0406"),
        (format!("{{ brokers: '{brokers}', topic: nowhere }}"), "C0404"),
        (format!("{{ brokers: '127.0.0.1:1', topic: {name} }}"), "C0402"),
        (format!("{{ brokers: '{sasl}', topic: {name} }}"), "C0402"),
        (login("PLAIN", "wrong"), "C0403"),
        (login("SCRAM-SHA-512", "wrong"), "C0403"),
    ] {
        let error = recover(&*sink_of(&settings), name, &[]).await.unwrap_err();
        assert_eq!(error.code, code, "{settings}: {error}");
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        recover(&*sink_of(&login(mechanism, USER.1)), name, &[]).await.unwrap();
    }
    let large = "x".repeat(2_000_000);
    for (subtask, more) in ["", ", properties: { message.max.bytes: 10000000 }"].into_iter().enumerate() {
        let mut writer = open(&*sink(&topic, more), &topic, subtask);
        let sent = async {
            write(&mut *writer, &[&large]).await?;
            writer.prepare(1).await
        };
        let error = sent.await.unwrap_err();
        assert_eq!((error.code, error.retry), ("C0407", false), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_says_to_which_topic_a_record_goes() {
    let topics = ["one", "other"].map(|prefix| Topic::new(Broker::shared(), prefix, 1));
    let names = topics.each_ref().map(Topic::name);
    for delivery in ["exactly_once", "at_least_once"] {
        let brokers = Broker::shared().address();
        let sink = sink_of(&format!("{{ brokers: '{brokers}', topic: {{ column: line }}, delivery: {delivery} }}"));
        recover(&*sink, names[0], &[]).await.unwrap();
        let mut writer = open(&*sink, &topics[0], 0);
        write(&mut *writer, &[names[0], names[1], names[0]]).await.unwrap();
        let prepared = writer.prepare(1).await.unwrap();
        assert_eq!(prepared.len(), usize::from(delivery == "exactly_once"), "one transaction, of both topics");
        writer.commit(&prepared).await.unwrap();
    }
    let brokers = Broker::shared().address();
    let soon = "properties: { topic.metadata.propagation.max.ms: 1000 }";
    let sink =
        sink_of(&format!("{{ brokers: '{brokers}', topic: {{ column: line }}, delivery: at_least_once, {soon} }}"));
    let mut writer = open(&*sink, &topics[0], 0);
    write(&mut *writer, &["nowhere"]).await.unwrap();
    let error = writer.prepare(1).await.unwrap_err();
    assert_eq!(error.code, "C0404", "{error}");
    for (topic, times) in topics.iter().zip([4, 2]) {
        assert_eq!(texts(topic), vec![topic.name(); times]);
    }
}

/// The whole program: it crashes between a checkpoint's manifest and the commit, again and again.
#[test]
fn a_job_that_crashes_before_it_commits_writes_each_record_once() {
    let topic = Topic::new(Broker::shared(), "job", 3);
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..200_000).map(|number| format!("{number:06}")).collect();
    fs::write(directory.path().join("in.txt"), lines.join("\n") + "\n").unwrap();
    let (brokers, name) = (Broker::shared().address(), topic.name());
    let job = format!(
        "name: {name}\nparallelism: 2\nrestart: none\ncheckpoints: {{ directory: checkpoints, interval: 20ms }}\n\
         sources: {{ in: {{ file: {{ path: in.txt }}, format: text, schema: {{ line: string }}, parallelism: 1 }} }}\n\
         sinks: {{ out: {{ input: in, format: text, kafka: {{ brokers: '{brokers}', topic: {name}, key: line }} }} }}\n"
    );
    fs::write(directory.path().join("job.yaml"), job).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
        command.arg("run").arg("job.yaml").args(arguments).current_dir(directory.path()).output().unwrap()
    };
    let mut crashes = 0;
    for checkpoints in 1..=4 {
        let crashed = run(&["--crash-at-checkpoint", &checkpoints.to_string()]);
        crashes += usize::from(!crashed.status.success());
    }
    assert!(crashes >= 2, "there was hardly a crash");
    let last = run(&[]);
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    assert_eq!(texts(&topic), lines);
}
