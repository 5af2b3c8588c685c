//! Everything that can go wrong before anything runs: plugins are found, built, compiled and asked what they are, and the job is
//! planned and checked against what they say.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{BoundCanary, PluginSource, RunError, SourceError, rules::apply};
use crate::{
    job::{
        CapabilitiesSpec, Descriptions, JobSpec, LimitsSpec, Plan, PlanNode, PluginRef, PluginSpec, Role, Variables,
        fill, plan,
    },
    model::{Clock, OperatorKind, OperatorVersion},
    plugin::{Budget, Grants, Instance, Limits, LoadError, Placement, Plugin},
};

/// The operator, its rule (`operator:rule`) or the sink, and as what its plugin is run.
pub type PluginId = (String, OperatorKind);

/// A plugin, and what it is told.
#[derive(Clone)]
pub struct Bound {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// A JSON object, as it is written: its variables are not filled in.
    pub configuration: String,
    /// What these stand for.
    pub variables: Variables,
}

impl Bound {
    /// A configured instance, ready for data. What it says of its configuration has no values of variables in it, as far as it quotes them.
    pub(super) fn instantiate(
        &self,
        kind: OperatorKind,
        placement: Placement,
        limits: Limits,
    ) -> Result<Instance, LoadError> {
        let written: serde_json::Value =
            serde_json::from_str(&self.configuration).map_err(|error| LoadError::Configuration(error.to_string()))?;
        let filled = fill(&written, &self.variables).map_err(LoadError::Variable)?;
        // Where nothing is filled in it is given as it is, to the last digit.
        let configuration = match filled.configuration == written {
            true => self.configuration.clone(),
            false => filled.configuration.to_string(),
        };
        let instance = self.plugin.instantiate(kind, &configuration, placement, limits);
        instance.map_err(|error| match error {
            LoadError::Configuration(what) => LoadError::Configuration(filled.hide(what)),
            LoadError::Start(what) => LoadError::Start(filled.hide(what)),
            other => other,
        })
    }
}

/// A job that can be started.
#[derive(Clone)]
pub struct Prepared {
    /// What was asked for.
    pub spec: Arc<JobSpec>,
    /// The plugins of each operator and sink.
    pub plugins: BTreeMap<PluginId, Bound>,
    /// How it will run.
    pub plan: Plan,
    /// Other versions of operators that have a share of their keys. A job file has none.
    pub canaries: BTreeMap<PluginId, BoundCanary>,
}

/// A plugin a job asks for.
struct Wanted<'a> {
    /// The operator, rule or sink.
    name: String,
    kind: OperatorKind,
    plugin: &'a PluginSpec,
    limits: &'a LimitsSpec,
    /// In messages.
    place: String,
}

impl Wanted<'_> {
    fn id(&self) -> PluginId {
        (self.name.clone(), self.kind)
    }

    fn error(&self, error: LoadError) -> RunError {
        let plugin = self.plugin.plugin.to_string();
        RunError::Plugin { place: self.place.clone(), operator: self.name.clone(), plugin, error }
    }
}

/// Prepares a job.
pub fn prepare(mut spec: JobSpec, source: &dyn PluginSource) -> Result<Prepared, RunError> {
    let wanted = wanted(&spec);
    let mut loaded: HashMap<&PluginRef, Arc<Plugin>> = HashMap::new();
    let mut plugins = BTreeMap::new();
    for one in &wanted {
        let plugin = match loaded.get(&one.plugin.plugin) {
            Some(plugin) => plugin.clone(),
            None => {
                let plugin = source.load(&one.plugin.plugin).map_err(|error| match error {
                    SourceError::Build(error) => {
                        RunError::Build { place: one.place.clone(), operator: one.name.clone(), error }
                    }
                    SourceError::Load(error) => one.error(error),
                })?;
                loaded.insert(&one.plugin.plugin, plugin.clone());
                plugin
            }
        };
        let (configuration, variables) = (configuration(one.plugin), spec.variables.clone());
        plugins.insert(one.id(), Bound { plugin, configuration, variables });
    }
    let plan = plan(&spec, &descriptions(&plugins))?;
    for one in &wanted {
        try_configuration(&one.name, one.kind, one.limits, &plugins[&one.id()]).map_err(|error| one.error(error))?;
    }
    drop(wanted);
    pin(&mut spec, &plan);
    Ok(Prepared { spec: Arc::new(spec), plugins, plan, canaries: BTreeMap::new() })
}

impl Prepared {
    /// The same job with other plugins in place of those it has under these names, and its canaries. Fails if it cannot be planned with them.
    pub fn with(&self, replaced: impl IntoIterator<Item = (PluginId, Bound)>) -> Result<Prepared, RunError> {
        self.with_rules([], replaced)
    }

