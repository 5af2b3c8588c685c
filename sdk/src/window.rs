//! Functions over windows: all elements of a window at once, when it fires.
//!
//! Guarantees: the elements of a window come in the order of the call. Must not know: when windows fire, the exports of the component.

use crate::bindings::types::{
    Batch, Description, Emission, Fault, KeyedResult, Keys, Moment, StateValues, TimerChanges, Windows,
};
use crate::config::{self, Config};
use crate::context::WindowContext;
use crate::metrics::Metrics;
use crate::operator::{Identity, broken, check_indices, check_timestamps, description, failed};
use crate::output::{Output, SideOutputs};
use crate::record::{Record, fields, shape};
use crate::state::{Scope, States, field};

/// A window, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond.
    pub start_ms: i64,
    /// The first millisecond behind it.
    pub end_ms: i64,
}

impl Window {
    /// Its last millisecond: when the watermark is there, the window is over.
    pub fn last_ms(&self) -> i64 {
        self.end_ms.saturating_sub(1)
    }

    pub(crate) fn all(windows: &Windows) -> Result<Vec<Self>, Fault> {
        if windows.starts.len() != windows.ends.len() {
            return Err(broken(format!("{} starts and {} ends", windows.starts.len(), windows.ends.len())));
        }
        let both = windows.starts.iter().zip(&windows.ends);
        Ok(both.map(|(&start_ms, &end_ms)| Self { start_ms, end_ms }).collect())
    }
}

/// The elements of a window, or the one result of the aggregate that runs before.
pub struct Elements<'e, R: Record> {
    reader: R::Reader<'e>,
    timestamps: &'e [i64],
    rows: &'e [u32],
}

impl<'e, R: Record> Elements<'e, R> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All of them.
    #[inline]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = R::At<'e>> + ExactSizeIterator {
        self.rows.iter().map(|&row| R::read(&self.reader, row as usize))
    }

    /// All of them, each with its event time.
    #[inline]
    pub fn with_timestamps_ms(&self) -> impl DoubleEndedIterator<Item = (i64, R::At<'e>)> + ExactSizeIterator {
        self.rows.iter().map(|&row| (self.timestamps[row as usize], R::read(&self.reader, row as usize)))
    }

    /// The first of them: where an aggregate runs before, its result.
    pub fn first(&self) -> Option<R::At<'e>> {
        self.iter().next()
    }
}

/// A function over windows, call by call. The macro `#[process_window]` implements it; implement it yourself to work on whole columns.
pub trait ProcessWindow: Sized + 'static {
    /// What it is; always the same.
    fn describe(identity: Identity) -> Description;
    /// An instance with this configuration, a JSON object; the error is shown to whoever started the job.
    fn new(configuration: &str) -> Result<Self, String>;
    /// Processes windows; element `i` is of window `groups[i]`.
    fn process(
        &mut self,
        moment: Moment,
        windows: Windows,
        keys: Keys,
        elements: Batch,
        groups: Vec<u32>,
        states: Vec<StateValues>,
    ) -> Result<KeyedResult, Fault>;
}

/// The description of a function over windows.
pub fn describe<I, O, S, St, K, C, M>(identity: Identity) -> Description
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    K: Record,
    C: Config,
    M: Metrics,
{
    const { assert!(field::all::<St>(Scope::Keyed), "a window has no operator or broadcast state") }
    Description {
        keys: fields::<K>(),
        side_outputs: S::describe(),
        states: St::describe(),
        metrics: M::describe(),
        configuration: config::schema::<C>(),
        ..description(identity, fields::<I>(), shape::<O>())
    }
}

/// The rows of each group, in order: those of group `g` are `rows[starts[g]..starts[g + 1]]`.
fn by_group(groups: &[u32], count: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0; count + 1];
    groups.iter().for_each(|&group| starts[group as usize + 1] += 1);
    for group in 0..count {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut rows = vec![0; groups.len()];
    for (row, &group) in (0..).zip(groups) {
        rows[next[group as usize]] = row;
        next[group as usize] += 1;
    }
    (starts, rows)
}

/// What a call of [`process`] is made with.
pub struct Call {
    /// When it happens.
    pub moment: Moment,
    /// The windows that fire.
    pub windows: Windows,
    /// Their keys.
    pub keys: Keys,
    /// Their elements.
    pub elements: Batch,
    /// The window of each element.
    pub groups: Vec<u32>,
    /// The states of each window.
    pub states: Vec<StateValues>,
}

/// Gives each window to a function.
#[inline]
pub fn process<I, O, S, St, K, M>(
    call: Call,
    mut each: impl for<'e, 's> FnMut(Elements<'e, I>, &mut St::At<'s>, &mut WindowContext<'e, K>, &mut Output<O, S>, &mut M),
) -> Result<KeyedResult, Fault>
where
    I: Record,
    O: Record,
    S: SideOutputs,
    St: States,
    K: Record,
    M: Metrics,
{
    let Call { moment, windows, keys, elements, groups, states } = call;
    check_timestamps(&elements)?;
    let rows = elements.rows as usize;
    let windows = Window::all(&windows)?;
    check_indices(&groups, rows, windows.len())?;
    check_indices(&keys.rows, windows.len(), keys.count as usize)?;
    let mut slots = St::open(Some(&mut states.into_iter()), 0, windows.len()).map_err(failed)?;
    let (starts, sorted) = by_group(&groups, windows.len());
    let mut context = WindowContext::<K>::new(moment, &keys).map_err(broken)?;
    let mut output = Output::<O, S>::new(windows.len());
    let mut metrics = M::start();
    for (index, (&window, &key)) in windows.iter().zip(&keys.rows).enumerate() {
        let elements = Elements {
            reader: I::reader(&elements.columns, rows).map_err(broken)?,
            timestamps: &elements.timestamps,
            rows: &sorted[starts[index]..starts[index + 1]],
        };
        context.at_window(index as u32, window, key);
        each(elements, &mut St::at(&mut slots, index), &mut context, &mut output, &mut metrics);
        output.end(index as u32);
    }
    let inherited: Vec<i64> = windows.iter().map(Window::last_ms).collect();
    let (main, side_outputs) = output.finish(&inherited);
    let mut states = Vec::new();
    St::finish(slots, &mut states).map_err(failed)?;
    let timers = TimerChanges { keys: Vec::new(), times: Vec::new(), domains: Vec::new(), actions: Vec::new() };
    let emission = Emission { main, side_outputs, rejections: Vec::new(), measurements: metrics.finish() };
    Ok(KeyedResult { emission, states, timers })
}
