//! Everything that can go wrong before anything runs: plugins are found, built, compiled and asked what they are, and the job is
//! planned and checked against what they say.
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use super::RunError;
use crate::{
    job::{JobSpec, OperatorSpec, Plan, plan},
    plugin::{Limits, Placement, Plugin, PluginEngine, build},
};

/// A job that can be started.
pub struct Prepared {
    /// What was asked for.
    pub spec: JobSpec,
    /// The plugin of each operator, by the operator's name.
    pub plugins: BTreeMap<String, Arc<Plugin>>,
    /// How it will run.
    pub plan: Plan,
}

/// Prepares a job. Crates are built, which may take minutes; `verbose` shows their compiler at work.
pub fn prepare(spec: JobSpec, engine: &PluginEngine, verbose: bool) -> Result<Prepared, RunError> {
    let mut loaded: HashMap<PathBuf, Arc<Plugin>> = HashMap::new();
    let mut plugins = BTreeMap::new();
    let mut descriptions = BTreeMap::new();
    for (name, operator) in &spec.operators {
        let path = &operator.step.plugin().plugin;
        let plugin = match loaded.get(path) {
            Some(plugin) => plugin.clone(),
            None => {
                let plugin = load(&spec, name, operator, engine, verbose)?;
                loaded.insert(path.clone(), plugin.clone());
                plugin
            }
        };
        let kind = operator.step.kind();
        // What it is not is a matter for the plan, which knows where that was asked for.
        if let Some(description) = plugin.description(kind).or_else(|| plugin.descriptions().first()) {
            descriptions.insert(name.clone(), description.clone());
        }
        plugins.insert(name.clone(), plugin);
    }
    let plan = plan(&spec, &descriptions)?;
    for (name, operator) in &spec.operators {
        check_configuration(&spec, name, operator, &plugins[name])?;
    }
    Ok(Prepared { spec, plugins, plan })
}

fn place(spec: &JobSpec, operator: &OperatorSpec) -> String {
    let place = operator.step.plugin().place;
    format!("{}:{}:{}", spec.file, place.line, place.column)
}

fn load(
    spec: &JobSpec,
    name: &str,
    operator: &OperatorSpec,
    engine: &PluginEngine,
    verbose: bool,
) -> Result<Arc<Plugin>, RunError> {
    let mut path = operator.step.plugin().plugin.clone();
    if path.is_dir() {
        path = build::build(&path, &build::Options::from_environment(verbose)).map_err(|error| RunError::Build {
            place: place(spec, operator),
            operator: name.to_owned(),
            error,
        })?;
    }
    Plugin::load(engine, &path).map_err(|error| RunError::Plugin {
        place: place(spec, operator),
        operator: name.to_owned(),
        path,
        error,
    })
}

/// Has each plugin read its configuration, in an instance that is thrown away, so that a wrong one is known before the start.
fn check_configuration(
    spec: &JobSpec,
    name: &str,
    operator: &OperatorSpec,
    plugin: &Arc<Plugin>,
) -> Result<(), RunError> {
    let placement = Placement { operator: name.to_owned(), subtask: 0, parallelism: 1 };
    plugin.instantiate(operator.step.kind(), &configuration(operator), placement, limits(operator)).map(|_| ()).map_err(
        |error| RunError::Plugin {
            place: place(spec, operator),
            operator: name.to_owned(),
            path: plugin.path().to_owned(),
            error,
        },
    )
}

/// The configuration as the plugin gets it.
pub(super) fn configuration(operator: &OperatorSpec) -> String {
    let config = operator.step.plugin().config.clone();
    serde_json::Value::Object(config.into_iter().collect()).to_string()
}

/// The limits as the engine takes them.
pub(super) fn limits(operator: &OperatorSpec) -> Limits {
    Limits {
        memory_bytes: operator.limits.memory,
        batch_time: operator.limits.batch_time,
        retire_memory_bytes: operator.limits.retire_memory,
    }
}
