//! The job file as it was asked for: plain data, nothing resolved. What a field means and which values it takes is said here
//! and nowhere else.
use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    codec::Format,
    connector::{Sink, Source},
    model::Kind,
};

/// A place in the job file, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line(pub u64);

/// A job.
#[derive(Debug)]
pub struct JobSpec {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Number of parallel subtasks of every operator that does not say otherwise, from 1. Default 1.
    pub parallelism: u32,
    /// Number of key groups, the most any keyed operator can ever be spread over. Default 128.
    pub max_parallelism: u32,
    /// When batches close.
    pub batch: BatchSpec,
    /// Where records come from, by name; at least one.
    pub sources: IndexMap<String, SourceSpec>,
    /// What is done with them, by name.
    pub operators: IndexMap<String, OperatorSpec>,
    /// Where they go, by name; at least one.
    pub sinks: IndexMap<String, SinkSpec>,
}

/// `batch: { records: 4096, bytes: 1MiB, flush: 5ms }`: a batch is handed on when it is full, or when its first record has
/// waited this long.
#[derive(Clone, Copy, Debug)]
pub struct BatchSpec {
    /// From 1 to 1 048 576. Default [`BATCH_RECORDS_DEFAULT`].
    pub records: usize,
    /// Bytes of a source's records, from 1 to 64 MiB. Default [`BATCH_BYTES_DEFAULT`].
    pub bytes: usize,
    /// From 0 (no waiting) to 1 min. Default [`FLUSH_DEFAULT`].
    pub flush: Duration,
}

/// Records in a full batch.
pub const BATCH_RECORDS_DEFAULT: usize = 4096;
/// Bytes in a full batch.
pub const BATCH_BYTES_DEFAULT: usize = 1 << 20;
/// The longest a record waits for its batch to fill.
pub const FLUSH_DEFAULT: Duration = Duration::from_millis(2);

/// A source: one connector, a format, and where the event time comes from.
#[derive(Debug)]
pub struct SourceSpec {
    /// Where it is defined.
    pub line: Line,
    /// The connector with its settings: the one entry whose name is a connector's, such as `file: {...}`.
    pub connector: Box<dyn Source>,
    /// `format: text | json | csv`, or with settings `format: { csv: { delimiter: ";" } }`. Default text.
    pub format: Format,
    /// `schema: { userId: i64, note: string? }`, a question mark for nullable columns. Inferred from the operators that read it
    /// where left out.
    pub schema: Option<Vec<crate::model::Field>>,
    /// Event time and watermarks.
    pub time: TimeSpec,
    /// What becomes of malformed records.
    pub on_error: OnError,
    /// Overrides the job's.
    pub parallelism: Option<u32>,
    /// Stable identity across changes of the job; default: the name.
    pub uid: Option<String>,
}

/// `time: { column: ts, out_of_orderness: 10s, idle: 1min }`.
#[derive(Clone, Debug, Default)]
pub struct TimeSpec {
    /// The `i64` column with the event time in ms since 1970-01-01 UTC. Default: the source's own timestamps if it has any,
    /// else the time of arrival.
    pub column: Option<String>,
    /// How far behind the latest event time a record may come without being late. Default 0 (times never go back).
    pub out_of_orderness: Duration,
    /// A subtask without records for this long no longer holds back event time. Default: never.
    pub idle: Option<Duration>,
}

/// What becomes of a record that cannot be processed, unless something reads the `rejected` output of the source or operator:
/// then it goes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The job fails, naming the record.
    #[default]
    Fail,
    /// It is counted and dropped.
    Skip,
}

/// An operator: exactly one of `transform` and `aggregate`; later more kinds.
#[derive(Debug)]
pub struct OperatorSpec {
    /// Where it is defined.
    pub line: Line,
    /// What it reads, from one or several (their union).
    pub inputs: Vec<InputRef>,
    /// Key columns: `key: userId` or `key: [a, b]`. Empty: not keyed.
    pub key: Vec<String>,
    /// `window: { tumbling: 5s, offset: 0s, time: event | processing }`.
    pub window: Option<WindowSpec>,
    /// What it runs.
    pub step: StepSpec,
    /// Overrides the job's.
    pub parallelism: Option<u32>,
    /// Stable identity across changes of the job; default: the name.
    pub uid: Option<String>,
    /// `chain: false` puts it into a task of its own. Default true.
    pub chain: bool,
    /// What becomes of records it rejects.
    pub on_error: OnError,
    /// Limits on its plugin.
    pub limits: LimitsSpec,
}

/// `words` or `words.side_output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRef {
    /// A source or operator.
    pub node: String,
    /// One of its side outputs: one the plugin declares, `late` of a window, `rejected` of anything.
    pub output: Option<String>,
    /// Where it is asked for.
    pub line: Line,
}

/// What an operator runs.
#[derive(Clone, Debug)]
pub enum StepSpec {
    /// `transform: { plugin: ../plugins/x, config: {...} }`
    Transform(PluginSpec),
    /// `aggregate: { plugin: ../plugins/x, config: {...} }`, needs `key` and `window`.
    Aggregate(PluginSpec),
}

impl StepSpec {
    /// The plugin it runs.
    pub fn plugin(&self) -> &PluginSpec {
        match self {
            StepSpec::Transform(plugin) | StepSpec::Aggregate(plugin) => plugin,
        }
    }
}

/// A plugin and its configuration.
#[derive(Clone, Debug)]
pub struct PluginSpec {
    /// A directory with a crate to build, or a `.wasm` file; relative to the job file.
    pub plugin: String,
    /// Where it is asked for.
    pub line: Line,
    /// Handed to the plugin as a JSON object. Default: empty.
    pub config: BTreeMap<String, Value>,
}

/// Windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// Length, at least 1 ms.
    pub tumbling: Duration,
    /// Shifts the windows' starts from multiples of the length since 1970-01-01 UTC; below the length. Default 0.
    pub offset: Duration,
    /// Which time decides. Default event time.
    pub time: TimeDomain,
}

/// Which time a window goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeDomain {
    /// The time in the records.
    #[default]
    Event,
    /// The time at which they are processed.
    Processing,
}

/// `limits: { memory: 256MiB, batch_time: 10s, retire_memory: 128MiB }`.
#[derive(Clone, Copy, Debug)]
pub struct LimitsSpec {
    /// Bytes of linear memory an instance may have, up to 4 GiB. Default 256 MiB.
    pub memory: usize,
    /// The longest a call may take, from 1 ms. Default 10 s.
    pub batch_time: Duration,
    /// An instance with more memory than this is replaced between two batches. Default half of `memory`.
    pub retire_memory: usize,
}

/// A sink: one connector and a format.
#[derive(Debug)]
pub struct SinkSpec {
    /// Where it is defined.
    pub line: Line,
    /// What it writes, from one or several (their union).
    pub inputs: Vec<InputRef>,
    /// The connector with its settings, such as `print: {}`.
    pub connector: Box<dyn Sink>,
    /// Default json.
    pub format: Format,
    /// `columns: [word, count]`: which columns are written, in this order. Default: all.
    pub columns: Option<Vec<String>>,
    /// Overrides the job's.
    pub parallelism: Option<u32>,
    /// Stable identity across changes of the job; default: the name.
    pub uid: Option<String>,
}

/// The kinds a column may have in a `schema:` entry, for messages.
pub const KINDS: [Kind; 5] = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8, Kind::Binary];
