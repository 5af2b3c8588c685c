//! Records: rows as structs.
//!
//! Guarantees: reading borrows from the columns, writing copies into columns; both are resolved at compile time. Must not
//! know: operators, the calls of the contract.

use crate::bindings::types::{Column, Field as FieldType, Kind, Shape};

/// A field of a record, as the contract describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldInfo {
    /// The name of the column.
    pub name: &'static str,
    /// The kind of its values.
    pub kind: Kind,
    /// Whether values may be missing.
    pub nullable: bool,
}

/// A row as a struct. Implement it by `#[derive(Record)]`; `()` is the record with no columns.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a record", note = "mark the struct #[derive(Record)]")]
pub trait Record {
    /// The columns, in order.
    const FIELDS: &'static [FieldInfo];
    /// Whether this stands for the input row with all its columns; only [`InputRow`] does.
    const WHOLE_ROW: bool = false;
    /// The same record borrowing for another lifetime: `Word<'r>` for any `Word<'_>`.
    type At<'r>;
    /// The columns opened for reading.
    type Reader<'r>;
    /// The columns being written.
    type Builder;

    /// Opens the columns of a batch of `rows` rows; the error says which of them is wrong, and how.
    fn reader(columns: &[Column], rows: usize) -> Result<Self::Reader<'_>, String>;
    /// The record in a row. Panics if the row is not below the number of rows.
    fn read<'r>(reader: &Self::Reader<'r>, row: usize) -> Self::At<'r>;
    /// Starts columns, with space for `rows` rows to begin with.
    fn builder(rows: usize) -> Self::Builder;
    /// Adds a row.
    fn push(builder: &mut Self::Builder, record: Self::At<'_>);
    /// How many rows were added.
    fn rows(builder: &Self::Builder) -> usize;
    /// Drops all rows but the first `rows`.
    fn truncate(builder: &mut Self::Builder, rows: usize);
    /// The columns written.
    fn finish(builder: Self::Builder) -> Vec<Column>;
}

/// The input row as it is, with all its columns, also those the operator does not read: what a filter emits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputRow;

macro_rules! no_columns {
    ($type:ty, $value:expr, $whole:expr) => {
        impl Record for $type {
            const FIELDS: &'static [FieldInfo] = &[];
            const WHOLE_ROW: bool = $whole;
            type At<'r> = $type;
            type Reader<'r> = ();
            type Builder = usize;

            fn reader(_: &[Column], _: usize) -> Result<(), String> {
                Ok(())
            }
            #[inline(always)]
            fn read<'r>(_: &Self::Reader<'r>, _: usize) -> Self::At<'r> {
                $value
            }
            fn builder(_: usize) -> usize {
                0
            }
            #[inline(always)]
            fn push(builder: &mut usize, _: Self::At<'_>) {
                *builder += 1;
            }
            #[inline(always)]
            fn rows(builder: &usize) -> usize {
                *builder
            }
            fn truncate(builder: &mut usize, rows: usize) {
                *builder = rows;
            }
            fn finish(_: usize) -> Vec<Column> {
                Vec::new()
            }
        }
    };
}
no_columns!((), (), false);
no_columns!(InputRow, InputRow, true);

/// The fields of a record in the contract's words.
pub(crate) fn fields<R: Record>() -> Vec<FieldType> {
    let field = |field: &FieldInfo| FieldType { name: field.name.into(), kind: field.kind, nullable: field.nullable };
    R::FIELDS.iter().map(field).collect()
}

/// What an output of this record consists of.
pub(crate) fn shape<R: Record>() -> Shape {
    if R::WHOLE_ROW { Shape::InputRows } else { Shape::Columns(fields::<R>()) }
}
