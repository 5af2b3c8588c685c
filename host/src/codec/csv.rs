//! Records that are lines of fields (RFC 4180). A null is a field of nothing at all, an empty string one of two quotes, which
//! is why fields are split here: crates for CSV do not tell the two apart. Strict: what is not well-formed is malformed.
use arrow_array::RecordBatch;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de};

use super::{
    Decoded, Decoder, Encoder, Malformed,
    columns::{Column, Columns},
    view::{Values, View},
};
use crate::{
    model::{Encoded, Kind, RawBatch, Schema},
    writer::Writer,
};

/// How CSV is written down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvSettings {
    /// What stands between fields: an ASCII character other than a quote, CR and LF. Default a comma.
    #[serde(deserialize_with = "delimiter")]
    pub delimiter: u8,
    /// Whether the first line at each place read (each file) names the columns, and is to be skipped; and whether each task
    /// that writes begins with such a line. Default false.
    pub header: bool,
}

impl Default for CsvSettings {
    fn default() -> CsvSettings {
        CsvSettings { delimiter: b',', header: false }
    }
}

fn delimiter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let character = char::deserialize(deserializer)?;
    if character.is_ascii() && !matches!(character, '"' | '\r' | '\n') {
        return Ok(character as u8);
    }
    Err(de::Error::custom("`delimiter` must be one ASCII character other than a quote and line ends"))
}

fn some_columns(schema: &Schema) -> Result<(), String> {
    if schema.fields().is_empty() { Err("format `csv` needs at least one column".into()) } else { Ok(()) }
}

/// Bytes per field first reserved.
const FIELD_BYTES_GUESS: usize = 16;

pub struct CsvDecoder {
    settings: CsvSettings,
    columns: Columns,
    /// A quoted field without its quotes.
    unquoted: Vec<u8>,
}

impl CsvDecoder {
    pub fn new(settings: &CsvSettings, schema: &Schema) -> Result<CsvDecoder, String> {
        some_columns(schema)?;
        Ok(CsvDecoder { settings: settings.clone(), columns: Columns::new(schema), unquoted: Vec::new() })
    }

    fn record(&mut self, record: &[u8], row: usize) -> Result<(), String> {
        let text = simdutf8::basic::from_utf8(record).map_err(|_| "not UTF-8".to_string())?;
        let expected = self.columns.columns.len();
        let mut rest = Some(text);
        for (i, column) in self.columns.columns.iter_mut().enumerate() {
            let Some(text) = rest else {
                return Err(format!("{i} fields instead of {expected}"));
            };
            let (field, after) = match text.strip_prefix('"') {
                Some(quoted) => {
                    let after = unquote(quoted, &mut self.unquoted).ok_or_else(|| missing_quote(column))?;
                    // A part of UTF-8 between ASCII quotes, less some of them.
                    let field = std::str::from_utf8(&self.unquoted).map_err(|_| "not UTF-8".to_string())?;
                    (Some(field), after)
                }
                None => {
                    let end = memchr::memchr(self.settings.delimiter, text.as_bytes()).unwrap_or(text.len());
                    (Some(&text[..end]).filter(|field| !field.is_empty()), &text[end..])
                }
            };
            rest = match after.as_bytes().first() {
                None => None,
                Some(byte) if *byte == self.settings.delimiter => Some(&after[1..]),
                Some(_) => return Err(format!("`{}`: text after the closing quote", column.field.name)),
            };
            set(column, row, field)?;
        }
        if rest.is_some() { Err(format!("more than {expected} fields")) } else { Ok(()) }
    }
}

fn missing_quote(column: &Column) -> String {
    format!("`{}`: the closing quote is missing (a field cannot go on in the next line)", column.field.name)
}

/// Replaces `into` by the field that begins `quoted`, and returns what follows its closing quote.
fn unquote<'a>(quoted: &'a str, into: &mut Vec<u8>) -> Option<&'a str> {
    into.clear();
    let mut rest = quoted;
    loop {
        let quote = memchr::memchr(b'"', rest.as_bytes())?;
        into.extend_from_slice(&rest.as_bytes()[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                into.push(b'"');
                rest = after;
            }
            None => return Some(rest),
        }
    }
}

