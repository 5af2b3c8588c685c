//! A component that was loaded, compiled, checked against the contract and asked what it is. Shared by all its instances.
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use wasmtime::{
    AsContextMut,
    component::{Component, HasSelf, InstancePre, Linker, types::ComponentItem},
};

use super::{
    budget::Budget,
    build::componentize,
    contract::{self, PACKAGE, VERSION, logging, map_state},
    describe::description_from_wire,
    engine::{COMPONENT_BYTES_MAX, PluginEngine, digest},
    error::LoadError,
    guest::GuestState,
    instance::{Call, Instance, Limits, Placement},
    wasi,
};
use crate::model::{Description, OperatorKind};

/// The longest a component may take to say what it is.
const DESCRIBE_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes of memory a component may have while it says what it is.
const DESCRIBE_MEMORY_BYTES_MAX: usize = 256 << 20;

/// Bytes of a description, as the host has it.
const DESCRIPTION_BYTES_MAX: usize = 2 << 20;

/// What of the contract a component exports.
pub(super) struct Exports {
    /// The version of the contract each kind was built against.
    pub(super) kinds: Vec<(OperatorKind, String)>,
    /// The full name of `migration`, if it is there.
    pub(super) migration: Option<String>,
    /// The full name of `checkpoint-listener`, if it is there.
    pub(super) listener: Option<String>,
}

/// A checked component.
pub struct Plugin {
    pub(super) engine: PluginEngine,
    pub(super) pre: InstancePre<GuestState>,
    pub(super) exports: Exports,
    descriptions: Vec<Description>,
    digest: String,
    size: usize,
    imports: Vec<String>,
    path: PathBuf,
}

impl Plugin {
    /// Loads a file: a component, or a core module that carries its component type.
    pub fn load(engine: &PluginEngine, path: &Path) -> Result<Arc<Plugin>, LoadError> {
        let io = |error| LoadError::Io { path: path.to_owned(), error };
        let length = std::fs::metadata(path).map_err(io)?.len();
        if length > COMPONENT_BYTES_MAX {
            return Err(LoadError::Invalid(format!(
                "{} has {length} bytes, at most {COMPONENT_BYTES_MAX} are taken",
                path.display()
            )));
        }
        Plugin::from_bytes(engine, &std::fs::read(path).map_err(io)?, path)
    }

    /// The same from memory; `path` is only for messages.
    pub fn from_bytes(engine: &PluginEngine, bytes: &[u8], path: &Path) -> Result<Arc<Plugin>, LoadError> {
        let digest = digest(bytes);
        let bytes = componentize(bytes).map_err(|error| LoadError::Invalid(format!("{}: {error}", path.display())))?;
        let component = engine.compile(&bytes)?;
        let imports = check_imports(engine, &component)?;
        let mut linker = Linker::new(engine.engine());
        wasi::define(engine.engine(), &component, &mut linker)?;
        let exports = check_exports(engine, &component)?;
        let reads_maps = imports.iter().any(|name| of_contract(name).is_some_and(|(name, _)| name == "map-state"));
        logging::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
            .and_then(|()| match reads_maps {
                true => map_state::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state),
                false => Ok(()),
            })
            .and_then(|()| linker.instantiate_pre(&component))
            .map_err(|error| LoadError::Contract(format!("{}: {error:#}", path.display())))
            .and_then(|pre| {
                let mut plugin = Plugin {
                    engine: engine.clone(),
                    pre,
                    exports,
                    descriptions: Vec::new(),
                    digest,
                    size: bytes.len(),
                    imports,
                    path: path.to_owned(),
                };
                plugin.descriptions = plugin.describe()?;
                Ok(Arc::new(plugin))
            })
    }

    /// Asks each kind what it is, in an instance that is thrown away.
    fn describe(&self) -> Result<Vec<Description>, LoadError> {
        let limits = Limits {
            memory_bytes: DESCRIBE_MEMORY_BYTES_MAX,
            batch_time: DESCRIBE_TIME_MAX,
            retire_memory_bytes: usize::MAX,
            budget: Budget::default(),
        };
        self.exports
            .kinds
            .iter()
            .map(|(kind, version)| {
                let placement = Placement::scratch("describe");
                let mut call = Call::open(self, *kind, &placement, &limits)?;
                call.as_context_mut().set_hostcall_fuel(DESCRIPTION_BYTES_MAX);
                let (described,): (contract::types::Description,) = call
                    .function(&interface(*kind, version), "describe")?
                    .check::<(), (contract::types::Description,)>(&call, "describe")?
                    .call(&mut call, ())
                    .map_err(|failure| LoadError::Start(format!("`describe`: {failure}")))?;
                description_from_wire(*kind, described).map_err(LoadError::Description)
            })
            .collect()
    }

    /// What the operators in it say of themselves, a kind each.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// What the operator of this kind says of itself.
    pub fn description(&self, kind: OperatorKind) -> Option<&Description> {
        self.descriptions.iter().find(|description| description.kind == kind)
    }

    /// Whether it can turn state of an older schema version into the current one.
    pub fn migrates(&self) -> bool {
        self.exports.migration.is_some()
    }

    /// Whether it wants to be told of checkpoints.
    pub fn listens(&self) -> bool {
        self.exports.listener.is_some()
    }

    /// SHA-256 of the file it was loaded from, in hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Bytes of the component.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Names of the interfaces it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What of the outside it imports that a job may grant, or may not yet: `clocks`, `randomness`, `network`.
    pub fn capabilities(&self) -> Vec<&'static str> {
        wasi::capabilities(&self.imports)
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A configured instance, ready for data.
    pub fn instantiate(
        self: &Arc<Self>,
        kind: OperatorKind,
        configuration: &str,
        placement: Placement,
        limits: Limits,
    ) -> Result<Instance, LoadError> {
        Instance::new(self.clone(), kind, configuration, placement, limits)
    }
}

