//! A batch's columns by type, told apart once a batch and not once a value. Knows nothing of any format.
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::NullBuffer;

use crate::model::Kind;

pub enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int64(&'a [i64]),
    Float64(&'a [f64]),
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
}

pub struct View<'a> {
    pub values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

impl View<'_> {
    /// The columns in order; those whose type is none of [`Kind`], which no schema has, are left out.
    pub fn of(rows: &RecordBatch) -> Vec<View<'_>> {
        let view = |column| {
            let column: &ArrayRef = column;
            let values = match Kind::of(column.data_type())? {
                Kind::Boolean => Values::Boolean(column.as_boolean()),
                Kind::Int64 => Values::Int64(column.as_primitive::<Int64Type>().values()),
                Kind::Float64 => Values::Float64(column.as_primitive::<Float64Type>().values()),
                Kind::Utf8 => Values::Utf8(column.as_string()),
                Kind::Binary => Values::Binary(column.as_binary()),
            };
            Some(View { values, nulls: column.nulls() })
        };
        rows.columns().iter().filter_map(view).collect()
    }

    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }
}
