//! A job file into a [`JobSpec`]. All errors have the place in the file as it was written.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_saphyr::Location;

use super::{
    CheckpointSpec, Code, JobError, JobSpec, OperatorSpec, Place, RuleSettings, Variables,
    assemble::{assemble, rule_settings},
    raw::RawJob,
    references::refer,
    substitute::{Substituted, substitute, value_of},
    values::Context,
    yaml,
};

/// The longest job file.
pub const JOB_FILE_BYTES_MAX: u64 = 1 << 20;

/// A rule in messages, where it is in no job file.
const RULE: &str = "rule";

/// What a job has that does not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct JobDefaults {
    /// When and where checkpoints are taken. Default: none are.
    pub checkpoints: Option<CheckpointSpec>,
    /// The folder savepoints go to that are asked for without one. Default: none.
    pub savepoints: Option<PathBuf>,
}

/// Reads a job file, with the process's environment variables. Paths in it are relative to its folder.
pub fn load(path: &Path) -> Result<JobSpec, JobError> {
    let name = path.display().to_string();
    let refuse = |message: String| JobError::new(Code::Unreadable, &name, Place::default(), message);
    let unreadable = |error: std::io::Error| refuse(format!("the job file cannot be read: {error}"));
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > JOB_FILE_BYTES_MAX {
        return Err(refuse(format!("the job file has {length} bytes; {JOB_FILE_BYTES_MAX} are the most")));
    }
    let text = String::from_utf8(fs::read(path).map_err(unreadable)?)
        .map_err(|error| refuse(format!("the job file is not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    let base = path.parent().unwrap_or(Path::new(""));
    let variables = Variables::new(|variable| std::env::var(variable).ok());
    Ok(JobSpec { variables: variables.clone(), ..parse(&text, &name, &|variable| variables.value(variable), base)? })
}

/// Reads the text of a job file: YAML, and so also JSON. `name` is the file's in messages, `env` gives the variables for
/// `${...}`, and relative paths in the job are joined to `base_dir`.
pub fn parse(
    text: &str,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    base_dir: &Path,
) -> Result<JobSpec, JobError> {
    parse_with(text, name, env, base_dir, JobDefaults::default())
}

/// As [`parse`], with other defaults: the job is as if they were written in its file.
pub fn parse_with(
    text: &str,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    base_dir: &Path,
    defaults: JobDefaults,
) -> Result<JobSpec, JobError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let found = RefCell::new(BTreeMap::new());
    let find = |variable: &str| {
        let value = env(variable)?;
        found.borrow_mut().insert(variable.to_owned(), value.clone());
        Some(value)
    };
    let (raw, filled): (RawJob, _) = read(text, name, &find)?;
    let mut spec = assemble(raw, &Context { file: name, text: &filled }, base_dir, defaults)?;
    refer(&mut spec, text, &filled)?;
    let found = found.into_inner();
    Ok(JobSpec { variables: Variables::new(move |variable| found.get(variable).cloned()), ..spec })
}

/// Reads the settings of a rule of this operator: `limits`, `capabilities`, `on_failure` and `on_error` as they are in a job file, each as that of the operator if it
/// is not there.
pub fn parse_rule_settings(text: &str, operator: &OperatorSpec) -> Result<RuleSettings, JobError> {
    let (raw, text) = read(text, RULE, &|_| None)?;
    rule_settings(&Context { file: RULE, text: &text }, operator, raw)
}

/// Fails unless a rule can have this name.
pub fn check_rule(name: &str) -> Result<(), JobError> {
    Context { file: RULE, text: &Substituted::default() }.check_name(name, Location::UNKNOWN)
}

/// YAML as data, with the text it was once variables were filled in.
fn read<T: DeserializeOwned>(
    text: &str,
    name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(T, Substituted), JobError> {
    let text = substitute(text, &mut |reference| value_of(reference, env))
        .map_err(|refused| JobError::new(Code::Variable, name, refused.place, refused.message).help(refused.help))?;
    let raw = yaml::read(&text.text).map_err(|error| {
        let explained = yaml::explain(&error);
        let error = JobError::new(explained.code, name, text.original(explained.place), explained.message);
        JobError { help: explained.help, ..error }
    })?;
    Ok((raw, text))
}
