//! Everything that can go wrong before anything runs: plugins are found, built, compiled and asked what they are, and the job is
//! planned and checked against what they say.
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use super::RunError;
use crate::{
    job::{Descriptions, JobSpec, LimitsSpec, Plan, PluginSpec, plan},
    model::OperatorKind,
    plugin::{Limits, Placement, Plugin, PluginEngine, build},
};

/// A job that can be started.
pub struct Prepared {
    /// What was asked for.
    pub spec: JobSpec,
    /// The plugins of each operator and sink, by its name and as what they are run.
    pub plugins: BTreeMap<(String, OperatorKind), Arc<Plugin>>,
    /// How it will run.
    pub plan: Plan,
}

/// A plugin a job asks for.
struct Wanted<'a> {
    /// The operator or sink.
    name: &'a str,
    kind: OperatorKind,
    plugin: &'a PluginSpec,
    limits: &'a LimitsSpec,
    /// In messages.
    place: String,
}

/// Prepares a job. Crates are built, which may take minutes; `verbose` shows their compiler at work.
pub fn prepare(spec: JobSpec, engine: &PluginEngine, verbose: bool) -> Result<Prepared, RunError> {
    let wanted = wanted(&spec);
    let mut loaded: HashMap<PathBuf, Arc<Plugin>> = HashMap::new();
    let mut plugins = BTreeMap::new();
    let mut descriptions = Descriptions::new();
    for one in &wanted {
        let path = &one.plugin.plugin;
        let plugin = match loaded.get(path) {
            Some(plugin) => plugin.clone(),
            None => {
                let plugin = load(one, engine, verbose)?;
                loaded.insert(path.clone(), plugin.clone());
                plugin
            }
        };
        let id = (one.name.to_owned(), one.kind);
        // What it is not is a matter for the plan, which knows where that was asked for.
        if let Some(description) = plugin.description(one.kind).or_else(|| plugin.descriptions().first()) {
            descriptions.insert(id.clone(), description.clone());
        }
        plugins.insert(id, plugin);
    }
    let plan = plan(&spec, &descriptions)?;
    for (one, plugin) in wanted.iter().filter_map(|one| Some((one, plugins.get(&(one.name.to_owned(), one.kind))?))) {
        check_configuration(one, plugin)?;
    }
    drop(wanted);
    Ok(Prepared { spec, plugins, plan })
}

/// All plugins of a job, in the order of the file.
fn wanted(spec: &JobSpec) -> Vec<Wanted<'_>> {
    let operators = spec.operators.iter().flat_map(|(name, operator)| {
        operator.plugins().into_iter().map(move |(kind, plugin)| (name, kind, plugin, &operator.limits))
    });
    let sinks = spec
        .sinks
        .iter()
        .filter_map(|(name, sink)| Some((name, OperatorKind::Sink, sink.plugin.as_ref()?, &sink.limits)));
    let wanted = operators.chain(sinks).map(|(name, kind, plugin, limits)| {
        let place = format!("{}:{}:{}", spec.file, plugin.place.line, plugin.place.column);
        Wanted { name, kind, plugin, limits, place }
    });
    wanted.collect()
}

fn load(wanted: &Wanted<'_>, engine: &PluginEngine, verbose: bool) -> Result<Arc<Plugin>, RunError> {
    let mut path = wanted.plugin.plugin.clone();
    if path.is_dir() {
        path = build::build(&path, &build::Options::from_environment(verbose)).map_err(|error| RunError::Build {
            place: wanted.place.clone(),
            operator: wanted.name.to_owned(),
            error,
        })?;
    }
    Plugin::load(engine, &path).map_err(|error| RunError::Plugin {
        place: wanted.place.clone(),
        operator: wanted.name.to_owned(),
        path,
        error,
    })
}

/// Has a plugin read its configuration, in an instance that is thrown away, so that a wrong one is known before the start.
fn check_configuration(wanted: &Wanted<'_>, plugin: &Arc<Plugin>) -> Result<(), RunError> {
    let placement = Placement { operator: wanted.name.to_owned(), subtask: 0, parallelism: 1 };
    let instance = plugin.instantiate(wanted.kind, &configuration(wanted.plugin), placement, limits(wanted.limits));
    instance.map(|_| ()).map_err(|error| RunError::Plugin {
        place: wanted.place.clone(),
        operator: wanted.name.to_owned(),
        path: plugin.path().to_owned(),
        error,
    })
}

/// The configuration as the plugin gets it.
pub(super) fn configuration(plugin: &PluginSpec) -> String {
    serde_json::Value::Object(plugin.config.clone().into_iter().collect()).to_string()
}

/// The limits as the engine takes them.
pub(super) fn limits(limits: &LimitsSpec) -> Limits {
    Limits { memory_bytes: limits.memory, batch_time: limits.batch_time, retire_memory_bytes: limits.retire_memory }
}
