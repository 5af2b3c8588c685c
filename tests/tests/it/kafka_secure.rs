//! Kafka over TLS, with and without passwords, and with permissions that are missing: the source, the sink, and the client that ends transactions of
//! others. And, since the broker is the test's own, what sinks without transactions do when it is gone. Must not know how TLS is spoken.
use wasmill::connector::ConnectorError;
use wasmill_tests::kafka::{Broker, Certificates, OTHER, Topic, USER};

use super::{
    jobs,
    kafka_sink::{open, recover, sink_of, texts, write},
};

/// Who comes in where, by which properties.
struct Door {
    address: String,
    properties: String,
}

impl Door {
    fn tls(broker: &Broker, certificates: &Certificates) -> Door {
        let properties = format!("security.protocol: ssl, ssl.ca.location: '{}'", certificates.authority().display());
        Door { address: broker.tls()[0].clone(), properties }
    }

    fn sasl_tls(broker: &Broker, certificates: &Certificates, (user, password): (&str, &str), mechanism: &str) -> Door {
        let authority = certificates.authority();
        let properties = format!(
            "security.protocol: sasl_ssl, ssl.ca.location: '{}', sasl.mechanism: {mechanism}, sasl.username: {user}, sasl.password: {password}",
            authority.display()
        );
        Door { address: broker.tls()[1].clone(), properties }
    }

    fn settings(&self, topic: &str) -> String {
        format!("brokers: '{}', topic: {topic}, properties: {{ {} }}", self.address, self.properties)
    }

    /// Writes a transaction that another process commits.
    fn write(&self, topic: &Topic, value: &str) -> Result<(), ConnectorError> {
        let sink = sink_of(&format!("{{ {} }}", self.settings(topic.name())));
        jobs::runtime().block_on(async {
            recover(&*sink, topic.name(), &[]).await?;
            let mut writer = open(&*sink, topic, 0);
            write(&mut *writer, &[value]).await?;
            let prepared = writer.prepare(1).await?;
            drop(writer);
            recover(&*sink, topic.name(), &prepared).await
        })
    }

    /// Has a job copy a topic; what it has read, or why it could not.
    fn read(&self, topic: &Topic) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "name: read\nsources: {{ in: {{ kafka: {{ until: latest, {} }}, format: text }} }}\n\
             sinks: {{ out: {{ input: in, format: text, file: {{ path: out }} }} }}",
            self.settings(topic.name())
        );
        jobs::run(&text, folder.path(), &Default::default()).map_err(|error| error.to_string())?;
        let mut lines = jobs::lines(&folder.path().join("out"));
        lines.sort();
        Ok(lines)
    }
}

/// Without transactions, a broker that is gone loses records or has the job start again, as was asked for.
fn without_broker(broker: &Broker, topic: &Topic) {
    let sink = |delivery: &str, more: &str| {
        let (brokers, name) = (broker.address(), topic.name());
        sink_of(&format!("{{ brokers: '{brokers}', topic: {name}, delivery: {delivery}{more} }}"))
    };
    jobs::runtime().block_on(async {
        for delivery in ["at_most_once", "at_least_once"] {
            let mut writer = open(&*sink(delivery, ""), topic, 0);
            write(&mut *writer, &["written"]).await.unwrap();
            assert!(writer.prepare(1).await.unwrap().is_empty(), "there is nothing to commit");
            writer.close().await.unwrap();
        }
        topic.reader().wait_for(2 + BEFORE);
        broker.kill(None);
        let [mut careless, mut careful] = ["at_most_once", "at_least_once"]
            .map(|delivery| open(&*sink(delivery, ", properties: { message.timeout.ms: 500 }"), topic, 0));
        for writer in [&mut careless, &mut careful] {
            write(&mut **writer, &["lost"]).await.unwrap();
        }
        careless.prepare(2).await.unwrap();
        careless.close().await.unwrap();
        let error = careful.prepare(2).await.unwrap_err();
        assert!(error.code == "C0412" && error.retry, "{error}");
    });
}

/// Records that are there before that.
const BEFORE: usize = 3;

#[test]
fn over_tls_it_reads_and_writes_and_what_is_not_trusted_or_not_allowed_is_refused() {
    let certificates = Certificates::new();
    let rights = [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS;User:alice"),
    ];
    let broker = Broker::own_with_tls(&certificates, &rights);
    let topic = Topic::new(&broker, "secure", 1);
    let doors = [
        Door::tls(&broker, &certificates),
        Door::sasl_tls(&broker, &certificates, USER, "PLAIN"),
        Door::sasl_tls(&broker, &certificates, USER, "SCRAM-SHA-512"),
    ];
    let values = ["a", "b", "c"];
    for (door, value) in doors.iter().zip(values) {
        door.write(&topic, value).unwrap();
    }
    assert_eq!(texts(&topic), values);
    for door in &doors {
        assert_eq!(door.read(&topic).unwrap(), values);
    }
    let strangers = Certificates::new();
    for (door, code) in [
        (Door::tls(&broker, &strangers), "C0403"),
        (Door::sasl_tls(&broker, &certificates, (USER.0, "wrong"), "SCRAM-SHA-512"), "C0403"),
        (Door::sasl_tls(&broker, &certificates, (OTHER, USER.1), "PLAIN"), "C0405"),
    ] {
        let error = door.write(&topic, "refused").unwrap_err();
        assert_eq!((error.code, error.retry), (code, false), "{}: {error}", door.properties);
        let error = door.read(&topic).unwrap_err();
        assert!(error.contains(&format!("[{code}]")), "{}: {error}", door.properties);
    }
    assert_eq!(texts(&topic), values);
    without_broker(&broker, &topic);
}
