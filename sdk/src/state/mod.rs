//! State: what an operator remembers between calls, such as an accumulator, or a value for each key.
//!
//! Guarantees: numbers travel as they are; a struct travels as bytes, by the codec its author names. Must not know: operators,
//! where state is kept.

pub mod broadcast;
pub mod codec;
pub mod combined;
pub mod field;
pub mod list;
pub mod map;
pub mod operator;
pub mod value;

pub use codec::{read_bytes, write_bytes};
pub use field::{Options, Scope, StateField, States};

use crate::bindings::types::{Column, Kind, Values, Variable};
use crate::column::Field;

/// A type that state can have: `i64`, `f64`, `bool`, `String`, `Vec<u8>`, or a struct or enum marked `#[state(postcard)]` or
/// `#[state(json)]`.
#[diagnostic::on_unimplemented(
    message = "state cannot be `{Self}`",
    note = "state is an i64, f64, bool, String or Vec<u8>, or a struct or enum marked #[state(postcard)] or #[state(json)]"
)]
pub trait State: Sized + 'static {
    /// How it travels.
    const KIND: Kind;
    /// Counts up when the meaning of the values changes.
    const VERSION: u32 = 1;

    /// Gives each value of a column to a function, in order, `None` for nulls.
    fn read(column: Column, take: impl FnMut(Option<Self>)) -> Result<(), String>;
    /// The column of these values, null for `None`.
    fn write<'v>(values: impl Iterator<Item = Option<&'v Self>>) -> Result<Column, String>;

    /// The column of the values of these slices.
    fn write_slices<'v>(slices: impl Iterator<Item = &'v [Self]>) -> Result<Column, String> {
        Self::write(slices.flatten().map(Some))
    }
    /// The values of a column, new ones for its nulls.
    fn decode(column: Column, mut create: impl FnMut() -> Self) -> Result<Vec<Self>, String> {
        let mut values = Vec::with_capacity(length(&column));
        Self::read(column, |value| values.push(value.unwrap_or_else(&mut create)))?;
        Ok(values)
    }
    /// The values of a column that has no nulls.
    fn read_all(column: Column) -> Result<Vec<Self>, String> {
        let mut values = Vec::with_capacity(length(&column));
        let mut nulls = 0;
        Self::read(column, |value| match value {
            Some(value) => values.push(value),
            None => nulls += 1,
        })?;
        if nulls > 0 { Err(format!("{nulls} nulls came where there can be none")) } else { Ok(values) }
    }
    /// The column of these values.
    fn encode(values: Vec<Self>) -> Result<Column, String> {
        Self::write_slices(std::iter::once(&values[..]))
    }
}

/// How many values a column has. A column of booleans does not say, so no state is one.
pub(crate) fn length(column: &Column) -> usize {
    match &column.values {
        Values::Boolean(_) => 0,
        Values::Int64(values) => values.len(),
        Values::Float64(values) => values.len(),
        Values::Utf8(Variable { offsets, .. }) | Values::Binary(Variable { offsets, .. }) => {
            offsets.len().saturating_sub(1)
        }
    }
}

/// Reads a column with nulls as fields of type `F`, made into values.
fn read_fields<'c, F: Field, T>(
    column: &'c Column,
    make: impl Fn(F::At<'c>) -> T,
    mut take: impl FnMut(Option<T>),
) -> Result<(), String> {
    let rows = length(column);
    let reader = <Option<F>>::reader(column, rows)?;
    (0..rows).for_each(|row| take(<Option<F>>::read(&reader, row).map(&make)));
    Ok(())
}

/// Writes a column of fields, null for `None`.
fn write_fields<'v, F: Field>(values: impl Iterator<Item = Option<F::At<'v>>>) -> Column {
    let mut builder = <Option<F>>::builder(values.size_hint().1.unwrap_or(0));
    values.for_each(|value| <Option<F>>::push(&mut builder, value));
    <Option<F>>::finish(builder)
}

macro_rules! number {
    ($type:ty, $kind:ident) => {
        impl State for $type {
            const KIND: Kind = Kind::$kind;

            fn read(column: Column, mut take: impl FnMut(Option<Self>)) -> Result<(), String> {
                match column {
                    Column { validity: None, values: Values::$kind(values) } => {
                        values.into_iter().for_each(|value| take(Some(value)));
                        Ok(())
                    }
                    column => read_fields::<$type, _>(&column, |value| value, take),
                }
            }
            fn write<'v>(values: impl Iterator<Item = Option<&'v Self>>) -> Result<Column, String> {
                Ok(write_fields::<$type>(values.map(|value| value.copied())))
            }
            fn write_slices<'v>(slices: impl Iterator<Item = &'v [Self]>) -> Result<Column, String> {
                let mut values = Vec::new();
                slices.for_each(|slice| values.extend_from_slice(slice));
                Self::encode(values)
            }
            fn decode(column: Column, mut create: impl FnMut() -> Self) -> Result<Vec<Self>, String> {
                if column.validity.is_none() {
                    return Self::read_all(column);
                }
                let mut values = Vec::with_capacity(length(&column));
                <Self as State>::read(column, |value| values.push(value.unwrap_or_else(&mut create)))?;
                Ok(values)
            }
            fn read_all(column: Column) -> Result<Vec<Self>, String> {
                match column {
                    Column { validity: None, values: Values::$kind(values) } => Ok(values),
                    column => {
                        // Opening it says whether it is of the right kind.
                        <$type>::reader(&column, length(&column))?;
                        Err("nulls came where there can be none".into())
                    }
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

impl State for String {
    const KIND: Kind = Kind::Utf8;

    fn read(column: Column, take: impl FnMut(Option<Self>)) -> Result<(), String> {
        read_fields::<&str, _>(&column, str::to_owned, take)
    }
    fn write<'v>(values: impl Iterator<Item = Option<&'v Self>>) -> Result<Column, String> {
        Ok(write_fields::<&str>(values.map(|value| value.map(String::as_str))))
    }
}

impl State for Vec<u8> {
    const KIND: Kind = Kind::Binary;

    fn read(column: Column, take: impl FnMut(Option<Self>)) -> Result<(), String> {
        read_fields::<&[u8], _>(&column, <[u8]>::to_vec, take)
    }
    fn write<'v>(values: impl Iterator<Item = Option<&'v Self>>) -> Result<Column, String> {
        Ok(write_fields::<&[u8]>(values.map(|value| value.map(Vec::as_slice))))
    }
}

/// Travels as an integer, 0 or 1: a column of booleans does not say how many it holds.
impl State for bool {
    const KIND: Kind = Kind::Int64;

    fn read(column: Column, take: impl FnMut(Option<Self>)) -> Result<(), String> {
        read_fields::<i64, _>(&column, |value| value != 0, take)
    }
    fn write<'v>(values: impl Iterator<Item = Option<&'v Self>>) -> Result<Column, String> {
        Ok(write_fields::<i64>(values.map(|value| value.map(|&value| i64::from(value)))))
    }
}
