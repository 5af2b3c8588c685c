//! The job file as it was asked for: plain data, nothing resolved. What a field means and which values it takes is said here
//! and nowhere else.
mod failures;
mod operator;
mod rules;
mod settings;
mod window;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use indexmap::IndexMap;
use serde::Deserialize;

pub use failures::*;
pub use operator::*;
pub use rules::*;
pub use settings::*;
pub use window::*;

use super::Variables;
use crate::{
    codec::Format,
    connector::{Sink, Source},
    model::{Field, Kind},
};

/// A place in the job file; 0:0 if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// A column asked for by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnRef {
    /// As written.
    pub name: String,
    /// Where it is asked for.
    pub place: Place,
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A job. Names of sources, operators and sinks are distinct, and so are their uids.
#[derive(Clone, Debug)]
pub struct JobSpec {
    /// The job file as it was asked for, for messages.
    pub file: Arc<str>,
    /// A letter, then letters, digits, `-` and `_`; at most [`NAME_BYTES_MAX`], like every name.
    pub name: String,
    /// Number of parallel subtasks of everything that does not say otherwise, from 1 to
    /// [`MAX_PARALLELISM_LIMIT`](crate::model::MAX_PARALLELISM_LIMIT); above `max_parallelism` only where nothing is keyed.
    /// Default 1.
    pub parallelism: u32,
    /// Number of key groups, the most any keyed operator can ever be spread over: from 1 to
    /// [`MAX_PARALLELISM_LIMIT`](crate::model::MAX_PARALLELISM_LIMIT). Default 128.
    pub max_parallelism: u32,
    /// When batches close.
    pub batch: BatchSpec,
    /// Where state is kept. Default memory.
    pub state: StateSpec,
    /// When and where checkpoints are taken. Default: none are.
    pub checkpoints: Option<CheckpointSpec>,
    /// `savepoints: PATH`: the folder savepoints go to that are asked for without one; joined to the job file's folder.
    pub savepoints: Option<PathBuf>,
    /// What happens after a failure. Default: [`RestartStrategy::exponential_delay`] with checkpoints, none without.
    pub restart: RestartStrategy,
    /// Where records come from, by name; at least one.
    pub sources: IndexMap<String, SourceSpec>,
    /// What is done with them, by name.
    pub operators: IndexMap<String, OperatorSpec>,
    /// Where they go, by name; at least one.
    pub sinks: IndexMap<String, SinkSpec>,
    /// What `${NAME}` stands for in configurations of plugins. Default: what it did when the file was read.
    pub variables: Variables,
}

/// `batch: { records: 4096, bytes: 1MiB, flush: 5ms }`: a batch is handed on when it is full, or when its first record has
/// waited this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSpec {
    /// From 1 to [`BATCH_RECORDS_MAX`]. Default [`BATCH_RECORDS_DEFAULT`].
    pub records: usize,
    /// Bytes of a source's records, from 1 to [`BATCH_BYTES_MAX`]. Default [`BATCH_BYTES_DEFAULT`].
    pub bytes: usize,
    /// From 0 (no waiting) to [`FLUSH_MAX`]. Default [`FLUSH_DEFAULT`].
    pub flush: Duration,
}

/// Records in a full batch.
pub const BATCH_RECORDS_DEFAULT: usize = 4096;
/// Bytes in a full batch.
pub const BATCH_BYTES_DEFAULT: usize = 1 << 20;
/// The longest a record waits for its batch to fill.
pub const FLUSH_DEFAULT: Duration = Duration::from_millis(2);
/// The most records in a batch.
pub const BATCH_RECORDS_MAX: usize = 1 << 20;
/// The most bytes in a batch.
pub const BATCH_BYTES_MAX: usize = 64 << 20;
/// The longest a batch may wait.
pub const FLUSH_MAX: Duration = Duration::from_secs(60);
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 100;
/// The longest window, lateness, out-of-orderness, delay and so on: 100 years, so that sums of times cannot overflow.
pub const SPAN_MAX: Duration = Duration::from_secs(100 * 31_557_600);

