//! Which formats there are and how a job names them.
use std::{fmt, path::Path, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    AvroSettings, CsvSettings, Decoder, Encoder, JsonSchemaSettings, ProtobufSettings, RegistrySettings, SchemaSource,
    avro::AvroPayload,
    csv::{CsvDecoder, CsvEncoder},
    framed::{FramedDecoder, JsonSchemaDecoder},
    json::{JsonDecoder, JsonEncoder},
    protobuf::ProtobufPayload,
    raw::{RawDecoder, RawEncoder},
    text::{TextDecoder, TextEncoder},
};
use crate::model::{Field, Kind, Schema};

/// How records are written down: `text`, `raw`, `json`, `csv`, or with settings `{ csv: { delimiter: ";", header: true } }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record is a string, kept as it is.
    Text,
    /// A record is a JSON object with a member per column.
    Json,
    /// A record is a line of fields, one per column in the schema's order.
    Csv(CsvSettings),
    /// A record is bytes, kept as they are.
    Raw,
    /// A record is the id of a schema, and Avro. Read only, as are those that follow.
    Avro(AvroSettings),
    /// A record is the id of a schema, and Protobuf.
    Protobuf(ProtobufSettings),
    /// A record is the id of a schema, and JSON.
    JsonSchema(JsonSchemaSettings),
}

/// The one column of text.
const TEXT_COLUMN: &str = "line";

/// The one column of bytes.
const RAW_COLUMN: &str = "value";

impl Format {
    /// A decoder for one task, which asks `schemas` for those of its [`registry`](Format::registry). Fails if records of this format
    /// cannot have these columns, saying why.
    pub fn decoder(&self, schema: &Schema, schemas: &Arc<dyn SchemaSource>) -> Result<Box<dyn Decoder>, String> {
        Ok(match self {
            Format::Text => Box::new(TextDecoder::new(schema)?),
            Format::Json => Box::new(JsonDecoder::new(schema)),
            Format::Csv(settings) => Box::new(CsvDecoder::new(settings, schema)?),
            Format::Raw => Box::new(RawDecoder::new(schema)?),
            Format::Avro(_) => Box::new(FramedDecoder::new(AvroPayload, schema, schemas)),
            Format::Protobuf(settings) => {
                let payload = ProtobufPayload::new(settings.message.as_deref());
                Box::new(FramedDecoder::new(payload, schema, schemas))
            }
            Format::JsonSchema(_) => Box::new(JsonSchemaDecoder::new(schema, schemas)),
        })
    }

    /// An encoder for one task that writes all columns in order. Fails if they cannot be written in this format, saying why.
    pub fn encoder(&self, schema: &Schema) -> Result<Box<dyn Encoder>, String> {
        Ok(match self {
            Format::Text => Box::new(TextEncoder::new(schema)?),
            Format::Json => Box::new(JsonEncoder::new(schema)),
            Format::Csv(settings) => Box::new(CsvEncoder::new(settings, schema)?),
            Format::Raw => Box::new(RawEncoder::new(schema)?),
            Format::Avro(_) | Format::Protobuf(_) | Format::JsonSchema(_) => {
                return Err("formats with a `registry` are read, not written: use `json`, or shape the bytes in a \
                            plugin and write them with format `raw`"
                    .into());
            }
        })
    }

    /// The columns of records in this format, where the format alone decides.
    pub fn fixed_schema(&self) -> Option<Schema> {
        let only = match self {
            Format::Text => Field::new(TEXT_COLUMN, Kind::Utf8),
            Format::Raw => Field::new(RAW_COLUMN, Kind::Binary),
            Format::Json | Format::Csv(_) | Format::Avro(_) | Format::Protobuf(_) | Format::JsonSchema(_) => {
                return None;
            }
        };
        Schema::new([only]).ok()
    }

    /// Where the schemas of its records are, if they have any.
    pub fn registry(&self) -> Option<&RegistrySettings> {
        match self {
            Format::Avro(AvroSettings { registry })
            | Format::Protobuf(ProtobufSettings { registry, .. })
            | Format::JsonSchema(JsonSchemaSettings { registry }) => Some(registry),
            Format::Text | Format::Json | Format::Csv(_) | Format::Raw => None,
        }
    }

