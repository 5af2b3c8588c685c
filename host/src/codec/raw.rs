//! Records that are bytes, kept as they are: one column. Decoding hands the batch's memory on ([`lent`](super::lent)).
use std::sync::Arc;

use arrow_array::{Array, BinaryArray, RecordBatch, cast::AsArray};

use super::{Decoded, Decoder, Encoder, format::only_column, lent::Lent};
use crate::model::{Encoded, Kind, RawBatch, Schema};

pub struct RawDecoder {
    schema: Schema,
    lent: Lent,
}

impl RawDecoder {
    pub fn new(schema: &Schema) -> Result<RawDecoder, String> {
        only_column(schema, "raw", Kind::Binary)?;
        Ok(RawDecoder { schema: schema.clone(), lent: Lent::default() })
    }
}

impl Decoder for RawDecoder {
    fn decode(&mut self, raw: &mut RawBatch) -> Decoded {
        let (offsets, data) = self.lent.take(raw);
        let values = Arc::new(BinaryArray::new(offsets, data, None));
        let rows = RecordBatch::try_new(self.schema.arrow().clone(), vec![values])
            // The schema was checked to be one column of bytes.
            .expect("one column of bytes");
        Decoded { rows, malformed: Vec::new() }
    }
}

pub struct RawEncoder;

impl RawEncoder {
    pub fn new(schema: &Schema) -> Result<RawEncoder, String> {
        only_column(schema, "raw", Kind::Binary).map(|()| RawEncoder)
    }
}

impl Encoder for RawEncoder {
    /// A null is written as no bytes. The separator is a line feed, as of text: where records are not kept apart by other means, bytes
    /// with line feeds cannot be told apart.
    fn encode(&mut self, rows: &RecordBatch, into: &mut Encoded) {
        into.data.clear();
        into.ends.clear();
        into.separator = 1;
        let values = rows.column(0).as_binary::<i32>();
        into.data.reserve(values.value_data().len() + values.len());
        into.ends.reserve(values.len());
        for row in 0..values.len() {
            if values.is_valid(row) {
                into.data.extend_from_slice(values.value(row));
            }
            into.data.push(b'\n');
            into.ends.push(into.data.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::{Format, NoSchemas},
        model::Field,
    };

    #[test]
    fn bytes_stay_as_they_are() {
        let schema = Format::Raw.fixed_schema().unwrap();
        assert_eq!(schema.to_string(), "{ value: bytes }");
        let records: [&[u8]; 3] = [b"\xff\0\n", b"", b"text"];
        let mut raw = RawBatch { data: records.concat(), ends: vec![3, 3, 7], ..RawBatch::default() };
        let decoded = Format::Raw.decoder(&schema, &NoSchemas::shared()).unwrap().decode(&mut raw);
        assert_eq!(decoded.malformed, []);
        let found = decoded.rows.column(0).as_binary::<i32>();
        assert_eq!(found.iter().flatten().collect::<Vec<_>>(), records);
        let mut encoded = Encoded::default();
        Format::Raw.encoder(&schema).unwrap().encode(&decoded.rows, &mut encoded);
        assert_eq!((encoded.data.as_slice(), encoded.ends), (&b"\xff\0\n\n\ntext\n"[..], vec![4, 5, 10]));
        let other = Schema::new([Field::new("value", Kind::Utf8)]).unwrap();
        assert!(Format::Raw.encoder(&other).err().unwrap().contains("`bytes` column"));
    }
}
