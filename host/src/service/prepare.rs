//! From a job's text and record to something that can be started. Blocks: plugins are compiled, folders made.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Parallelism, ServiceError,
    places::Places,
    record::{CHECKPOINTS, SAVEPOINTS},
    variables,
};
use crate::{
    checkpoint::{MANIFESTS, ManifestId},
    control::{JobOptions, PluginSource, Prepared, RunError, prepare},
    job::{CheckpointSpec, Code, JOB_FILE_BYTES_MAX, JobDefaults, JobError, JobSpec, PluginRef, Variables, parse_with},
};

/// From one checkpoint to the next, for a job that does not say.
pub const CHECKPOINT_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes of all variables given with a job, names and values.
pub const VARIABLES_BYTES_MAX: usize = 256 << 10;

/// The job's text in messages.
const NAME: &str = "job";

/// What a server's jobs have in common.
pub(super) struct Shared {
    /// The server's folder.
    pub(super) directory: PathBuf,
    /// Where values of variables come from that were not given with the job.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) secrets: Option<PathBuf>,
}

/// A job that can be started.
pub(super) struct Ready {
    pub(super) prepared: Arc<Prepared>,
    pub(super) options: JobOptions,
    /// What it was prepared with.
    pub(super) parallelism: Parallelism,
}

fn refuse(code: Code, message: String) -> ServiceError {
    let file = NAME.to_owned();
    JobError { code, file, line: 0, column: 0, message, help: None }.into()
}

/// What a job's text asks for, in a folder of its own.
pub(super) fn specification(
    text: &str,
    given: &BTreeMap<String, String>,
    parallelism: &Parallelism,
    shared: &Arc<Shared>,
    folder: &Path,
) -> Result<JobSpec, ServiceError> {
    if text.len() as u64 > JOB_FILE_BYTES_MAX {
        let message = format!("the job has {} bytes; {JOB_FILE_BYTES_MAX} are the most", text.len());
        return Err(refuse(Code::Unreadable, message));
    }
    if given.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > VARIABLES_BYTES_MAX {
        return Err(refuse(Code::Variable, format!("its variables have more than {VARIABLES_BYTES_MAX} bytes")));
    }
    let defaults = JobDefaults {
        checkpoints: Some(CheckpointSpec::every(CHECKPOINT_INTERVAL_DEFAULT, folder.join(CHECKPOINTS))),
        savepoints: Some(folder.join(SAVEPOINTS)),
    };
    let (given, own) = (given.clone(), shared.clone());
    let value = move |name: &str| variables::value(name, &given, &own.variables, own.secrets.as_deref());
    let variables = Variables::new(value);
    let mut spec = parse_with(text, NAME, &|name| variables.value(name), folder, defaults)?;
    spec.variables = variables;
    parallelism.apply(&mut spec).map_err(ServiceError::Parallelism)?;
    Places::new(&shared.directory, folder)?.check_all(&spec)?;
    Ok(spec)
}

/// Compiles and plans a job.
pub(super) fn compile(spec: JobSpec, source: &dyn PluginSource) -> Result<Arc<Prepared>, ServiceError> {
    Ok(Arc::new(prepare(spec, source)?))
}

/// Opens what a compiled job needs.
pub(super) fn open(
    prepared: Arc<Prepared>,
    parallelism: Parallelism,
    allow_non_restored_state: bool,
) -> Result<Ready, ServiceError> {
    let options = JobOptions::of(&prepared.spec).map_err(ServiceError::Folder)?;
    Ok(Ready { prepared, options: JobOptions { allow_non_restored_state, ..options }, parallelism })
}

/// A job's plugins: digests of their components, and those that were uploaded also as the job names them.
pub(super) fn plugins(prepared: &Prepared) -> BTreeSet<String> {
    let operators = prepared.spec.operators_and_rules().flat_map(|(_, operator)| operator.plugins());
    let named = operators.map(|(_, plugin)| plugin);
    let named = named.chain(prepared.spec.sinks.values().filter_map(|sink| sink.plugin.as_ref()));
    let uploaded = named.map(|plugin| &plugin.plugin).filter(|plugin| !matches!(plugin, PluginRef::Path(_)));
    let digests = prepared.plugins.values().map(|bound| bound.plugin.digest().to_owned());
    uploaded.map(PluginRef::to_string).chain(digests).collect()
}

/// The highest number of a checkpoint where a job's are; 0 if there is none.
pub(super) async fn latest_checkpoint(options: &JobOptions) -> Result<u64, ServiceError> {
    let Some(store) = &options.checkpoints else { return Ok(0) };
    let names = store.list(MANIFESTS).await.map_err(RunError::from)?;
    Ok(names.iter().filter_map(|name| Some(ManifestId::of(name)?.checkpoint)).max().unwrap_or(0))
}

/// Fails unless there is a savepoint in a folder, which stays as it is.
pub(super) fn check_savepoint(folder: &Path) -> Result<(), ServiceError> {
    match folder.join(MANIFESTS).is_dir() {
        true => Ok(()),
        false => Err(RunError::NoSavepoint(folder.to_owned()).into()),
    }
}
