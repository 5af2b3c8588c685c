//! Arrow's buffers to the contract's columns and back. What a guest returns is believed only after every length, offset, bit
//! and byte of text has been checked here.
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer, bit_util::ceil};

use super::contract::{
    AccumulatorsRef, ColumnRef, ValuesRef, VariableRef,
    types::{Column, Kind as WireKind, Values, Variable},
};
use crate::model::{Field, Kind};

/// What is wrong with a column a guest returned.
pub type Nonsense = String;

/// Memory for the parts of an Arrow column that do not lie as the contract wants them: the bits or offsets of a slice.
#[derive(Default)]
pub struct Realigned {
    validity: Option<Vec<u8>>,
    bits: Option<Vec<u8>>,
    offsets: Option<Vec<u32>>,
}

fn aligned_bits(bits: &BooleanBuffer) -> Vec<u8> {
    bits.sliced().as_slice().to_vec()
}

impl Realigned {
    /// Copies what must be copied of `column`.
    pub fn of(column: &ArrayRef) -> Realigned {
        let mut parts = Realigned::default();
        if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0 && !nulls.offset().is_multiple_of(8))
        {
            parts.validity = Some(aligned_bits(nulls.inner()));
        }
        let rebased = |offsets: &OffsetBuffer<i32>| {
            let first = offsets[0];
            (first != 0).then(|| offsets.iter().map(|o| (o - first) as u32).collect())
        };
        match Kind::of(column.data_type()) {
            Some(Kind::Boolean) => {
                let values = column.as_boolean().values();
                parts.bits = (!values.offset().is_multiple_of(8)).then(|| aligned_bits(values));
            }
            Some(Kind::Utf8) => parts.offsets = rebased(column.as_string::<i32>().offsets()),
            Some(Kind::Binary) => parts.offsets = rebased(column.as_binary::<i32>().offsets()),
            _ => {}
        }
        parts
    }

    /// The column in the contract's terms, borrowing from Arrow's buffers and from `self`.
    pub fn column<'a>(&'a self, column: &'a ArrayRef) -> ColumnRef<'a> {
        let rows = column.len();
        let bits = |buffer: &'a BooleanBuffer| {
            let start = buffer.offset() / 8;
            &buffer.inner().as_slice()[start..start + ceil(rows, 8)]
        };
        let validity = column
            .nulls()
            .filter(|nulls| nulls.null_count() > 0)
            .map(|nulls| self.validity.as_deref().unwrap_or_else(|| bits(nulls.inner())));
        let variable = |offsets: &'a OffsetBuffer<i32>, data: &'a Buffer| VariableRef {
            offsets: self.offsets.as_deref().unwrap_or_else(|| bytemuck::cast_slice(&offsets[..])),
            data: &data[offsets[0] as usize..offsets[rows] as usize],
        };
        let values = match Kind::of(column.data_type()) {
            Some(Kind::Boolean) => {
                let values = column.as_boolean().values();
                ValuesRef::Boolean(self.bits.as_deref().unwrap_or_else(|| bits(values)))
            }
            Some(Kind::Int64) => ValuesRef::Int64(column.as_primitive::<Int64Type>().values()),
            Some(Kind::Float64) => ValuesRef::Float64(column.as_primitive::<Float64Type>().values()),
            Some(Kind::Utf8) => {
                let strings = column.as_string::<i32>();
                ValuesRef::Utf8(variable(strings.offsets(), strings.values()))
            }
            // No other Arrow type gets into a batch.
            Some(Kind::Binary) | None => {
                let bytes = column.as_binary::<i32>();
                ValuesRef::Binary(variable(bytes.offsets(), bytes.values()))
            }
        };
        ColumnRef { validity, values }
    }
}

impl Realigned {
    /// The same, as accumulators.
    pub fn accumulators<'a>(&'a self, column: &'a ArrayRef) -> AccumulatorsRef<'a> {
        AccumulatorsRef { count: column.len() as u32, values: self.column(column) }
    }
}

/// A column of the guest's own to keep, copied.
pub fn column_for_guest(column: &ArrayRef) -> Column {
    let parts = Realigned::of(column);
    let ColumnRef { validity, values } = parts.column(column);
    let variable = |v: VariableRef<'_>| Variable { offsets: v.offsets.to_vec(), data: v.data.to_vec() };
    Column {
        validity: validity.map(<[u8]>::to_vec),
        values: match values {
            ValuesRef::Boolean(bits) => Values::Boolean(bits.to_vec()),
            ValuesRef::Int64(values) => Values::Int64(values.to_vec()),
            ValuesRef::Float64(values) => Values::Float64(values.to_vec()),
            ValuesRef::Utf8(values) => Values::Utf8(variable(values)),
            ValuesRef::Binary(values) => Values::Binary(variable(values)),
        },
    }
}