    /// The same, after rules were added or removed as these versions say. The plugins of those that were added are among `replaced`.
    pub(super) fn with_rules<'a>(
        &self,
        changed: impl IntoIterator<Item = &'a OperatorVersion>,
        replaced: impl IntoIterator<Item = (PluginId, Bound)>,
    ) -> Result<Prepared, RunError> {
        let (mut spec, mut plugins) = (self.spec.clone(), self.plugins.clone());
        apply(changed, &mut spec, &mut plugins)?;
        plugins.extend(replaced);
        let plan = plan(&spec, &descriptions(&plugins))?;
        let mut canaries = self.canaries.clone();
        canaries.retain(|id, _| plugins.contains_key(id));
        Ok(Prepared { spec, plugins, plan, canaries })
    }

    /// Limits on the plugins of an operator, rule or sink.
    pub fn limits(&self, name: &str) -> LimitsSpec {
        let operator = self.spec.operator(name).map(|operator| operator.limits);
        operator.or_else(|| self.spec.sinks.get(name).map(|sink| sink.limits)).unwrap_or_default()
    }

    /// Where an instance of a plugin of this operator, rule or sink runs, and what it is granted there.
    pub(super) fn placement(&self, node: &PlanNode, subtask: u32, clock: &Arc<dyn Clock>) -> Placement {
        let granted = self.spec.operator(&node.name).map(|operator| operator.capabilities);
        let sink = || self.spec.sinks.get(&node.name).map(|sink| sink.capabilities);
        let CapabilitiesSpec { clocks, randomness } = granted.or_else(sink).unwrap_or_default();
        let grants = Grants { clock: clocks.then(|| clock.clone()), randomness };
        Placement { operator: node.name.clone(), subtask, parallelism: node.parallelism, grants }
    }
}

/// Notes what follows from the plugins of the job file, and is to stay so whatever rules come and go: the columns of sources that declare none,
/// and those that rules write.
fn pin(spec: &mut JobSpec, plan: &Plan) {
    if !spec.has_rules() {
        return;
    }
    for node in &plan.nodes {
        let Some(port) = node.outputs.first() else { continue };
        let fields = port.schema.fields();
        if let (Role::Source { inferred: true, .. }, Some(source)) = (&node.role, spec.sources.get_mut(&node.name)) {
            let is_metadata = |name: &str| source.metadata.iter().any(|(column, _)| column.name == name);
            source.inferred = Some(fields.iter().filter(|field| !is_metadata(&field.name)).cloned().collect());
        }
        if let Some(rules) = spec.rules_mut(&node.name) {
            rules.output.get_or_insert_with(|| fields.to_vec());
        }
    }
}

/// All plugins of a job, in the order of the file.
fn wanted(spec: &JobSpec) -> Vec<Wanted<'_>> {
    let operators = spec.operators_and_rules().flat_map(|(name, operator)| {
        operator.plugins().into_iter().map(move |(kind, plugin)| (name.clone(), kind, plugin, &operator.limits))
    });
    let sinks = spec
        .sinks
        .iter()
        .filter_map(|(name, sink)| Some((name.clone(), OperatorKind::Sink, sink.plugin.as_ref()?, &sink.limits)));
    let wanted = operators.chain(sinks).map(|(name, kind, plugin, limits)| {
        let place = format!("{}:{}:{}", spec.file, plugin.place.line, plugin.place.column);
        Wanted { name, kind, plugin, limits, place }
    });
    wanted.collect()
}

/// What plugins say of themselves. One that is not what it is used as has a description all the same: that it is wrong is a matter for
/// the plan, which knows where it was asked for.
fn descriptions(plugins: &BTreeMap<PluginId, Bound>) -> Descriptions {
    let described = plugins.iter().filter_map(|(id, bound)| {
        let description = bound.plugin.description(id.1).or_else(|| bound.plugin.descriptions().first())?;
        Some((id.clone(), description.clone()))
    });
    described.collect()
}

/// Has a plugin read its configuration, in an instance that is thrown away, so that a wrong one is known before the start.
pub(super) fn try_configuration(
    operator: &str,
    kind: OperatorKind,
    spec: &LimitsSpec,
    bound: &Bound,
) -> Result<(), LoadError> {
    bound.instantiate(kind, Placement::scratch(operator), limits(spec)).map(|_| ())
}

/// The configuration as it is written.
fn configuration(plugin: &PluginSpec) -> String {
    serde_json::Value::Object(plugin.config.clone().into_iter().collect()).to_string()
}

/// The limits as the engine takes them.
pub(super) fn limits(limits: &LimitsSpec) -> Limits {
    Limits {
        memory_bytes: limits.memory,
        batch_time: limits.batch_time,
        retire_memory_bytes: limits.retire_memory,
        budget: Budget {
            outputs_per_record: Some(limits.outputs_per_record),
            record_time: limits.record_time,
            state_bytes_per_key: limits.state_per_key,
        },
    }
}
