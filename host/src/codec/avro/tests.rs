//! Avro as apache-avro writes it is read as it was meant; what is cut off, too deep or of other types is not.
use std::collections::HashMap;

use apache_avro::{
    BigDecimal, Days, Decimal, Duration, Millis, Months, Uuid, reader::datum::GenericDatumReader,
    schema::Schema as AvroSchema, types::Value, writer::datum::GenericDatumWriter,
};

use super::AvroPayload;
use crate::{
    codec::{
        SchemaKind,
        framed::FramedDecoder,
        testing::{InMemory, columns, decode, frame},
    },
    model::Schema,
};

/// All types there are.
const ALL: &str = r#"{"type": "record", "name": "All", "namespace": "test.avro", "fields": [
    {"name": "nothing", "type": "null"},
    {"name": "flag", "type": "boolean"},
    {"name": "small", "type": "int"},
    {"name": "large", "type": "long"},
    {"name": "single", "type": "float"},
    {"name": "double", "type": "double"},
    {"name": "blob", "type": "bytes"},
    {"name": "text", "type": "string"},
    {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["RED", "GREEN"]}},
    {"name": "four", "type": {"type": "fixed", "name": "Four", "size": 4}},
    {"name": "maybe", "type": ["null", "long"]},
    {"name": "either", "type": ["string", "long", "null"]},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
    {"name": "fixed_price", "type": {"type": "fixed", "name": "Price", "size": 8, "logicalType": "decimal", "precision": 10, "scale": 3}},
    {"name": "big", "type": {"type": "bytes", "logicalType": "big-decimal"}},
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "fixed_id", "type": {"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "ms_of_day", "type": {"type": "int", "logicalType": "time-millis"}},
    {"name": "us_of_day", "type": {"type": "long", "logicalType": "time-micros"}},
    {"name": "ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "us", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "ns", "type": {"type": "long", "logicalType": "timestamp-nanos"}},
    {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
    {"name": "span", "type": {"type": "fixed", "name": "Span", "size": 12, "logicalType": "duration"}},
    {"name": "list", "type": {"type": "array", "items": ["null", "Color"]}},
    {"name": "map", "type": {"type": "map", "values": {"type": "array", "items": "float"}}},
    {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": [
        {"name": "price", "type": "Price"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "raw", "type": "Four"},
        {"name": "next", "type": ["null", "Inner"]}]}},
    {"name": "last", "type": ["null", "string"]}]}"#;

const COLUMNS: [(&str, &str); 29] = [
    ("last", "string?"),
    ("nothing", "i64?"),
    ("flag", "bool"),
    ("small", "i64"),
    ("large", "i64"),
    ("single", "f64"),
    ("double", "f64"),
    ("blob", "bytes"),
    ("text", "string"),
    ("color", "string"),
    ("four", "bytes"),
    ("maybe", "i64?"),
    ("either", "string?"),
    ("price", "string"),
    ("fixed_price", "f64"),
    ("id", "string"),
    ("fixed_id", "string"),
    ("day", "string"),
    ("ms_of_day", "i64"),
    ("us_of_day", "i64"),
    ("ms", "i64"),
    ("us", "i64"),
    ("ns", "i64"),
    ("local", "i64"),
    ("span", "bytes"),
    ("list", "string"),
    ("map", "string"),
    ("inner", "string"),
    ("not_there", "f64?"),
];

pub fn all() -> (&'static str, Schema) {
    (ALL, columns(&COLUMNS))
}

fn some(index: u32, value: Value) -> Value {
    Value::Union(index, Box::new(value))
}

fn inner(next: Value) -> Value {
    Value::Record(vec![
        ("price".into(), Value::Decimal(Decimal::from((-1500i64).to_be_bytes()))),
        ("at".into(), Value::TimestampMicros(-1)),
        ("day".into(), Value::Date(-1)),
        ("raw".into(), Value::Fixed(4, vec![0xff; 4])),
        ("next".into(), next),
    ])
}

