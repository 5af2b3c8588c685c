//! Who reads what: the parts of a job as a graph without cycles, in an order in which everything comes after what it reads.
//! Knows nothing of schemas.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Code, InputRef, JobError, JobSpec, OperatorSpec, Place, SinkSpec, SourceSpec,
    error::{list, suggest},
    plan::{LATE, REJECTED},
};
use crate::model::{Description, OperatorKind};

/// A part of the job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Source(&'a SourceSpec),
    Operator(&'a OperatorSpec, &'a Description),
    Sink(&'a SinkSpec),
}

impl<'a> Part<'a> {
    pub fn place(self) -> Place {
        match self {
            Part::Source(source) => source.place,
            Part::Operator(operator, _) => operator.place,
            Part::Sink(sink) => sink.place,
        }
    }

    fn inputs(self) -> &'a [InputRef] {
        match self {
            Part::Source(_) => &[],
            Part::Operator(operator, _) => &operator.inputs,
            Part::Sink(sink) => &sink.inputs,
        }
    }

    /// The outputs in the order of their indices; the main one has no name.
    pub fn outputs(self) -> Vec<Option<&'a str>> {
        match self {
            Part::Source(_) => vec![None, Some(REJECTED)],
            Part::Operator(operator, description) => std::iter::once(None)
                .chain(description.side_outputs.iter().map(|side| Some(side.name.as_str())))
                .chain(operator.window.map(|_| Some(LATE)))
                .chain([Some(REJECTED)])
                .collect(),
            Part::Sink(_) => Vec::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Node<'a> {
    pub name: &'a str,
    pub part: Part<'a>,
    pub feeds: Vec<Feed<'a>>,
}

/// An input of a node, resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed<'a> {
    /// Index of the node that is read.
    pub from: usize,
    /// Index of its output.
    pub output: usize,
    pub input: &'a InputRef,
}

#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub spec: &'a JobSpec,
    /// Each after all that it reads, otherwise as in the file.
    pub nodes: Vec<Node<'a>>,
}

impl<'a> Graph<'a> {
    pub fn new(spec: &'a JobSpec, descriptions: &'a BTreeMap<String, Description>) -> Result<Graph<'a>, JobError> {
        let mut nodes = Vec::new();
        let mut add = |name: &'a String, part| nodes.push(Node { name, part, feeds: Vec::new() });
        spec.sources.iter().for_each(|(name, source)| add(name, Part::Source(source)));
        for (name, operator) in &spec.operators {
            add(name, Part::Operator(operator, checked(spec, name, operator, descriptions.get(name))?));
        }
        spec.sinks.iter().for_each(|(name, sink)| add(name, Part::Sink(sink)));

