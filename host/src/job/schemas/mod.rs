//! Which columns flow where: finds the columns of every output, and checks that everything finds the columns it reads.
mod operator;
mod rules;

use std::sync::Arc;

use super::{
    Code, ColumnRef, JobError, Place, SinkSpec, SourceSpec,
    error::suggest,
    graph::{Graph, Node, Part, Plugin},
    infer::Needs,
    plan::{InputSide, PluginColumns, Role, WINDOW_END, WINDOW_START, rejected_schema},
};
use crate::{
    codec::NoSchemas,
    model::{Field, Kind, Schema, SchemaError, Shape},
};

/// The columns of a node.
#[derive(Debug)]
pub(super) struct NodeSchemas {
    /// Of all that its first input reads, together.
    pub input: Option<Schema>,
    /// Of all that its second input reads, together.
    pub second: Option<Schema>,
    /// One an output.
    pub outputs: Vec<Schema>,
    /// With the columns it works on.
    pub role: Role,
}

/// The columns of all nodes.
pub(super) fn find_schemas(graph: &Graph<'_>) -> Result<Vec<NodeSchemas>, JobError> {
    let needs = Needs::of(graph);
    let mut all: Vec<NodeSchemas> = Vec::with_capacity(graph.nodes.len());
    for index in 0..graph.nodes.len() {
        let finder = Finder { graph, index, done: &all };
        let found = match graph.nodes[index].part {
            Part::Source(source) => finder.source(source, &needs)?,
            Part::Operator(operator) => finder.operator(operator)?,
            Part::Sink(sink) => finder.sink(sink)?,
        };
        all.push(found);
    }
    Ok(all)
}

/// Looks at one node; all that it reads is done.
struct Finder<'a> {
    graph: &'a Graph<'a>,
    index: usize,
    done: &'a [NodeSchemas],
}

