//! Whatever is done to a framed record, it is decoded or malformed, and those beside it are what they were.
use super::{Payload, ReferencedSchema, RegisteredSchema};
use crate::{
    codec::{
        AvroSettings, Decoder, Format, JsonSchemaSettings, ProtobufSettings, SchemaKind,
        avro::{self, AvroPayload},
        protobuf::{self, ProtobufPayload},
        testing::{InMemory, columns, decode, frame, settings},
    },
    model::Schema,
};

/// A decoder that knows schemas 1 and 2, its columns, and records to begin with.
struct Case {
    decoder: Box<dyn Decoder>,
    schema: Schema,
    bases: Vec<Vec<u8>>,
}

fn cases() -> [Case; 3] {
    let (text, schema) = avro::tests::all();
    let source = InMemory::of(SchemaKind::Avro, &[(1, text), (2, "\"string\"")]);
    let format = Format::Avro(AvroSettings { registry: settings() });
    let payload = avro::tests::payload();
    let avro = Case {
        decoder: format.decoder(&schema, &source).unwrap(),
        schema,
        bases: vec![frame(1, &payload), frame(2, &payload)],
    };
    let (text, references, schema) = protobuf::tests::all();
    let source = InMemory::with(SchemaKind::Protobuf, &[(1, text), (2, "message M {")], &references);
    let format = Format::Protobuf(ProtobufSettings { registry: settings(), message: None });
    let payload = protobuf::tests::payload();
    let protobuf = Case {
        decoder: format.decoder(&schema, &source).unwrap(),
        schema,
        bases: vec![frame(1, &payload), frame(2, &payload), frame(1, &[0])],
    };
    let schema = columns(&[("a", "i64"), ("b", "string?"), ("c", "bytes?")]);
    let source = InMemory::of(SchemaKind::Json, &[(1, "{}"), (2, "{}")]);
    let format = Format::JsonSchema(JsonSchemaSettings { registry: settings() });
    let payload = br#"{"a":12345678,"b":"some text","c":"AAEC","d":[1,{"e":null}]}"#;
    let json = Case {
        decoder: format.decoder(&schema, &source).unwrap(),
        schema,
        bases: vec![frame(1, payload), frame(2, br#"{"a":1}"#), payload.to_vec()],
    };
    [avro, protobuf, json]
}

fn mutate(random: &mut fastrand::Rng, base: &[u8]) -> Vec<u8> {
    let mut record = base.to_vec();
    for _ in 0..random.usize(1..5) {
        let at = random.usize(..=record.len());
        let until = random.usize(at..=(at + 8).min(record.len()));
        match random.u8(..7) {
            0 => record.truncate(at),
            1 => drop(record.drain(at..until)),
            2 => record.insert(at, random.u8(..)),
            // Numbers at their limits, and lengths that nothing can have.
            3 => drop(record.splice(at..until, [0xff; 9].into_iter().chain([1]))),
            4 => drop(record.splice(at..at, record[at..until].to_vec())),
            _ if at < record.len() => record[at] ^= 1 << random.u8(..8),
            _ => {}
        }
    }
    record
}

#[test]
fn any_bytes_are_decoded_or_malformed_and_disturb_no_others() {
    for mut case in cases() {
        let good = decode(&mut *case.decoder, &case.schema, &case.bases);
        assert!(good[0].is_ok(), "{good:?}");
        let (mut taken, mut random) = (0, fastrand::Rng::with_seed(42));
        for _ in 0..100 {
            let mut records = Vec::new();
            for _ in 0..100 {
                let base = random.usize(..case.bases.len());
                records.push(case.bases[base].clone());
                records.push(mutate(&mut random, &case.bases[base]));
            }
            let found = decode(&mut *case.decoder, &case.schema, &records);
            for (record, found) in records.iter().zip(&found).step_by(2) {
                let base = case.bases.iter().position(|base| base == record).unwrap();
                assert_eq!(*found, good[base]);
            }
            taken += found.iter().skip(1).step_by(2).filter(|found| found.is_ok()).count();
            assert!(found.iter().all(|found| found.as_ref().err().is_none_or(|reason| !reason.is_empty())));
        }
        // Neither all nor none: mutations go past the frame.
        assert!((100..9_000).contains(&taken), "{taken}");
    }
}

#[test]
fn any_text_of_a_schema_is_ready_or_a_reason() {
    let columns = columns(&[("text", "string?")]);
    let (avro, _) = avro::tests::all();
    let (protobuf, _, _) = protobuf::tests::all();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut ready, mut refused) = (0, 0);
    for round in 0..4_000 {
        let (kind, base) = if round % 2 == 0 { (SchemaKind::Avro, avro) } else { (SchemaKind::Protobuf, protobuf) };
        let text = String::from_utf8_lossy(&mutate(&mut random, base.as_bytes())).into_owned();
        let reference = ReferencedSchema { name: "shared/money.proto".into(), text: protobuf::tests::MONEY.into() };
        let references = if kind == SchemaKind::Avro { Vec::new() } else { vec![reference] };
        let schema = RegisteredSchema { kind, text, references };
        let compiled = match kind {
            SchemaKind::Avro => AvroPayload.compile(&schema, &columns).map(drop),
            _ => ProtobufPayload::new(None).compile(&schema, &columns).map(drop),
        };
        match compiled {
            Ok(()) => ready += 1,
            Err(reason) => {
                assert!(!reason.is_empty());
                refused += 1;
            }
        }
    }
    assert!(ready > 100 && refused > 1_000, "{ready} ready, {refused} refused");
}

#[test]
fn framed_json_is_json_behind_an_id_that_the_registry_has() {
    let [_, _, mut json] = cases();
    let records = [
        frame(2, br#"{"a":1}"#),
        br#"{"a":1}"#.to_vec(),
        frame(3, br#"{"a":2}"#),
        frame(1, br#"{"a":"x"}"#),
        frame(1, br#"{"b":"y","a":3}"#),
    ];
    let found = decode(&mut *json.decoder, &json.schema, &records);
    assert_eq!(found[0], Ok(r#"{"a":1,"b":null,"c":null}"#.to_owned()));
    assert!(found[1].as_ref().unwrap_err().contains("begins with byte 123"));
    assert_eq!(found[2], Err("[C0421] the registry has no schema 3".into()));
    assert!(found[3].as_ref().unwrap_err().contains("for `a`"));
    assert_eq!(found[4], Ok(r#"{"a":3,"b":"y","c":null}"#.to_owned()));
}
