//! Avro payloads: a record, whose top-level fields are columns by their names. Schemas are parsed by apache-avro; payloads are read here,
//! straight into columns, since that crate takes what is cut off for nulls, and neither bounds how deep a value goes nor how many values
//! without bytes there are. Guarantees: a payload is read to its last byte, or malformed.
mod compile;
mod decimal;
mod read;
mod scalar;
#[cfg(test)]
pub mod tests;

use super::{
    columns::Column,
    framed::{Payload, ReadPayload, RegisteredSchema, SchemaKind},
};
use crate::model::{Kind, Schema};
use compile::{NodeId, Nodes};
use read::Input;

/// A field of the record: its name, what it is, and the column that it goes to.
struct Field {
    name: Box<str>,
    node: NodeId,
    column: Option<usize>,
}

/// A record, ready to be read.
pub struct Record {
    nodes: Nodes,
    fields: Vec<Field>,
    /// Columns that it has no field for.
    missing: Vec<usize>,
}

/// Reads Avro.
pub struct AvroPayload;

impl Payload for AvroPayload {
    const KIND: SchemaKind = SchemaKind::Avro;
    type Compiled = Record;

    fn compile(&self, schema: &RegisteredSchema, columns: &Schema) -> Result<Record, String> {
        let (nodes, root) = compile::compile(schema)?;
        let fields = nodes.record(root).ok_or("it is no record, so that it has no fields to be columns")?;
        let fields =
            fields.iter().map(|(name, node)| Field { name: name.clone(), node: *node, column: columns.index_of(name) });
        let fields: Vec<Field> = fields.collect();
        let has = |column: &usize| fields.iter().any(|field| field.column == Some(*column));
        let missing = (0..columns.fields().len()).filter(|column| !has(column)).collect();
        Ok(Record { nodes, fields, missing })
    }
}

impl ReadPayload for AvroPayload {
    fn read(&self, schema: &Record, payload: &[u8], columns: &mut [Column], row: usize) -> Result<(), String> {
        let mut input = Input::new(payload);
        for Field { name, node, column } in &schema.fields {
            let read = match column {
                Some(column) => schema.nodes.column(*node, &mut input, &mut columns[*column], row),
                None => schema.nodes.skip(*node, &mut input),
            };
            read.map_err(|what| format!("`{name}` {what}"))?;
        }
        if input.left() > 0 {
            return Err(format!("{} bytes are left over behind the record", input.left()));
        }
        for column in &schema.missing {
            let column = &mut columns[*column];
            if !column.field.nullable {
                return Err(format!("`{}` is missing: the record's schema has no such field", column.field.name));
            }
            column.set_null(row);
        }
        Ok(())
    }
}

/// What a column takes, for messages.
fn wanted(column: &Column) -> &'static str {
    match column.field.kind {
        Kind::Boolean => "a boolean",
        Kind::Int64 => "an integer of 64 bits",
        Kind::Float64 => "a number",
        Kind::Utf8 => "a string",
        Kind::Binary => "bytes",
    }
}
