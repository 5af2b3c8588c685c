//! Formats: bytes of records to columns and back. Knows nothing of where bytes come from.
mod api;
mod avro;
mod columns;
mod csv;
mod format;
mod framed;
mod json;
mod lent;
mod nested;
mod protobuf;
mod raw;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod testing;
mod text;
mod view;

pub use api::{Decoded, Decoder, Encoder, Malformed, PrepareError};
pub use csv::CsvSettings;
pub use format::Format;
pub use framed::{
    AvroSettings, JsonSchemaSettings, Lookup, NoSchemas, ProtobufSettings, ReferencedSchema, RegisteredSchema,
    RegistrySettings, SCHEMA_BYTES_MAX, SCHEMA_REFERENCES_MAX, SchemaKind, SchemaSource, Secret, registry_failed,
};
