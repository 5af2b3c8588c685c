//! Values of fields, on their way to columns. `docs/job-file.md` says which kinds take what.
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind as FieldKind, ReflectMessage, Value};

use super::json;
use crate::{
    codec::{
        columns::Column,
        nested::{JsonText, set_bytes, set_str},
    },
    model::Kind,
};

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Messages that stand for a value that may not be there; it is their first field.
const WRAPPERS: [&str; 9] = [
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.FloatValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.StringValue",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
];

/// What a message stands for.
pub enum Meaning {
    /// A point in time, in ms since 1970-01-01 UTC, rounded down.
    Timestamp(i64),
    /// A value.
    Wrapped(Value, FieldKind),
    /// Itself.
    Message,
}

/// What a message stands for. Fails for a time that is out of range.
pub fn meaning(message: &DynamicMessage) -> Result<Meaning, String> {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    if name == TIMESTAMP {
        let part = |number| {
            message.get_field_by_number(number).as_deref().and_then(|value| match value {
                Value::I64(value) => Some(*value),
                Value::I32(value) => Some(i64::from(*value)),
                _ => None,
            })
        };
        let (seconds, nanoseconds) = (part(1).unwrap_or_default(), part(2).unwrap_or_default());
        let milliseconds =
            seconds.checked_mul(1000).and_then(|value| value.checked_add(nanoseconds.div_euclid(1_000_000)));
        return milliseconds.map(Meaning::Timestamp).ok_or_else(|| format!("is {seconds} s after 1970, out of range"));
    }
    if WRAPPERS.contains(&name)
        && let (Some(value), Some(field)) = (message.get_field_by_number(1), descriptor.get_field(1))
    {
        return Ok(Meaning::Wrapped(value.into_owned(), field.kind()));
    }
    Ok(Meaning::Message)
}

/// The name of an enum's value, or its number where the schema has no name for it.
pub fn symbol(number: i32, kind: &FieldKind) -> String {
    let named = kind.as_enum().and_then(|of: &EnumDescriptor| of.get_value(number));
    named.map_or_else(|| number.to_string(), |value| value.name().to_owned())
}

/// Sets a column to a value of a field of this kind.
pub fn set(value: &Value, kind: &FieldKind, column: &mut Column, row: usize) -> Result<(), String> {
    match (column.field.kind, value) {
        (Kind::Boolean, Value::Bool(value)) => column.set_bool(row, *value),
        (Kind::Int64, Value::I32(value)) => column.set_i64(row, i64::from(*value)),
        (Kind::Int64, Value::I64(value)) => column.set_i64(row, *value),
        (Kind::Int64, Value::U32(value)) => column.set_i64(row, i64::from(*value)),
        (Kind::Int64, Value::U64(value)) => {
            let value =
                i64::try_from(*value).map_err(|_| format!("is {value}, not an integer of 64 bits with sign"))?;
            column.set_i64(row, value);
        }
        (Kind::Int64, Value::EnumNumber(value)) => column.set_i64(row, i64::from(*value)),
        (Kind::Float64, Value::F32(value)) => column.set_f64(row, f64::from(*value)),
        (Kind::Float64, Value::F64(value)) => column.set_f64(row, *value),
        (Kind::Float64, Value::I32(value)) => column.set_f64(row, f64::from(*value)),
        (Kind::Float64, Value::I64(value)) => column.set_f64(row, *value as f64),
        (Kind::Float64, Value::U32(value)) => column.set_f64(row, f64::from(*value)),
        (Kind::Float64, Value::U64(value)) => column.set_f64(row, *value as f64),
        (Kind::Utf8, Value::String(value)) => return set_str(column, row, value),
        (Kind::Utf8, Value::EnumNumber(value)) => return set_str(column, row, &symbol(*value, kind)),
        (Kind::Binary, Value::Bytes(value)) => return set_bytes(column, row, value),
        (to, Value::Message(message)) => match meaning(message)? {
            Meaning::Timestamp(value) if to == Kind::Int64 => column.set_i64(row, value),
            Meaning::Wrapped(value, kind) => return set(&value, &kind, column, row),
            Meaning::Message if to == Kind::Utf8 => return set_text(value, kind, column, row),
            Meaning::Timestamp(_) | Meaning::Message => return Err(unfit(value, column)),
        },
        (Kind::Utf8, Value::List(_) | Value::Map(_)) => return set_text(value, kind, column, row),
        _ => return Err(unfit(value, column)),
    }
    Ok(())
}

fn set_text(value: &Value, kind: &FieldKind, column: &mut Column, row: usize) -> Result<(), String> {
    let mut text = JsonText::default();
    json::write(value, kind, &mut text)?;
    text.finish(column, row)
}

fn unfit(value: &Value, column: &Column) -> String {
    let what = match value {
        Value::Bool(_) => "a boolean",
        Value::I32(_) | Value::I64(_) | Value::U32(_) | Value::U64(_) => "an integer",
        Value::F32(_) | Value::F64(_) => "a floating-point number",
        Value::String(_) => "a string",
        Value::Bytes(_) => "bytes",
        Value::EnumNumber(_) => "an enum",
        Value::Message(message) if message.descriptor().full_name() == TIMESTAMP => "a timestamp",
        Value::Message(_) => "a message",
        Value::List(_) => "repeated",
        Value::Map(_) => "a map",
    };
    format!("is {what}, not {}", column.field.kind)
}
