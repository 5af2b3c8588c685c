//! From rows to records: which columns make their keys, topics, partitions and headers. Must not know producers.
use arrow_array::{
    Array, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types,
};
use rdkafka::message::{Header, OwnedHeaders};

use super::{
    error::Failure,
    sink_producer::Record,
    sink_settings::{SinkSettings, Timestamp, Topic},
};
use crate::{
    connector::ConnectorError,
    model::{Batch, Encoded},
};

/// Where in the rows of a sink its columns are.
pub struct Columns {
    /// The topic of all rows, or nothing if a column has it.
    topic: Option<String>,
    topic_column: Option<usize>,
    key: Option<usize>,
    partition: Option<usize>,
    headers: Vec<(String, usize)>,
    event_time: bool,
}

impl Columns {
    /// Finds them; that they are there was checked when the job was planned.
    pub fn new(settings: &SinkSettings, rows: &RecordBatch) -> Result<Columns, ConnectorError> {
        let find = |name: &String| {
            let missing = |_| Failure::Setting.at(settings.place(), format!("there is no column `{name}`"));
            rows.schema_ref().index_of(name).map_err(missing)
        };
        let (topic, topic_column) = match &settings.topic {
            Topic::Fixed(topic) => (Some(topic.clone()), None),
            Topic::Of(of) => (None, Some(find(&of.column)?)),
        };
        let headers = settings.headers.iter().map(|(name, column)| find(column).map(|column| (name.clone(), column)));
        Ok(Columns {
            topic,
            topic_column,
            key: settings.key.as_ref().map(find).transpose()?,
            partition: settings.partition_column().map(find).transpose()?,
            headers: headers.collect::<Result<_, _>>()?,
            event_time: settings.timestamp == Timestamp::EventTime,
        })
    }

    /// The records of a batch, one for each row.
    pub fn records<'a>(&'a self, batch: &'a Batch, encoded: &'a Encoded) -> Records<'a> {
        let cells = |column: usize| Cells::new(&batch.columns, column);
        Records {
            topic: self.topic.as_deref(),
            topics: self.topic_column.map(cells),
            key: self.key.map(cells),
            partition: self.partition.map(cells),
            headers: self.headers.iter().map(|(name, column)| (name.as_str(), cells(*column))).collect(),
            timestamps: self.event_time.then_some(&batch.timestamps[..]),
            encoded,
        }
    }
}

/// Values of a column.
enum Cells<'a> {
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Integer(&'a Int64Array),
    Real(&'a Float64Array),
    Bool(&'a BooleanArray),
}

impl<'a> Cells<'a> {
    fn new(rows: &'a RecordBatch, column: usize) -> Cells<'a> {
        let column = rows.column(column);
        match column.data_type() {
            arrow_schema::DataType::Utf8 => Cells::Text(column.as_string()),
            arrow_schema::DataType::Binary => Cells::Bytes(column.as_binary()),
            arrow_schema::DataType::Int64 => Cells::Integer(column.as_primitive::<types::Int64Type>()),
            arrow_schema::DataType::Float64 => Cells::Real(column.as_primitive::<types::Float64Type>()),
            // There are no more kinds.
            _ => Cells::Bool(column.as_boolean()),
        }
    }

    /// The value as bytes, in `scratch` if it has to be written; nothing for null.
    fn bytes<'s>(&self, row: usize, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        scratch.clear();
        match self {
            Cells::Text(column) => return column.is_valid(row).then(|| column.value(row).as_bytes()),
            Cells::Bytes(column) => return column.is_valid(row).then(|| column.value(row)),
            Cells::Integer(column) if column.is_valid(row) => {
                scratch.extend_from_slice(itoa::Buffer::new().format(column.value(row)).as_bytes());
            }
            Cells::Real(column) if column.is_valid(row) => {
                scratch.extend_from_slice(column.value(row).to_string().as_bytes())
            }
            Cells::Bool(column) if column.is_valid(row) => {
                scratch.extend_from_slice(if column.value(row) { b"true" } else { b"false" });
            }
            _ => return None,
        }
        Some(scratch)
    }
}

/// The records of a batch.
pub struct Records<'a> {
    topic: Option<&'a str>,
    topics: Option<Cells<'a>>,
    key: Option<Cells<'a>>,
    partition: Option<Cells<'a>>,
    headers: Vec<(&'a str, Cells<'a>)>,
    timestamps: Option<&'a [i64]>,
    encoded: &'a Encoded,
}

impl Records<'_> {
    /// The record of a row; `scratch` is for its key. Fails with C0404 if the row has no topic, or no partition that could be one.
    pub fn record<'s>(&'s self, row: usize, scratch: &'s mut Vec<u8>) -> Result<Record<'s>, ConnectorError> {
        let topic = match (self.topic, &self.topics) {
            (Some(topic), _) => topic,
            (None, Some(Cells::Text(topics))) if topics.is_valid(row) => topics.value(row),
            _ => return Err(Failure::Missing.at("kafka", "a row has no topic: the column that says which is null")),
        };
        let start = row.checked_sub(1).map_or(0, |before| self.encoded.ends[before]);
        let mut record =
            Record::to(topic).payload(&self.encoded.data[start..self.encoded.ends[row] - self.encoded.separator]);
        if let Some(key) = self.key.as_ref().and_then(|key| key.bytes(row, scratch)) {
            record = record.key(key);
        }
        if let Some(Cells::Integer(partitions)) = &self.partition
            && partitions.is_valid(row)
        {
            let asked = partitions.value(row);
            let partition = i32::try_from(asked).ok().filter(|partition| *partition >= 0);
            record = record.partition(
                partition.ok_or_else(|| Failure::Missing.at(topic, format!("there is no partition {asked}")))?,
            );
        }
        // To Kafka, 0 and less is no time.
        if let Some(time) = self.timestamps.map(|timestamps| timestamps[row]).filter(|time| *time > 0) {
            record = record.timestamp(time);
        }
        if !self.headers.is_empty() {
            let (mut headers, mut none) = (OwnedHeaders::new_with_capacity(self.headers.len()), Vec::new());
            for (name, cells) in &self.headers {
                headers = headers.insert(Header { key: name, value: cells.bytes(row, &mut none) });
            }
            record = record.headers(headers);
        }
        Ok(record)
    }
}
