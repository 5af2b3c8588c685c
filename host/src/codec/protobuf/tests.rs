//! Protobuf, written byte by byte as the encoding's documentation has it.
use super::ProtobufPayload;
use crate::{
    codec::{
        SchemaKind,
        framed::FramedDecoder,
        testing::{InMemory, columns, decode, frame},
    },
    model::Schema,
};

/// All types there are, messages in each other, and imports.
const ALL: &str = r#"
    syntax = "proto3";
    package test;
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    import "shared/money.proto";
    message First {
        message Entry { string deep = 1; }
        map<string, int32> counts = 1;
        message Second { int64 n = 1; }
    }
    message All {
        bool flag = 1;
        int32 i = 2;
        sint64 s = 3;
        uint64 u = 4;
        fixed32 f = 5;
        float single = 6;
        double real = 7;
        string text = 8;
        bytes blob = 9;
        Color color = 10;
        repeated int32 list = 11;
        map<string, shared.Money> map = 12;
        google.protobuf.Timestamp at = 13;
        google.protobuf.Int64Value boxed = 14;
        shared.Money price = 15;
        optional int32 maybe = 16;
        oneof either { string left = 17; int64 right = 18; }
        repeated google.protobuf.Timestamp times = 19;
        Color other = 20;
    }
    enum Color { NONE = 0; RED = 1; }
"#;

pub const MONEY: &str = r#"
    syntax = "proto3";
    package shared;
    message Money { int64 units = 1; string currency = 2; optional bool exact = 3; bytes note = 4; }
"#;

const COLUMNS: [(&str, &str); 20] = [
    ("flag", "bool"),
    ("i", "i64"),
    ("s", "i64"),
    ("u", "i64"),
    ("f", "i64"),
    ("single", "f64"),
    ("real", "f64"),
    ("text", "string"),
    ("blob", "bytes"),
    ("color", "string"),
    ("list", "string"),
    ("map", "string"),
    ("at", "i64?"),
    ("boxed", "i64?"),
    ("price", "string?"),
    ("maybe", "i64?"),
    ("left", "string?"),
    ("right", "i64?"),
    ("times", "string"),
    ("other", "string"),
];

