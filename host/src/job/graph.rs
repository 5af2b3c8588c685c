//! Who reads what: the parts of a job as a graph without cycles, in an order in which everything comes after what it reads.
//! Knows nothing of schemas.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    CheckpointMode, Code, FailureAction, FailureSpec, InputRef, JobError, JobSpec, OperatorSpec, Place, PluginSpec,
    RestartStrategy, SinkSpec, SourceSpec, StepSpec,
    error::{list, suggest},
    plan::{InputSide, LATE, REJECTED},
    rule_name,
};
use crate::{
    connector::Delivery,
    model::{Description, OperatorKind, Shape},
};

/// What the plugins of a job say of themselves, by the names of the operators and sinks that run them and the kinds they are
/// there for.
pub type Descriptions = BTreeMap<(String, OperatorKind), Description>;

/// A part of the job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Source(&'a SourceSpec),
    Operator(&'a OperatorSpec),
    Sink(&'a SinkSpec),
}

impl<'a> Part<'a> {
    pub fn place(self) -> Place {
        match self {
            Part::Source(source) => source.place,
            Part::Operator(operator) => operator.place,
            Part::Sink(sink) => sink.place,
        }
    }

    fn inputs(self) -> impl Iterator<Item = (InputSide, &'a InputRef)> {
        let (first, second): (&'a [InputRef], &'a [InputRef]) = match self {
            Part::Source(_) => (&[], &[]),
            Part::Operator(operator) => {
                (&operator.inputs, operator.second.as_ref().map_or(&[], |second| &second.inputs))
            }
            Part::Sink(sink) => (&sink.inputs, &[]),
        };
        first.iter().map(|input| (InputSide::First, input)).chain(second.iter().map(|input| (InputSide::Second, input)))
    }

    /// In the order rows go through them, the trigger's last.
    fn plugins(self) -> Vec<Asked<'a>> {
        let own = |(kind, plugin)| Asked { rule: None, kind, plugin };
        match self {
            Part::Source(_) => Vec::new(),
            Part::Operator(operator) => {
                let rules = operator.rules().into_iter().flat_map(|rules| &rules.rules).flat_map(|(rule, spec)| {
                    let of_rule = move |(kind, plugin)| Asked { rule: Some(rule.as_str()), kind, plugin };
                    spec.plugins().into_iter().map(of_rule)
                });
                operator.plugins().into_iter().map(own).chain(rules).collect()
            }
            Part::Sink(sink) => sink.plugin.iter().map(|plugin| own((OperatorKind::Sink, plugin))).collect(),
        }
    }

    /// What becomes of failed calls, of each that runs plugins.
    fn failures(self) -> Vec<&'a FailureSpec> {
        match self {
            Part::Source(_) => Vec::new(),
            Part::Operator(operator) => match operator.rules() {
                Some(rules) => rules.rules.values().map(|rule| &rule.on_failure).collect(),
                None => vec![&operator.on_failure],
            },
            Part::Sink(sink) => vec![&sink.on_failure],
        }
    }

    /// Whether rows that are too late can be read. A join has none to show: which side's would they be?
    pub fn shows_late_rows(self) -> bool {
        matches!(self, Part::Operator(OperatorSpec { window: Some(window), step, .. })
            if window.has_late_rows() && *step != StepSpec::WindowJoin)
    }
}

/// A plugin a node is to run.
struct Asked<'a> {
    rule: Option<&'a str>,
    kind: OperatorKind,
    plugin: &'a PluginSpec,
}

/// A plugin a node runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plugin<'a> {
    /// Which of the node's rules, if it has any.
    pub rule: Option<&'a str>,
    pub kind: OperatorKind,
    pub place: Place,
    pub description: &'a Description,
}

impl Plugin<'_> {
    /// Name and version.
    pub fn name(&self) -> String {
        format!("{} {}", self.description.name, self.description.version)
    }
}

#[derive(Debug)]
pub(super) struct Node<'a> {
    pub name: &'a str,
    pub part: Part<'a>,
    /// In the order rows go through them, the trigger's last.
    pub plugins: Vec<Plugin<'a>>,
    /// Those of the first input, then those of the second.
    pub feeds: Vec<Feed<'a>>,
}

impl<'a> Node<'a> {
    /// The outputs in the order of their indices; the main one has no name.
    pub fn outputs(&self) -> Vec<Option<&'a str>> {
        match self.part {
            Part::Source(_) => vec![None, Some(REJECTED)],
            Part::Operator(_) => std::iter::once(None)
                .chain(self.plugins.iter().flat_map(|plugin| &plugin.description.side_outputs).map(|s| Some(&*s.name)))
                .chain(self.part.shows_late_rows().then_some(Some(LATE)))
                .chain([Some(REJECTED)])
                .collect(),
            Part::Sink(_) => Vec::new(),
        }
    }
}

