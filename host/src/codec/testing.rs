//! What tests of framed formats share: a registry in memory, frames, and what was decoded as JSON.
use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use tokio::runtime::Builder;

use super::{
    Decoder, Format, Lookup, PrepareError, ReferencedSchema, RegisteredSchema, RegistrySettings, SchemaKind,
    SchemaSource,
};
use crate::model::{Encoded, Field, Kind, RawBatch, Schema};

/// Schemas by id.
pub struct InMemory(HashMap<u32, RegisteredSchema>);

impl InMemory {
    pub fn of(kind: SchemaKind, schemas: &[(u32, &str)]) -> Arc<dyn SchemaSource> {
        InMemory::with(kind, schemas, &[])
    }

    /// With schemas that each of them refers to.
    pub fn with(kind: SchemaKind, schemas: &[(u32, &str)], references: &[(&str, &str)]) -> Arc<dyn SchemaSource> {
        let reference = |(name, text): &(&str, &str)| ReferencedSchema { name: (*name).into(), text: (*text).into() };
        let references: Vec<_> = references.iter().map(reference).collect();
        let schema = |text: &str| RegisteredSchema { kind, text: text.into(), references: references.clone() };
        Arc::new(InMemory(schemas.iter().map(|(id, text)| (*id, schema(text))).collect()))
    }
}

#[async_trait]
impl SchemaSource for InMemory {
    async fn schema(&self, id: u32) -> Result<Lookup, PrepareError> {
        Ok(self.0.get(&id).cloned().map_or(Lookup::Unknown, Lookup::Found))
    }
}

/// Settings nobody looks at.
pub fn settings() -> RegistrySettings {
    RegistrySettings { url: "http://nowhere".into(), login: None, ca: None }
}

/// Columns from `name: kind` with a question mark for those that may be null.
pub fn columns(columns: &[(&str, &str)]) -> Schema {
    let field = |(name, kind): &(&str, &str)| {
        let plain = kind.trim_end_matches('?');
        let kinds = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8, Kind::Binary];
        let found = kinds.into_iter().find(|kind| kind.to_string() == plain).unwrap();
        Field { name: (*name).into(), kind: found, nullable: plain != *kind }
    };
    Schema::new(columns.iter().map(field).collect::<Vec<_>>()).unwrap()
}

pub fn frame(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), payload].concat()
}

pub fn batch<R: AsRef<[u8]>>(records: &[R]) -> RawBatch {
    let mut raw = RawBatch::default();
    for record in records {
        raw.data.extend_from_slice(record.as_ref());
        raw.ends.push(raw.data.len() as u32);
    }
    raw
}

/// Each record as JSON, or why it is malformed.
pub fn decode<R: AsRef<[u8]>>(
    decoder: &mut dyn Decoder,
    schema: &Schema,
    records: &[R],
) -> Vec<Result<String, String>> {
    let mut raw = batch(records);
    Builder::new_current_thread().build().unwrap().block_on(decoder.prepare(&raw)).unwrap();
    let decoded = decoder.decode(&mut raw);
    // Malformed records are shown to somebody.
    assert!(
        records.iter().enumerate().all(|(i, record)| decoded.malformed.is_empty() || raw.record(i) == record.as_ref())
    );
    assert_eq!(decoded.rows.num_rows() + decoded.malformed.len(), records.len());
    for column in decoded.rows.columns() {
        column.to_data().validate_full().unwrap();
    }
    let mut encoded = Encoded::default();
    Format::Json.encoder(schema).unwrap().encode(&decoded.rows, &mut encoded);
    let text = String::from_utf8(encoded.data).unwrap();
    let (mut rows, mut malformed) = (text.lines(), decoded.malformed.into_iter().peekable());
    let record = |record| match malformed.next_if(|malformed| malformed.record == record) {
        Some(malformed) => Err(malformed.reason),
        None => Ok(rows.next().unwrap().to_owned()),
    };
    (0..records.len()).map(record).collect()
}
