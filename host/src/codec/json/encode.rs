//! Encodes rows as objects without spaces, members in the schema's order.
use arrow_array::RecordBatch;
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    codec::{
        Encoder,
        view::{Values, View},
    },
    model::{Encoded, Field, Schema},
    writer::Writer,
};

/// Bytes a number takes at most, about.
const NUMBER_BYTES: usize = 24;

/// `,"name":` in blocks of 16 bytes.
struct Name {
    first: [u8; 16],
    rest: Vec<[u8; 16]>,
    length: usize,
}

pub struct JsonEncoder {
    /// Per column what stands before its value.
    names: Vec<Name>,
}

impl JsonEncoder {
    pub fn new(schema: &Schema) -> JsonEncoder {
        let name = |(i, field): (usize, &Field)| {
            let mut text = if i == 0 { b"{".to_vec() } else { b",".to_vec() };
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut text, &*field.name);
            text.push(b':');
            let length = text.len();
            text.resize(length.next_multiple_of(16), 0);
            let (blocks, _) = text.as_chunks();
            Name { first: blocks[0], rest: blocks[1..].to_vec(), length }
        };
        JsonEncoder { names: schema.fields().iter().enumerate().map(name).collect() }
    }

    fn bytes_expected(&self, rows: &RecordBatch, views: &[View]) -> usize {
        let names: usize = self.names.iter().map(|name| name.length + NUMBER_BYTES).sum();
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
        into.data.clear();
        into.ends.clear();
        into.separator = 1;
        let views = View::of(rows);
        let mut out = Writer::new(&mut into.data, self.bytes_expected(rows, &views));
        let mut escaped = Vec::new();
        into.ends.reserve(rows.num_rows());
        for row in 0..rows.num_rows() {
            if views.is_empty() {
                out.bytes(b"{");
            }
            for (view, name) in views.iter().zip(&self.names) {
                out.block(&name.first, name.length);
                let mut left = name.length;
                for block in &name.rest {
                    left -= 16;
                    out.block(block, left);
                }
                match &view.values {
                    _ if view.is_null(row) => out.bytes(b"null"),
                    Values::Int64(values) => out.i64(values[row]),
                    Values::Utf8(values) => push_str(&mut out, values.value(row), &mut escaped),
                    Values::Float64(values) => {
                        escaped.clear();
                        // Writing to memory does not fail. What is not finite becomes null.
                        let _ = serde_json::to_writer(&mut escaped, &values[row]);
                        out.bytes(&escaped);
                    }
                    Values::Boolean(values) => out.bytes(if values.value(row) { b"true" } else { b"false" }),
                    Values::Binary(values) => {
                        push_str(&mut out, &BASE64_STANDARD.encode(values.value(row)), &mut escaped);
                    }
                }
            }
            out.block(b"}\n", 2);
            into.ends.push(out.len());
        }
        out.finish();
    }
}

/// Appends a string in quotes; `escaped` is memory to use.
#[inline(always)]
fn push_str(out: &mut Writer, text: &str, escaped: &mut Vec<u8>) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without an early end this is done many bytes at a time.
    if text.bytes().fold(false, |found, byte| found | special(byte)) {
        escaped.clear();
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *escaped, text);
        return out.bytes(escaped);
    }
    out.block(b"\"", 1);
    out.bytes(text.as_bytes());
    out.block(b"\"", 1);
}
