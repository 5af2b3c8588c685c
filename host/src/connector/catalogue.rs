//! Which connectors there are, by the names job files call them. Adding one is a line here.
use serde::de::{Error, MapAccess};

use super::{Sink, Source, discard::DiscardSink, file, generator::GeneratorSource, kafka, print::PrintSink};
use super::{socket::SocketSource, stdin::StdinSource};

macro_rules! catalogue {
    ($(#[$list_doc:meta])* $list:ident, $(#[$next_doc:meta])* $next:ident, $api:ident: $($name:literal => $settings:ty,)*) => {
        $(#[$list_doc])*
        pub const $list: &[&str] = &[$($name),*];

        $(#[$next_doc])*
        pub fn $next<'de, A: MapAccess<'de>>(kind: &str, map: &mut A) -> Result<Box<dyn $api>, A::Error> {
            match kind {
                $($name => Ok(Box::new(map.next_value::<$settings>()?)),)*
                other => Err(A::Error::unknown_variant(other, $list)),
            }
        }
    };
}

catalogue! {
    /// The sources there are.
    SOURCES,
    /// Reads the value of the current key as the settings of the source `kind`. Fails for unknown kinds and settings.
    next_source, Source:
    "file" => file::FileSource,
    "generator" => GeneratorSource,
    "kafka" => kafka::KafkaSource,
    "socket" => SocketSource,
    "stdin" => StdinSource,
}

catalogue! {
    /// The sinks there are.
    SINKS,
    /// Reads the value of the current key as the settings of the sink `kind`. Fails for unknown kinds and settings.
    next_sink, Sink:
    "discard" => DiscardSink,
    "file" => file::FileSink,
    "kafka" => kafka::KafkaSink,
    "print" => PrintSink,
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::{Deserialize, Deserializer, de::Visitor};

    use super::*;

    struct Either(String);

    impl<'de> Deserialize<'de> for Either {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Either, D::Error> {
            struct EitherVisitor;
            impl<'de> Visitor<'de> for EitherVisitor {
                type Value = Either;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a connector")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Either, A::Error> {
                    let kind: String = map.next_key()?.unwrap();
                    Ok(Either(match kind.strip_prefix("to ") {
                        Some(kind) => format!("{:?}", next_sink(kind, &mut map)?),
                        None => format!("{:?}", next_source(&kind, &mut map)?),
                    }))
                }
            }
            deserializer.deserialize_map(EitherVisitor)
        }
    }

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let read = |text: &str| serde_saphyr::from_str::<Either>(text).map(|e| e.0).map_err(|e| e.to_string());
        for text in [
            "socket: { address: \"localhost:9999\", reconnect: { initial: 100ms, max: 10s } }",
            "socket: { address: \"localhost:9999\", reconnect: false }",
            "file: { path: data/*.jsonl }",
            "file: { path: [a, b], follow: true, poll: 1s }",
            "stdin: {}",
            "generator: { workload: lines, events: 5, rate: 1000 }",
            "generator: { workload: transactions }",
            "to print: {}",
            "to discard: { checksum: true }",
            "to file: { path: out/, roll: { size: 128MiB, every: 15min }, prefix: part, extension: csv }",
            "to file: { path: out/, delivery: at_least_once }",
            "to kafka: { brokers: \"a:9092,b:9092\", topic: alerts, key: user, headers: { trace: id }, linger: 0s }",
            "to kafka: { brokers: \"a:9092\", topic: { column: to }, partitioner: { column: part }, timestamp: none }",
            "to kafka: { brokers: \"a:9092\", topic: a, partitioner: random, delivery: at_most_once }",
        ] {
            assert!(read(text).is_ok(), "{text}: {:?}", read(text));
        }
        for (text, part) in [
            ("sockets: {}", "sockets"),
            ("stdin: { x: 1 }", "`x`"),
            ("socket: { address: 1.2.3.4, reconnect: true }", "reconnect"),
            ("socket: { address: 1.2.3.4 }", "port"),
            ("file: { path: a, poll: soon }", "poll"),
            ("file: { path: \"a[\" }", "a["),
            ("to file: { path: a, roll: { size: 0 } }", "size"),
            ("to file: { path: a, prefix: x/y }", "prefix"),
            ("to file: { path: a, delivery: at_most_once }", "exactly_once"),
            ("generator: { workload: lines, rate: 0 }", "rate"),
            ("to kafka: { brokers: a, topic: t }", "port"),
            ("to kafka: { brokers: \"a:1\", topic: { columns: t } }", "column"),
            ("to kafka: { brokers: \"a:1\", topic: t, partitioner: round_robin }", "round_robin"),
            ("to kafka: { brokers: \"a:1\", topic: t, transaction_timeout: 0s }", "more than 0"),
            ("to kafka: { brokers: \"a:1\", topic: t, acks: 1 }", "acks"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
