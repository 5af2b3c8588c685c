//! A value without others in it, on its way to a column or to JSON.
use super::{
    compile::Meaning,
    decimal::{date, decimal},
    wanted,
};
use crate::{
    codec::{
        columns::Column,
        nested::{JsonText, set_bytes, set_str},
    },
    model::Kind,
};

/// A value, of a payload or of its schema.
#[derive(Clone, Copy, Debug)]
pub enum Scalar<'a> {
    Null,
    Boolean(bool),
    /// An `int` or `long`.
    Number(i64, Meaning),
    Float(f32),
    Double(f64),
    Bytes(&'a [u8]),
    /// A string, or a symbol of an enum.
    Text(&'a str),
    /// Its bytes, and how many digits are behind the point.
    Decimal(&'a [u8], usize),
    Uuid([u8; 16]),
}

/// A timestamp in ms, rounded down.
fn milliseconds(value: i64, meaning: Meaning) -> i64 {
    match meaning {
        Meaning::Timestamp(units) => value.div_euclid(units),
        Meaning::Number | Meaning::Date => value,
    }
}

impl Scalar<'_> {
    fn what(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Boolean(_) => "a boolean",
            Scalar::Number(_, Meaning::Number) => "an integer",
            Scalar::Number(_, Meaning::Date) => "a date",
            Scalar::Number(_, Meaning::Timestamp(_)) => "a timestamp",
            Scalar::Float(_) | Scalar::Double(_) => "a floating-point number",
            Scalar::Bytes(_) => "bytes",
            Scalar::Text(_) => "a string",
            Scalar::Decimal(..) => "a decimal",
            Scalar::Uuid(_) => "a UUID",
        }
    }

    /// Sets a column to it. `docs/job-file.md` says which kinds take what.
    pub fn set(self, column: &mut Column, row: usize) -> Result<(), String> {
        match (column.field.kind, self) {
            (_, Scalar::Null) if column.field.nullable => column.set_null(row),
            (_, Scalar::Null) => return Err("is null".into()),
            (Kind::Boolean, Scalar::Boolean(value)) => column.set_bool(row, value),
            (Kind::Int64, Scalar::Number(value, meaning)) => column.set_i64(row, milliseconds(value, meaning)),
            (Kind::Float64, Scalar::Number(value, Meaning::Number)) => column.set_f64(row, value as f64),
            (Kind::Float64, Scalar::Float(value)) => column.set_f64(row, value.into()),
            (Kind::Float64, Scalar::Double(value)) => column.set_f64(row, value),
            (Kind::Float64, Scalar::Decimal(bytes, scale)) => {
                // Digits and a point: a number.
                column.set_f64(row, decimal(bytes, scale)?.parse().unwrap_or(f64::NAN));
            }
            (Kind::Utf8, Scalar::Text(text)) => return set_str(column, row, text),
            (Kind::Utf8, Scalar::Decimal(bytes, scale)) => return set_str(column, row, &decimal(bytes, scale)?),
            (Kind::Utf8, Scalar::Uuid(bytes)) => return set_str(column, row, &uuid_text(bytes)),
            (Kind::Utf8, Scalar::Number(days, Meaning::Date)) => return set_str(column, row, &date_text(days)),
            (Kind::Binary, Scalar::Bytes(bytes)) => return set_bytes(column, row, bytes),
            _ => return Err(format!("is {}, not {}", self.what(), wanted(column))),
        }
        Ok(())
    }

    /// Appends it to JSON.
    pub fn write(self, out: &mut JsonText) -> Result<(), String> {
        match self {
            Scalar::Null => out.push("null"),
            Scalar::Boolean(value) => out.bool(value),
            Scalar::Number(days, Meaning::Date) => out.string(&date_text(days)),
            Scalar::Number(value, meaning) => out.i64(milliseconds(value, meaning)),
            Scalar::Float(value) => out.f32(value),
            Scalar::Double(value) => out.f64(value),
            Scalar::Bytes(bytes) => out.bytes(bytes),
            Scalar::Text(text) => out.string(text),
            Scalar::Decimal(bytes, scale) => out.string(&decimal(bytes, scale)?),
            Scalar::Uuid(bytes) => out.string(&uuid_text(bytes)),
        }
        Ok(())
    }
}

fn uuid_text(bytes: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(bytes).to_string()
}

fn date_text(days: i64) -> String {
    // Dates are `int`s.
    date(i32::try_from(days).unwrap_or_default())
}