/// How many values a column has; none where it does not say, since there are bits only by the byte.
pub fn length_of(column: &Column) -> Option<usize> {
    match &column.values {
        Values::Boolean(_) => None,
        Values::Int64(values) => Some(values.len()),
        Values::Float64(values) => Some(values.len()),
        Values::Utf8(values) | Values::Binary(values) => Some(values.offsets.len().saturating_sub(1)),
    }
}

/// Bytes of these values of a column; a null has those of its slot.
pub fn bytes_of(values: &ArrayRef, at: std::ops::Range<usize>) -> usize {
    let span = |offsets: &[i32]| (offsets[at.end] - offsets[at.start]) as usize;
    match Kind::of(values.data_type()) {
        Some(Kind::Utf8) => span(values.as_string::<i32>().value_offsets()),
        Some(Kind::Binary) => span(values.as_binary::<i32>().value_offsets()),
        Some(Kind::Boolean) => at.len(),
        Some(Kind::Int64 | Kind::Float64) | None => at.len() * 8,
    }
}

/// The host's name for the contract's kind.
pub fn kind_from_wire(kind: WireKind) -> Kind {
    match kind {
        WireKind::Boolean => Kind::Boolean,
        WireKind::Int64 => Kind::Int64,
        WireKind::Float64 => Kind::Float64,
        WireKind::Utf8 => Kind::Utf8,
        WireKind::Binary => Kind::Binary,
    }
}

fn kind_of(values: &Values) -> Kind {
    match values {
        Values::Boolean(_) => Kind::Boolean,
        Values::Int64(_) => Kind::Int64,
        Values::Float64(_) => Kind::Float64,
        Values::Utf8(_) => Kind::Utf8,
        Values::Binary(_) => Kind::Binary,
    }
}

/// Checks the columns a guest returned against those it declared, and takes them over without copying.
pub fn columns_from_guest(columns: Vec<Column>, declared: &[Field], rows: usize) -> Result<Vec<ArrayRef>, Nonsense> {
    if columns.len() != declared.len() {
        return Err(format!("{} columns were returned, {} are declared", columns.len(), declared.len()));
    }
    columns
        .into_iter()
        .zip(declared)
        .map(|(column, field)| {
            column_from_guest(column, field.kind, field.nullable, rows)
                .map_err(|what| format!("column `{}`: {what}", field.name))
        })
        .collect()
}

/// Checks one column a guest returned, and takes it over without copying.
pub fn column_from_guest(column: Column, kind: Kind, nullable: bool, rows: usize) -> Result<ArrayRef, Nonsense> {
    if kind_of(&column.values) != kind {
        return Err(format!("holds {}, declared is {kind}", kind_of(&column.values)));
    }
    let nulls = match column.validity {
        None => None,
        Some(bits) => {
            check_bits(bits.len(), rows, "validity")?;
            Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))).filter(|n| n.null_count() > 0)
        }
    };
    if let Some(nulls) = nulls.as_ref().filter(|_| !nullable) {
        let row = nulls.iter().position(|valid| !valid).unwrap_or(0);
        return Err(format!("row {row} is null, declared is not nullable"));
    }
    Ok(match column.values {
        Values::Boolean(bits) => {
            check_bits(bits.len(), rows, "values")?;
            Arc::new(BooleanArray::new(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows), nulls))
        }
        Values::Int64(values) => {
            check_count(values.len(), rows)?;
            Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls))
        }
        Values::Float64(values) => {
            check_count(values.len(), rows)?;
            Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls))
        }
        Values::Utf8(variable) => {
            check_text(&variable)?;
            let (offsets, data) = checked_variable(variable, rows)?;
            // SAFETY: `check_text` and `checked_variable` established that `offsets` rise from 0 to the end of `data`, that
            // `data` is UTF-8 and that no offset falls inside a character.
            Arc::new(unsafe { StringArray::new_unchecked(offsets, data, nulls) })
        }
        Values::Binary(variable) => {
            let (offsets, data) = checked_variable(variable, rows)?;
            Arc::new(BinaryArray::new(offsets, data, nulls))
        }
    })
}

fn check_count(values: usize, rows: usize) -> Result<(), Nonsense> {
    if values == rows { Ok(()) } else { Err(format!("has {values} values for {rows} rows")) }
}

fn check_bits(bytes: usize, rows: usize, what: &str) -> Result<(), Nonsense> {
    let wanted = ceil(rows, 8);
    if bytes == wanted {
        Ok(())
    } else {
        Err(format!("has {bytes} bytes of {what} bits, {wanted} are needed for {rows} rows"))
    }
}

fn checked_variable(variable: Variable, rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), Nonsense> {
    let Variable { offsets, data } = variable;
    let offsets = checked_offsets(offsets, rows)?;
    let end = offsets[rows] as usize;
    if end != data.len() {
        return Err(format!("offsets end at {end}, the data at {}", data.len()));
    }
    Ok((offsets, Buffer::from_vec(data)))
}

