//! Messages, repeated fields and maps as JSON: members by their names in the `.proto` file, those that are not set left out; 64-bit integers
//! as numbers, enums by name, bytes in Base64. Guarantees: equal values give equal texts.
use prost_reflect::{DynamicMessage, Kind as FieldKind, MapKey, ReflectMessage, Value};

use super::values::{Meaning, meaning, symbol};
use crate::codec::nested::JsonText;

/// Appends a value of a field of this kind. Payloads are at most 100 messages deep.
pub fn write(value: &Value, kind: &FieldKind, out: &mut JsonText) -> Result<(), String> {
    if out.is_too_long() {
        return Err("is too long as text".into());
    }
    match value {
        Value::Bool(value) => out.bool(*value),
        Value::I32(value) => out.i64(i64::from(*value)),
        Value::I64(value) => out.i64(*value),
        Value::U32(value) => out.u64(u64::from(*value)),
        Value::U64(value) => out.u64(*value),
        Value::F32(value) => out.f32(*value),
        Value::F64(value) => out.f64(*value),
        Value::String(value) => out.string(value),
        Value::Bytes(value) => out.bytes(value),
        Value::EnumNumber(value) => out.string(&symbol(*value, kind)),
        Value::Message(message) => match meaning(message)? {
            Meaning::Timestamp(value) => out.i64(value),
            Meaning::Wrapped(value, kind) => write(&value, &kind, out)?,
            Meaning::Message => members(message, out)?,
        },
        Value::List(items) => {
            for (i, item) in items.iter().enumerate() {
                out.push(if i == 0 { "[" } else { "," });
                write(item, kind, out)?;
            }
            out.push(if items.is_empty() { "[]" } else { "]" });
        }
        Value::Map(entries) => {
            // What a map's field says its kind is, is the message of its entries.
            let of = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (i, (key, value)) in entries.iter().enumerate() {
                out.push(if i == 0 { "{" } else { "," });
                out.string(&key_text(key));
                out.push(":");
                write(value, of.as_ref().unwrap_or(kind), out)?;
            }
            out.push(if entries.is_empty() { "{}" } else { "}" });
        }
    }
    Ok(())
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn members(message: &DynamicMessage, out: &mut JsonText) -> Result<(), String> {
    let mut first = true;
    for field in message.descriptor().fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        out.push(if std::mem::take(&mut first) { "{" } else { "," });
        out.string(field.name());
        out.push(":");
        write(&message.get_field(&field), &field.kind(), out)?;
    }
    out.push(if first { "{}" } else { "}" });
    Ok(())
}
