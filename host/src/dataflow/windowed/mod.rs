//! The stages that work on windows. Windows that fire once, when they are over, are aggregated in slices; all others are kept by key
//! and window, with timers of their own.
mod combine;
mod contents;
pub(super) mod elements;
mod emission;
mod failing;
mod firing;
mod gather;
mod intake;
mod panes;
mod rounds;
mod sessions;
mod slices;
mod state;

pub use combine::Combiner;
use intake::Intake;
pub use state::{StateHome, state_prefix};

pub(super) use state::select_keys;

use super::{Failures, Moments, Operator, Rejects, TaskError};
use crate::{
    model::{Kind, Schema, SubtaskState, TimeDomain},
    plugin::{Instance, LoadError},
    window::{Assigner, Lateness, Repeat, Trigger},
};

/// How windows are set up.
#[derive(Debug, Clone)]
pub struct WindowedSettings {
    /// The operator's name in the job.
    pub node: String,
    /// Key columns in the input; none for windows of all rows.
    pub key: Vec<usize>,
    /// Their kinds.
    pub key_kinds: Vec<Kind>,
    /// Which windows.
    pub assigner: Assigner,
    /// By which time rows are put into windows, and these are over.
    pub time: TimeDomain,
    /// For how long windows of event time are kept after they are over.
    pub lateness: Lateness,
    /// When windows fire, unless a plugin decides.
    pub trigger: Trigger,
    /// Output of rows that come too late, if there can be any.
    pub late: Option<usize>,
    /// Whether an aggregate's rows have the start and the end of their window after the key.
    pub window_columns: bool,
    /// Columns of the main output of an aggregate alone: key, window, results.
    pub schema: Schema,
    /// Rows in an emitted batch, and in a call that makes them; at least 1.
    pub batch_records: usize,
    /// Whether what comes are accumulators of rows, made by a [`Combiner`].
    pub combined: bool,
}

impl WindowedSettings {
    fn intake(&self) -> Intake {
        Intake { node: self.node.clone(), key: self.key.clone(), late: self.late }
    }
}

/// An aggregate.
pub struct AggregatePlugin {
    /// The guest.
    pub instance: Instance,
    /// Columns of the input it reads, in its order.
    pub reads: Vec<usize>,
}

/// A window process.
pub struct ProcessPlugin {
    /// The guest.
    pub instance: Instance,
    /// Columns it reads, in its order: of the input, or of those the aggregate before it declares.
    pub reads: Vec<usize>,
    /// Key columns it wants to see, in its order, as indices in the key.
    pub keys: Vec<usize>,
    /// Of the main output and of its side outputs.
    pub schemas: Vec<Schema>,
    /// The output of its first side output.
    pub side: usize,
}

/// A trigger.
pub struct TriggerPlugin {
    /// The guest.
    pub instance: Instance,
    /// Columns of the input it reads, in its order.
    pub reads: Vec<usize>,
}

/// What is done per window.
pub enum WindowWork {
    /// Rows are aggregated.
    Aggregate(AggregatePlugin),
    /// All rows are kept and processed together.
    Process(ProcessPlugin),
    /// Rows are aggregated, and the results processed.
    Both(Box<(AggregatePlugin, ProcessPlugin)>),
}

/// The stage for these windows, with what an earlier run left. Fails if that cannot be read, and if a process of sessions has states of
/// its own: nobody could say what becomes of them when sessions are joined.
pub fn windowed(
    settings: WindowedSettings,
    work: WindowWork,
    trigger: Option<TriggerPlugin>,
    (rejects, failures): (Rejects, Failures),
    moments: Moments,
    home: &StateHome,
    restored: SubtaskState,
) -> Result<Box<dyn Operator>, TaskError> {
    let process = match &work {
        WindowWork::Aggregate(_) => None,
        WindowWork::Process(process) => Some(process),
        WindowWork::Both(both) => Some(&both.1),
    };
    if let (Assigner::Session(_), Some(process)) = (settings.assigner, process)
        && !process.instance.description().states.is_empty()
    {
        let what =
            "a process-window has states of its own, which it cannot where windows are sessions: sessions are joined";
        return Err(TaskError::Load { operator: settings.node, error: LoadError::Contract(what.to_owned()) });
    }
    let around = (rejects, failures, moments);
    match (settings.assigner, work, trigger) {
        (Assigner::Sliding(windows), WindowWork::Aggregate(aggregate), None)
            if fires_once(&settings) && (windows.is_tumbling() || settings.time == TimeDomain::Event) =>
        {
            Ok(Box::new(slices::Slices::open(settings, windows, aggregate, around, home, restored)?))
        }
        (_, work, trigger) => Ok(Box::new(panes::Windows::open(settings, work, trigger, around, home, restored)?)),
    }
}

/// Whether windows fire when they are over, and only then.
fn fires_once(settings: &WindowedSettings) -> bool {
    let Trigger { end, early, .. } = settings.trigger;
    settings.lateness.is_none() && end == Some(settings.time) && early == Repeat::NEVER
}
