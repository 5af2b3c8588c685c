//! Columns under construction, written by row number so that a row given up half-way is simply written again. Guarantees
//! that what comes out fits the schema. Knows nothing of any format.
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::model::{Field, Kind, Schema};

/// Bytes per row first reserved for a column of strings.
const STRING_BYTES_GUESS: usize = 16;

#[derive(Debug)]
enum Values {
    Boolean(Vec<bool>),
    Int64(Vec<i64>),
    Float64(Vec<f64>),
    /// Strings or bytes. The bytes of a string column are only ever appended by [`Column::set_str`].
    Variable {
        offsets: Vec<i32>,
        data: Vec<u8>,
    },
}

/// A column under construction. Values of another kind than the column's are not written, which callers rule out by matching
/// on the kind first.
#[derive(Debug)]
pub struct Column {
    pub field: Field,
    values: Values,
    /// Whether each row has a value; absent as long as all have.
    valid: Option<Vec<bool>>,
    rows: usize,
    /// How long the string data of the last batch was.
    bytes: usize,
}

impl Column {
    fn new(field: &Field) -> Column {
        Column { field: field.clone(), values: Values::Boolean(Vec::new()), valid: None, rows: 0, bytes: 0 }
    }

    fn begin(&mut self, rows: usize) {
        self.valid = None;
        self.rows = rows;
        self.values = match self.field.kind {
            Kind::Boolean => Values::Boolean(vec![false; rows]),
            Kind::Int64 => Values::Int64(vec![0; rows]),
            Kind::Float64 => Values::Float64(vec![0.0; rows]),
            Kind::Utf8 | Kind::Binary => Values::Variable {
                offsets: vec![0; rows + 1],
                data: Vec::with_capacity(self.bytes.max(rows * STRING_BYTES_GUESS)),
            },
        };
    }

    #[inline]
    fn set_valid(&mut self, row: usize) {
        if let Some(valid) = &mut self.valid {
            valid[row] = true;
        }
    }

    #[inline]
    pub fn set_bool(&mut self, row: usize, value: bool) {
        if let Values::Boolean(values) = &mut self.values {
            values[row] = value;
            self.set_valid(row);
        }
    }

    #[inline]
    pub fn set_i64(&mut self, row: usize, value: i64) {
        if let Values::Int64(values) = &mut self.values {
            values[row] = value;
            self.set_valid(row);
        }
    }

    #[inline]
    pub fn set_f64(&mut self, row: usize, value: f64) {
        if let Values::Float64(values) = &mut self.values {
            values[row] = value;
            self.set_valid(row);
        }
    }

    /// Whether a string or bytes of this length can be set. Only values that are longer than what they come from need ask.
    pub fn has_room(&self, row: usize, length: usize) -> bool {
        match &self.values {
            Values::Variable { offsets, .. } => offsets[row] as usize + length <= i32::MAX as usize,
            _ => true,
        }
    }

    #[inline]
    pub fn set_str(&mut self, row: usize, value: &str) {
        self.set_variable(row, |data| data.extend_from_slice(value.as_bytes()));
    }

    /// Like [`set_str`](Column::set_str) for the first `length` bytes of `padded`, which must be ASCII and be followed by
    /// others, so that they can be copied a fixed number at a time.
    #[inline]
    pub fn set_ascii(&mut self, row: usize, padded: &[u8], length: usize) {
        debug_assert!(padded[..length].is_ascii());
        self.set_variable(row, |data| match padded.first_chunk::<16>() {
            Some(chunk) if length <= 16 => {
                let end = data.len() + length;
                data.extend_from_slice(chunk);
                data.truncate(end);
            }
            _ => data.extend_from_slice(&padded[..length]),
        });
    }

    /// Bytes for a column of bytes; they need not be UTF-8.
    pub fn set_bytes(&mut self, row: usize, value: &[u8]) {
        if self.field.kind == Kind::Binary {
            self.set_variable(row, |data| data.extend_from_slice(value));
        }
    }

    pub fn set_null(&mut self, row: usize) {
        self.set_variable(row, |_| ());
        let rows = self.rows;
        self.valid.get_or_insert_with(|| vec![true; rows])[row] = false;
    }

    #[inline]
    fn set_variable(&mut self, row: usize, append: impl FnOnce(&mut Vec<u8>)) {
        if let Values::Variable { offsets, data } = &mut self.values {
            data.truncate(offsets[row] as usize);
            append(data);
            // A raw batch has at most 2 GiB; formats whose values are longer than their text ask `has_room` first.
            offsets[row + 1] = data.len() as i32;
            self.set_valid(row);
        }
    }

    fn finish(&mut self, rows: usize) -> ArrayRef {
        let nulls = self.valid.take().map(|mut valid| {
            valid.truncate(rows);
            NullBuffer::new(BooleanBuffer::from(valid))
        });
        match std::mem::replace(&mut self.values, Values::Boolean(Vec::new())) {
            Values::Boolean(mut values) => {
                values.truncate(rows);
                Arc::new(BooleanArray::new(values.into(), nulls))
            }
            Values::Int64(mut values) => {
                values.truncate(rows);
                Arc::new(Int64Array::new(values.into(), nulls))
            }
            Values::Float64(mut values) => {
                values.truncate(rows);
                Arc::new(Float64Array::new(values.into(), nulls))
            }
            Values::Variable { mut offsets, mut data } => {
                offsets.truncate(rows + 1);
                data.truncate(offsets[rows] as usize);
                self.bytes = data.len();
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                let data = Buffer::from_vec(data);
                if self.field.kind == Kind::Binary {
                    return Arc::new(BinaryArray::new(offsets, data, nulls));
                }
                // SAFETY: the data are whole strings appended by `set_str` and `set_ascii`, each from one offset to the next:
                // rows are written in order, and one written again first cuts off what it had.
                Arc::new(unsafe { StringArray::new_unchecked(offsets, data, nulls) })
            }
        }
    }
}

/// The columns of a schema under construction.
#[derive(Debug)]
pub struct Columns {
    schema: Schema,
    pub columns: Vec<Column>,
}

impl Columns {
    pub fn new(schema: &Schema) -> Columns {
        Columns { schema: schema.clone(), columns: schema.fields().iter().map(Column::new).collect() }
    }

    /// Makes room for up to `rows` rows. Every row must then be set in every column, one row after the other; a row may be
    /// set again as long as the next one was not begun.
    pub fn begin(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.begin(rows));
    }

    /// The first `rows` rows.
    pub fn finish(&mut self, rows: usize) -> RecordBatch {
        let arrays = self.columns.iter_mut().map(|column| column.finish(rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.arrow().clone(), arrays, &options)
            // Each column was made for its field, and decoders write nulls only where the field admits them.
            .expect("columns that fit their schema")
    }
}
