//! `wasmill plugin ...`: `new`, `build` and `inspect` are of this machine, the rest of a server.
use std::{path::PathBuf, sync::Arc};

use clap::Subcommand;

use super::{CommandError, CommandResult, component, engine, remote};
use crate::{
    model::{Clock, Description, Field, Shape},
    plugin::{self, build},
};

/// Arguments of `plugin`.
#[derive(Subcommand)]
pub(super) enum Plugin {
    /// Write a new plugin's crate.
    New {
        /// Lower-case letters, digits and hyphens.
        name: String,
        /// The language it is written in.
        #[arg(long, default_value = "rust")]
        lang: String,
        /// Where to put it.
        #[arg(long, default_value = ".")]
        directory: PathBuf,
        /// Use the SDK in this directory instead of the published one.
        #[arg(long)]
        sdk: Option<PathBuf>,
    },
    /// Build a plugin's crate into a component.
    Build {
        /// The crate's directory.
        #[arg(default_value = ".")]
        directory: PathBuf,
        /// Show the compiler at work.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Show what a component says of itself.
    Inspect {
        /// A `.wasm` file, or a crate's directory.
        file: PathBuf,
    },
    /// Upload a plugin to a server.
    Push(remote::Push),
    /// List a server's plugins.
    List(remote::List),
    /// Delete a version of a plugin from a server.
    Delete(remote::Delete),
}

fn refused(error: impl ToString) -> CommandError {
    CommandError::Refused(error.to_string())
}

impl Plugin {
    pub(super) fn execute(self, clock: Arc<dyn Clock>) -> CommandResult {
        match self {
            Plugin::New { name, lang, directory, sdk } => {
                let language = lang.parse().map_err(|error: build::NewError| refused(error))?;
                let path = build::new(&name, language, &directory, sdk.as_deref()).map_err(refused)?;
                println!("{}", path.display());
            }
            Plugin::Build { directory, verbose } => println!("{}", component(directory, verbose)?.display()),
            Plugin::Inspect { file } => inspect(component(file, false)?)?,
            Plugin::Push(push) => return push.execute(clock),
            Plugin::List(list) => return list.execute(clock),
            Plugin::Delete(delete) => return delete.execute(clock),
        }
        Ok(())
    }
}

fn inspect(file: PathBuf) -> CommandResult {
    let plugin = plugin::Plugin::load(&engine()?, &file).map_err(refused)?;
    println!("{}", file.display());
    println!("  size      {} bytes", plugin.size());
    println!("  sha-256   {}", plugin.digest());
    println!("  contract  {}@{}", plugin::CONTRACT, plugin::CONTRACT_VERSION);
    println!("  imports   {}", list(plugin.imports().iter()));
    if !plugin.capabilities().is_empty() {
        println!("  may want  {}", list(plugin.capabilities().iter()));
    }
    let optional = [("migration", plugin.migrates()), ("checkpoint-listener", plugin.listens())];
    if optional.iter().any(|(_, exported)| *exported) {
        println!("  exports   {}", list(optional.iter().filter(|(_, exported)| *exported).map(|(name, _)| name)));
    }
    for description in plugin.descriptions() {
        describe(description);
    }
    Ok(())
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".into() } else { items.join(", ") }
}

fn fields(fields: &[Field]) -> String {
    if fields.is_empty() { "no columns".into() } else { format!("{{ {} }}", list(fields.iter())) }
}

fn shape(shape: &Shape) -> String {
    match shape {
        Shape::InputRows => "rows of the input".into(),
        Shape::Columns(columns) => fields(columns),
    }
}

fn describe(description: &Description) {
    println!("{} {} {}", description.kind.interface(), description.name, description.version);
    for input in &description.inputs {
        println!("  reads     {}", fields(input));
    }
    if !description.keys.is_empty() {
        println!("  key       {}", fields(&description.keys));
    }
    println!("  writes    {}", shape(&description.output));
    for side in &description.side_outputs {
        println!("  side      {}: {}", side.name, shape(&side.shape));
    }
    for state in &description.states {
        let ttl = state.time_to_live.map(|ttl| format!(", lives {} ms", ttl.milliseconds)).unwrap_or_default();
        let key = state.key.map(|key| format!("{key} to ")).unwrap_or_default();
        println!(
            "  state     {}: {} of {key}{}, schema version {}{ttl}",
            state.name, state.kind, state.value, state.schema_version
        );
    }
    for (name, kind) in &description.metrics {
        println!("  metric    {name}: {kind:?}");
    }
    if !description.configuration.is_empty() {
        println!("  config    {}", description.configuration);
    }
}
