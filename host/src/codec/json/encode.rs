//! Encodes rows as objects without spaces, members in the schema's order.
use arrow_array::RecordBatch;
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    codec::{
        Encoder,
        view::{Values, View},
    },
    digits,
    model::{Encoded, Schema},
};

/// Bytes a number takes at most, about.
const NUMBER_BYTES: usize = 24;

pub struct JsonEncoder {
    /// Per column what stands before its value, such as `,"name":`, in blocks of 16 bytes, and its length.
    names: Vec<(Vec<[u8; 16]>, usize)>,
}

impl JsonEncoder {
    pub fn new(schema: &Schema) -> JsonEncoder {
        let name = |(i, field): (usize, &crate::model::Field)| {
            let mut text = if i == 0 { b"{".to_vec() } else { b",".to_vec() };
            push_str(&mut text, &field.name);
            text.push(b':');
            let length = text.len();
            text.resize(length.next_multiple_of(16), 0);
            (text.as_chunks().0.to_vec(), length)
        };
        JsonEncoder { names: schema.fields().iter().enumerate().map(name).collect() }
    }

    fn bytes_expected(&self, rows: &RecordBatch, views: &[View]) -> usize {
        let names: usize = self.names.iter().map(|(_, length)| length + NUMBER_BYTES).sum();
        let strings = views.iter().map(|view| match &view.values {
            Values::Utf8(values) => values.value_data().len(),
            Values::Binary(values) => values.value_data().len() / 3 * 4,
            _ => 0,
        });
        rows.num_rows() * (names + 2) + strings.sum::<usize>()
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, into: &mut Encoded) {
        let out = &mut into.data;
        out.clear();
        into.ends.clear();
        into.ends.reserve(rows.num_rows());
        let views = View::of(rows);
        out.reserve(self.bytes_expected(rows, &views));
        for row in 0..rows.num_rows() {
            if views.is_empty() {
                out.push(b'{');
            }
            for (view, (name, length)) in views.iter().zip(&self.names) {
                // Whole blocks and then cutting off is faster than copying just enough.
                let end = out.len() + length;
                name.iter().for_each(|block| out.extend_from_slice(block));
                out.truncate(end);
                match &view.values {
                    _ if view.is_null(row) => out.extend_from_slice(b"null"),
                    Values::Int64(values) => digits::push_i64(out, values[row]),
                    Values::Utf8(values) => push_str(out, values.value(row)),
                    // Writing a number to memory does not fail. What is not finite becomes null.
                    Values::Float64(values) => drop(serde_json::to_writer(&mut *out, &values[row])),
                    Values::Boolean(values) => {
                        out.extend_from_slice(if values.value(row) { b"true" } else { b"false" })
                    }
                    Values::Binary(values) => push_str(out, &BASE64_STANDARD.encode(values.value(row))),
                }
            }
            out.extend_from_slice(b"}\n");
            into.ends.push(out.len());
        }
    }
}

fn push_str(out: &mut Vec<u8>, text: &str) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without an early end this is done many bytes at a time.
    if text.bytes().fold(false, |found, byte| found | special(byte)) {
        // Writing a string to memory does not fail.
        return drop(serde_json::to_writer(out, text));
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}
