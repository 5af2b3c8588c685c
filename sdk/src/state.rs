//! State: what an operator remembers, such as an accumulator.
//!
//! Guarantees: numbers travel as they are, with no copy; a struct travels as bytes, by the codec its author names. Must not
//! know: operators, where state is kept.

use crate::bindings::types::{Column, Kind, Values, Variable};
use crate::column::Field;

/// A type that state can have: `i64`, `f64`, `bool`, `String`, `Vec<u8>`, or a struct or enum marked `#[state(postcard)]` or
/// `#[state(json)]`.
#[diagnostic::on_unimplemented(
    message = "state cannot be `{Self}`",
    note = "state is an i64, f64, bool, String or Vec<u8>, or a struct or enum marked #[state(postcard)] or #[state(json)]"
)]
pub trait State: Sized {
    /// How it travels.
    const KIND: Kind;
    /// Counts up when the meaning of the values changes.
    const VERSION: u32 = 1;

    /// The values of a column, new ones for its nulls.
    fn decode(column: Column, create: impl FnMut() -> Self) -> Result<Vec<Self>, String>;
    /// The column of these values.
    fn encode(values: Vec<Self>) -> Result<Column, String>;
}

/// How many values a column has. A column of booleans does not say, so no state is one.
fn length(column: &Column) -> usize {
    match &column.values {
        Values::Boolean(_) => 0,
        Values::Int64(values) => values.len(),
        Values::Float64(values) => values.len(),
        Values::Utf8(Variable { offsets, .. }) | Values::Binary(Variable { offsets, .. }) => {
            offsets.len().saturating_sub(1)
        }
    }
}

macro_rules! number {
    ($type:ty, $kind:ident) => {
        impl State for $type {
            const KIND: Kind = Kind::$kind;

            fn decode(column: Column, mut create: impl FnMut() -> Self) -> Result<Vec<Self>, String> {
                if column.validity.is_some() {
                    return read::<Self>(&column, create);
                }
                match column.values {
                    Values::$kind(values) => Ok(values),
                    _ => read::<Self>(&column, &mut create),
                }
            }
            fn encode(values: Vec<Self>) -> Result<Column, String> {
                Ok(Column { validity: None, values: Values::$kind(values) })
            }
        }
    };
}
number!(i64, Int64);
number!(f64, Float64);

macro_rules! copied {
    ($type:ty) => {
        impl State for $type {
            const KIND: Kind = <$type as Field>::KIND;

            fn decode(column: Column, create: impl FnMut() -> Self) -> Result<Vec<Self>, String> {
                read::<Self>(&column, create)
            }
            fn encode(values: Vec<Self>) -> Result<Column, String> {
                let mut builder = <$type>::builder(values.len());
                values.into_iter().for_each(|value| <$type as Field>::push(&mut builder, value));
                Ok(<$type>::finish(builder))
            }
        }
    };
}
copied!(String);
copied!(Vec<u8>);

/// Travels as an integer, 0 or 1: a column of booleans does not say how many it holds.
impl State for bool {
    const KIND: Kind = Kind::Int64;

    fn decode(column: Column, mut create: impl FnMut() -> Self) -> Result<Vec<Self>, String> {
        Ok(i64::decode(column, || i64::from(create()))?.into_iter().map(|value| value != 0).collect())
    }
    fn encode(values: Vec<Self>) -> Result<Column, String> {
        i64::encode(values.into_iter().map(i64::from).collect())
    }
}

fn read<T: for<'r> Field<At<'r> = T>>(column: &Column, mut create: impl FnMut() -> T) -> Result<Vec<T>, String> {
    let rows = length(column);
    let reader = <Option<T>>::reader(column, rows)?;
    Ok((0..rows).map(|row| <Option<T>>::read(&reader, row).unwrap_or_else(&mut create)).collect())
}

/// Decodes a column of bytes with a codec.
pub fn decode_bytes<T, E: std::fmt::Display>(
    column: Column,
    mut create: impl FnMut() -> T,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<Vec<T>, String> {
    let rows = length(&column);
    let reader = <Option<&[u8]>>::reader(&column, rows)?;
    let value = |row| match <Option<&[u8]>>::read(&reader, row) {
        Some(bytes) => decode(bytes).map_err(|error| format!("state cannot be decoded: {error}")),
        None => Ok(create()),
    };
    (0..rows).map(value).collect()
}

/// Encodes values as a column of bytes with a codec, which appends to the vector it is given.
pub fn encode_bytes<T, E: std::fmt::Display>(
    values: Vec<T>,
    encode: impl Fn(&T, Vec<u8>) -> Result<Vec<u8>, E>,
) -> Result<Column, String> {
    let mut offsets = Vec::with_capacity(values.len() + 1);
    offsets.push(0);
    let mut data = Vec::new();
    for value in &values {
        data = encode(value, data).map_err(|error| format!("state cannot be encoded: {error}"))?;
        offsets.push(data.len() as u32);
    }
    Ok(Column { validity: None, values: Values::Binary(Variable { offsets, data }) })
}

/// The codecs of `#[state(...)]`.
pub mod codec {
    use serde::{Serialize, de::DeserializeOwned};

    /// The codec of `#[state(postcard)]`: compact, fields by position.
    pub mod postcard {
        use super::*;
        use ::postcard::{Error, from_bytes, to_extend};

        /// Decodes a value.
        pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
            from_bytes(bytes)
        }
        /// Appends a value.
        pub fn encode<T: Serialize>(value: &T, data: Vec<u8>) -> Result<Vec<u8>, Error> {
            to_extend(value, data)
        }
    }

    /// The codec of `#[state(json)]`: readable, fields by name.
    pub mod json {
        use super::*;
        use serde_json::{Error, from_slice, to_writer};

        /// Decodes a value.
        pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
            from_slice(bytes)
        }
        /// Appends a value.
        pub fn encode<T: Serialize>(value: &T, mut data: Vec<u8>) -> Result<Vec<u8>, Error> {
            to_writer(&mut data, value)?;
            Ok(data)
        }
    }
}
