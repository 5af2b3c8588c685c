//! Records that are strings. Decoding hands the batch's memory on as the Arrow column ([`lent`](super::lent)).
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray, builder::StringBuilder, cast::AsArray};

use super::{Decoded, Decoder, Encoder, Malformed, format::only_column, lent::Lent};
use crate::model::{Encoded, Kind, RawBatch, Schema};

pub struct TextDecoder {
    schema: Schema,
    lent: Lent,
}

impl TextDecoder {
    pub fn new(schema: &Schema) -> Result<TextDecoder, String> {
        only_column(schema, "text", Kind::Utf8)?;
        Ok(TextDecoder { schema: schema.clone(), lent: Lent::default() })
    }
}

impl Decoder for TextDecoder {
    fn decode(&mut self, raw: &mut RawBatch) -> Decoded {
        if let Some(decoded) = without_malformed(&self.schema, raw) {
            return decoded;
        }
        let (offsets, data) = self.lent.take(raw);
        // SAFETY: each record is UTF-8, or the batch would have been decoded without it; records follow each other.
        let lines = unsafe { StringArray::new_unchecked(offsets, data, None) };
        Decoded { rows: batch(&self.schema, lines), malformed: Vec::new() }
    }
}

/// If any record is not UTF-8: the others, copied.
fn without_malformed(schema: &Schema, raw: &RawBatch) -> Option<Decoded> {
    if raw.data.is_ascii() {
        return None;
    }
    // In UTF-8 as a whole, a record is UTF-8 too if no character spans its ends.
    let whole = simdutf8::basic::from_utf8(&raw.data);
    if whole.is_ok_and(|text| raw.ends.iter().all(|end| text.is_char_boundary(*end as usize))) {
        return None;
    }
    let (mut malformed, mut lines) = (Vec::new(), StringBuilder::with_capacity(raw.len(), raw.data.len()));
    for record in 0..raw.len() {
        match std::str::from_utf8(raw.record(record)) {
            Ok(text) => lines.append_value(text),
            Err(error) => {
                malformed
                    .push(Malformed { record, reason: format!("not UTF-8 from byte {} on", error.valid_up_to() + 1) });
            }
        }
    }
    Some(Decoded { rows: batch(schema, lines.finish()), malformed })
}

fn batch(schema: &Schema, lines: StringArray) -> RecordBatch {
    RecordBatch::try_new(schema.arrow().clone(), vec![Arc::new(lines)])
        // The schema was checked to be one string column.
        .expect("one column of strings")
}

pub struct TextEncoder;

impl TextEncoder {
    pub fn new(schema: &Schema) -> Result<TextEncoder, String> {
        only_column(schema, "text", Kind::Utf8).map(|()| TextEncoder)
    }
}

impl Encoder for TextEncoder {
    /// A null is written as an empty line.
    fn encode(&mut self, rows: &RecordBatch, into: &mut Encoded) {
        into.data.clear();
        into.ends.clear();
        into.separator = 1;
        let lines = rows.column(0).as_string::<i32>();
        into.data.reserve(lines.value_data().len() + lines.len());
        into.ends.reserve(lines.len());
        for row in 0..lines.len() {
            if lines.is_valid(row) {
                into.data.extend_from_slice(lines.value(row).as_bytes());
            }
            into.data.push(b'\n');
            into.ends.push(into.data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Format, NoSchemas};

    fn raw(records: &[&[u8]]) -> RawBatch {
        let mut raw = RawBatch::default();
        for record in records {
            raw.data.extend_from_slice(record);
            raw.ends.push(raw.data.len() as u32);
        }
        raw
    }

    fn decoder() -> Box<dyn Decoder> {
        Format::Text.decoder(&Format::Text.fixed_schema().unwrap(), &NoSchemas::shared()).unwrap()
    }

    fn lines(decoded: &Decoded) -> Vec<&str> {
        decoded.rows.column(0).as_string::<i32>().iter().map(|line| line.unwrap()).collect()
    }

    #[test]
    fn records_become_rows_and_those_that_are_not_utf8_are_left_out() {
        let decoded = decoder().decode(&mut raw(&[b"one", b"", b"two"]));
        assert_eq!(lines(&decoded), ["one", "", "two"]);
        // The second and third are UTF-8 only taken together.
        let mut batch = raw(&["ä".as_bytes(), b"a\xc3", b"\xa4b", b"c"]);
        let decoded = decoder().decode(&mut batch);
        assert_eq!(lines(&decoded), ["ä", "c"]);
        assert_eq!(batch.record(1), b"a\xc3");
        let reasons = decoded.malformed.iter().map(|m| (m.record, m.reason.as_str())).collect::<Vec<_>>();
        assert_eq!(reasons, [(1, "not UTF-8 from byte 2 on"), (2, "not UTF-8 from byte 1 on")]);
        assert_eq!(decoder().decode(&mut raw(&[])).rows.num_rows(), 0);
    }

    #[test]
    fn memory_is_used_again_once_nobody_reads_it() {
        let mut decoder = decoder();
        let mut batch = raw(&[b"the first batch"]);
        let first = batch.data.as_ptr();
        let decoded = decoder.decode(&mut batch);
        assert_eq!(decoded.rows.column(0).as_string::<i32>().value_data().as_ptr(), first);
        batch.clear();
        batch.data.extend_from_slice(b"the second");
        batch.ends.push(10);
        assert_ne!(batch.data.as_ptr(), first);
        drop(decoded);
        let decoded = decoder.decode(&mut batch);
        assert_eq!(lines(&decoded), ["the second"]);
        assert_eq!((batch.data.as_ptr(), batch.data.len()), (first, 0));
    }

    #[test]
    fn text_has_one_string_column() {
        use crate::model::{Field, Kind};
        let schema = Schema::new([Field::new("n", Kind::Int64)]).unwrap();
        assert!(Format::Text.encoder(&schema).err().unwrap().contains("columns:"));
        let mut encoded = Encoded::default();
        let decoded = decoder().decode(&mut raw(&["ä".as_bytes(), b""]));
        Format::Text.encoder(&Format::Text.fixed_schema().unwrap()).unwrap().encode(&decoded.rows, &mut encoded);
        assert_eq!(encoded.data, "ä\n\n".as_bytes());
        assert_eq!(encoded.ends, [3, 4]);
    }
}
