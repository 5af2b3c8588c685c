//! A parsed schema as nodes that refer to each other by number: names are resolved once, and what is recursive stays finite.
use std::{collections::HashMap, error::Error};

use apache_avro::{
    Schema,
    schema::{
        DecimalSchema, EnumSchema, FixedSchema, InnerDecimalSchema, Name, NamespaceRef, RecordSchema, UuidSchema,
    },
};

use crate::codec::framed::RegisteredSchema;

/// Digits behind the point of a decimal.
const SCALE_MAX: usize = 1000;

/// A node of [`Nodes`].
pub type NodeId = usize;

/// What a value is.
#[derive(Debug)]
pub enum Node {
    Null,
    Boolean,
    Int(Meaning),
    Long(Meaning),
    Float,
    Double,
    Bytes,
    String,
    /// Of so many bytes.
    Fixed(usize),
    Enum(Vec<Box<str>>),
    /// The digits behind the point, and the length in bytes where it is fixed.
    Decimal(usize, Option<usize>),
    /// As 16 bytes, whose number stands before them or does not.
    Uuid {
        counted: bool,
    },
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<(Box<str>, NodeId)>),
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Itself: also times of day, in their own unit.
    Number,
    /// Days since 1970-01-01.
    Date,
    /// A point in time, of which so many units are a millisecond.
    Timestamp(i64),
}

/// A schema.
#[derive(Debug, Default)]
pub struct Nodes(Vec<Node>);

impl Nodes {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.0[id]
    }

    /// The fields of a record.
    pub fn record(&self, id: NodeId) -> Option<&[(Box<str>, NodeId)]> {
        match self.node(id) {
            Node::Record(fields) => Some(fields),
            _ => None,
        }
    }
}

/// Parses a schema, with those it refers to: the nodes, and which of them is the whole.
pub fn compile(schema: &RegisteredSchema) -> Result<(Nodes, NodeId), String> {
    let references = schema.references.iter().map(|reference| &reference.text);
    let (root, others) = Schema::parse_str_with_list(&schema.text, references).map_err(|error| describe(&error))?;
    let mut compiler = Compiler::default();
    for schema in others.iter().chain([&root]) {
        compiler.collect(schema, None);
    }
    let root = compiler.node(&root, None)?;
    Ok((compiler.nodes, root))
}

/// An error with what has caused it.
fn describe(error: &dyn Error) -> String {
    match error.source().map(ToString::to_string) {
        Some(cause) if !error.to_string().contains(&cause) => format!("{error}: {cause}"),
        _ => error.to_string(),
    }
}

#[derive(Default)]
struct Compiler<'a> {
    /// What has a name.
    named: HashMap<Name, &'a Schema>,
    /// Of that, what is a node already.
    done: HashMap<Name, NodeId>,
    nodes: Nodes,
}

/// The name of a schema that has one.
fn name(schema: &Schema) -> Option<&Name> {
    match schema {
        Schema::Record(RecordSchema { name, .. })
        | Schema::Enum(EnumSchema { name, .. })
        | Schema::Fixed(FixedSchema { name, .. })
        | Schema::Duration(FixedSchema { name, .. })
        | Schema::Uuid(UuidSchema::Fixed(FixedSchema { name, .. }))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(FixedSchema { name, .. }), .. }) => {
            Some(name)
        }
        _ => None,
    }
}

