//! Where a job's plugins come from: files and crates of this machine, or whatever else there is. Must not know which job wants them.
use std::sync::Arc;

use crate::{
    job::PluginRef,
    plugin::{
        LoadError, Plugin, PluginEngine,
        build::{self, BuildError},
    },
};

/// Why a plugin is not there.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Where plugins come from.
pub trait PluginSource: Send + Sync {
    /// A plugin, compiled and described. May take as long as building it does.
    fn load(&self, reference: &PluginRef) -> Result<Arc<Plugin>, SourceError>;
}

/// Files and crates of this machine. Crates are built, which may take minutes.
#[derive(Clone)]
pub struct LocalPlugins {
    engine: PluginEngine,
    verbose: bool,
}

impl LocalPlugins {
    /// `verbose` shows compilers at work.
    pub fn new(engine: &PluginEngine, verbose: bool) -> LocalPlugins {
        LocalPlugins { engine: engine.clone(), verbose }
    }
}

impl PluginSource for LocalPlugins {
    fn load(&self, reference: &PluginRef) -> Result<Arc<Plugin>, SourceError> {
        let PluginRef::Path(path) = reference else {
            let what = format!(
                "{reference} is a plugin of a server: submit the job to the server it was uploaded to, or write the path of a crate's folder \
                 or of a `.wasm` file"
            );
            return Err(LoadError::Unknown(what).into());
        };
        let built =
            path.is_dir().then(|| build::build(path, &build::Options::from_environment(self.verbose))).transpose()?;
        Ok(Plugin::load(&self.engine, built.as_ref().unwrap_or(path))?)
    }
}
