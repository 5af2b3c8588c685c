//! Jobs whose records have the ids of their schemas, against a real registry.
use std::{fs, path::Path};

use apache_avro::{Schema, types::Value, writer::datum::GenericDatumWriter};
use wasmill_tests::kafka::SchemaRegistry;

use super::jobs::{self, Variables};

const MONEY: &str = r#"{"type": "record", "name": "Money", "namespace": "shop", "fields": [
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
    {"name": "currency", "type": {"type": "enum", "name": "Currency", "symbols": ["EUR", "USD"]}}]}"#;
const ORDER: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "id", "type": "long"}, {"name": "total", "type": "shop.Money"}]}"#;
const LATER_ORDER: &str = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "id", "type": "long"}, {"name": "total", "type": "shop.Money"}]}"#;

// Fields from 2 on: the first one's tag may be a line feed, at which files are split.
const PROTO_MONEY: &str = "syntax = \"proto3\"; package shop; message Money { int64 units = 2; }";
const PROTO_ORDER: &str = "syntax = \"proto3\"; package shop; import \"google/protobuf/timestamp.proto\"; \
    import \"shop/money.proto\"; message Other {} message Order { string id = 2; Money total = 3; \
    google.protobuf.Timestamp at = 4; }";

const JSON: &str = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}"#;

const JOB: &str = r#"
name: framed
sources:
  avro:
    file: { path: avro }
    format: { avro: { registry: "${REGISTRY}" } }
    schema: { id: i64, total: string, note: string? }
    on_error: skip
  protobuf:
    file: { path: protobuf }
    format: { protobuf: { registry: { url: "${REGISTRY}", username: u, password: p }, message: shop.Order } }
    schema: { id: string, total: string, at: i64? }
  json:
    file: { path: json }
    format: { json_schema: { registry: "${REGISTRY}" } }
    schema: { id: i64 }
sinks:
  avro-out: { input: avro, file: { path: avro-out } }
  wrong-out: { input: avro.rejected, file: { path: wrong-out }, columns: [reason] }
  protobuf-out: { input: protobuf, file: { path: protobuf-out } }
  json-out: { input: json, file: { path: json-out } }
"#;

const ELSEWHERE: &str = r#"
name: elsewhere
sources:
  json:
    file: { path: json }
    format: { json_schema: { registry: "${REGISTRY}" } }
    schema: { id: i64 }
    on_error: skip
sinks:
  out: { input: json, discard: {} }
"#;

/// Records with their frames, as lines of a file.
fn write(path: &Path, records: &[(u32, Vec<u8>)]) {
    let mut lines = Vec::new();
    for (id, payload) in records {
        let record = [&[0][..], &id.to_be_bytes(), payload].concat();
        assert!(!record.contains(&b'\n'), "files are split at line feeds: choose other values than in {record:?}");
        lines.extend(record);
        lines.push(b'\n');
    }
    fs::write(path, lines).unwrap();
}

/// An order as apache-avro writes it.
fn order(schema: &str, fields: Vec<(&str, Value)>) -> Vec<u8> {
    let (order, others) = Schema::parse_str_with_list(schema, [MONEY]).unwrap();
    let schemata = others.iter().chain([&order]).collect();
    let writer = GenericDatumWriter::builder(&order).schemata(schemata).unwrap().build().unwrap();
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    writer.write_value_to_vec(Value::Record(fields)).unwrap()
}

fn money(cents: i32) -> Value {
    Value::Record(vec![
        ("amount".into(), Value::Decimal(cents.to_be_bytes().into())),
        ("currency".into(), Value::Enum(0, "EUR".into())),
    ])
}

#[test]
fn what_clients_write_is_read_by_the_schemas_of_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let registry = SchemaRegistry::start();
    jobs::runtime().block_on(async {
        registry.register("money", "AVRO", MONEY, &[]).await;
        let references = [("shop.Money", "money")];
        let early = registry.register("orders-value", "AVRO", ORDER, &references).await;
        let later = registry.register("later-value", "AVRO", LATER_ORDER, &references).await;
        let note = Value::Union(1, Box::new(Value::String("thanks".into())));
        let first = order(ORDER, vec![("id", Value::Long(7)), ("total", money(1234))]);
        let second = order(LATER_ORDER, vec![("note", note), ("id", Value::Long(8)), ("total", money(-5))]);
        write(
            &path("avro"),
            &[(early, first.clone()), (later, second), (999, first.clone()), (early, first[1..].into())],
        );

        registry.register("proto-money", "PROTOBUF", PROTO_MONEY, &[]).await;
        let references = [("shop/money.proto", "proto-money")];
        let proto = registry.register("proto-value", "PROTOBUF", PROTO_ORDER, &references).await;
        // The second message; `id` is x9, 300 units, 5.25 s after 1970.
        let payload = b"\x02\x02\x12\x02x9\x1a\x03\x10\xac\x02\x22\x07\x08\x05\x10\x80\xe5\x9a\x77";
        write(&path("protobuf"), &[(proto, payload.to_vec())]);

        let json = registry.register("json-value", "JSON", JSON, &[]).await;
        write(&path("json"), &[(json, br#"{"id": 3, "more": [1]}"#.to_vec())]);
    });
    let variables = Variables::from([("REGISTRY", registry.url().to_owned())]);
    jobs::run(JOB, directory.path(), &variables).unwrap();
    let total = |amount: &str| format!(r#"{{\"amount\":\"{amount}\",\"currency\":\"EUR\"}}"#);
    let expected = [
        format!(r#"{{"id":7,"total":"{}","note":null}}"#, total("12.34")),
        format!(r#"{{"id":8,"total":"{}","note":"thanks"}}"#, total("-0.05")),
    ];
    assert_eq!(jobs::lines(&path("avro-out")), expected);
    let wrong = jobs::lines(&path("wrong-out"));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].contains(":3: [C0421] the registry has no schema 999"), "{wrong:?}");
    assert!(wrong[1].contains(":4: 3 bytes are left over"), "{wrong:?}");
    let expected = [r#"{"id":"x9","total":"{\"units\":300}","at":5250}"#];
    assert_eq!(jobs::lines(&path("protobuf-out")), expected);
    assert_eq!(jobs::lines(&path("json-out")), [r#"{"id":3}"#]);
    // What is no registry says so of no id, and loses no records.
    let variables = Variables::from([("REGISTRY", format!("{}/nowhere", registry.url()))]);
    let error = jobs::run(ELSEWHERE, directory.path(), &variables).unwrap_err();
    assert!(!error.retry_helps() && error.to_string().starts_with("[C0420] json: http://127.0.0.1:"), "{error}");
}