impl<'a> Compiler<'a> {
    fn collect(&mut self, schema: &'a Schema, namespace: NamespaceRef<'_>) {
        if let Some(name) = name(schema) {
            self.named.entry(name.fully_qualified_name(namespace).into_owned()).or_insert(schema);
        }
        match schema {
            Schema::Array(array) => self.collect(&array.items, namespace),
            Schema::Map(map) => self.collect(&map.types, namespace),
            Schema::Union(union) => union.variants().iter().for_each(|variant| self.collect(variant, namespace)),
            Schema::Record(record) => {
                let full = record.name.fully_qualified_name(namespace);
                record.fields.iter().for_each(|field| self.collect(&field.schema, full.namespace()));
            }
            _ => {}
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.0.push(node);
        self.nodes.0.len() - 1
    }

    fn node(&mut self, schema: &'a Schema, namespace: NamespaceRef<'_>) -> Result<NodeId, String> {
        if let Schema::Ref { name } = schema {
            let name = name.fully_qualified_name(namespace);
            if let Some(id) = self.done.get(&*name) {
                return Ok(*id);
            }
            let named = *self.named.get(&*name).ok_or_else(|| format!("nothing is called {}", name.fullname(None)))?;
            return self.node(named, name.namespace());
        }
        let full = name(schema).map(|name| name.fully_qualified_name(namespace).into_owned());
        if let Some(id) = full.as_ref().and_then(|name| self.done.get(name)) {
            return Ok(*id);
        }
        // What is in it may refer to it.
        let id = self.add(Node::Null);
        let namespace = match &full {
            Some(name) => {
                self.done.insert(name.clone(), id);
                name.namespace()
            }
            None => namespace,
        };
        self.nodes.0[id] = self.content(schema, namespace)?;
        Ok(id)
    }

    fn content(&mut self, schema: &'a Schema, namespace: NamespaceRef<'_>) -> Result<Node, String> {
        const TIMESTAMPS: [Meaning; 3] =
            [Meaning::Timestamp(1), Meaning::Timestamp(1000), Meaning::Timestamp(1_000_000)];
        Ok(match schema {
            Schema::Null => Node::Null,
            Schema::Boolean => Node::Boolean,
            Schema::Int | Schema::TimeMillis => Node::Int(Meaning::Number),
            Schema::Date => Node::Int(Meaning::Date),
            Schema::Long | Schema::TimeMicros => Node::Long(Meaning::Number),
            Schema::TimestampMillis | Schema::LocalTimestampMillis => Node::Long(TIMESTAMPS[0]),
            Schema::TimestampMicros | Schema::LocalTimestampMicros => Node::Long(TIMESTAMPS[1]),
            Schema::TimestampNanos | Schema::LocalTimestampNanos => Node::Long(TIMESTAMPS[2]),
            Schema::Float => Node::Float,
            Schema::Double => Node::Double,
            Schema::Bytes | Schema::BigDecimal => Node::Bytes,
            Schema::String | Schema::Uuid(UuidSchema::String) => Node::String,
            Schema::Fixed(fixed) | Schema::Duration(fixed) => Node::Fixed(fixed.size),
            Schema::Uuid(UuidSchema::Bytes) => Node::Uuid { counted: true },
            Schema::Uuid(UuidSchema::Fixed(_)) => Node::Uuid { counted: false },
            Schema::Enum(symbols) => Node::Enum(symbols.symbols.iter().map(|symbol| symbol.as_str().into()).collect()),
            Schema::Decimal(DecimalSchema { scale, .. }) if *scale > SCALE_MAX => {
                return Err(format!("a decimal has {scale} digits behind the point, more than {SCALE_MAX}"));
            }
            Schema::Decimal(DecimalSchema { scale, inner, .. }) => match inner {
                InnerDecimalSchema::Bytes => Node::Decimal(*scale, None),
                InnerDecimalSchema::Fixed(fixed) => Node::Decimal(*scale, Some(fixed.size)),
            },
            Schema::Array(array) => Node::Array(self.node(&array.items, namespace)?),
            Schema::Map(map) => Node::Map(self.node(&map.types, namespace)?),
            Schema::Union(union) => {
                let variants = union.variants().iter().map(|variant| self.node(variant, namespace));
                Node::Union(variants.collect::<Result<_, _>>()?)
            }
            Schema::Record(record) => {
                let fields = record
                    .fields
                    .iter()
                    .map(|field| Ok((field.name.as_str().into(), self.node(&field.schema, namespace)?)));
                Node::Record(fields.collect::<Result<_, String>>()?)
            }
            Schema::Ref { name } => return Err(format!("nothing is called {}", name.fullname(namespace))),
        })
    }
}