    /// Makes relative paths in its settings relative to `base`.
    pub fn resolve_paths(&mut self, base: &Path) {
        match self {
            Format::Avro(AvroSettings { registry })
            | Format::Protobuf(ProtobufSettings { registry, .. })
            | Format::JsonSchema(JsonSchemaSettings { registry }) => registry.resolve_paths(base),
            Format::Text | Format::Json | Format::Csv(_) | Format::Raw => {}
        }
    }
}

/// Whether a schema is the one column of this kind that a format has.
pub(super) fn only_column(schema: &Schema, format: &str, kind: Kind) -> Result<(), String> {
    match schema.fields() {
        [field] if field.kind == kind => Ok(()),
        _ => Err(format!(
            "format `{format}` has exactly one `{kind}` column, not {schema}: pick it by `columns:`, or use format `json` or `csv`"
        )),
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        deserializer.deserialize_any(FormatVisitor)
    }
}

/// A format with settings.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Settings {
    Csv(CsvSettings),
    Avro(AvroSettings),
    Protobuf(ProtobufSettings),
    JsonSchema(JsonSchemaSettings),
}

struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a format: `text`, `raw`, `json`, `csv`, `{ csv: {...} }`, or `avro`, `protobuf` and `json_schema` with `{ registry: ... }`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Format, E> {
        match name {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv(CsvSettings::default())),
            "raw" => Ok(Format::Raw),
            "avro" | "protobuf" | "json_schema" => Err(E::custom(format!(
                "format `{name}` needs a registry: `format: {{ {name}: {{ registry: \"http://...\" }} }}`"
            ))),
            other => Err(E::unknown_variant(other, &["text", "raw", "json", "csv", "avro", "protobuf", "json_schema"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
        Ok(match Settings::deserialize(MapAccessDeserializer::new(map))? {
            Settings::Csv(settings) => Format::Csv(settings),
            Settings::Avro(settings) => Format::Avro(settings),
            Settings::Protobuf(settings) => Format::Protobuf(settings),
            Settings::JsonSchema(settings) => Format::JsonSchema(settings),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named_or_have_settings() {
        let read = |text: &str| serde_saphyr::from_str::<Format>(text).map_err(|e| e.to_string());
        assert_eq!(read("text"), Ok(Format::Text));
        assert_eq!(read("json"), Ok(Format::Json));
        assert_eq!(read("csv"), Ok(Format::Csv(CsvSettings { delimiter: b',', header: false })));
        let settings = CsvSettings { delimiter: b';', header: true };
        assert_eq!(read("{ csv: { delimiter: \";\", header: true } }"), Ok(Format::Csv(settings)));
        assert_eq!(read("raw"), Ok(Format::Raw));
        let registry = RegistrySettings { url: "http://r".into(), login: None, ca: None };
        let avro = Format::Avro(AvroSettings { registry: registry.clone() });
        assert_eq!(read("{ avro: { registry: \"http://r\" } }"), Ok(avro.clone()));
        assert_eq!(avro.registry(), Some(&registry));
        let protobuf = Format::Protobuf(ProtobufSettings { registry, message: Some("a.B".into()) });
        assert_eq!(read("{ protobuf: { registry: { url: \"http://r\" }, message: a.B } }"), Ok(protobuf));
        assert!(matches!(read("{ json_schema: { registry: \"http://r\" } }"), Ok(Format::JsonSchema(_))));
        assert!(read("avro").unwrap_err().contains("registry"));
        assert!(read("{ json_schema: { registry: \"http://r\", message: m } }").unwrap_err().contains("message"));
        let schema = Schema::new([Field::new("a", Kind::Utf8)]).unwrap();
        assert!(avro.encoder(&schema).err().unwrap().contains("`raw`"));
        assert!(read("xml").unwrap_err().contains("xml"));
        assert!(read("{ csv: { delimeter: x } }").unwrap_err().contains("delimeter"));
        assert!(read("{ csv: { delimiter: ab } }").unwrap_err().contains("delimiter"));
        assert!(read("{ csv: { delimiter: '\"' } }").unwrap_err().contains("delimiter"));
        assert!(read("{ csv: {}, json: {} }").is_err());
        assert!(read("{ json: {} }").is_err());
    }
}