/// The full name of an interface of the contract.
pub(super) fn interface(kind: OperatorKind, version: &str) -> String {
    format!("{PACKAGE}/{}@{version}", kind.interface())
}

/// `package/interface@version`, if it is of the contract.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')
}

/// Guests of the same minor version (before 1.0) are taken: within it the contract only grows.
fn speaks(version: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _patch)| minor.to_owned());
    minor(version) == minor(VERSION)
}

fn check_imports(engine: &PluginEngine, component: &Component) -> Result<Vec<String>, LoadError> {
    let kind = component.component_type();
    let imports: Vec<String> = kind.imports(engine.engine()).map(|(name, _)| name.to_owned()).collect();
    let mut seen = HashSet::new();
    for import in imports.iter().filter(|import| wasi::interface(import).is_none()) {
        match of_contract(import) {
            Some((_, version)) if !speaks(version) => return Err(other_version(import, version)),
            Some((interface @ ("logging" | "map-state" | "types"), _)) => once(&mut seen, interface, "imports")?,
            _ => {
                let granted = format!("{PACKAGE}/logging@{VERSION}, {PACKAGE}/map-state@{VERSION} and WASI 0.2");
                return Err(LoadError::Import { import: import.clone(), granted });
            }
        }
    }
    Ok(imports)
}

fn other_version(name: &str, version: &str) -> LoadError {
    LoadError::Contract(format!(
        "the component was built against version {version} of the contract (`{name}`), this host speaks {PACKAGE}@{VERSION}: build it \
         with the SDK, or the WIT text, of that version"
    ))
}

/// Refuses an interface that is there before, in another version of those that are taken: there could be any number.
fn once<'a>(seen: &mut HashSet<&'a str>, interface: &'a str, does: &str) -> Result<(), LoadError> {
    if seen.insert(interface) {
        return Ok(());
    }
    Err(LoadError::Contract(format!(
        "the component {does} `{interface}` of several versions of the contract, and may only once"
    )))
}

fn check_exports(engine: &PluginEngine, component: &Component) -> Result<Exports, LoadError> {
    let kind = component.component_type();
    let mut found = Exports { kinds: Vec::new(), migration: None, listener: None };
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for (name, item) in kind.exports(engine.engine()) {
        names.push(format!("`{name}`"));
        let Some((interface, version)) = of_contract(name) else { continue };
        if !speaks(version) {
            return Err(other_version(name, version));
        }
        if !matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            continue;
        }
        once(&mut seen, interface, "exports")?;
        match interface {
            "migration" => found.migration = Some(name.to_owned()),
            "checkpoint-listener" => found.listener = Some(name.to_owned()),
            _ => {
                let operator = OperatorKind::of_interface(interface);
                found.kinds.extend(operator.map(|kind| (kind, version.to_owned())));
            }
        }
    }
    if found.kinds.is_empty() {
        let kinds: Vec<_> = OperatorKind::ALL.iter().map(|kind| kind.interface()).collect();
        return Err(LoadError::Contract(format!(
            "the component exports no operator: it exports {}, but must export at least one of {PACKAGE}/{{{}}}@{VERSION}",
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") },
            kinds.join(", ")
        )));
    }
    Ok(found)
}
