//! The columns of a source that declares none: what the plugins that read it ask for. What a plugin passes on as it is, its
//! readers ask for too.
use super::{
    Code, ColumnRef, JobError, SourceSpec,
    graph::{Graph, Node, Part, Plugin},
    plan::InputSide,
};
use crate::model::{Field, Kind, OperatorKind, Shape};

/// A column someone reads.
#[derive(Clone, Debug)]
struct Need {
    field: Field,
    /// The operator that reads it.
    reader: usize,
}

/// What is asked of each output, as (output, need) per node, in the order of the readers.
#[derive(Debug)]
pub(super) struct Needs(Vec<Vec<(usize, Need)>>);

impl Needs {
    pub fn of(graph: &Graph<'_>) -> Needs {
        let mut asked: Vec<Vec<Vec<(usize, Need)>>> = vec![Vec::new(); graph.nodes.len()];
        let mut needs = vec![Vec::new(); graph.nodes.len()];
        // Readers come after what they read, so that from the end each node's readers are known.
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            // Readers were met from the last to the first.
            let mut own: Vec<(usize, Need)> = Vec::new();
            for (output, need) in asked[index].drain(..).rev().flatten() {
                let known = |(o, n): &(usize, Need)| *o == output && n.field == need.field;
                if !own.iter().any(known) {
                    own.push((output, need));
                }
            }
            let (first, second) = input_needs(node, index, &own);
            for feed in &node.feeds {
                let input = match feed.side {
                    InputSide::First => &first,
                    InputSide::Second => &second,
                };
                asked[feed.from].push(input.iter().map(|need| (feed.output, need.clone())).collect());
            }
            needs[index] = own;
        }
        Needs(needs)
    }

    /// The columns asked of a source's main output, each once.
    pub fn infer(&self, graph: &Graph<'_>, index: usize, source: &SourceSpec) -> Result<Vec<Field>, JobError> {
        let name = graph.nodes[index].name;
        let mut found: Vec<Need> = Vec::new();
        for (_, need) in self.0[index].iter().filter(|(output, _)| *output == 0) {
            match found.iter_mut().find(|other| other.field.name == need.field.name) {
                None => found.push(need.clone()),
                Some(other) if other.field.kind == need.field.kind => {
                    other.field.nullable &= need.field.nullable;
                }
                Some(other) => {
                    let (first, second) = (graph.nodes[other.reader].name, graph.nodes[need.reader].name);
                    let message = format!(
                        "operators disagree on a column of source `{name}`: `{first}` reads `{}`, `{second}` reads `{}`",
                        other.field, need.field
                    );
                    return Err(graph
                        .refuse(Code::ColumnType, source.place, message)
                        .help("have one of the plugins read a column of another name, or put a transform before it"));
                }
            }
        }
        found.retain(|need| !source.metadata.iter().any(|(column, _)| *column.name == *need.field.name));
        if found.is_empty() {
            let message = format!("the columns of source `{name}` are not known: no plugin that reads it names any");
            return Err(graph
                .refuse(Code::NoSchema, source.place, message)
                .help("write its columns and their types, such as `schema: { id: i64, name: string? }`"));
        }
        let mut fields: Vec<Field> = found.into_iter().map(|need| need.field).collect();
        let metadata = source.metadata.iter().map(|(column, _)| column.name.as_str());
        let known: Vec<String> = fields.iter().map(|field| &*field.name).chain(metadata).map(str::to_owned).collect();
        if let Some(time) = source.time.column.as_ref().filter(|time| !known.contains(&time.name)) {
            fields.push(Field::new(time.name.as_str(), Kind::Int64));
        }
        Ok(fields)
    }
}

/// What a node asks of its first and its second input, given what is asked of its outputs.
fn input_needs(node: &Node<'_>, index: usize, asked: &[(usize, Need)]) -> (Vec<Need>, Vec<Need>) {
    let need = |field: &Field| Need { field: field.clone(), reader: index };
    let (key, second_key): (&[ColumnRef], &[ColumnRef]) = match node.part {
        Part::Operator(operator) => (&operator.key, operator.second.as_ref().map_or(&[], |second| &second.key)),
        Part::Source(_) | Part::Sink(_) => (&[], &[]),
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    // The shapes of the main output and of the side outputs.
    let mut shapes = vec![false];
    let aggregates = node.plugins.iter().any(|plugin| plugin.kind == OperatorKind::Aggregate);
    for Plugin { rule, kind, description, .. } in &node.plugins {
        if !(aggregates && *kind == OperatorKind::ProcessWindow) {
            first.extend(description.inputs.first().into_iter().flatten().map(need));
        }
        second.extend(description.inputs.get(1).into_iter().flatten().map(need));
        for field in &description.keys {
            if let Some(place) = key.iter().position(|column| column.name == *field.name) {
                first.push(need(field));
                // The other side has the same values under a name of its own.
                let twin = second_key.get(place);
                second.extend(twin.map(|column| need(&Field { name: column.name.as_str().into(), ..field.clone() })));
            }
        }
        if *kind != OperatorKind::Trigger {
            // Of rules any may pass rows on, of other plugins the last one.
            shapes[0] = description.output == Shape::InputRows || (rule.is_some() && shapes[0]);
        }
        shapes.extend(description.side_outputs.iter().map(|side| side.shape == Shape::InputRows));
    }
    // Late rows are the input's; rejected ones have columns of their own.
    shapes.push(node.part.shows_late_rows());
    let passed_on = asked.iter().filter(|(output, _)| shapes.get(*output).is_some_and(|passes_on| *passes_on));
    first.extend(passed_on.map(|(_, need)| need.clone()));
    (first, second)
}
