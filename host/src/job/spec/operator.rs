//! Operators as they were asked for: inputs, keys, and the step with its plugins. Plain data; that step, key, window and second
//! input go together was checked when the file was read.
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde_json::Value;

use super::{ColumnRef, FailureSpec, InputRef, OnError, Place, RulesSpec, TriggerSpec, WindowSpec};
use crate::model::OperatorKind;

/// An operator, or a rule of one: one step, and what it works on.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorSpec {
    /// Where it is defined.
    pub place: Place,
    /// What it reads, from one or several (their union).
    pub inputs: Vec<InputRef>,
    /// Key columns: `key: userId` or `key: [a, b]`. Empty: not keyed; a window is then one for all rows, in one subtask.
    pub key: Vec<ColumnRef>,
    /// The second input; there exactly if the step has two.
    pub second: Option<SecondSpec>,
    /// There exactly if the step works on windows.
    pub window: Option<WindowSpec>,
    /// What it runs.
    pub step: StepSpec,
    /// Overrides the job's; 1 for a window without key.
    pub parallelism: Option<u32>,
    /// Stable identity across changes of the job; default: the name.
    pub uid: Option<String>,
    /// `chain: false` puts it into a task of its own. Default true.
    pub chain: bool,
    /// What becomes of records it rejects.
    pub on_error: OnError,
    /// What becomes of calls of its plugins that fail.
    pub on_failure: FailureSpec,
    /// Limits on each of its plugins.
    pub limits: LimitsSpec,
    /// What each of its plugins is granted.
    pub capabilities: CapabilitiesSpec,
}

impl OperatorSpec {
    /// Its plugins, in the order rows go through them, the trigger's last; none for a join, and none for rules, which have their own.
    /// No kind occurs twice.
    pub fn plugins(&self) -> Vec<(OperatorKind, &PluginSpec)> {
        let mut plugins = self.step.plugins();
        if let Some(TriggerSpec::Plugin(plugin)) = self.window.as_ref().map(|window| &window.trigger) {
            plugins.push((OperatorKind::Trigger, plugin));
        }
        plugins
    }

    /// The same, to be changed.
    pub fn plugins_mut(&mut self) -> Vec<(OperatorKind, &mut PluginSpec)> {
        let mut plugins = self.step.plugins_mut();
        if let Some(TriggerSpec::Plugin(plugin)) = self.window.as_mut().map(|window| &mut window.trigger) {
            plugins.push((OperatorKind::Trigger, plugin));
        }
        plugins
    }

    /// Whether it works on windows of all rows together, which only one subtask can.
    pub fn is_window_of_all(&self) -> bool {
        self.window.is_some() && self.key.is_empty()
    }
}

/// The second input: `second: { input: refunds, key: order }` or `broadcast: { input: rules }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondSpec {
    /// Where it is defined.
    pub place: Place,
    /// What it reads, from one or several (their union).
    pub inputs: Vec<InputRef>,
    /// As many key columns as the first input has, of the same types in the same order; empty if every subtask gets every row.
    pub key: Vec<ColumnRef>,
}

/// What an operator runs.
#[derive(Clone, Debug, PartialEq)]
pub enum StepSpec {
    /// `transform: { plugin: ../plugins/x, config: {...} }`
    Transform(PluginSpec),
    /// `keyed_process: { plugin: ... }`, needs `key`.
    KeyedProcess(PluginSpec),
    /// `connected_process: { plugin: ... }`, needs `key` and `second`.
    ConnectedProcess(PluginSpec),
    /// `broadcast_process: { plugin: ... }`, needs `broadcast`.
    BroadcastProcess(PluginSpec),
    /// `aggregate: { plugin: ... }`, needs `window`.
    Aggregate(PluginSpec),
    /// `process_window: { plugin: ... }`, needs `window`.
    ProcessWindow(PluginSpec),
    /// `aggregate` and `process_window`: what the first makes of a window goes to the second. Needs `window`.
    AggregateProcess {
        /// What is done with each row.
        aggregate: PluginSpec,
        /// What is done with a window's result.
        process: PluginSpec,
    },
    /// `window_join: {}`, needs `key`, `second` and `window`: pairs of rows with the same key in the same window.
    WindowJoin,
    /// `interval_join: { lower: -5min, upper: 5min }`, needs `key` and `second`: pairs of rows with the same key whose event times
    /// are near.
    IntervalJoin(IntervalSpec),
    /// `rules: { large: { transform: {...} }, ... }`: each row goes through all of them.
    Rules(RulesSpec),
}

/// The plugins of a step, in the order rows go through them, borrowed as the step is.
macro_rules! plugins_of {
    ($step:expr) => {
        match $step {
            StepSpec::Transform(plugin) => vec![(OperatorKind::Transform, plugin)],
            StepSpec::KeyedProcess(plugin) => vec![(OperatorKind::KeyedProcess, plugin)],
            StepSpec::ConnectedProcess(plugin) => vec![(OperatorKind::ConnectedProcess, plugin)],
            StepSpec::BroadcastProcess(plugin) => vec![(OperatorKind::BroadcastProcess, plugin)],
            StepSpec::Aggregate(plugin) => vec![(OperatorKind::Aggregate, plugin)],
            StepSpec::ProcessWindow(plugin) => vec![(OperatorKind::ProcessWindow, plugin)],
            StepSpec::AggregateProcess { aggregate, process } => {
                vec![(OperatorKind::Aggregate, aggregate), (OperatorKind::ProcessWindow, process)]
            }
            StepSpec::WindowJoin | StepSpec::IntervalJoin(_) | StepSpec::Rules(_) => Vec::new(),
        }
    };
}