fn values(last: Value) -> Vec<(String, Value)> {
    let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let fields = [
        ("nothing", Value::Null),
        ("flag", Value::Boolean(true)),
        ("small", Value::Int(i32::MIN)),
        ("large", Value::Long(i64::MAX)),
        ("single", Value::Float(0.5)),
        ("double", Value::Double(-1e300)),
        ("blob", Value::Bytes(vec![0, 255])),
        ("text", Value::String("größe".into())),
        ("color", Value::Enum(1, "GREEN".into())),
        ("four", Value::Fixed(4, vec![1, 2, 3, 4])),
        ("maybe", some(1, Value::Long(-3))),
        ("either", some(0, Value::String("e".into()))),
        ("price", Value::Decimal(Decimal::from(12345i32.to_be_bytes()))),
        ("fixed_price", Value::Decimal(Decimal::from((-1500i64).to_be_bytes()))),
        ("big", Value::BigDecimal(BigDecimal::from(7))),
        ("id", Value::Uuid(id)),
        ("fixed_id", Value::Uuid(id)),
        ("day", Value::Date(19_782)),
        ("ms_of_day", Value::TimeMillis(5)),
        ("us_of_day", Value::TimeMicros(6)),
        ("ms", Value::TimestampMillis(1_700_000_000_123)),
        ("us", Value::TimestampMicros(1_999)),
        ("ns", Value::TimestampNanos(-1)),
        ("local", Value::LocalTimestampMicros(-1_000)),
        ("span", Value::Duration(Duration::new(Months::new(1), Days::new(2), Millis::new(3)))),
        ("list", Value::Array(vec![some(0, Value::Null), some(1, Value::Enum(0, "RED".into()))])),
        (
            "map",
            Value::Map(HashMap::from([("k\"".into(), Value::Array(vec![Value::Float(0.1), Value::Float(f32::NAN)]))])),
        ),
        ("inner", inner(some(1, inner(some(0, Value::Null))))),
        ("last", last),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn write(schema: &str, value: Value) -> Vec<u8> {
    let schema = AvroSchema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

pub fn payload() -> Vec<u8> {
    write(ALL, Value::Record(values(some(1, Value::String("z".into())))))
}

fn read(schemas: &[(u32, &str)], names: &[(&str, &str)], records: &[Vec<u8>]) -> Vec<Result<String, String>> {
    let schema = columns(names);
    let mut decoder = FramedDecoder::new(AvroPayload, &schema, &InMemory::of(SchemaKind::Avro, schemas));
    decode(&mut decoder, &schema, records)
}

#[test]
fn all_types_become_columns() {
    let found = read(&[(7, ALL)], &COLUMNS, &[frame(7, &payload())]);
    let inner = |next| {
        format!(r#"{{\"price\":\"-1.500\",\"at\":-1,\"day\":\"1969-12-31\",\"raw\":\"/////w==\",\"next\":{next}}}"#)
    };
    let expected = [
        r#"{"last":"z","nothing":null,"flag":true,"small":-2147483648,"large":9223372036854775807,"single":0.5,"#,
        r#""double":-1e+300,"blob":"AP8=","text":"größe","color":"GREEN","four":"AQIDBA==","maybe":-3,"either":"e","#,
        r#""price":"123.45","fixed_price":-1.5,"id":"01234567-89ab-cdef-0123-456789abcdef","#,
        r#""fixed_id":"01234567-89ab-cdef-0123-456789abcdef","day":"2024-02-29","ms_of_day":5,"us_of_day":6,"#,
        r#""ms":1700000000123,"us":1,"ns":-1,"local":-1,"span":"AQAAAAIAAAADAAAA","list":"[null,\"RED\"]","#,
        r#""map":"{\"k\\\"\":[0.1,null]}","inner":""#,
        &inner(&inner("null")),
        r#"","not_there":null}"#,
    ];
    let found = found[0].as_ref().unwrap().replace("-1e300", "-1e+300");
    assert_eq!(found, expected.concat());
}

#[test]
fn whatever_is_cut_off_or_left_over_is_malformed() {
    // What ends with a null, a string or a boolean looks whole to readers that take the end for nothing.
    for last in [some(0, Value::Null), some(1, Value::String("z".into()))] {
        let whole = write(ALL, Value::Record(values(last)));
        let mut records: Vec<_> = (0..=whole.len()).map(|length| frame(7, &whole[..length])).collect();
        records.push(frame(7, &[&whole[..], &[0, 0]].concat()));
        let found = read(&[(7, ALL)], &COLUMNS, &records);
        let (good, bad): (Vec<_>, Vec<_>) = found.iter().enumerate().partition(|(_, found)| found.is_ok());
        assert_eq!(good.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [whole.len()]);
        assert_eq!(bad.last().unwrap().1.as_ref().unwrap_err(), "2 bytes are left over behind the record");
        assert!(bad[0].1.as_ref().unwrap_err().starts_with("`flag` is cut off"), "{:?}", bad[0]);
    }
}

#[test]
fn schemas_of_one_batch_differ() {
    let old = r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}, {"name": "gone", "type": "string"}]}"#;
    let new = r#"{"type": "record", "name": "R", "fields": [
        {"name": "b", "type": ["null", "string"]}, {"name": "a", "type": ["null", "long"]}]}"#;
    let text = |text: &str| Value::String(text.into());
    let first = write(old, Value::Record(vec![("a".into(), Value::Int(1)), ("gone".into(), text("x"))]));
    let second = |b: Value, a: Value| frame(2, &write(new, Value::Record(vec![("b".into(), b), ("a".into(), a)])));
    let records = [
        frame(1, &first),
        second(some(1, text("y")), some(1, Value::Long(2))),
        frame(3, &first),
        frame(1, &first),
        second(some(0, Value::Null), some(0, Value::Null)),
    ];
    let found = read(&[(1, old), (2, new)], &[("a", "i64"), ("b", "string?")], &records);
    let expected = [
        Ok(r#"{"a":1,"b":null}"#),
        Ok(r#"{"a":2,"b":"y"}"#),
        Err("[C0421] the registry has no schema 3"),
        Ok(r#"{"a":1,"b":null}"#),
        Err("`a` is null"),
    ];
    assert_eq!(found, expected.map(|found| found.map(str::to_owned).map_err(str::to_owned)));
    let found = read(&[(1, old)], &[("b", "string")], &records[..1]);
    assert_eq!(found, [Err("`b` is missing: the record's schema has no such field".into())]);
}

#[test]
fn kinds_that_do_not_fit_are_named_with_their_field() {
    let reason = |name: &str, kind: &str| {
        let found = read(&[(7, ALL)], &[(name, kind)], &[frame(7, &payload())]);
        found.into_iter().next().unwrap().unwrap_err()
    };
    for (name, kind, expected) in [
        ("text", "i64", "`text` is a string, not an integer of 64 bits"),
        ("large", "string", "`large` is an integer, not a string"),
        ("double", "i64", "`double` is a floating-point number, not an integer of 64 bits"),
        ("price", "i64", "`price` is a decimal, not an integer of 64 bits"),
        ("ms", "string", "`ms` is a timestamp, not a string"),
        ("ms", "f64", "`ms` is a timestamp, not a number"),
        ("blob", "string", "`blob` is bytes, not a string"),
        ("list", "bytes", "`list` has other values in it, and is not bytes"),
        ("inner", "bool", "`inner` has other values in it, and is not a boolean"),
        ("nothing", "i64", "`nothing` is null"),
    ] {
        assert_eq!(reason(name, kind), expected);
    }
}

#[test]
fn schemas_refer_to_each_other_in_any_order() {
    let root = r#"{"type": "record", "name": "a.Root", "fields": [{"name": "x", "type": "b.Outer"}, {"name": "y", "type": "b.Leaf"}]}"#;
    let outer = r#"{"type": "record", "name": "Outer", "namespace": "b", "fields": [
        {"name": "leaf", "type": "Leaf"}, {"name": "own", "type": {"type": "enum", "name": "Own", "symbols": ["S"]}}]}"#;
    let leaf = r#"{"type": "record", "name": "b.Leaf", "fields": [{"name": "v", "type": "int"}]}"#;
    let schema = columns(&[("x", "string"), ("y", "string")]);
    for references in [[("b.Outer", outer), ("b.Leaf", leaf)], [("b.Leaf", leaf), ("b.Outer", outer)]] {
        let source = InMemory::with(SchemaKind::Avro, &[(1, root)], &references);
        let mut decoder = FramedDecoder::new(AvroPayload, &schema, &source);
        // 1 in the leaf of x, the symbol, and 2 in y.
        let found = decode(&mut decoder, &schema, &[frame(1, &[2, 0, 4])]);
        assert_eq!(found, [Ok(r#"{"x":"{\"leaf\":{\"v\":1},\"own\":\"S\"}","y":"{\"v\":2}"}"#.to_owned())]);
    }
}

#[test]
fn schemas_that_cannot_be_used_are_said() {
    let reason = |text: &str| read(&[(1, text)], &[("a", "i64?")], &[frame(1, b"")])[0].clone().unwrap_err();
    for (text, part) in [
        ("\"string\"", "no record"),
        ("{", "EOF"),
        (r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Gone"}]}"#, "Gone"),
        (
            r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type":
                {"type": "bytes", "logicalType": "decimal", "precision": 2000, "scale": 1001}}]}"#,
            "1001",
        ),
    ] {
        let reason = reason(text);
        assert!(reason.starts_with("[C0422] schema 1 cannot be used: ") && reason.contains(part), "{reason}");
    }
}

#[test]
fn depth_and_values_without_bytes_are_bounded() {
    let chain = r#"{"type": "record", "name": "R", "fields": [{"name": "next", "type": ["null", "R"]}]}"#;
    let payload = |depth: usize| frame(1, &[&vec![2; depth][..], &[0]].concat());
    let found = |kind, depth| read(&[(1, chain)], &[("next", kind)], &[payload(depth)])[0].clone();
    assert!(found("string?", 60).is_ok());
    assert!(found("string?", 100_000).unwrap_err().contains("deeper than 64"));
    // A column that nobody has asked for is read all the same.
    let skipped = read(&[(1, chain)], &[("other", "i64?")], &[payload(60), payload(100_000)]);
    assert!(skipped[0].is_ok() && skipped[1].is_err());
    let nulls =
        r#"{"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}"#;
    // 3 nulls, and 2^40.
    let records = [frame(1, &[6, 0]), frame(1, &[128, 128, 128, 128, 128, 64, 0])];
    for kind in ["string", "bytes?"] {
        let found = read(&[(1, nulls)], &[(if kind == "string" { "a" } else { "b" }, kind)], &records);
        assert!(found[0].is_ok() && found[1].as_ref().unwrap_err().contains("more values"), "{found:?}");
    }
}

#[test]
fn what_is_accepted_is_what_avro_itself_accepts() {
    // It also refuses texts that are no UUID, and big decimals it cannot make a number of: here both stay what they are.
    let plain = ALL.replace(r#""type": "string", "logicalType": "uuid""#, r#""type": "string""#);
    let schema = AvroSchema::parse_str(&plain.replace("big-decimal", "none")).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let whole = payload();
    let names = [("large", "i64"), ("text", "string"), ("last", "string?")];
    let (mut records, mut random) = (Vec::new(), fastrand::Rng::with_seed(7));
    for _ in 0..20_000 {
        let mut record = whole.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..record.len());
            match random.u8(..4) {
                0 => drop(record.remove(at)),
                1 => record.insert(at, random.u8(..)),
                _ => record[at] = random.u8(..),
            }
        }
        records.push(record);
    }
    let framed: Vec<_> = records.iter().map(|record| frame(7, record)).collect();
    let found = read(&[(7, ALL)], &names, &framed);
    let mut accepted = 0;
    for (record, found) in records.iter().zip(found).filter_map(|(record, found)| Some((record, found.ok()?))) {
        let mut rest = &record[..];
        let Ok(Value::Record(fields)) = reader.read_value(&mut rest) else { panic!("{record:?}") };
        assert!(rest.is_empty());
        let of = |name: &str| &fields.iter().find(|(field, _)| field == name).unwrap().1;
        let (Value::Long(large), Value::String(text), Value::Union(_, last)) = (of("large"), of("text"), of("last"))
        else {
            panic!("{record:?}")
        };
        let last = if let Value::String(last) = &**last { Some(last) } else { None };
        assert_eq!(
            found,
            format!(r#"{{"large":{large},"text":{},"last":{}}}"#, serde_json::json!(text), serde_json::json!(last))
        );
        accepted += 1;
    }
    assert!((500..15_000).contains(&accepted), "{accepted}");
}
