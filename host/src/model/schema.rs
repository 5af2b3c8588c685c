//! The types of columns. A thin layer over Arrow's schema that admits exactly the kinds the plugin contract has, so that
//! everything past this point may match on [`Kind`] exhaustively.
use std::{fmt, sync::Arc};

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

/// The type of a column's values. Nested data travels as `utf8` (JSON) or `binary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// True or false.
    #[serde(rename = "bool", alias = "boolean")]
    Boolean,
    /// 64-bit signed integer.
    #[serde(rename = "i64", alias = "int64")]
    Int64,
    /// 64-bit IEEE 754 number.
    #[serde(rename = "f64", alias = "float64")]
    Float64,
    /// UTF-8 text, at most 2 GiB a batch.
    #[serde(rename = "string", alias = "utf8")]
    Utf8,
    /// Opaque bytes, at most 2 GiB a batch.
    #[serde(rename = "bytes", alias = "binary")]
    Binary,
}

impl Kind {
    /// The Arrow type the host keeps such values in.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Boolean => DataType::Boolean,
            Kind::Int64 => DataType::Int64,
            Kind::Float64 => DataType::Float64,
            Kind::Utf8 => DataType::Utf8,
            Kind::Binary => DataType::Binary,
        }
    }

    /// The kind kept in this Arrow type, if there is one.
    pub fn of(data_type: &DataType) -> Option<Kind> {
        Some(match data_type {
            DataType::Boolean => Kind::Boolean,
            DataType::Int64 => Kind::Int64,
            DataType::Float64 => Kind::Float64,
            DataType::Utf8 => Kind::Utf8,
            DataType::Binary => Kind::Binary,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Boolean => "bool",
            Kind::Int64 => "i64",
            Kind::Float64 => "f64",
            Kind::Utf8 => "string",
            Kind::Binary => "bytes",
        })
    }
}

/// A named column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Unique within its schema.
    pub name: Arc<str>,
    /// Type of the values.
    pub kind: Kind,
    /// Whether values may be null.
    pub nullable: bool,
}

impl Field {
    /// A column without nulls.
    pub fn new(name: impl Into<Arc<str>>, kind: Kind) -> Field {
        Field { name: name.into(), kind, nullable: false }
    }

    /// The same column, but values may be null.
    pub fn nullable(mut self) -> Field {
        self.nullable = true;
        self
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.name, self.kind, if self.nullable { "?" } else { "" })
    }
}

/// Why a list of fields is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Two columns of one name.
    #[error("two columns are called `{0}`")]
    Duplicate(Arc<str>),
}

/// The columns of a stream, in order, with distinct names. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    fields: Arc<[Field]>,
    arrow: arrow_schema::SchemaRef,
}

impl Schema {
    /// Fails if two fields have the same name.
    pub fn new(fields: impl Into<Arc<[Field]>>) -> Result<Schema, SchemaError> {
        let fields = fields.into();
        for (i, field) in fields.iter().enumerate() {
            if fields[..i].iter().any(|earlier| earlier.name == field.name) {
                return Err(SchemaError::Duplicate(field.name.clone()));
            }
        }
        let arrow = arrow_schema::Schema::new(
            fields
                .iter()
                .map(|f| arrow_schema::Field::new(&*f.name, f.kind.data_type(), f.nullable))
                .collect::<Vec<_>>(),
        );
        Ok(Schema { fields, arrow: Arc::new(arrow) })
    }

    /// The columns in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The place of a column.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| &*f.name == name)
    }

    /// The same columns as Arrow's schema.
    pub fn arrow(&self) -> &arrow_schema::SchemaRef {
        &self.arrow
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, field) in self.fields.iter().enumerate() {
            write!(f, "{}{field}", if i == 0 { " " } else { ", " })?;
        }
        f.write_str(" }")
    }
}