pub fn all() -> (&'static str, [(&'static str, &'static str); 1], Schema) {
    (ALL, [("shared/money.proto", MONEY)], columns(&COLUMNS))
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn money(units: u64, currency: &str) -> Vec<u8> {
    [number(1, units), bytes(2, currency.as_bytes())].concat()
}

/// The path to `All`, the second message, and every field.
pub fn payload() -> Vec<u8> {
    let entry = |key: &str, value: &[u8]| bytes(12, &[bytes(1, key.as_bytes()), bytes(2, value)].concat());
    [
        vec![2, 2],
        number(1, 1),
        number(2, -5i64 as u64),
        number(3, 5),
        number(4, i64::MAX as u64),
        [&[5 << 3 | 5][..], &7u32.to_le_bytes()].concat(),
        [&[6 << 3 | 5][..], &0.5f32.to_le_bytes()].concat(),
        [&[7 << 3 | 1][..], &(-2.25f64).to_le_bytes()].concat(),
        bytes(8, "größe".as_bytes()),
        bytes(9, &[0, 255]),
        number(10, 1),
        bytes(11, &[1, 2, 150, 1]),
        entry("z", &money(1, "EUR")),
        entry("a", &[]),
        bytes(13, &[number(1, 1), number(2, 999_999_999)].concat()),
        bytes(14, &[]),
        bytes(15, &[money(3, "USD"), number(3, 0)].concat()),
        number(16, 0),
        number(18, 9),
        bytes(19, &number(1, -1i64 as u64)),
        number(20, 17),
        // A field that the schema does not know.
        number(500, 1),
    ]
    .concat()
}

fn read(message: Option<&str>, names: &[(&str, &str)], records: &[Vec<u8>]) -> Vec<Result<String, String>> {
    let schema = columns(names);
    let source = InMemory::with(SchemaKind::Protobuf, &[(7, ALL)], &[("shared/money.proto", MONEY)]);
    let mut decoder = FramedDecoder::new(ProtobufPayload::new(message), &schema, &source);
    decode(&mut decoder, &schema, records)
}

#[test]
fn all_types_become_columns() {
    let empty = r#"{\"units\":0,\"currency\":\"\",\"note\":\"\"}"#;
    let eur = r#"{\"units\":1,\"currency\":\"EUR\",\"note\":\"\"}"#;
    let usd = r#"{\"units\":3,\"currency\":\"USD\",\"exact\":false,\"note\":\"\"}"#;
    let expected = [
        r#"{"flag":true,"i":-5,"s":-3,"u":9223372036854775807,"f":7,"single":0.5,"real":-2.25,"text":"größe","#,
        r#""blob":"AP8=","color":"RED","list":"[1,2,150]","map":"{\"a\":"#,
        empty,
        r#",\"z\":"#,
        eur,
        r#"}","at":1999,"boxed":0,"price":""#,
        usd,
        r#"","maybe":0,"left":null,"right":9,"times":"[-1000]","other":"17"}"#,
    ];
    assert_eq!(read(None, &COLUMNS, &[frame(7, &payload())]), [Ok(expected.concat())]);
    // What is not there is its default, or null where one is told from the other.
    let expected = [
        r#"{"flag":false,"i":0,"s":0,"u":0,"f":0,"single":0.0,"real":0.0,"text":"","blob":"","color":"NONE","#,
        r#""list":"[]","map":"{}","at":null,"boxed":null,"price":null,"maybe":null,"left":null,"right":null,"#,
        r#""times":"[]","other":"NONE"}"#,
    ];
    assert_eq!(read(None, &COLUMNS, &[frame(7, &[2, 2])]), [Ok(expected.concat())]);
    assert_eq!(read(None, &[("maybe", "i64")], &[frame(7, &[2, 2])]), [Err("`maybe` is not set".into())]);
}

#[test]
fn messages_are_found_by_their_path() {
    let found = |message, path: &[u8], payload: &[u8], name| {
        let record = frame(7, &[path, payload].concat());
        read(message, &[name], &[record]).into_iter().next().unwrap()
    };
    let (deep, n) = (("deep", "string"), ("n", "i64"));
    assert_eq!(found(None, &[4, 0, 0], &bytes(1, b"x"), deep), Ok(r#"{"deep":"x"}"#.into()));
    // The entries of a map are no message that anybody counts.
    assert_eq!(found(None, &[4, 0, 2], &number(1, 5), n), Ok(r#"{"n":5}"#.into()));
    assert_eq!(found(None, &[0], &[], ("counts", "string")), Ok(r#"{"counts":"{}"}"#.into()));
    assert_eq!(found(None, &[2, 2], &[], n), Err("`n` is missing: `test.All` has no such field".into()));
    assert_eq!(found(Some("test.First.Second"), &[4, 0, 2], &number(1, 5), n), Ok(r#"{"n":5}"#.into()));
    let other = found(Some("test.First.Second"), &[0], &[], n);
    assert_eq!(other, Err("it is a `test.First`, not a `test.First.Second`".into()));
    assert_eq!(found(None, &[2, 6], &[], n), Err("its schema has no message [3]".into()));
    assert!(found(Some("test.Gone"), &[0], &[], n).unwrap_err().contains("[C0422] schema 7 cannot be used: it has no"));
    assert!(found(None, &[0x80], &[], n).unwrap_err().contains("cut off"));
    assert!(found(None, &[2, 2], &[8], n).unwrap_err().starts_with("no `test.All`: "));
}

#[test]
fn kinds_that_do_not_fit_are_named_with_their_field() {
    for (name, kind, expected) in [
        ("text", "i64", "`text` is a string, not i64"),
        ("i", "string", "`i` is an integer, not string"),
        ("at", "string", "`at` is a timestamp, not string"),
        ("price", "i64", "`price` is a message, not i64"),
        ("list", "i64", "`list` is repeated, not i64"),
        ("map", "bytes", "`map` is a map, not bytes"),
        ("color", "bool", "`color` is an enum, not bool"),
        ("boxed", "string", "`boxed` is an integer, not string"),
    ] {
        assert_eq!(read(None, &[(name, kind)], &[frame(7, &payload())]), [Err(expected.to_owned())]);
    }
    let too_large = |payload: Vec<u8>, name| read(None, &[(name, "i64")], &[frame(7, &[vec![2, 2], payload].concat())]);
    assert!(too_large(number(4, u64::MAX), "u")[0].as_ref().unwrap_err().contains("18446744073709551615"));
    assert!(too_large(bytes(13, &number(1, i64::MAX as u64)), "at")[0].as_ref().unwrap_err().contains("out of range"));
}

#[test]
fn schemas_that_cannot_be_used_are_said() {
    let reason = |text: &str| {
        let schema = columns(&[("a", "i64?")]);
        let source = InMemory::of(SchemaKind::Protobuf, &[(1, text)]);
        let mut decoder = FramedDecoder::new(ProtobufPayload::new(None), &schema, &source);
        decode(&mut decoder, &schema, &[frame(1, &[0])])[0].clone().unwrap_err()
    };
    for (text, part) in [
        ("syntax = \"proto3\"; import \"gone.proto\";", "gone.proto"),
        ("message {", "expected"),
        ("syntax = \"proto3\"; message A { Gone g = 1; }", "Gone"),
    ] {
        let reason = reason(text);
        assert!(reason.starts_with("[C0422] schema 1 cannot be used: ") && reason.contains(part), "{reason}");
    }
}

#[test]
fn depth_is_bounded() {
    let chain = "syntax = \"proto3\"; message R { R next = 1; }";
    let schema = columns(&[("next", "string?")]);
    let mut decoder =
        FramedDecoder::new(ProtobufPayload::new(None), &schema, &InMemory::of(SchemaKind::Protobuf, &[(1, chain)]));
    let record = |depth: usize| {
        let message = (0..depth).fold(Vec::new(), |message, _| bytes(1, &message));
        frame(1, &[vec![0], message].concat())
    };
    let found = decode(&mut decoder, &schema, &[record(50), record(20_000)]);
    assert!(found[0].is_ok() && found[1].is_err(), "{found:?}");
}
