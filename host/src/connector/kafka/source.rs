//! Records of topics of Kafka. Partitions are divided among the source's parts without a consumer group; how far they were read is the
//! checkpoint's to keep.
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::{partitions, reader::KafkaReader, source_settings::SourceSettings};
use crate::{
    connector::{ConnectorError, MetadataField, Opening, Source, SourceReader},
    model::{Kind, SplitPosition},
};

const fn field(name: &'static str, kind: Kind, nullable: bool) -> MetadataField {
    MetadataField { name, kind, nullable }
}

/// What is known of a record, in the order of [`Known`](super::reader::Known).
pub const METADATA: [MetadataField; 7] = [
    field("key", Kind::Utf8, true),
    field("key_bytes", Kind::Binary, true),
    field("timestamp", Kind::Int64, true),
    field("topic", Kind::Utf8, false),
    field("partition", Kind::Int64, false),
    field("offset", Kind::Int64, false),
    field("headers", Kind::Utf8, false),
];

/// `kafka: { brokers: "host:9092", topic: orders }`
#[derive(Debug)]
pub struct KafkaSource(SourceSettings);

impl<'de> Deserialize<'de> for KafkaSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KafkaSource, D::Error> {
        SourceSettings::deserialize(deserializer).map(KafkaSource)
    }
}

impl Source for KafkaSource {
    fn parallelism_max(&self) -> Option<usize> {
        None
    }

    fn can_replay(&self) -> bool {
        true
    }

    fn metadata(&self) -> &'static [MetadataField] {
        &METADATA
    }

    fn open(
        &self,
        opening: &Opening,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let mut known = BTreeMap::new();
        for split in restored.unwrap_or_default() {
            let (partition, reached) = partitions::read(split)?;
            if !partition.is_read_by(opening.subtask, opening.parallelism) {
                continue;
            }
            if self.0.topics.contain(&partition.topic) {
                known.insert(partition, reached);
            } else {
                tracing::warn!("partition {partition} is no longer read: the job asks for other topics now");
            }
        }
        Ok(Box::new(KafkaReader::new(self.0.clone(), opening, known, restored.is_some())?))
    }
}
