//! Columns of the contract, read and written a value at a time.
//!
//! Guarantees: no allocation per value but those the author's own field type asks for (`String`, `Vec<u8>`); a column whose
//! lengths do not fit is refused or ends in a panic, never in a read out of bounds. That text is valid UTF-8 is taken from the
//! contract, which the host keeps. Must not know: records, operators.

use crate::bindings::types::{Column, Kind, Values, Variable};

/// A type that a field of a record may have: `i64`, `f64`, `bool`, `&str`, `String`, `&[u8]`, `Vec<u8>`, and an `Option` of each.
#[diagnostic::on_unimplemented(
    message = "a column cannot hold `{Self}`",
    note = "a field is an i64, f64, bool, &str, String, &[u8] or Vec<u8>, or an Option of one"
)]
pub trait Field {
    /// The kind of the column it is read from and written to.
    const KIND: Kind;
    /// Whether the column may hold nulls.
    const NULLABLE: bool = false;
    /// The same type with the lifetime of the columns it is read from.
    type At<'r>;
    /// A column opened for reading.
    type Reader<'r>;
    /// A column being written.
    type Builder;

    /// Opens a column of `rows` values; the error says what is wrong with it.
    fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, String>;
    /// The value in a row. Panics if the row is not below the number of rows.
    fn read<'r>(reader: &Self::Reader<'r>, row: usize) -> Self::At<'r>;
    /// Starts a column, with space for `rows` values to begin with.
    fn builder(rows: usize) -> Self::Builder;
    /// Adds a value.
    fn push(builder: &mut Self::Builder, value: Self::At<'_>);
    /// Adds the slot a null has in the values.
    fn push_null(builder: &mut Self::Builder);
    /// How many values were added.
    fn rows(builder: &Self::Builder) -> usize;
    /// Drops all values but the first `rows`.
    fn truncate(builder: &mut Self::Builder, rows: usize);
    /// The column written.
    fn finish(builder: Self::Builder) -> Column;
}

fn check(kind: &str, found: usize, needed: usize) -> Result<(), String> {
    if found < needed {
        return Err(format!("a column of {kind} holds {found} entries where the batch needs {needed}"));
    }
    Ok(())
}

fn mismatch(expected: Kind, found: &Values) -> String {
    let found = match found {
        Values::Boolean(_) => Kind::Boolean,
        Values::Int64(_) => Kind::Int64,
        Values::Float64(_) => Kind::Float64,
        Values::Utf8(_) => Kind::Utf8,
        Values::Binary(_) => Kind::Binary,
    };
    format!("a column of {expected:?} was declared, one of {found:?} came")
}

fn not_null(values: Values) -> Column {
    Column { validity: None, values }
}

macro_rules! number {
    ($type:ty, $kind:ident) => {
        impl Field for $type {
            const KIND: Kind = Kind::$kind;
            type At<'r> = $type;
            type Reader<'r> = &'r [$type];
            type Builder = Vec<$type>;

            fn reader(column: &Column, rows: usize) -> Result<&[$type], String> {
                let Values::$kind(values) = &column.values else {
                    return Err(mismatch(Self::KIND, &column.values));
                };
                check(stringify!($type), values.len(), rows)?;
                Ok(&values[..rows])
            }
            #[inline(always)]
            fn read<'r>(reader: &Self::Reader<'r>, row: usize) -> Self::At<'r> {
                reader[row]
            }
            fn builder(rows: usize) -> Vec<$type> {
                Vec::with_capacity(rows)
            }
            #[inline(always)]
            fn push(builder: &mut Vec<$type>, value: Self::At<'_>) {
                builder.push(value);
            }
            #[inline(always)]
            fn push_null(builder: &mut Vec<$type>) {
                builder.push(Default::default());
            }
            #[inline(always)]
            fn rows(builder: &Vec<$type>) -> usize {
                builder.len()
            }
            fn truncate(builder: &mut Vec<$type>, rows: usize) {
                builder.truncate(rows);
            }
            fn finish(builder: Vec<$type>) -> Column {
                not_null(Values::$kind(builder))
            }
        }
    };
}
number!(i64, Int64);
number!(f64, Float64);

/// Bits, the least significant of a byte first: values of a boolean column, or the validity of any.
#[derive(Default)]
pub struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Self { bytes: Vec::with_capacity(rows.div_ceil(8)), count: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        self.bytes[self.count / 8] |= u8::from(bit) << (self.count % 8);
        self.count += 1;
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn truncate(&mut self, rows: usize) {
        self.count = self.count.min(rows);
        self.bytes.truncate(self.count.div_ceil(8));
        // The next value is put in by an "or", so what was behind it has to go.
        if !self.count.is_multiple_of(8) {
            self.bytes[self.count / 8] &= (1 << (self.count % 8)) - 1;
        }
    }
}

#[inline(always)]
fn bit(bytes: &[u8], row: usize) -> bool {
    bytes[row / 8] >> (row % 8) & 1 != 0
}

impl Field for bool {
    const KIND: Kind = Kind::Boolean;
    type At<'r> = bool;
    type Reader<'r> = &'r [u8];
    type Builder = Bits;