/// An input of a node, resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feed<'a> {
    /// Index of the node that is read.
    pub from: usize,
    /// Index of its output.
    pub output: usize,
    pub side: InputSide,
    pub input: &'a InputRef,
}

#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub spec: &'a JobSpec,
    /// Each after all that it reads, otherwise as in the file.
    pub nodes: Vec<Node<'a>>,
}

impl<'a> Graph<'a> {
    pub fn new(spec: &'a JobSpec, descriptions: &'a Descriptions) -> Result<Graph<'a>, JobError> {
        let sources = spec.sources.iter().map(|(name, source)| (name, Part::Source(source)));
        let operators = spec.operators.iter().map(|(name, operator)| (name, Part::Operator(operator)));
        let sinks = spec.sinks.iter().map(|(name, sink)| (name, Part::Sink(sink)));
        let mut nodes = Vec::new();
        for (name, part) in sources.chain(operators).chain(sinks) {
            nodes.push(Node { name, part, plugins: plugins(spec, name, part, descriptions)?, feeds: Vec::new() });
        }
        let mut graph = Graph { spec, nodes };
        let indices: HashMap<&str, usize> = graph.nodes.iter().enumerate().map(|(i, node)| (node.name, i)).collect();
        for reader in 0..graph.nodes.len() {
            let inputs = graph.nodes[reader].part.inputs();
            graph.nodes[reader].feeds =
                inputs.map(|(side, input)| graph.resolve(&indices, side, input)).collect::<Result<_, _>>()?;
        }
        graph.sort()?;
        graph.check_dead_letters()?;
        Ok(graph)
    }

    /// Dead letters are for somebody to read.
    fn check_dead_letters(&self) -> Result<(), JobError> {
        for (index, node) in self.nodes.iter().enumerate() {
            let letters = |it: &&FailureSpec| it.action == FailureAction::DeadLetter;
            let Some(FailureSpec { place, .. }) = node.part.failures().into_iter().find(letters) else { continue };
            let rejected = node.outputs().iter().position(|name| *name == Some(REJECTED));
            let is_read = self
                .nodes
                .iter()
                .flat_map(|node| &node.feeds)
                .any(|feed| feed.from == index && Some(feed.output) == rejected);
            if is_read {
                continue;
            }
            let name = node.name;
            let (message, help) = match rejected {
                Some(_) => (
                    format!("nothing reads the dead letters of `{name}`"),
                    format!("read `{name}.rejected`, such as in a sink, or write `on_failure: skip`"),
                ),
                None => (
                    format!("sink `{name}` has no output for dead letters"),
                    "write `on_failure: skip`, or have an operator before the sink do what may fail".to_owned(),
                ),
            };
            return Err(self.refuse(Code::Failures, *place, message).help(help));
        }
        Ok(())
    }

    pub fn refuse(&self, code: Code, place: Place, message: impl Into<String>) -> JobError {
        JobError::new(code, &self.spec.file, place, message)
    }

    fn resolve(
        &self,
        indices: &HashMap<&str, usize>,
        side: InputSide,
        input: &'a InputRef,
    ) -> Result<Feed<'a>, JobError> {
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
        let outputs = self.nodes[from].outputs();
        match outputs.iter().position(|name| *name == input.output.as_deref()) {
            Some(output) => Ok(Feed { from, output, side, input }),
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

    /// What is allowed but probably not meant, in words.
    pub fn warnings(&self) -> Vec<String> {
        let read: BTreeSet<(usize, usize)> =
            self.nodes.iter().flat_map(|node| &node.feeds).map(|feed| (feed.from, feed.output)).collect();
        let mut warnings = Vec::new();
        if self.spec.checkpoints.is_none() && self.spec.restart != RestartStrategy::None {
            warnings.push("without checkpoints a restart begins anew: everything is read and written again".to_owned());
        }
        for (index, node) in self.nodes.iter().enumerate() {
            match node.part {
                Part::Source(source) => warnings.extend(self.source_warnings(node.name, source)),
                Part::Sink(sink) => warnings.extend(self.sink_warning(node.name, sink)),
                Part::Operator(_) => {}
            }
            let outputs = node.outputs();
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

    fn source_warnings(&self, name: &str, source: &SourceSpec) -> Vec<String> {
        let mut warnings = Vec::new();
        // Only what was asked for on purpose: the job's parallelism may well be more than one of its sources can use.
        let parallelism = source.parallelism.unwrap_or(1);
        if let Some(parts) = source.connector.parallelism_max().filter(|&parts| parts < parallelism as usize) {
            warnings.push(format!(
                "source `{name}` can be read in at most {parts} part(s), so that of its {parallelism} subtasks the others get \
                 nothing"
            ));
        }
        if source.at_most_once && self.spec.checkpoints.is_some() {
            warnings.push(format!(
                "source `{name}` delivers at most once: a failure loses the records it has read since the last checkpoint"
            ));
        }
        warnings
    }

    fn sink_warning(&self, name: &str, sink: &SinkSpec) -> Option<String> {
        let exactly_once = self.spec.checkpoints.as_ref()?.mode == CheckpointMode::ExactlyOnce;
        let what = match sink.connector.delivery() {
            Delivery::ExactlyOnce => return None,
            Delivery::AtLeastOnce => {
                "writes at least once: after a failure, rows since the last checkpoint may be there twice"
            }
            Delivery::AtMostOnce => "writes at most once: in a failure, rows may be lost",
        };
        exactly_once.then(|| format!("sink `{name}` {what}"))
    }
}

/// A node's plugins, if they are such as it can run.
fn plugins<'a>(
    spec: &JobSpec,
    name: &str,
    part: Part<'a>,
    descriptions: &'a Descriptions,
) -> Result<Vec<Plugin<'a>>, JobError> {
    let mut sides = BTreeSet::from([LATE, REJECTED]);
    let mut plugins = Vec::new();
    for Asked { rule, kind, plugin } in part.plugins() {
        let place = plugin.place;
        let refuse = |message: String| JobError::new(Code::Plugin, &spec.file, place, message);
        let what = match kind {
            _ if let Some(rule) = rule => format!("rule `{rule}` of operator `{name}`"),
            OperatorKind::Trigger => format!("the trigger of operator `{name}`"),
            OperatorKind::Sink => format!("sink `{name}`"),
            _ => format!("operator `{name}`"),
        };
        let runs = rule.map_or_else(|| name.to_owned(), |rule| rule_name(name, rule));
        let Some(description) = descriptions.get(&(runs, kind)) else {
            return Err(refuse(format!("the plugin of {what} is not described")));
        };
        check_kind(&what, kind, description).map_err(|(message, help)| {
            let of_rule = "choose another plugin: a rule is `transform` or `keyed_process`".to_owned();
            refuse(message).help(if rule.is_some() { of_rule } else { help })
        })?;
        if rule.is_some() && !description.side_outputs.is_empty() {
            let message = format!("plugin `{}` has side outputs, which a rule cannot have", description.name);
            return Err(refuse(message).help("rules write the main output of their operator, and what they reject"));
        }
        for side in &description.side_outputs {
            if !sides.insert(&side.name) {
                return Err(refuse(format!("plugin `{}` cannot have a side output `{}`", description.name, side.name))
                    .help("side outputs have distinct names, and `late` and `rejected` are the host's own"));
            }
        }
        plugins.push(Plugin { rule, kind, place, description });
    }
    Ok(plugins)
}

