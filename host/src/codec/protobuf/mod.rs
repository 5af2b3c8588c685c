//! Protobuf payloads: a message, whose fields are columns by their names in the `.proto` file. Schemas are compiled in memory, with all they
//! import. Guarantees: what is no message is malformed; the same payload always gives the same values.
mod compile;
mod json;
#[cfg(test)]
pub mod tests;
mod values;

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor};

use super::{
    columns::Column,
    framed::{Payload, ReadPayload, RegisteredSchema, SchemaKind, frame::message_path},
};
use crate::model::Schema;

/// A message, ready to be read.
struct Message {
    descriptor: MessageDescriptor,
    /// The field of each column, if it has one.
    fields: Vec<Option<FieldDescriptor>>,
}

/// The messages of a file, by where they are in it.
pub struct Messages(HashMap<Vec<usize>, Message>);

/// Reads Protobuf.
pub struct ProtobufPayload {
    message: Option<String>,
}

impl ProtobufPayload {
    /// For records that are all this message, or whichever they say they are.
    pub fn new(message: Option<&str>) -> ProtobufPayload {
        ProtobufPayload { message: message.map(str::to_owned) }
    }
}

impl Payload for ProtobufPayload {
    const KIND: SchemaKind = SchemaKind::Protobuf;
    type Compiled = Messages;

    fn compile(&self, schema: &RegisteredSchema, columns: &Schema) -> Result<Messages, String> {
        let messages: Vec<_> = compile::compile(schema)?;
        if let Some(wanted) = &self.message
            && !messages.iter().any(|(_, descriptor)| descriptor.full_name() == wanted)
        {
            return Err(format!("it has no message `{wanted}`"));
        }
        let message = |descriptor: MessageDescriptor| {
            let fields = columns.fields().iter().map(|column| descriptor.get_field_by_name(&column.name)).collect();
            Message { descriptor, fields }
        };
        Ok(Messages(messages.into_iter().map(|(path, descriptor)| (path, message(descriptor))).collect()))
    }
}

impl ReadPayload for ProtobufPayload {
    fn read(&self, schema: &Messages, payload: &[u8], columns: &mut [Column], row: usize) -> Result<(), String> {
        let mut rest = payload;
        let path = message_path(&mut rest)?;
        let Message { descriptor, fields } =
            schema.0.get(&path).ok_or_else(|| format!("its schema has no message {path:?}"))?;
        if let Some(wanted) = &self.message
            && wanted != descriptor.full_name()
        {
            return Err(format!("it is a `{}`, not a `{wanted}`", descriptor.full_name()));
        }
        let message = DynamicMessage::decode(descriptor.clone(), rest)
            .map_err(|error| format!("no `{}`: {error}", descriptor.full_name()))?;
        for (column, field) in columns.iter_mut().zip(fields) {
            let name = column.field.name.clone();
            match field {
                Some(field) if !field.supports_presence() || message.has_field(field) => {
                    values::set(&message.get_field(field), &field.kind(), column, row)
                        .map_err(|what| format!("`{name}` {what}"))?;
                }
                _ if column.field.nullable => column.set_null(row),
                Some(_) => return Err(format!("`{name}` is not set")),
                None => return Err(format!("`{name}` is missing: `{}` has no such field", descriptor.full_name())),
            }
        }
        Ok(())
    }
}
