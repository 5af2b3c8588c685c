//! The decoder that takes any JSON, straight into columns. What it says is what counts.
use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{codec::columns::Column, model::Kind};

/// Decodes `record` into row `row`, or says what is wrong with it; then the row is to be written again.
pub fn read(record: &[u8], columns: &mut [Column], row: usize) -> Result<(), String> {
    let text = std::str::from_utf8(record).map_err(|e| format!("not UTF-8 from byte {} on", e.valid_up_to() + 1))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut seen = vec![false; columns.len()];
    Object { columns, seen: &mut seen, row }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|e| describe(&e))?;
    for (column, _) in columns.iter_mut().zip(seen).filter(|(_, seen)| !seen) {
        if !column.field.nullable {
            return Err(format!("`{}` is missing", column.field.name));
        }
        column.set_null(row);
    }
    Ok(())
}

fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) if error.line() == 1 => format!("{what}, at byte {}", error.column()),
        Some(what) => format!("{what}, at byte {} of its line {}", error.column(), error.line()),
        None => text,
    }
}

struct Object<'a> {
    columns: &'a mut [Column],
    seen: &'a mut [bool],
    row: usize,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some(found) = map.next_key_seed(Name { columns: self.columns, expected })? {
            match found {
                Some(i) => {
                    map.next_value_seed(Member { column: &mut self.columns[i], row: self.row })?;
                    self.seen[i] = true;
                    expected = i + 1;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Finds the column of a member, beginning with the one that came last time.
struct Name<'a> {
    columns: &'a [Column],
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        let mut order = (self.expected..self.columns.len()).chain(0..self.expected);
        Ok(order.find(|i| &*self.columns[*i].field.name == name))
    }
}

/// Writes the value of a member to its column.
struct Member<'a> {
    column: &'a mut Column,
    row: usize,
}

impl Member<'_> {
    /// Strings are looked at as they stand, so that nested values can be taken over as text.
    fn text<E: Error>(self, json: &str) -> Result<(), E> {
        let name = &self.column.field.name;
        match json.as_bytes()[0] {
            b'"' if !json.contains('\\') => self.column.set_str(self.row, &json[1..json.len() - 1]),
            b'"' => {
                let text: String =
                    serde_json::from_str(json).map_err(|e| E::custom(format!("`{name}`: {}", describe(&e))))?;
                self.column.set_str(self.row, &text);
            }
            b'{' | b'[' => self.column.set_str(self.row, json),
            b'n' => return self.null(),
            _ => return Err(E::custom(format!("`{name}` is {json}, not a string"))),
        }
        Ok(())
    }

    fn null<E: Error>(self) -> Result<(), E> {
        if !self.column.field.nullable {
            return Err(E::custom(format!("`{}` is null", self.column.field.name)));
        }
        self.column.set_null(self.row);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.column.field.kind == Kind::Utf8 {
            return self.text(<&RawValue>::deserialize(deserializer)?.get());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.column.field.kind {
            Kind::Boolean => "true or false",
            Kind::Int64 => "an integer of 64 bits",
            Kind::Float64 => "a number",
            Kind::Utf8 => "a string",
            Kind::Binary => "bytes as a Base64 string",
        };
        write!(f, "{what} for `{}`", self.column.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.null()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if self.column.field.kind != Kind::Boolean {
            return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self));
        }
        self.column.set_bool(self.row, value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.column.field.kind {
            Kind::Int64 => self.column.set_i64(self.row, value),
            Kind::Float64 => self.column.set_f64(self.row, value as f64),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match (self.column.field.kind, i64::try_from(value)) {
            (Kind::Int64, Ok(value)) => self.column.set_i64(self.row, value),
            (Kind::Float64, _) => self.column.set_f64(self.row, value as f64),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Unsigned(value), &self)),
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if self.column.field.kind != Kind::Float64 {
            return Err(E::invalid_type(serde::de::Unexpected::Float(value), &self));
        }
        self.column.set_f64(self.row, value);
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.column.field.kind != Kind::Binary {
            return Err(E::invalid_type(serde::de::Unexpected::Str(value), &self));
        }
        let bytes = BASE64_STANDARD.decode(value);
        let bytes = bytes.map_err(|e| E::custom(format!("`{}` is not Base64: {e}", self.column.field.name)))?;
        self.column.set_bytes(self.row, &bytes);
        Ok(())
    }
}