/// Whether a plugin can run as this kind, or why not and what helps.
fn check_kind(what: &str, wanted: OperatorKind, description: &Description) -> Result<(), (String, String)> {
    let plugin = &description.name;
    let word = |kind: OperatorKind| kind.interface().replace('-', "_");
    let (step, own) = (word(wanted), word(description.kind));
    if description.kind != wanted && matches!(wanted, OperatorKind::Trigger | OperatorKind::Sink) {
        let message = format!("{what} needs a plugin that is `{step}`, but `{plugin}` is `{own}`");
        return Err((message, "choose another plugin".to_owned()));
    }
    if description.kind != wanted {
        let help = match description.kind {
            OperatorKind::Trigger => "a trigger belongs into `window: { trigger: { plugin: ... } }`".to_owned(),
            OperatorKind::Sink => "it belongs into a sink, beside the connector".to_owned(),
            OperatorKind::AsyncFunction => "choose another plugin: jobs do not run `async_function`".to_owned(),
            _ => format!("write `{own}: {{ plugin: ... }}`, or choose another plugin"),
        };
        return Err((format!("{what} is `{step}`, but plugin `{plugin}` is `{own}`"), help));
    }
    let two = matches!(wanted, OperatorKind::ConnectedProcess | OperatorKind::BroadcastProcess);
    let (inputs, fits) = (description.inputs.len(), if two { 2 } else { 1 });
    let help = || "choose another plugin, or correct what this one says of itself".to_owned();
    if inputs != fits {
        return Err((format!("plugin `{plugin}` describes {inputs} inputs; a `{step}` has {fits}"), help()));
    }
    let mut shapes =
        std::iter::once(&description.output).chain(description.side_outputs.iter().map(|side| &side.shape));
    let of_windows = matches!(wanted, OperatorKind::Aggregate | OperatorKind::ProcessWindow);
    if of_windows && shapes.any(|shape| *shape == Shape::InputRows) {
        let message =
            format!("plugin `{plugin}` puts out rows of its input, but a `{step}` puts out what windows come to");
        return Err((message, help()));
    }
    if matches!(wanted, OperatorKind::Trigger | OperatorKind::Sink) && !description.side_outputs.is_empty() {
        return Err((format!("plugin `{plugin}` has side outputs, which a `{step}` cannot have"), help()));
    }
    Ok(())
}
