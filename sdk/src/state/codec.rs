//! The codecs of `#[state(...)]`: values as bytes.
//!
//! Guarantees: no allocation per value but those of the value itself. Must not know: columns' other kinds, operators.

use std::fmt::Display;

use super::length;
use crate::bindings::types::{Column, Values, Variable};
use crate::column::{Bits, Field};

/// Gives each value of a column of bytes to a function, decoded, `None` for nulls.
#[inline]
pub fn read_bytes<T, E: Display>(
    column: Column,
    mut take: impl FnMut(Option<T>),
    decode: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<(), String> {
    let rows = length(&column);
    let reader = <Option<&[u8]>>::reader(&column, rows)?;
    for row in 0..rows {
        take(match <Option<&[u8]>>::read(&reader, row) {
            Some(bytes) => Some(decode(bytes).map_err(|error| format!("state cannot be decoded: {error}"))?),
            None => None,
        });
    }
    Ok(())
}

/// The column of these values, encoded by a codec that appends to the vector it is given.
#[inline]
pub fn write_bytes<'v, T: 'v, E: Display>(
    values: impl Iterator<Item = Option<&'v T>>,
    encode: impl Fn(&T, Vec<u8>) -> Result<Vec<u8>, E>,
) -> Result<Column, String> {
    const BYTES_A_VALUE: usize = 16;
    let count = values.size_hint().1.unwrap_or(0);
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(0);
    let mut data = Vec::with_capacity(count * BYTES_A_VALUE);
    let (mut validity, mut nulls) = (Bits::with_capacity(count), false);
    for value in values {
        match value {
            Some(value) => data = encode(value, data).map_err(|error| format!("state cannot be encoded: {error}"))?,
            None => nulls = true,
        }
        validity.push(value.is_some());
        offsets.push(data.len() as u32);
    }
    let values = Values::Binary(Variable { offsets, data });
    Ok(Column { validity: nulls.then(|| validity.into_bytes()), values })
}

/// The codec of `#[state(postcard)]`: compact, fields by position.
pub mod postcard {
    use ::postcard::{Error, from_bytes, ser_flavors::Flavor, serialize_with_flavor};
    use serde::{Serialize, de::DeserializeOwned};

    use crate::column::append;

    /// Appends to a vector; short pieces, which most are, without a call to copy them.
    struct Appending(Vec<u8>);

    impl Flavor for Appending {
        type Output = Vec<u8>;

        #[inline(always)]
        fn try_push(&mut self, byte: u8) -> Result<(), Error> {
            self.0.push(byte);
            Ok(())
        }
        #[inline(always)]
        fn try_extend(&mut self, bytes: &[u8]) -> Result<(), Error> {
            append(&mut self.0, bytes);
            Ok(())
        }
        fn finalize(self) -> Result<Vec<u8>, Error> {
            Ok(self.0)
        }
    }

    /// Decodes a value.
    #[inline]
    pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
        from_bytes(bytes)
    }
    /// Appends a value.
    #[inline]
    pub fn encode<T: Serialize>(value: &T, data: Vec<u8>) -> Result<Vec<u8>, Error> {
        serialize_with_flavor(value, Appending(data))
    }
}

/// The codec of `#[state(json)]`: readable, fields by name.
pub mod json {
    use serde::{Serialize, de::DeserializeOwned};
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