impl Finder<'_> {
    fn node(&self) -> &Node<'_> {
        &self.graph.nodes[self.index]
    }

    fn name(&self) -> &str {
        self.node().name
    }

    fn place(&self) -> Place {
        self.node().part.place()
    }

    fn refuse(&self, code: Code, place: Place, message: impl Into<String>) -> JobError {
        self.graph.refuse(code, place, message)
    }

    fn schema(&self, fields: Vec<Field>) -> Result<Schema, JobError> {
        Schema::new(fields).map_err(|SchemaError::Duplicate(column)| {
            let message = format!("the output of `{}` would have two columns `{column}`", self.name());
            self.refuse(Code::ColumnClash, self.place(), message).help(format!(
                "rename the column before, or have the plugin call its own otherwise; the host puts the key, \
                 `{WINDOW_START}` and `{WINDOW_END}` before an aggregate's columns, and `second_` before the name of a join's \
                 column that both inputs have"
            ))
        })
    }

    fn source(&self, source: &SourceSpec, needs: &Needs) -> Result<NodeSchemas, JobError> {
        let (schema, inferred) = match (&source.schema, source.format.fixed_schema()) {
            (Some(fields), _) => (self.schema(fields.clone())?, false),
            (None, Some(fixed)) => (fixed, false),
            (None, None) => {
                let known = source.inferred.clone();
                (self.schema(known.map_or_else(|| needs.infer(self.graph, self.index, source), Ok)?)?, true)
            }
        };
        if let Err(why) = source.format.decoder(&schema, &NoSchemas::shared()) {
            let message = format!("source `{}` cannot be read in its format", self.name());
            return Err(self.refuse(Code::Format, source.place, message).help(why));
        }
        let schema = match &source.metadata[..] {
            [] => schema,
            columns => {
                let known = source.connector.metadata();
                let metadata = columns.iter().map(|(column, index)| Field {
                    nullable: known[*index].nullable,
                    ..Field::new(column.name.as_str(), known[*index].kind)
                });
                self.schema(schema.fields().iter().cloned().chain(metadata).collect())?
            }
        };
        let time = match &source.time.column {
            None => None,
            Some(column) => {
                let index = self.find(&schema, column, "has the time column")?;
                let field = &schema.fields()[index];
                if field.kind != Kind::Int64 || field.nullable {
                    let message =
                        format!("the time column of source `{}` is `{field}`, but must be `i64`", self.name());
                    return Err(self
                        .refuse(Code::TimeColumn, column.place, message)
                        .help("event times are milliseconds since 1970-01-01 UTC, without nulls"));
                }
                Some(index)
            }
        };
        let role = Role::Source { connector: source.kind.clone(), time, inferred };
        Ok(NodeSchemas { input: None, second: None, outputs: vec![schema, rejected_schema()], role })
    }

    fn sink(&self, sink: &SinkSpec) -> Result<NodeSchemas, JobError> {
        let input = self.union(InputSide::First)?;
        let (plugin, shaped) = match self.node().plugins.first() {
            None => (None, input.clone()),
            Some(plugin) => {
                let shaped = match &plugin.description.output {
                    Shape::InputRows => input.clone(),
                    Shape::Columns(fields) => self.schema(fields.clone())?,
                };
                (Some(self.plugin_columns(plugin, (&input, &[]), None, 0)?), shaped)
            }
        };
        let writes: Vec<usize> = match &sink.columns {
            None => (0..shaped.fields().len()).collect(),
            Some(columns) => {
                columns.iter().map(|column| self.find(&shaped, column, "writes")).collect::<Result<_, _>>()?
            }
        };
        let written = self.schema(writes.iter().map(|&index| shaped.fields()[index].clone()).collect())?;
        if let Err(why) = sink.format.encoder(&written) {
            let message = format!("sink `{}` cannot be written in its format", self.name());
            return Err(self.refuse(Code::Format, sink.place, message).help(why));
        }
        for (column, kinds) in sink.connector.reads() {
            let column = ColumnRef { name: column, place: sink.place };
            let field = &shaped.fields()[self.find(&shaped, &column, "reads")?];
            if !kinds.contains(&field.kind) {
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
                let message =
                    format!("`{}` of sink `{}` reads a column `{field}` of another type", sink.kind, self.name());
                let help = format!("it takes {} there", kinds.join(", "));
                return Err(self.refuse(Code::ColumnType, sink.place, message).help(help));
            }
        }
        let role = Role::Sink { connector: sink.kind.clone(), plugin, shaped, writes, written };
        Ok(NodeSchemas { input: Some(input), second: None, outputs: Vec::new(), role })
    }

    /// Where a plugin finds the columns it reads: in the first input, which is given with its key, and in the second.
    fn plugin_columns(
        &self,
        plugin: &Plugin<'_>,
        (input, key): (&Schema, &[ColumnRef]),
        second: Option<(&Schema, &[ColumnRef])>,
        side: usize,
    ) -> Result<PluginColumns, JobError> {
        let mut inputs = plugin.description.inputs.iter();
        let mut read = |schema: &Schema, key: &[ColumnRef]| -> Result<Vec<usize>, JobError> {
            let fields = inputs.next().map_or(&[][..], |fields| fields);
            fields.iter().map(|field| self.read(schema, key, plugin, field)).collect()
        };
        Ok(PluginColumns {
            rule: plugin.rule.map(str::to_owned),
            kind: plugin.kind,
            name: plugin.name(),
            reads: read(input, key)?,
            second_reads: second.map(|(schema, key)| read(schema, key)).transpose()?.unwrap_or_default(),
            keys: self.plugin_keys(plugin, input, key)?,
            side,
        })
    }

    /// The columns of all that an input reads: those of the first, nullable where any is.
    fn union(&self, side: InputSide) -> Result<Schema, JobError> {
        let feeds: Vec<_> = self.node().feeds.iter().filter(|feed| feed.side == side).collect();
        // Reading a job file refuses empty lists of inputs.
        let Some(first) = feeds.first() else { return self.schema(Vec::new()) };
        let schema = &self.done[first.from].outputs[first.output];
        let mut fields = schema.fields().to_vec();
        for feed in &feeds[1..] {
            let other = &self.done[feed.from].outputs[feed.output];
            let mut same = other.fields().len() == fields.len();
            for field in &mut fields {
                let twin = other.index_of(&field.name).map(|index| &other.fields()[index]);
                same &= twin.is_some_and(|twin| twin.kind == field.kind);
                field.nullable |= twin.is_some_and(|twin| twin.nullable);
            }
            if !same {
                let message = format!("the inputs of `{}` have different columns", self.name());
                let help = format!(
                    "`{}` has {schema}, `{}` has {other}; inputs read together have the same names and types",
                    first.input, feed.input
                );
                return Err(self.refuse(Code::UnionSchema, feed.input.place, message).help(help));
            }
        }
        match fields == schema.fields() {
            true => Ok(schema.clone()),
            false => self.schema(fields),
        }
    }

    /// Where the plugin finds a column it reads. Key columns have no nulls: rows with one are rejected before.
    fn read(&self, input: &Schema, key: &[ColumnRef], plugin: &Plugin<'_>, wanted: &Field) -> Result<usize, JobError> {
        let place = plugin.place;
        let (plugin, name) = (&plugin.description.name, self.name());
        let runner = match self.node().part {
            Part::Sink(_) => "sink",
            Part::Source(_) | Part::Operator(_) => "operator",
        };
        let Some(index) = input.index_of(&wanted.name) else {
            let message =
                format!("plugin `{plugin}` of {runner} `{name}` reads a column `{wanted}`, which is not there");
            return Err(self.refuse(Code::NoColumn, place, message).help(self.hint(&wanted.name, input)));
        };
        let field = &input.fields()[index];
        let message = format!("plugin `{plugin}` of {runner} `{name}` reads a column `{wanted}`, but it is `{field}`");
        if field.kind != wanted.kind {
            let help = format!("the columns there are: {input}");
            return Err(self.refuse(Code::ColumnType, place, message).help(help));
        }
        let is_key = key.iter().any(|column| column.name == *wanted.name);
        if field.nullable && !wanted.nullable && !is_key {
            let help = "the plugin takes no nulls: have it read a nullable column, or remove the rows with null before";
            return Err(self.refuse(Code::ColumnType, place, message).help(help));
        }
        Ok(index)
    }

    /// A plugin may ask to see key columns: those must be among the operator's. Their places in the key.
    fn plugin_keys(&self, plugin: &Plugin<'_>, input: &Schema, key: &[ColumnRef]) -> Result<Vec<usize>, JobError> {
        let mut places = Vec::with_capacity(plugin.description.keys.len());
        for wanted in &plugin.description.keys {
            let Some(place) = key.iter().position(|column| column.name == *wanted.name) else {
                let message = format!(
                    "plugin `{}` of operator `{}` reads a key column `{wanted}`, which is not in its key",
                    plugin.description.name,
                    self.name()
                );
                let help = format!("add `{}` to `key:`", wanted.name);
                return Err(self.refuse(Code::NoColumn, plugin.place, message).help(help));
            };
            self.read(input, key, plugin, wanted)?;
            places.push(place);
        }
        Ok(places)
    }

    fn find(&self, schema: &Schema, column: &ColumnRef, what: &str) -> Result<usize, JobError> {
        schema.index_of(&column.name).ok_or_else(|| {
            let message = format!("`{}` {what} `{column}`, which is not there", self.name());
            self.refuse(Code::NoColumn, column.place, message).help(self.hint(&column.name, schema))
        })
    }

    /// What to do about a missing column.
    fn hint(&self, name: &str, schema: &Schema) -> String {
        let columns: Vec<Arc<str>> = schema.fields().iter().map(|field| field.name.clone()).collect();
        let near = suggest(name, columns.iter().map(|column| &**column), "");
        let mut hint = match near.starts_with("did") {
            true => format!("{near} The columns there are: {schema}"),
            false => format!("the columns there are: {schema}"),
        };
        if let Some(source) = self.inferred_source() {
            hint.push_str(&format!(
                "; source `{source}` has only the columns the plugins that read it name: write its `schema:` for more"
            ));
        }
        hint
    }

    /// A source above, or this one, that has only the columns asked for.
    fn inferred_source(&self) -> Option<&str> {
        let (mut seen, mut open) = (vec![false; self.graph.nodes.len()], vec![self.index]);
        while let Some(index) = open.pop() {
            if self.done.get(index).is_some_and(|node| matches!(node.role, Role::Source { inferred: true, .. })) {
                return Some(self.graph.nodes[index].name);
            }
            for feed in &self.graph.nodes[index].feeds {
                if !std::mem::replace(&mut seen[feed.from], true) {
                    open.push(feed.from);
                }
            }
        }
        None
    }
}
