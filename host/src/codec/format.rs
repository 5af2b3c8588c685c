//! Which formats there are and how a job names them.
use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{
    CsvSettings, Decoder, Encoder,
    csv::{CsvDecoder, CsvEncoder},
    json::{JsonDecoder, JsonEncoder},
    text::{TextDecoder, TextEncoder},
};
use crate::model::{Field, Kind, Schema, SchemaError};

/// How records are written down: `text`, `json`, `csv`, or with settings `{ csv: { delimiter: ";", header: true } }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A record is a string, kept as it is.
    Text,
    /// A record is a JSON object with a member per column.
    Json,
    /// A record is a line of fields, one per column in the schema's order.
    Csv(CsvSettings),
}

/// The one column of text.
const TEXT_COLUMN: &str = "line";

impl Format {
    /// A decoder for one task. Fails if records of this format cannot have these columns, saying why.
    pub fn decoder(&self, schema: &Schema) -> Result<Box<dyn Decoder>, String> {
        Ok(match self {
            Format::Text => Box::new(TextDecoder::new(schema)?),
            Format::Json => Box::new(JsonDecoder::new(schema)),
            Format::Csv(settings) => Box::new(CsvDecoder::new(settings, schema)?),
        })
    }

    /// An encoder for one task that writes all columns in order. Fails if they cannot be written in this format, saying why.
    pub fn encoder(&self, schema: &Schema) -> Result<Box<dyn Encoder>, String> {
        Ok(match self {
            Format::Text => Box::new(TextEncoder::new(schema)?),
            Format::Json => Box::new(JsonEncoder::new(schema)),
            Format::Csv(settings) => Box::new(CsvEncoder::new(settings, schema)?),
        })
    }

    /// The columns of records in this format, where the format alone decides.
    pub fn fixed_schema(&self) -> Option<Schema> {
        match self {
            Format::Text => {
                let line: Result<Schema, SchemaError> = Schema::new([Field::new(TEXT_COLUMN, Kind::Utf8)]);
                line.ok()
            }
            Format::Json | Format::Csv(_) => None,
        }
    }
}

/// The one string column of a schema for text, which must have exactly that.
pub(super) fn only_string(schema: &Schema) -> Result<Arc<str>, String> {
    match schema.fields() {
        [field] if field.kind == Kind::Utf8 => Ok(field.name.clone()),
        _ => Err(format!(
            "format `text` has exactly one `string` column, not {schema}: pick it by `columns:`, or use format `json` or `csv`"
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
#[serde(rename_all = "lowercase")]
enum Settings {
    Csv(CsvSettings),
}

struct FormatVisitor;

impl<'de> Visitor<'de> for FormatVisitor {
    type Value = Format;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a format: `text`, `json`, `csv` or `{ csv: {...} }`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Format, E> {
        match name {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv(CsvSettings::default())),
            other => Err(E::unknown_variant(other, &["text", "json", "csv"])),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Format, A::Error> {
        let Settings::Csv(settings) = Settings::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Format::Csv(settings))
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
        assert!(read("xml").unwrap_err().contains("xml"));
        assert!(read("{ csv: { delimeter: x } }").unwrap_err().contains("delimeter"));
        assert!(read("{ csv: { delimiter: ab } }").unwrap_err().contains("delimiter"));
        assert!(read("{ csv: { delimiter: '\"' } }").unwrap_err().contains("delimiter"));
        assert!(read("{ csv: {}, json: {} }").is_err());
        assert!(read("{ json: {} }").is_err());
    }
}