impl StepSpec {
    fn plugins(&self) -> Vec<(OperatorKind, &PluginSpec)> {
        plugins_of!(self)
    }

    fn plugins_mut(&mut self) -> Vec<(OperatorKind, &mut PluginSpec)> {
        plugins_of!(self)
    }
}

/// How far the event time of a row of the second input may be from that of a row of the first: from `first + lower_ms` to
/// `first + upper_ms`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntervalSpec {
    /// In ms, within 100 years; at most `upper_ms`.
    pub lower_ms: i64,
    /// In ms, within 100 years.
    pub upper_ms: i64,
}

/// A plugin and its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// Which.
    pub plugin: PluginRef,
    /// Where it is asked for.
    pub place: Place,
    /// Handed to the plugin as a JSON object, its variables filled in ([`fill`](crate::job::fill)). Default: empty.
    pub config: BTreeMap<String, Value>,
}

/// Where a plugin is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PluginRef {
    /// A directory with a crate to build, or a `.wasm` file; in the file relative to the job file's folder, here joined to it.
    Path(PathBuf),
    /// `name@1.0.0`: one that was uploaded to the server that runs the job.
    Registered {
        /// Lower-case letters, digits and hyphens.
        name: String,
        /// `MAJOR.MINOR.PATCH`, a semantic version.
        version: String,
    },
    /// `sha256:` and 64 hexadecimal digits: an uploaded one with this digest, whatever its name.
    Digest(String),
}

impl PluginRef {
    /// One that was uploaded, if the text is a reference to such a one, and not a path.
    pub fn uploaded(text: &str) -> Option<PluginRef> {
        if let Some(digest) = text.strip_prefix("sha256:") {
            let is_digest = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            return is_digest.then(|| PluginRef::Digest(digest.to_owned()));
        }
        let (name, version) = text.split_once('@')?;
        let is_name = !name.is_empty() && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let is_version = semver::Version::parse(version).is_ok();
        (is_name && is_version).then(|| PluginRef::Registered { name: name.to_owned(), version: version.to_owned() })
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginRef::Path(path) => write!(f, "{}", path.display()),
            PluginRef::Registered { name, version } => write!(f, "{name}@{version}"),
            PluginRef::Digest(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

/// `limits: { memory: 256MiB, batch_time: 10s, retire_memory: 128MiB, outputs_per_record: 100, record_time: 10ms, state_per_key: 1MiB }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsSpec {
    /// Bytes of linear memory an instance may have, from [`MEMORY_BYTES_MIN`] to [`MEMORY_BYTES_MAX`]. Default
    /// [`MEMORY_BYTES_DEFAULT`].
    pub memory: usize,
    /// The longest a call may take, from 1 ms to [`BATCH_TIME_MAX`]. Default [`BATCH_TIME_DEFAULT`].
    pub batch_time: Duration,
    /// An instance with more bytes of memory than this is replaced between two batches; at most `memory`. Default half of it.
    pub retire_memory: usize,
    /// Rows a call may put out for each row, timer or window it is given, from 1 to [`OUTPUTS_PER_RECORD_MAX`]; small calls have a
    /// floor. Default [`OUTPUTS_PER_RECORD_DEFAULT`].
    pub outputs_per_record: u32,
    /// What each row, timer or window adds to the time a call may take, up to `batch_time`; from 1 us to [`BATCH_TIME_MAX`].
    /// Default: a call has all of `batch_time`.
    pub record_time: Option<Duration>,
    /// Bytes of state a call may write for one key, to [`MEMORY_BYTES_MAX`]. Default: no such limit.
    pub state_per_key: Option<usize>,
}

/// `capabilities: [clocks, randomness]`: what plugins get that does not follow from their calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitiesSpec {
    /// The time it is, through `wasi:clocks`.
    pub clocks: bool,
    /// The operating system's random numbers, through `wasi:random`.
    pub randomness: bool,
}

/// One page of WebAssembly memory.
pub const MEMORY_BYTES_MIN: usize = 64 << 10;
/// All a 32-bit guest can address.
pub const MEMORY_BYTES_MAX: usize = 4 << 30;
/// Memory an instance may have.
pub const MEMORY_BYTES_DEFAULT: usize = 256 << 20;
/// The longest limit on a call.
pub const BATCH_TIME_MAX: Duration = Duration::from_secs(3600);
/// How long a call may take.
pub const BATCH_TIME_DEFAULT: Duration = Duration::from_secs(10);

/// Rows a call may put out for each it is given.
pub const OUTPUTS_PER_RECORD_DEFAULT: u32 = 1_000_000;
/// The highest limit on them.
pub const OUTPUTS_PER_RECORD_MAX: u32 = 1_000_000_000;
/// The least time a row can be given.
pub const RECORD_TIME_MIN: Duration = Duration::from_micros(1);

impl Default for LimitsSpec {
    fn default() -> Self {
        LimitsSpec {
            memory: MEMORY_BYTES_DEFAULT,
            batch_time: BATCH_TIME_DEFAULT,
            retire_memory: MEMORY_BYTES_DEFAULT / 2,
            outputs_per_record: OUTPUTS_PER_RECORD_DEFAULT,
            record_time: None,
            state_per_key: None,
        }
    }
}
