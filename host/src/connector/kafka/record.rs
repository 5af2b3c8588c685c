//! What is taken of a record of Kafka. Must not know where it comes from.
use base64::{Engine, prelude::BASE64_STANDARD};
use rdkafka::{
    Message,
    message::{Headers, Timestamp},
};
use serde_json::{Map, Value, json};

use super::source_settings::Tombstones;
use crate::model::{Clock, MetadataColumn, RawBatch, RefusedRecord};

/// What is known of a record, in the order of [`METADATA`](super::source::METADATA).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Key,
    KeyBytes,
    Timestamp,
    Topic,
    Partition,
    Offset,
    Headers,
}

impl Known {
    /// All there is.
    pub const ALL: [Known; 7] =
        [Known::Key, Known::KeyBytes, Known::Timestamp, Known::Topic, Known::Partition, Known::Offset, Known::Headers];
}

/// How records are taken.
pub struct Records {
    known: Vec<Known>,
    tombstones: Tombstones,
}

fn millis(timestamp: Timestamp) -> Option<i64> {
    timestamp.to_millis().filter(|millis| *millis >= 0)
}

impl Records {
    /// With these things told beside their bytes.
    pub fn new(known: Vec<Known>, tombstones: Tombstones) -> Records {
        Records { known, tombstones }
    }

    /// Adds a record to a batch that has columns for what is told of it. One without a time is given the present.
    pub fn add<M: Message>(&self, message: &M, clock: &dyn Clock, into: &mut RawBatch) {
        let payload = match (message.payload(), &self.tombstones) {
            (Some(payload), _) => payload,
            (None, Tombstones::Empty) => &[],
            (None, Tombstones::Value(value)) => value.as_bytes(),
            (None, Tombstones::Skip) => return,
            (None, Tombstones::Reject) => return refuse(message, "it has no value (a tombstone)", into),
        };
        let key = match message.key().map(std::str::from_utf8).transpose() {
            Err(_) if self.known.contains(&Known::Key) => return refuse(message, "its key is not UTF-8", into),
            key => key.ok().flatten(),
        };
        into.data.extend_from_slice(payload);
        // At most 2 GiB, since batches are far smaller and so are records.
        into.ends.push(into.data.len() as u32);
        into.numbers.push(message.offset() as u64);
        let timestamp = millis(message.timestamp());
        into.timestamps.push(timestamp.unwrap_or_else(|| clock.now_ms()));
        for (known, column) in self.known.iter().zip(&mut into.metadata) {
            match (known, column) {
                (Known::Key, MetadataColumn::Utf8(column)) => column.append_option(key),
                (Known::KeyBytes, MetadataColumn::Binary(column)) => column.append_option(message.key()),
                (Known::Timestamp, MetadataColumn::Int64(column)) => column.append_option(timestamp),
                (Known::Topic, MetadataColumn::Utf8(column)) => column.append_value(message.topic()),
                (Known::Partition, MetadataColumn::Int64(column)) => column.append_value(message.partition().into()),
                (Known::Offset, MetadataColumn::Int64(column)) => column.append_value(message.offset()),
                (Known::Headers, MetadataColumn::Utf8(column)) => column.append_value(headers(message)),
                _ => unreachable!("columns are made for what is known"),
            }
        }
    }
}

fn refuse<M: Message>(message: &M, reason: &str, into: &mut RawBatch) {
    into.refused.push(RefusedRecord {
        record: message.payload().or(message.key()).unwrap_or_default().to_vec(),
        reason: reason.to_owned(),
        number: message.offset() as u64,
        timestamp: millis(message.timestamp()),
    });
}

/// As a JSON object: the last of each name; values are texts, null, or `{"base64": ...}` where they are no text.
fn headers<M: Message>(message: &M) -> String {
    let value = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => text.into(),
        Some(Err(_)) => json!({ "base64": BASE64_STANDARD.encode(bytes.unwrap_or_default()) }),
    };
    let mut all = Map::new();
    for header in message.headers().iter().flat_map(|headers| headers.iter()) {
        all.insert(header.key.to_owned(), value(header.value));
    }
    Value::Object(all).to_string()
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;
    use crate::{connector::testing::clock, model::Kind};

    fn message(payload: Option<&str>, key: Option<&[u8]>, offset: i64) -> OwnedMessage {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "a", value: Some("x") })
            .insert(Header { key: "b", value: Some(&[0xffu8][..]) })
            .insert(Header::<&str> { key: "c", value: None });
        let (payload, key) = (payload.map(|text| text.as_bytes().to_vec()), key.map(<[u8]>::to_vec));
        OwnedMessage::new(payload, key, "t".into(), Timestamp::CreateTime(7), 3, offset, Some(headers))
    }

    #[test]
    fn records_are_taken_with_what_is_asked_for() {
        let kinds = super::super::source::METADATA.map(|field| field.kind);
        let metadata = kinds.iter().filter_map(|kind: &Kind| MetadataColumn::new(*kind)).collect();
        let mut raw = RawBatch { metadata, ..RawBatch::default() };
        let records = Records::new(Known::ALL.to_vec(), Tombstones::Reject);
        let clock = clock();
        records.add(&message(Some("one"), Some(b"k"), 5), &*clock, &mut raw);
        records.add(&message(None, Some(b"gone"), 6), &*clock, &mut raw);
        records.add(&message(Some("two"), Some(b"\xff"), 8), &*clock, &mut raw);
        records.add(&message(Some("three"), None, 9), &*clock, &mut raw);
        assert_eq!((raw.record(0), raw.record(1), &raw.numbers[..]), (&b"one"[..], &b"three"[..], &[5, 9][..]));
        let refused: Vec<_> = raw.refused.iter().map(|refused| (&refused.record[..], refused.number)).collect();
        assert_eq!(refused, [(&b"gone"[..], 6), (&b"two"[..], 8)]);
        assert_eq!(raw.timestamps, [7, 7]);
        let columns: Vec<_> = raw.metadata.iter_mut().map(MetadataColumn::finish).collect();
        let shown = |column: usize, row| arrow_array_text(&columns[column], row);
        assert_eq!([shown(0, 0), shown(3, 0), shown(6, 0)], ["k", "t", r#"{"a":"x","b":{"base64":"/w=="},"c":null}"#]);
        use arrow_array::Array;
        assert!(columns[0].is_null(1) && columns[1].is_null(1) && columns.iter().all(|column| column.len() == 2));
    }

    fn arrow_array_text(column: &arrow_array::ArrayRef, row: usize) -> String {
        use arrow_array::cast::AsArray;
        column.as_string::<i32>().value(row).to_owned()
    }

    #[test]
    fn tombstones_are_what_they_are_taken_for() {
        let mut raw = RawBatch::default();
        Records::new(Vec::new(), Tombstones::Skip).add(&message(None, None, 1), &*clock(), &mut raw);
        assert!(raw.is_empty() && raw.refused.is_empty());
        Records::new(Vec::new(), Tombstones::Empty).add(&message(None, None, 2), &*clock(), &mut raw);
        assert_eq!((raw.len(), raw.record(0)), (1, &b""[..]));
        Records::new(Vec::new(), Tombstones::Value("{}".into())).add(&message(None, None, 3), &*clock(), &mut raw);
        assert_eq!((raw.len(), raw.record(1)), (2, &b"{}"[..]));
    }
}
