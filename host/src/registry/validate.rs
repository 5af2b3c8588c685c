//! What an upload must stand before it is kept: bounds, the compiler, the contract, its own description, and being configured. Guarantees
//! an answer in bounded time, whatever the bytes are.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Inner, OperatorRecord, RegistryError, upload::Received};
use crate::{
    job::PluginRef,
    model::Description,
    plugin::{
        Budget, GUEST_STACK_BYTES_MAX, Limits, LoadError, Placement, Plugin, PluginEngine,
        build::{check_bounds, is_component},
        schema,
    },
};

/// The longest checking an upload may take, and the longest it waits for those before.
const CHECK_TIME_MAX: Duration = Duration::from_secs(120);

/// The longest an operator may take to read an empty configuration.
const CONFIGURE_TIME_MAX: Duration = Duration::from_secs(2);

/// Bytes of memory an operator may have meanwhile.
const CONFIGURE_MEMORY_BYTES_MAX: usize = 256 << 20;

/// Stack of the thread that checks: the compiler's and the guest's.
const STACK_BYTES: usize = GUEST_STACK_BYTES_MAX + (8 << 20);

/// Bytes of a configuration schema.
const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// What was found.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) imports: Vec<String>,
    pub(super) capabilities: Vec<String>,
    pub(super) operators: Vec<OperatorRecord>,
}

/// Checks an upload, one at a time. Once the time is up the answer is an error; the thread ends when it is done, and only then may the
/// next upload be checked.
pub(super) async fn validate(inner: &Arc<Inner>, received: &Received) -> Result<Found, RegistryError> {
    let over = || inner.clock.sleep_until(inner.clock.monotonic() + CHECK_TIME_MAX);
    let permit = tokio::select! {
        biased;
        permit = inner.compiling.clone().acquire_owned() => permit.map_err(|_| RegistryError::Busy)?,
        () = over() => return Err(RegistryError::Busy),
    };
    let (done, result) = oneshot::channel();
    // Refused uploads are not to fill the disk; what is taken is compiled again when the first job wants it.
    let (engine, path) = (inner.checking.clone(), received.file.to_path_buf());
    let spawned = std::thread::Builder::new().name("check".into()).stack_size(STACK_BYTES).spawn(move || {
        let _permit = permit;
        let checked = catch_unwind(AssertUnwindSafe(|| check(&engine, &path)));
        let checked =
            checked.unwrap_or_else(|_| Err(LoadError::Invalid("the compiler broke down on it".into()).into()));
        // Whoever asked may have gone.
        let _ = done.send(checked);
    });
    spawned.map_err(RegistryError::io("thread `check`"))?;
    tokio::select! {
        found = result => found.unwrap_or_else(|_| Err(RegistryError::Internal("a check has no result".into()))),
        () = over() => Err(RegistryError::TimedOut(CHECK_TIME_MAX.as_secs())),
    }
}

fn check(engine: &PluginEngine, path: &Path) -> Result<Found, RegistryError> {
    let bytes = std::fs::read(path).map_err(RegistryError::io(path))?;
    check_bounds(&bytes)?;
    // What makes components of modules trusts their component types, down to overflowing its stack when one refers to itself, which
    // would end the server.
    if !is_component(&bytes) {
        let what = "the upload is no component: build it with `wasmill plugin build`, or with a toolchain that makes components";
        return Err(LoadError::Invalid(what.into()).into());
    }
    let plugin = Plugin::from_bytes(engine, &bytes, Path::new("the upload"))?;
    drop(bytes);
    let found = found(&plugin)?;
    for description in plugin.descriptions() {
        check_schema(description)?;
        configure(&plugin, description)?;
    }
    Ok(found)
}

/// Name and version, which all its operators share.
fn found(plugin: &Plugin) -> Result<Found, RegistryError> {
    let [first, others @ ..] = plugin.descriptions() else {
        return Err(RegistryError::Name("the component has no operator".into()));
    };
    if let Some(other) = others.iter().find(|other| (&other.name, &other.version) != (&first.name, &first.version)) {
        return Err(RegistryError::Name(format!(
            "the component's operators call themselves {}@{} and {}@{}; all must have the same name and version",
            first.name, first.version, other.name, other.version
        )));
    }
    if PluginRef::uploaded(&format!("{}@{}", first.name, first.version)).is_none() {
        return Err(RegistryError::Name(format!(
            "the plugin calls itself {}@{}; a name has lower-case letters, digits and hyphens, a version is MAJOR.MINOR.PATCH",
            first.name, first.version
        )));
    }
    let operators = plugin.descriptions().iter().map(|description| OperatorRecord {
        kind: description.kind.interface().to_owned(),
        configuration: description.configuration.clone(),
    });
    Ok(Found {
        name: first.name.clone(),
        version: first.version.to_string(),
        imports: plugin.imports().to_vec(),
        capabilities: plugin.capabilities().into_iter().map(str::to_owned).collect(),
        operators: operators.collect(),
    })
}

fn check_schema(description: &Description) -> Result<(), RegistryError> {
    let text = description.configuration.as_str();
    if text.is_empty() {
        return Ok(());
    }
    let wrong = |what: String| {
        let operator = format!("{} ({})", description.name, description.kind.interface());
        RegistryError::Schema { operator, what }
    };
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(wrong(format!("it has {} bytes, {SCHEMA_BYTES_MAX} are allowed", text.len())));
    }
    schema::validator(text).map(drop).map_err(wrong)
}

/// A plugin that needs settings may say so; it may not break down.
fn configure(plugin: &Arc<Plugin>, description: &Description) -> Result<(), RegistryError> {
    let limits = Limits {
        memory_bytes: CONFIGURE_MEMORY_BYTES_MAX,
        batch_time: CONFIGURE_TIME_MAX,
        retire_memory_bytes: usize::MAX,
        budget: Budget::default(),
    };
    match plugin.instantiate(description.kind, "{}", Placement::scratch(&description.name), limits) {
        Ok(_) | Err(LoadError::Configuration(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
