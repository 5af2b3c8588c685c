//! The two decoders must agree on every record, whatever was done to it.
use arrow_array::Array;

use super::{JsonDecoder, general};
use crate::{
    codec::{Decoder, columns::Columns},
    model::{Field, Kind, RawBatch, Schema},
};

/// Splitmix64: what a seed gives, it gives again.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

fn schema() -> Schema {
    Schema::new([
        Field::new("userId", Kind::Int64),
        Field::new("price", Kind::Float64).nullable(),
        Field::new("behavior", Kind::Utf8),
        Field::new("note", Kind::Utf8).nullable(),
        Field::new("ok", Kind::Boolean).nullable(),
        Field::new("blob", Kind::Binary).nullable(),
        Field::new("ts", Kind::Int64).nullable(),
    ])
    .unwrap()
}

const BASES: [&str; 8] = [
    r#"{"userId":12345,"price":1.5,"behavior":"cart","note":"n","ok":true,"blob":"AAEC","ts":1700000000123}"#,
    r#"{"userId":-7,"skipped":{"a":[1,"x",null],"userId":3},"behavior":"größe","ts":null}"#,
    r#"{ "ts" : 1 , "behavior" : "pv" , "userId" : 1234567890123456789 , "price" : -2e-3 }"#,
    r#"{"behavior":"","userId":0,"note":null,"x":12.5e3,"y":"skipped","z":false}"#,
    r#"{"userId":1,"userId":2,"behavior":"a","behavior":"b"}"#,
    r#"{"userId":1,"behavior":{"a":1},"note":[1,2]}"#,
    r#"{"userId":1,"behavior":"a\n\"\\ä","note":"\ud83d\ude00","price":0,"blob":""}"#,
    r#"{"user\u0049d":5,"behavior":"long enough to need more than one word of sixteen bytes"}"#,
];

const PIECES: [&[u8]; 49] = [
    b"0",
    b"-",
    b"-0",
    b"00",
    b"1",
    b"9",
    b".",
    b"1.0",
    b"1e3",
    b"E",
    b"e400",
    b"null",
    b"true",
    b"false",
    b"tru",
    b"\"",
    b"\\",
    b"\\n",
    b"\\u00e9",
    b"\\ud800",
    b"\\x",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b" ",
    b"\n",
    b"\t",
    b"\0",
    b"\x1f",
    b"\x7f",
    b"\xc3",
    b"\xa4",
    "ä".as_bytes(),
    "😀".as_bytes(),
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"18446744073709551616",
    b"99999999",
    b"123456789012345678",
    b"=",
    b"AA==",
    b"userId",
    b"\"userId\":7,",
    b",\"ts\":8",
    b"}}",
];

fn mutate(random: &mut Random) -> Vec<u8> {
    let mut record = BASES[random.below(BASES.len())].as_bytes().to_vec();
    for _ in 0..random.below(4) {
        let at = random.below(record.len() + 1);
        let until = (at + random.below(6)).min(record.len());
        let piece = PIECES[random.below(PIECES.len())];
        match random.below(6) {
            0 => drop(record.drain(at..until)),
            1 => record.truncate(at),
            2 => drop(record.splice(at..at, piece.iter().copied())),
            3 => drop(record.splice(at..until, piece.iter().copied())),
            4 if at < record.len() => record[at] = random.next() as u8,
            _ => {
                // A scalar for another: the kind of change a layout is meant to follow.
                if let Some(colon) = record[at..].iter().position(|byte| *byte == b':').map(|i| at + i + 1) {
                    let rest = &record[colon..];
                    let end = rest.iter().position(|byte| matches!(byte, b',' | b'}')).unwrap_or(rest.len());
                    drop(record.splice(colon..colon + end, piece.iter().copied()));
                }
            }
        }
    }
    record
}

/// Decodes all records in one batch by layouts where they fit, and each by the general decoder.
fn check(decoder: &mut JsonDecoder, records: &[Vec<u8>]) -> usize {
    let mut raw = RawBatch::default();
    for record in records {
        raw.data.extend_from_slice(record);
        raw.ends.push(raw.data.len() as u32);
    }
    let mut columns = Columns::new(&schema());
    columns.begin(records.len());
    let (mut rows, mut refused) = (0, Vec::new());
    for (i, record) in records.iter().enumerate() {
        match general::read(record, &mut columns.columns, rows) {
            Ok(()) => rows += 1,
            Err(reason) => refused.push((i, reason)),
        }
    }
    let expected = columns.finish(rows);
    let data = raw.data.clone();
    let decoded = decoder.decode(&mut raw);
    assert_eq!(raw.data, data);
    assert_eq!(decoded.malformed.into_iter().map(|m| (m.record, m.reason)).collect::<Vec<_>>(), refused);
    if decoded.rows != expected {
        let row = (0..rows).find(|row| decoded.rows.slice(*row, 1) != expected.slice(*row, 1));
        panic!("row {row:?} of {:?}", records.iter().map(|r| String::from_utf8_lossy(r)).collect::<Vec<_>>());
    }
    for column in decoded.rows.columns() {
        column.to_data().validate_full().unwrap();
    }
    rows
}

#[test]
fn layouts_never_decode_what_the_general_decoder_would_not() {
    let mut taken = 0;
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut decoder = JsonDecoder::new(&schema());
        for _ in 0..4 {
            let mut records = Vec::new();
            for _ in 0..100 {
                // The record it comes from first, so that there is a layout that almost fits.
                let mutated = mutate(&mut random);
                let base =
                    BASES.iter().max_by_key(|base| base.bytes().zip(&mutated).take_while(|(a, b)| a == *b).count());
                records.push(base.unwrap().as_bytes().to_vec());
                records.push(mutated);
            }
            taken += check(&mut decoder, &records);
        }
    }
    // Neither everything nor only the unchanged ones.
    assert!((170_000..310_000).contains(&taken), "{taken}");
}

#[test]
fn every_split_of_two_records_is_seen_as_such() {
    let text = BASES[0].repeat(2).into_bytes();
    for at in 0..text.len() {
        let mut decoder = JsonDecoder::new(&schema());
        check(&mut decoder, &[BASES[0].into(), text[..at].to_vec(), text[at..].to_vec()]);
    }
}

#[test]
fn what_is_malformed_is_said_with_the_member() {
    let reason = |record: &str| {
        let mut columns = Columns::new(&schema());
        columns.begin(1);
        general::read(record.as_bytes(), &mut columns.columns, 0).unwrap_err()
    };
    assert_eq!(reason(r#"{"userId":1}"#), "`behavior` is missing");
    assert_eq!(reason(r#"{"userId":null,"behavior":""}"#), "`userId` is null, at byte 14");
    assert_eq!(
        reason(r#"{"userId":1.0,"behavior":""}"#),
        "invalid type: floating point `1.0`, expected an integer of 64 bits for `userId`, at byte 13"
    );
    assert_eq!(reason(r#"{"userId":1,"behavior":5}"#), "`behavior` is 5, not a string, at byte 25");
    assert_eq!(reason(r#"{"userId":1,"behavior":""}x"#), "trailing characters, at byte 27");
    assert!(reason(r#"[1]"#).contains("expected a JSON object"));
}
