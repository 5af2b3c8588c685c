//! Records that begin with the id of their schema, which a registry has (the framing of Confluent's clients). What a payload is, is for
//! [`avro`](super::avro) and [`protobuf`](super::protobuf); JSON is decoded as such. Guarantees: a frame or payload that is not well-formed
//! is a malformed record with a reason. Must not know how a registry is asked.
pub mod frame;
#[cfg(test)]
mod mutations;
mod schemas;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::{
    schemas::{
        Lookup, NoSchemas, Payload, ReferencedSchema, RegisteredSchema, SCHEMA_BYTES_MAX, SCHEMA_REFERENCES_MAX,
        SchemaKind, SchemaSource, registry_failed,
    },
    settings::{AvroSettings, JsonSchemaSettings, ProtobufSettings, RegistrySettings, Secret},
};
use super::{
    Decoded, Decoder, Malformed, PrepareError,
    columns::{Column, Columns},
    json::JsonDecoder,
};
use crate::model::{RawBatch, Schema};
use schemas::Schemas;

/// Payloads that are read one by one.
pub trait ReadPayload: Payload {
    /// Writes a payload to row `row` of the columns that `schema` was compiled for, or says what is wrong with it; then the row is to be
    /// written again.
    fn read(&self, schema: &Self::Compiled, payload: &[u8], columns: &mut [Column], row: usize) -> Result<(), String>;
}

/// Decodes framed payloads.
pub struct FramedDecoder<P: ReadPayload> {
    payload: P,
    columns: Columns,
    schemas: Schemas<P>,
}

impl<P: ReadPayload> FramedDecoder<P> {
    pub fn new(payload: P, schema: &Schema, source: &Arc<dyn SchemaSource>) -> FramedDecoder<P> {
        FramedDecoder { payload, columns: Columns::new(schema), schemas: Schemas::new(source, schema) }
    }

    fn record(&mut self, record: &[u8], row: usize) -> Result<(), String> {
        let (id, payload) = frame::split(record)?;
        self.payload.read(self.schemas.get(id)?, payload, &mut self.columns.columns, row)
    }
}

#[async_trait]
impl<P: ReadPayload> Decoder for FramedDecoder<P> {
    async fn prepare(&mut self, raw: &RawBatch) -> Result<(), PrepareError> {
        self.schemas.prepare(&self.payload, raw).await
    }

    fn decode(&mut self, raw: &mut RawBatch) -> Decoded {
        self.columns.begin(raw.len());
        let (mut row, mut malformed) = (0, Vec::new());
        for record in 0..raw.len() {
            match self.record(raw.record(record), row) {
                Ok(()) => row += 1,
                Err(reason) => malformed.push(Malformed { record, reason }),
            }
        }
        Decoded { rows: self.columns.finish(row), malformed }
    }
}

/// JSON whose schema is not enforced: that it is there tells a frame from what only looks like one.
struct JsonPayload;

impl Payload for JsonPayload {
    const KIND: SchemaKind = SchemaKind::Json;
    type Compiled = ();

    fn compile(&self, _schema: &RegisteredSchema, _columns: &Schema) -> Result<(), String> {
        Ok(())
    }
}

/// Decodes framed JSON.
pub struct JsonSchemaDecoder {
    schemas: Schemas<JsonPayload>,
    inner: JsonDecoder,
    /// Payloads without their frames.
    payloads: RawBatch,
}

impl JsonSchemaDecoder {
    pub fn new(schema: &Schema, source: &Arc<dyn SchemaSource>) -> JsonSchemaDecoder {
        JsonSchemaDecoder {
            schemas: Schemas::new(source, schema),
            inner: JsonDecoder::new(schema),
            payloads: RawBatch::default(),
        }
    }
}

#[async_trait]
impl Decoder for JsonSchemaDecoder {
    async fn prepare(&mut self, raw: &RawBatch) -> Result<(), PrepareError> {
        self.schemas.prepare(&JsonPayload, raw).await
    }

    fn decode(&mut self, raw: &mut RawBatch) -> Decoded {
        self.payloads.clear();
        let (mut malformed, mut framed) = (Vec::new(), Vec::new());
        for record in 0..raw.len() {
            match frame::split(raw.record(record)).and_then(|(id, payload)| self.schemas.get(id).map(|()| payload)) {
                Ok(payload) => {
                    self.payloads.data.extend_from_slice(payload);
                    // No more than `raw` has.
                    self.payloads.ends.push(self.payloads.data.len() as u32);
                    framed.push(record);
                }
                Err(reason) => malformed.push(Malformed { record, reason }),
            }
        }
        let decoded = self.inner.decode(&mut self.payloads);
        let inner = decoded.malformed.into_iter();
        malformed.extend(inner.map(|found| Malformed { record: framed[found.record], ..found }));
        malformed.sort_unstable_by_key(|found| found.record);
        Decoded { rows: decoded.rows, malformed }
    }
}