/// Checks the offsets of `rows` values or lists, and takes them over without copying. Where they end is not looked at.
pub fn checked_offsets(offsets: Vec<u32>, rows: usize) -> Result<OffsetBuffer<i32>, Nonsense> {
    if offsets.len() != rows + 1 {
        return Err(format!("has {} offsets for {rows} rows, {} are needed", offsets.len(), rows + 1));
    }
    if offsets[0] != 0 {
        return Err(format!("offsets start at {} instead of 0", offsets[0]));
    }
    // One pass without branches, since this runs over every value; where it is wrong is looked up only if something is.
    if offsets.windows(2).fold(false, |bad, pair| bad | (pair[0] > pair[1])) {
        let at = offsets.windows(2).position(|pair| pair[0] > pair[1]).unwrap_or(0);
        return Err(format!("offsets decrease from {} to {} at row {at}", offsets[at], offsets[at + 1]));
    }
    if offsets[rows] > i32::MAX as u32 {
        return Err(format!("offsets end at {}, at most {} are taken", offsets[rows], i32::MAX));
    }
    let offsets: Vec<i32> = bytemuck::cast_vec(offsets);
    // SAFETY: checked above to be not empty and to rise from 0 to at most `i32::MAX`.
    Ok(unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets)) })
}

fn check_text(variable: &Variable) -> Result<(), Nonsense> {
    if variable.data.is_ascii() {
        return Ok(());
    }
    let text = match simdutf8::compat::from_utf8(&variable.data) {
        Ok(text) => text,
        Err(error) => return Err(format!("is not UTF-8 at byte {}", error.valid_up_to())),
    };
    match variable.offsets.iter().find(|offset| !text.is_char_boundary(**offset as usize)) {
        // An offset past the end is no boundary either; it gets its own message.
        Some(offset) if (*offset as usize) < text.len() => Err(format!("offset {offset} falls inside a character")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf8(offsets: &[u32], data: &[u8]) -> Column {
        Column { validity: None, values: Values::Utf8(Variable { offsets: offsets.to_vec(), data: data.to_vec() }) }
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        let rows = [
            (utf8(&[0, 1], b"a"), 2, "has 2 offsets for 2 rows, 3 are needed"),
            (utf8(&[1, 1], b"a"), 1, "offsets start at 1 instead of 0"),
            (utf8(&[0, 2, 1], b"ab"), 2, "offsets decrease from 2 to 1 at row 1"),
            (utf8(&[0, 9], b"ab"), 1, "offsets end at 9, the data at 2"),
            (utf8(&[0, 1], b"ab"), 1, "offsets end at 1, the data at 2"),
            (utf8(&[0, 1], b"\xff"), 1, "is not UTF-8 at byte 0"),
            (utf8(&[0, 1, 2], "é".as_bytes()), 2, "offset 1 falls inside a character"),
            (utf8(&[0, 1, 99], "é".as_bytes()), 2, "offset 1 falls inside a character"),
            (utf8(&[0, 99, 99], "é".as_bytes()), 2, "offsets end at 99, the data at 2"),
            (utf8(&[], b""), 0, "has 0 offsets for 0 rows, 1 are needed"),
            (Column { validity: None, values: Values::Int64(vec![1]) }, 1, "holds i64, declared is string"),
            (
                Column { validity: Some(vec![1, 0]), ..utf8(&[0, 1], b"a") },
                1,
                "has 2 bytes of validity bits, 1 are needed for 1 rows",
            ),
            (
                Column { validity: Some(vec![1]), ..utf8(&[0, 1, 1], b"a") },
                2,
                "row 1 is null, declared is not nullable",
            ),
        ];
        for (column, rows, reason) in rows {
            assert_eq!(column_from_guest(column, Kind::Utf8, false, rows).unwrap_err(), reason);
        }
    }

    #[test]
    fn slices_reach_the_guest_as_if_they_began_at_zero() {
        let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("zero"), None, Some("two"), Some("three")]));
        let slice = strings.slice(1, 3);
        let parts = Realigned::of(&slice);
        let column = parts.column(&slice);
        assert_eq!(column.validity.map(|bits| bits[0] & 0b111), Some(0b110));
        let ValuesRef::Utf8(values) = column.values else { panic!("another kind") };
        assert_eq!((values.offsets, values.data), (&[0, 0, 3, 8][..], &b"twothree"[..]));
        let bools: ArrayRef = Arc::new(BooleanArray::from(vec![false, true, true, false]));
        let slice = bools.slice(1, 3);
        let parts = Realigned::of(&slice);
        let ValuesRef::Boolean(bits) = parts.column(&slice).values else { panic!("another kind") };
        assert_eq!(bits[0] & 0b111, 0b011);
    }
}