    fn reader(column: &Column, rows: usize) -> Result<&[u8], String> {
        let Values::Boolean(values) = &column.values else {
            return Err(mismatch(Self::KIND, &column.values));
        };
        check("booleans", values.len(), rows.div_ceil(8))?;
        Ok(values)
    }
    #[inline(always)]
    fn read<'r>(reader: &Self::Reader<'r>, row: usize) -> Self::At<'r> {
        bit(reader, row)
    }
    fn builder(rows: usize) -> Bits {
        Bits::with_capacity(rows)
    }
    #[inline(always)]
    fn push(builder: &mut Bits, value: Self::At<'_>) {
        builder.push(value);
    }
    #[inline(always)]
    fn push_null(builder: &mut Bits) {
        builder.push(false);
    }
    #[inline(always)]
    fn rows(builder: &Bits) -> usize {
        builder.count
    }
    fn truncate(builder: &mut Bits, rows: usize) {
        builder.truncate(rows);
    }
    fn finish(builder: Bits) -> Column {
        not_null(Values::Boolean(builder.bytes))
    }
}

/// Text or bytes of varying length, opened for reading.
pub struct VariableReader<'r> {
    offsets: &'r [u32],
    data: &'r [u8],
}

impl<'r> VariableReader<'r> {
    fn new(variable: &'r Variable, rows: usize) -> Result<Self, String> {
        check("offsets", variable.offsets.len(), rows + 1)?;
        Ok(Self { offsets: &variable.offsets[..=rows], data: &variable.data })
    }

    #[inline(always)]
    fn get(&self, row: usize) -> &'r [u8] {
        &self.data[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}

/// Text or bytes of varying length, being written.
pub struct VariableBuilder {
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl VariableBuilder {
    fn with_capacity(rows: usize) -> Self {
        const BYTES_A_VALUE: usize = 8;
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, data: Vec::with_capacity(rows * BYTES_A_VALUE) }
    }

    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        append(&mut self.data, bytes);
        self.offsets.push(self.data.len() as u32);
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.data.truncate(end as usize);
    }

    fn finish(self) -> Variable {
        Variable { offsets: self.offsets, data: self.data }
    }
}

/// Appends bytes. Copying a number of bytes known only at run time is a call in WebAssembly, which costs more than all else done
/// to a short value; two copies of a known size that overlap are no calls.
#[inline(always)]
pub(crate) fn append(data: &mut Vec<u8>, bytes: &[u8]) {
    const SHORT: usize = 16;
    let (start, length) = (data.len(), bytes.len());
    if length > SHORT {
        return data.extend_from_slice(bytes);
    }
    if data.capacity() - start < SHORT {
        data.reserve(SHORT);
    }
    let (from, to) = (bytes.as_ptr(), data.as_mut_ptr());
    // SAFETY: `length` bytes are read at `from`, no more: each branch copies the first `N` and the last `N` of `N` to `2 * N` bytes.
    // They are written to the `SHORT` bytes reserved behind `start`, of which `length` are then initialized.
    unsafe {
        let to = to.add(start);
        match length {
            8.. => copy_ends::<8>(from, to, length),
            4.. => copy_ends::<4>(from, to, length),
            2.. => copy_ends::<2>(from, to, length),
            1 => *to = *from,
            0 => {}
        }
        data.set_len(start + length);
    }
}

/// Copies the first and the last `N` of `length` bytes.
///
/// # Safety
///
/// `length` is at least `N`, and that many bytes can be read and written.
#[inline(always)]
unsafe fn copy_ends<const N: usize>(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: both copies are within the `length` bytes the caller vouches for, and alignment is that of bytes.
    unsafe {
        let last = from.add(length - N).cast::<[u8; N]>().read();
        to.cast::<[u8; N]>().write(from.cast::<[u8; N]>().read());
        to.add(length - N).cast::<[u8; N]>().write(last);
    }
}

macro_rules! variable {
    ($type:ty, $at:ty, $kind:ident, |$read:ident| $open:expr, |$value:ident| $bytes:expr) => {
        impl Field for $type {
            const KIND: Kind = Kind::$kind;
            type At<'r> = $at;
            type Reader<'r> = VariableReader<'r>;
            type Builder = VariableBuilder;

            fn reader(column: &Column, rows: usize) -> Result<VariableReader<'_>, String> {
                match &column.values {
                    Values::$kind(variable) => VariableReader::new(variable, rows),
                    other => Err(mismatch(Self::KIND, other)),
                }
            }
            #[inline(always)]
            fn read<'r>(reader: &Self::Reader<'r>, row: usize) -> Self::At<'r> {
                let $read = reader.get(row);
                $open
            }
            fn builder(rows: usize) -> VariableBuilder {
                VariableBuilder::with_capacity(rows)
            }
            #[inline(always)]
            fn push(builder: &mut VariableBuilder, $value: Self::At<'_>) {
                builder.push($bytes);
            }
            #[inline(always)]
            fn push_null(builder: &mut VariableBuilder) {
                builder.push(&[]);
            }
            #[inline(always)]
            fn rows(builder: &VariableBuilder) -> usize {
                builder.offsets.len() - 1
            }
            fn truncate(builder: &mut VariableBuilder, rows: usize) {
                builder.truncate(rows);
            }
            fn finish(builder: VariableBuilder) -> Column {
                not_null(Values::$kind(builder.finish()))
            }
        }
    };
}