        let mut graph = Graph { spec, nodes };
        let indices: HashMap<&str, usize> = graph.nodes.iter().enumerate().map(|(i, node)| (node.name, i)).collect();
        for reader in 0..graph.nodes.len() {
            let inputs = graph.nodes[reader].part.inputs();
            graph.nodes[reader].feeds =
                inputs.iter().map(|input| graph.resolve(&indices, input)).collect::<Result<_, _>>()?;
        }
        graph.sort()?;
        Ok(graph)
    }

    pub fn refuse(&self, code: Code, place: Place, message: impl Into<String>) -> JobError {
        JobError::new(code, &self.spec.file, place, message)
    }

    fn resolve(&self, indices: &HashMap<&str, usize>, input: &'a InputRef) -> Result<Feed<'a>, JobError> {
        let found = indices.get(input.node.as_str()).copied();
        let Some(from) = found.filter(|&from| !matches!(self.nodes[from].part, Part::Sink(_))) else {
            let readable = self.nodes.iter().filter(|node| !matches!(node.part, Part::Sink(_))).map(|node| node.name);
            let message = match found {
                Some(_) => format!("`{}` is a sink, which has no output to read", input.node),
                None => format!("there is no source or operator `{}`", input.node),
            };
            let help = suggest(&input.node, readable, "sources and operators");
            return Err(self.refuse(Code::UnknownInput, input.place, message).help(help));
        };
        let outputs = self.nodes[from].part.outputs();
        match outputs.iter().position(|name| *name == input.output.as_deref()) {
            Some(output) => Ok(Feed { from, output, input }),
            None => {
                let wanted = input.output.as_deref().unwrap_or_default();
                let message = format!("`{}` has no side output `{wanted}`", input.node);
                let help = suggest(wanted, outputs.into_iter().flatten(), "side outputs it has");
                Err(self.refuse(Code::UnknownOutput, input.place, message).help(help))
            }
        }
    }

    /// Puts every node after all that it reads.
    fn sort(&mut self) -> Result<(), JobError> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        let mut waits: Vec<usize> = self.nodes.iter().map(|node| node.feeds.len()).collect();
        for (reader, node) in self.nodes.iter().enumerate() {
            node.feeds.iter().for_each(|feed| readers[feed.from].push(reader));
        }
        let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|&node| waits[node] == 0).collect();
        let mut order = Vec::with_capacity(waits.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for &reader in &readers[node] {
                waits[reader] -= 1;
                if waits[reader] == 0 {
                    ready.insert(reader);
                }
            }
        }
        if let Some(stuck) = waits.iter().position(|&wait| wait > 0) {
            return Err(self.cycle(stuck, &waits));
        }
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, &old)| place[old] = new);
        let mut old: Vec<Option<Node<'a>>> = self.nodes.drain(..).map(Some).collect();
        for index in order {
            // Each index occurs once in the order.
            let Some(mut node) = old[index].take() else { continue };
            node.feeds.iter_mut().for_each(|feed| feed.from = place[feed.from]);
            self.nodes.push(node);
        }
        Ok(())
    }

    /// Follows inputs that are stuck until one comes a second time.
    fn cycle(&self, stuck: usize, waits: &[usize]) -> JobError {
        let mut path = vec![stuck];
        let start = loop {
            let node = path[path.len() - 1];
            // A node that waits has an input that waits.
            let next =
                self.nodes[node].feeds.iter().map(|feed| feed.from).find(|&from| waits[from] > 0).unwrap_or(node);
            match path.iter().position(|&seen| seen == next) {
                Some(start) => break start,
                None => path.push(next),
            }
        };
        let mut names: Vec<&str> = path[start..].iter().rev().map(|&node| self.nodes[node].name).collect();
        let place = self.nodes[path[start]].part.place();
        let message = match names.as_slice() {
            [name] => format!("`{name}` reads its own output"),
            _ => {
                names.push(names[0]);
                format!("these feed each other in a circle: {}", names.join(" -> "))
            }
        };
        self.refuse(Code::Cycle, place, message).help("read from a source or an operator further up")
    }

    /// What nobody reads, in words.
    pub fn warnings(&self) -> Vec<String> {
        let read: BTreeSet<(usize, usize)> =
            self.nodes.iter().flat_map(|node| &node.feeds).map(|feed| (feed.from, feed.output)).collect();
        let mut warnings = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if let Part::Source(source) = node.part {
                // Only what was asked for on purpose: the job's parallelism may well be more than one of its sources can use.
                let parallelism = source.parallelism.unwrap_or(1);
                if let Some(parts) = source.connector.parallelism_max().filter(|&parts| parts < parallelism as usize) {
                    warnings.push(format!(
                        "source `{}` can be read in at most {parts} part(s), so that of its {parallelism} subtasks the others \
                         get nothing",
                        node.name
                    ));
                }
            }
            let outputs = node.part.outputs();
            let unread: Vec<String> = (outputs.iter().enumerate())
                // `late` and `rejected` are there for those who want them.
                .filter(|(_, name)| !matches!(name, Some(LATE | REJECTED)))
                .filter(|(output, _)| !read.contains(&(index, *output)))
                .map(|(_, name)| name.map_or(node.name.to_owned(), |name| format!("{}.{name}", node.name)))
                .collect();
            if !unread.is_empty() {
                warnings.push(format!("nothing reads {}: these rows are dropped", list(&unread)));
            }
        }
        warnings
    }
}

/// The description of an operator, if it is one that this step can run.
fn checked<'a>(
    spec: &JobSpec,
    name: &str,
    operator: &OperatorSpec,
    description: Option<&'a Description>,
) -> Result<&'a Description, JobError> {
    let place = operator.step.plugin().place;
    let refuse = |message: String| JobError::new(Code::Plugin, &spec.file, place, message);
    let Some(description) = description else {
        return Err(refuse(format!("the plugin of operator `{name}` is not described")));
    };
    let (plugin, wanted) = (&description.name, operator.step.kind());
    if description.kind != wanted {
        let step = description.kind.interface().replace('-', "_");
        let error = refuse(format!("operator `{name}` is `{}`, but plugin `{plugin}` is `{step}`", wanted.interface()));
        return Err(match description.kind {
            OperatorKind::Transform | OperatorKind::Aggregate => {
                error.help(format!("write `{step}: {{ plugin: ... }}`, or choose another plugin"))
            }
            _ => error.help("choose another plugin: jobs can run `transform` and `aggregate` so far"),
        });
    }
    if description.inputs.len() != 1 {
        let inputs = description.inputs.len();
        return Err(refuse(format!("plugin `{plugin}` describes {inputs} inputs; a {} has 1", wanted.interface())));
    }
    let mut names = BTreeSet::from([LATE, REJECTED]);
    match description.side_outputs.iter().find(|side| !names.insert(&side.name)) {
        None => Ok(description),
        Some(side) => Err(refuse(format!("plugin `{plugin}` cannot have a side output `{}`", side.name))
            .help("side outputs have distinct names, and `late` and `rejected` are the host's own")),
    }
}