impl Default for BatchSpec {
    fn default() -> Self {
        BatchSpec { records: BATCH_RECORDS_DEFAULT, bytes: BATCH_BYTES_DEFAULT, flush: FLUSH_DEFAULT }
    }
}

/// A source: one connector, a format, and where the event time comes from.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// Where it is defined.
    pub place: Place,
    /// The connector's name.
    pub kind: String,
    /// The connector with its settings: the one entry whose name is a connector's, such as `file: {...}`.
    pub connector: Arc<dyn Source>,
    /// `format: text | json | csv`, or with settings `format: { csv: { delimiter: ";" } }`. Default text.
    pub format: Format,
    /// `schema: { userId: i64, note: string? }`, a question mark for nullable columns. Inferred from the operators that read it
    /// where left out.
    pub schema: Option<Vec<Field>>,
    /// What was inferred when the job was prepared, if it has rules: those that come and go change nothing of it.
    pub inferred: Option<Vec<Field>>,
    /// `metadata: { COLUMN: NAME }`: columns behind those of the records, of what the connector knows beside a record's bytes; each
    /// with its place among [`Source::metadata`].
    pub metadata: Vec<(ColumnRef, usize)>,
    /// Event time and watermarks.
    pub time: TimeSpec,
    /// What becomes of malformed records.
    pub on_error: OnError,
    /// `delivery: at_most_once`: records that the connector cannot read again are lost in a failure. Always there for such a
    /// source in a job with checkpoints, never for one that can read again.
    pub at_most_once: bool,
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
    pub column: Option<ColumnRef>,
    /// How far behind the latest event time a record may come without being late; whole ms. Default 0 (times never go back).
    pub out_of_orderness: Duration,
    /// A split (a partition, or all that a subtask reads) without records for this long no longer holds back event time; at least
    /// 1 ms. Default: never.
    pub idle: Option<Duration>,
    /// How far a split may be ahead of the slowest one, over all subtasks, before it has to wait; at least 1 ms. Default: any.
    pub drift: Option<Duration>,
}

/// What becomes of a record that cannot be processed, unless something reads the `rejected` output of the source or operator:
/// then it goes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The job fails, naming the record.
    #[default]
    Fail,
    /// It is counted and dropped.
    Skip,
}

/// `words` or `words.side_output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRef {
    /// A source or operator.
    pub node: String,
    /// One of its side outputs: one the plugin declares, `late` of a window, `rejected` of anything.
    pub output: Option<String>,
    /// Where it is asked for.
    pub place: Place,
}

impl fmt::Display for InputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node)?;
        self.output.iter().try_for_each(|output| write!(f, ".{output}"))
    }
}

/// A sink: one connector and a format.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Where it is defined.
    pub place: Place,
    /// What it writes, from one or several (their union).
    pub inputs: Vec<InputRef>,
    /// The connector's name.
    pub kind: String,
    /// The connector with its settings, such as `print: {}`.
    pub connector: Arc<dyn Sink>,
    /// `sink: { plugin: ../plugins/x, config: {...} }`: shapes what the connector writes. Columns and format are then those of
    /// what it puts out.
    pub plugin: Option<PluginSpec>,
    /// What becomes of rows the plugin rejects.
    pub on_error: OnError,
    /// What becomes of calls of the plugin that fail; never [`FailureAction::DeadLetter`], for there is no output to read.
    pub on_failure: FailureSpec,
    /// Limits on the plugin.
    pub limits: LimitsSpec,
    /// What the plugin is granted.
    pub capabilities: CapabilitiesSpec,
    /// Default json.
    pub format: Format,
    /// `columns: [word, count]`: which columns are written, in this order. Default: all.
    pub columns: Option<Vec<ColumnRef>>,
    /// Overrides the job's.
    pub parallelism: Option<u32>,
    /// Stable identity across changes of the job; default: the name.
    pub uid: Option<String>,
}

/// The kinds a column may have in a `schema:` entry.
pub const KINDS: [Kind; 5] = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8, Kind::Binary];
