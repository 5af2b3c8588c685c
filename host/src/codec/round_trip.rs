//! What is encoded is decoded to the same, for JSON and CSV.
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

use super::{CsvSettings, Format, NoSchemas};
use crate::model::{Encoded, Field, Kind, RawBatch, Schema};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) % limit
    }

    fn optional<T>(&mut self, nullable: bool, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
        if nullable && self.below(4) == 0 { None } else { Some(value(self)) }
    }

    fn integer(&mut self) -> i64 {
        let bits = (self.below(1 << 32) << 32 | self.below(1 << 32)) as i64;
        bits >> self.below(64)
    }

    fn float(&mut self) -> f64 {
        match self.below(3) {
            0 => self.integer() as f64,
            1 => self.integer() as f64 / 1000.0,
            _ => Some(f64::from_bits(self.integer() as u64)).filter(|value| value.is_finite()).unwrap_or(-0.0),
        }
    }

    fn string(&mut self) -> String {
        const PARTS: [&str; 16] = [
            "",
            "a",
            "word",
            ",",
            ";",
            "\"",
            "\\",
            "\n",
            "\r\n",
            "\t",
            "\0",
            "ä",
            "😀",
            "null",
            "\u{7f}",
            " a longer part ",
        ];
        (0..self.below(6)).map(|_| PARTS[self.below(16) as usize]).collect()
    }
}

fn column(random: &mut Random, field: &Field, rows: usize) -> ArrayRef {
    let n = field.nullable;
    match field.kind {
        Kind::Boolean => Arc::new((0..rows).map(|_| random.optional(n, |r| r.below(2) == 0)).collect::<BooleanArray>()),
        Kind::Int64 => Arc::new((0..rows).map(|_| random.optional(n, Random::integer)).collect::<Int64Array>()),
        Kind::Float64 => Arc::new((0..rows).map(|_| random.optional(n, Random::float)).collect::<Float64Array>()),
        Kind::Utf8 => Arc::new((0..rows).map(|_| random.optional(n, Random::string)).collect::<StringArray>()),
        Kind::Binary => {
            let bytes = |r: &mut Random| r.integer().to_le_bytes()[..r.below(9) as usize].to_vec();
            Arc::new((0..rows).map(|_| random.optional(n, bytes)).collect::<BinaryArray>())
        }
    }
}

fn check(format: &Format) {
    const KINDS: [Kind; 5] = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8, Kind::Binary];
    for seed in 0..200 {
        let random = &mut Random(seed);
        let field = |random: &mut Random, i: u64| {
            let name = ["a", "b \"q\"", "c,d", "é", "e\\", "a much longer name of a column"][i as usize];
            Field { name: name.into(), kind: KINDS[random.below(5) as usize], nullable: random.below(2) == 0 }
        };
        let fields = (0..1 + random.below(6)).map(|i| field(random, i)).collect::<Vec<_>>();
        let schema = Schema::new(fields).unwrap();
        let mut encoder = format.encoder(&schema).unwrap();
        let mut decoder = format.decoder(&schema, &NoSchemas::shared()).unwrap();
        for rows in [0, 1, 50] {
            let columns = schema.fields().iter().map(|field| column(random, field, rows)).collect();
            let rows = RecordBatch::try_new(schema.arrow().clone(), columns).unwrap();
            let mut encoded = Encoded::default();
            encoder.encode(&rows, &mut encoded);
            let mut raw = RawBatch::default();
            let mut start = 0;
            for end in encoded.ends {
                raw.data.extend_from_slice(encoded.data[start..end].strip_suffix(b"\n").unwrap());
                raw.ends.push(raw.data.len() as u32);
                start = end;
            }
            let decoded = decoder.decode(&mut raw);
            assert_eq!(decoded.malformed, [], "seed {seed}");
            assert_eq!(decoded.rows, rows, "seed {seed}");
        }
    }
}

#[test]
fn json_is_read_as_it_was_written() {
    check(&Format::Json);
}

#[test]
fn csv_is_read_as_it_was_written() {
    check(&Format::Csv(CsvSettings::default()));
    check(&Format::Csv(CsvSettings { delimiter: b';', header: false }));
}
