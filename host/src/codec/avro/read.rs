//! Reads values off a payload. Guarantees: no more bytes than there are, no deeper and no more values than what an honest payload of the
//! length has.
use super::{
    compile::{Node, NodeId, Nodes},
    scalar::Scalar,
    wanted,
};
use crate::{
    codec::{columns::Column, framed::frame::zigzag, nested::JsonText},
    model::Kind,
};

/// Values in values.
const DEPTH_MAX: usize = 64;

/// Values of a payload beside so many a byte: nulls and empty records have no bytes.
const VALUES_MIN: usize = 1 << 16;
const VALUES_PER_BYTE: usize = 16;

const CUT_OFF: &str = "is cut off";

/// What is left of a payload.
pub struct Input<'a> {
    bytes: &'a [u8],
    /// Values that it may still have.
    values: usize,
}

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, values: bytes.len().saturating_mul(VALUES_PER_BYTE).saturating_add(VALUES_MIN) }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(CUT_OFF)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(CUT_OFF)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn long(&mut self) -> Result<i64, String> {
        zigzag(&mut self.bytes).ok_or_else(|| "has a number that is cut off or too long".into())
    }

    fn int(&mut self) -> Result<i64, String> {
        let value = self.long()?;
        if i32::try_from(value).is_err() {
            return Err(format!("has {value}, which is no `int`"));
        }
        Ok(value)
    }

    fn counted(&mut self) -> Result<&'a [u8], String> {
        let length = self.long()?;
        let length = usize::try_from(length).map_err(|_| format!("has a length of {length}"))?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let bytes = self.counted()?;
        simdutf8::basic::from_utf8(bytes).map_err(|_| "has a string that is not UTF-8".into())
    }

    fn value(&mut self) -> Result<(), String> {
        self.values = self.values.checked_sub(1).ok_or("has more values than its bytes can stand for")?;
        Ok(())
    }

    /// How many items the next block of an array or map has; none at its end.
    fn block(&mut self) -> Result<u64, String> {
        let count = self.long()?;
        if count < 0 {
            // Its length in bytes follows, for readers that skip it.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }
}

/// A value that was read, or one with others in it that are still to be.
enum Found<'a> {
    Scalar(Scalar<'a>),
    Nested(&'a Node),
}

impl Nodes {
    /// Reads a value up to where others begin that are in it. What a union holds is the value.
    fn next<'a>(&'a self, id: NodeId, input: &mut Input<'a>) -> Result<Found<'a>, String> {
        let mut node = self.node(id);
        input.value()?;
        while let Node::Union(variants) = node {
            let index = input.long()?;
            let variant = usize::try_from(index).ok().and_then(|index| variants.get(index));
            node = self.node(*variant.ok_or_else(|| format!("has variant {index} of {}", variants.len()))?);
        }
        Ok(Found::Scalar(match node {
            Node::Null => Scalar::Null,
            Node::Boolean => match input.array()? {
                [0] => Scalar::Boolean(false),
                [1] => Scalar::Boolean(true),
                [other] => return Err(format!("has byte {other} for a boolean")),
            },
            Node::Int(meaning) => Scalar::Number(input.int()?, *meaning),
            Node::Long(meaning) => Scalar::Number(input.long()?, *meaning),
            Node::Float => Scalar::Float(f32::from_le_bytes(input.array()?)),
            Node::Double => Scalar::Double(f64::from_le_bytes(input.array()?)),
            Node::Bytes => Scalar::Bytes(input.counted()?),
            Node::String => Scalar::Text(input.text()?),
            Node::Fixed(size) => Scalar::Bytes(input.take(*size)?),
            Node::Enum(symbols) => {
                let index = input.int()?;
                let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
                Scalar::Text(symbol.ok_or_else(|| format!("has symbol {index} of {}", symbols.len()))?)
            }
            Node::Decimal(scale, None) => Scalar::Decimal(input.counted()?, *scale),
            Node::Decimal(scale, Some(size)) => Scalar::Decimal(input.take(*size)?, *scale),
            Node::Uuid { counted } => {
                if *counted && input.long()? != 16 {
                    return Err("has a UUID of other than 16 bytes".into());
                }
                Scalar::Uuid(input.array()?)
            }
            Node::Array(_) | Node::Map(_) | Node::Record(_) | Node::Union(_) => return Ok(Found::Nested(node)),
        }))
    }

    /// Reads a value into a column.
    pub fn column<'a>(
        &'a self,
        id: NodeId,
        input: &mut Input<'a>,
        column: &mut Column,
        row: usize,
    ) -> Result<(), String> {
        match self.next(id, input)? {
            Found::Scalar(scalar) => scalar.set(column, row),
            Found::Nested(node) if column.field.kind == Kind::Utf8 => {
                let mut text = JsonText::default();
                self.nested(node, input, 1, Some(&mut text))?;
                text.finish(column, row)
            }
            Found::Nested(_) => Err(format!("has other values in it, and is not {}", wanted(column))),
        }
    }

    /// Reads a value that nobody asks for.
    pub fn skip<'a>(&'a self, id: NodeId, input: &mut Input<'a>) -> Result<(), String> {
        self.walk(id, input, 0, None)
    }

    fn walk<'a>(
        &'a self,
        id: NodeId,
        input: &mut Input<'a>,
        depth: usize,
        out: Option<&mut JsonText>,
    ) -> Result<(), String> {
        match (self.next(id, input)?, out) {
            (Found::Scalar(scalar), Some(out)) => scalar.write(out),
            (Found::Scalar(_), None) => Ok(()),
            (Found::Nested(_), _) if depth >= DEPTH_MAX => Err(format!("goes deeper than {DEPTH_MAX} values")),
            (Found::Nested(node), out) => self.nested(node, input, depth + 1, out),
        }
    }

    /// Reads what is in a value, and writes it as JSON if it is asked for.
    fn nested<'a>(
        &'a self,
        node: &'a Node,
        input: &mut Input<'a>,
        depth: usize,
        mut out: Option<&mut JsonText>,
    ) -> Result<(), String> {
        if out.as_ref().is_some_and(|out| out.is_too_long()) {
            return Err("is too long as text".into());
        }
        let push = |out: &mut Option<&mut JsonText>, json: &str| {
            if let Some(out) = out {
                out.push(json);
            }
        };
        let (items, is_map, close) = match node {
            Node::Record(fields) => {
                for (i, (name, id)) in fields.iter().enumerate() {
                    push(&mut out, if i == 0 { "{" } else { "," });
                    if let Some(out) = &mut out {
                        out.string(name);
                        out.push(":");
                    }
                    self.walk(*id, input, depth, out.as_deref_mut())?;
                }
                push(&mut out, if fields.is_empty() { "{}" } else { "}" });
                return Ok(());
            }
            Node::Array(items) => (*items, false, "]"),
            Node::Map(items) => (*items, true, "}"),
            _ => return Ok(()),
        };
        push(&mut out, if is_map { "{" } else { "[" });
        let mut first = true;
        loop {
            let count = input.block()?;
            if count == 0 {
                break;
            }
            for _ in 0..count {
                push(&mut out, if std::mem::take(&mut first) { "" } else { "," });
                if is_map {
                    let key = input.text()?;
                    if let Some(out) = &mut out {
                        out.string(key);
                        out.push(":");
                    }
                }
                self.walk(items, input, depth, out.as_deref_mut())?;
            }
        }
        push(&mut out, close);
        Ok(())
    }
}
