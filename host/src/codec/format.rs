//! Which format, as a job file says it. Stand-in until the codecs are merged.
use arrow_array::RecordBatch;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::{Decoded, Decoder, Encoder};
use crate::model::{Encoded, Field, Kind, RawBatch, Schema};

/// A format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Lines.
    Text,
    /// JSON objects.
    Json,
    /// Separated values.
    Csv,
}

struct Nothing(Schema);

impl Decoder for Nothing {
    fn decode(&mut self, _: &mut RawBatch) -> Decoded {
        Decoded { rows: RecordBatch::new_empty(self.0.arrow().clone()), malformed: Vec::new() }
    }
}

impl Encoder for Nothing {
    fn encode(&mut self, _: &RecordBatch, _: &mut Encoded) {}
}

impl Format {
    fn check(&self, schema: &Schema) -> Result<Box<Nothing>, String> {
        match schema.fields() {
            [field] if *self != Format::Text || field.kind == Kind::Utf8 => Ok(Box::new(Nothing(schema.clone()))),
            _ if *self != Format::Text => Ok(Box::new(Nothing(schema.clone()))),
            _ => Err(format!(
                "format `text` has exactly one `string` column, not {schema}: pick it by `columns:`, or use format `json` or `csv`"
            )),
        }
    }

    /// A decoder.
    pub fn decoder(&self, schema: &Schema) -> Result<Box<dyn Decoder>, String> {
        Ok(self.check(schema)?)
    }

    /// An encoder.
    pub fn encoder(&self, schema: &Schema) -> Result<Box<dyn Encoder>, String> {
        Ok(self.check(schema)?)
    }

    /// The columns the format alone decides.
    pub fn fixed_schema(&self) -> Option<Schema> {
        (*self == Format::Text).then(|| Schema::new([Field::new("line", Kind::Utf8)]).ok()).flatten()
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Format;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a format: `text`, `json`, `csv` or `{ csv: {...} }`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Format, E> {
                match name {
                    "text" => Ok(Format::Text),
                    "json" => Ok(Format::Json),
                    "csv" => Ok(Format::Csv),
                    other => Err(E::unknown_variant(other, &["text", "json", "csv"])),
                }
            }
        }
        deserializer.deserialize_any(Name)
    }
}