#[inline(always)]
fn text(bytes: &[u8]) -> &str {
    // SAFETY: the contract guarantees that each value of a `utf8` column is valid UTF-8, and the reader was opened on one.
    unsafe { str::from_utf8_unchecked(bytes) }
}

variable!(&str, &'r str, Utf8, |bytes| text(bytes), |value| value.as_bytes());
variable!(String, String, Utf8, |bytes| text(bytes).to_owned(), |value| value.as_bytes());
variable!(&[u8], &'r [u8], Binary, |bytes| bytes, |value| value);
variable!(Vec<u8>, Vec<u8>, Binary, |bytes| bytes.to_vec(), |value| &value);

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    type At<'r> = Option<T::At<'r>>;
    type Reader<'r> = (Option<&'r [u8]>, T::Reader<'r>);
    type Builder = (Bits, T::Builder);

    fn reader(column: &Column, rows: usize) -> Result<Self::Reader<'_>, String> {
        if let Some(validity) = &column.validity {
            check("validity", validity.len(), rows.div_ceil(8))?;
        }
        Ok((column.validity.as_deref(), T::reader(column, rows)?))
    }
    #[inline(always)]
    fn read<'r>((validity, values): &Self::Reader<'r>, row: usize) -> Self::At<'r> {
        validity.is_none_or(|validity| bit(validity, row)).then(|| T::read(values, row))
    }
    fn builder(rows: usize) -> Self::Builder {
        (Bits::with_capacity(rows), T::builder(rows))
    }
    #[inline(always)]
    fn push((validity, values): &mut Self::Builder, value: Self::At<'_>) {
        validity.push(value.is_some());
        match value {
            Some(value) => T::push(values, value),
            None => T::push_null(values),
        }
    }
    fn push_null((validity, values): &mut Self::Builder) {
        validity.push(false);
        T::push_null(values);
    }
    fn rows((validity, _): &Self::Builder) -> usize {
        validity.count
    }
    fn truncate((validity, values): &mut Self::Builder, rows: usize) {
        validity.truncate(rows);
        T::truncate(values, rows);
    }
    fn finish((validity, values): Self::Builder) -> Column {
        let present: u32 = validity.bytes.iter().map(|byte| byte.count_ones()).sum();
        let complete = present as usize == validity.count;
        Column { validity: (!complete).then_some(validity.bytes), ..T::finish(values) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the values, takes the last `dropped` back, writes them again, and reads them.
    fn round_trip<T, V>(values: &[V], dropped: usize) -> Column
    where
        T: for<'r> Field<At<'r> = V>,
        V: Clone + PartialEq + std::fmt::Debug,
    {
        let mut builder = T::builder(0);
        values.iter().for_each(|value| T::push(&mut builder, value.clone()));
        let kept = values.len() - dropped;
        T::truncate(&mut builder, kept);
        values[kept..].iter().for_each(|value| T::push(&mut builder, value.clone()));
        let column = T::finish(builder);
        let reader = T::reader(&column, values.len()).expect("the column just written");
        let read: Vec<V> = (0..values.len()).map(|row| T::read(&reader, row)).collect();
        assert_eq!(read, values);
        drop(reader);
        column
    }

    #[test]
    fn every_type_comes_back() {
        round_trip::<i64, _>(&[1, i64::MIN, i64::MAX], 2);
        round_trip::<f64, _>(&[0.5, -0.0, f64::INFINITY], 1);
        round_trip::<bool, _>(&[true, false, true, true, true, true, true, false, true, true], 5);
        round_trip::<String, _>(&["a".into(), String::new(), "grün, schnell und lang genug für vieles".into()], 1);
        round_trip::<Vec<u8>, _>(&[vec![0, 255], vec![], vec![1; 100]], 2);
        round_trip::<Option<i64>, _>(&[None, Some(1), Some(2), None, None, None, Some(3), None, Some(9)], 4);
        round_trip::<Option<String>, _>(&[None, Some(String::new()), Some("x".into())], 2);
    }

    #[test]
    fn nulls_are_written_only_where_there_are_any() {
        assert!(round_trip::<Option<bool>, _>(&[Some(true); 9], 3).validity.is_none());
        assert_eq!(round_trip::<Option<bool>, _>(&[Some(true), None], 0).validity, Some(vec![1]));
    }

    #[test]
    fn a_column_that_does_not_fit_is_refused() {
        let column = not_null(Values::Int64(vec![1, 2]));
        assert!(i64::reader(&column, 3).is_err());
        let error = f64::reader(&column, 2).expect_err("it holds integers");
        assert_eq!(error, "a column of Kind::Float64 was declared, one of Kind::Int64 came");
    }
}