/// Sets a field, of which `None` is one of nothing at all.
fn set(column: &mut Column, row: usize, field: Option<&str>) -> Result<(), String> {
    let Some(text) = field else {
        match column.field.kind {
            _ if column.field.nullable => column.set_null(row),
            Kind::Utf8 => column.set_str(row, ""),
            Kind::Binary => column.set_bytes(row, b""),
            kind => return Err(format!("`{}` is empty, but must be of type {kind}", column.field.name)),
        }
        return Ok(());
    };
    let valid = match column.field.kind {
        Kind::Boolean => text.parse().map(|value| column.set_bool(row, value)).is_ok(),
        Kind::Int64 => text.parse().map(|value| column.set_i64(row, value)).is_ok(),
        Kind::Float64 => text.parse().map(|value| column.set_f64(row, value)).is_ok(),
        Kind::Utf8 => {
            column.set_str(row, text);
            true
        }
        Kind::Binary => BASE64_STANDARD.decode(text).map(|value| column.set_bytes(row, &value)).is_ok(),
    };
    if valid {
        return Ok(());
    }
    let expected = if column.field.kind == Kind::Binary { "Base64".into() } else { column.field.kind.to_string() };
    Err(format!("`{}` is {text:?}, not {expected}", column.field.name))
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, raw: &mut RawBatch) -> Decoded {
        if self.settings.header && raw.position.record == 1 && raw.numbers.is_empty() && !raw.is_empty() {
            remove_first(raw);
        }
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

fn remove_first(raw: &mut RawBatch) {
    let end = raw.ends.remove(0);
    raw.data.drain(..end as usize);
    raw.ends.iter_mut().for_each(|other| *other -= end);
    if !raw.timestamps.is_empty() {
        raw.timestamps.remove(0);
    }
    raw.position.record += 1;
}

pub struct CsvEncoder {
    settings: CsvSettings,
    schema: Schema,
    /// Whether the header is still to be written.
    header: bool,
}

impl CsvEncoder {
    pub fn new(settings: &CsvSettings, schema: &Schema) -> Result<CsvEncoder, String> {
        some_columns(schema)?;
        Ok(CsvEncoder { settings: settings.clone(), schema: schema.clone(), header: settings.header })
    }

    /// Quotes only what would be read differently without.
    fn push_string(&self, out: &mut Writer, text: &[u8]) {
        let special = |byte: &u8| matches!(byte, b'"' | b'\r' | b'\n') || *byte == self.settings.delimiter;
        if !text.is_empty() && !text.iter().any(special) {
            return out.bytes(text);
        }
        out.block(b"\"", 1);
        for byte in text {
            out.block(b"\"", usize::from(*byte == b'"'));
            out.block(&[*byte], 1);
        }
        out.block(b"\"", 1);
    }

    fn push_header(&mut self, out: &mut Writer) {
        for (i, field) in self.schema.fields().iter().enumerate() {
            if i > 0 {
                out.block(&[self.settings.delimiter], 1);
            }
            self.push_string(out, field.name.as_bytes());
        }
        out.block(b"\n", 1);
        self.header = false;
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, rows: &RecordBatch, into: &mut Encoded) {
        into.data.clear();
        into.ends.clear();
        into.separator = 1;
        let mut out = Writer::new(&mut into.data, rows.num_rows() * rows.num_columns() * FIELD_BYTES_GUESS);
        if self.header {
            self.push_header(&mut out);
            into.ends.push(out.len());
        }
        let views = View::of(rows);
        into.ends.reserve(rows.num_rows());
        for row in 0..rows.num_rows() {
            for (i, view) in views.iter().enumerate() {
                if i > 0 {
                    out.block(&[self.settings.delimiter], 1);
                }
                match &view.values {
                    _ if view.is_null(row) => {}
                    Values::Boolean(values) => out.bytes(if values.value(row) { b"true" } else { b"false" }),
                    Values::Int64(values) => out.i64(values[row]),
                    Values::Float64(values) => push_f64(&mut out, values[row]),
                    Values::Utf8(values) => self.push_string(&mut out, values.value(row).as_bytes()),
                    Values::Binary(values) => {
                        self.push_string(&mut out, BASE64_STANDARD.encode(values.value(row)).as_bytes());
                    }
                }
            }
            out.block(b"\n", 1);
            into.ends.push(out.len());
        }
        out.finish();
    }
}

/// As JSON would have it, and `NaN`, `inf`, `-inf`.
fn push_f64(out: &mut Writer, value: f64) {
    let text = if value.is_finite() { serde_json::Value::from(value).to_string() } else { value.to_string() };
    out.bytes(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Field, Position};

    fn raw(records: &[&str], first: u64) -> RawBatch {
        let mut raw = RawBatch { position: Position { place: "x".into(), record: first }, ..RawBatch::default() };
        for record in records {
            raw.data.extend_from_slice(record.as_bytes());
            raw.ends.push(raw.data.len() as u32);
            raw.timestamps.push(raw.ends.len() as i64);
        }
        raw
    }

    fn schema() -> Schema {
        Schema::new([
            Field::new("a", Kind::Utf8),
            Field::new("b", Kind::Int64).nullable(),
            Field::new("c", Kind::Utf8).nullable(),
        ])
        .unwrap()
    }

    fn recode(settings: &CsvSettings, raw: &mut RawBatch) -> (String, Vec<String>) {
        let decoded = CsvDecoder::new(settings, &schema()).unwrap().decode(raw);
        let mut encoded = Encoded::default();
        CsvEncoder::new(&CsvSettings::default(), &schema()).unwrap().encode(&decoded.rows, &mut encoded);
        let reasons = decoded.malformed.iter().map(|m| format!("{}: {}", m.record, m.reason)).collect();
        (String::from_utf8(encoded.data).unwrap(), reasons)
    }

    #[test]
    fn fields_are_split_at_the_delimiter_outside_quotes() {
        let settings = CsvSettings { delimiter: b';', header: false };
        let (text, malformed) =
            recode(&settings, &mut raw(&["x;1;y", "\"a;\"\"b\"\"\";-7;", ";;\"\"", "1,2;0;\"q\"", "ä;9;ß"], 1));
        assert_eq!(text, "x,1,y\n\"a;\"\"b\"\"\",-7,\n\"\",,\"\"\n\"1,2\",0,q\nä,9,ß\n");
        assert!(malformed.is_empty());
    }

    #[test]
    fn what_is_not_well_formed_is_said() {
        let records =
            ["a,1", "a,1,c,d", "", "a,x,c", "a,1,\"c", "a,\"1\"2,c", "a,9223372036854775808,c", "ok,1,", "a,1.0,c"];
        let (text, malformed) = recode(&CsvSettings::default(), &mut raw(&records, 1));
        assert_eq!(text, "ok,1,\n");
        assert_eq!(
            malformed,
            [
                "0: 2 fields instead of 3",
                "1: more than 3 fields",
                "2: 1 fields instead of 3",
                "3: `b` is \"x\", not i64",
                "4: `c`: the closing quote is missing (a field cannot go on in the next line)",
                "5: `b`: text after the closing quote",
                "6: `b` is \"9223372036854775808\", not i64",
                "8: `b` is \"1.0\", not i64",
            ]
        );
    }

    #[test]
    fn a_header_is_skipped_where_a_place_begins() {
        let settings = CsvSettings { header: true, ..CsvSettings::default() };
        let mut batch = raw(&["a,b,c", "x,1,y", "z,2,"], 1);
        assert_eq!(recode(&settings, &mut batch).0, "x,1,y\nz,2,\n");
        assert_eq!((batch.timestamps, batch.ends, batch.position.record), (vec![2, 3], vec![5, 9], 2));
        assert_eq!(recode(&settings, &mut raw(&["x,1,y"], 2)).0, "x,1,y\n");
        let mut encoder = CsvEncoder::new(&settings, &schema()).unwrap();
        let rows = CsvDecoder::new(&settings, &schema()).unwrap().decode(&mut raw(&["x,1,y"], 2)).rows;
        let mut encoded = Encoded::default();
        encoder.encode(&rows, &mut encoded);
        assert_eq!((encoded.data.as_slice(), encoded.ends.len()), (&b"a,b,c\nx,1,y\n"[..], 2));
        encoder.encode(&rows, &mut encoded);
        assert_eq!(encoded.data, b"x,1,y\n");
    }
}
