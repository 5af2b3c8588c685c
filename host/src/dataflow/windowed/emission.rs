//! What becomes of windows that fire: rows with key and window, or whatever a process makes of them.
use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow_array::{ArrayRef, Int64Array};

use super::{
    ProcessPlugin, WindowedSettings,
    contents::Fired,
    firing::{Occasion, Panes, read_all},
    intake::Intake,
    state::{MapsOf, change_of, pick},
};
use crate::{
    codec::{Encoder, Format},
    dataflow::{Outputs, Reject, Rejects, Replacement, TaskError},
    model::{Batch, Encoded, Schema, StateChange, Window, decode_keys},
    plugin::{Elements, Instance, KeyedInput, Keys},
    state::KeyedStore,
};

/// What makes rows of windows that fire.
pub(super) enum Emission {
    /// The aggregate's results, after key and window.
    Results,
    /// A process.
    Process(Box<Process>),
}

/// A process, and where its states lie in the store.
pub(super) struct Process {
    plugin: ProcessPlugin,
    /// Whether it is given kept rows, and not an aggregate's results.
    kept: bool,
    states: Range<usize>,
    /// Turns an element into the text shown when it is rejected.
    encoder: Box<dyn Encoder>,
}

impl Process {
    /// `elements` are the columns of what it is given.
    pub(super) fn new(
        mut plugin: ProcessPlugin,
        states: Range<usize>,
        elements: &Schema,
        kept: bool,
        intake: &Intake,
    ) -> Result<Process, TaskError> {
        if kept {
            // Kept rows have the columns it reads and no others.
            plugin.reads = (0..plugin.reads.len()).collect();
        }
        let encoder = Format::Json.encoder(elements).map_err(|what| intake.bug(what))?;
        Ok(Process { plugin, kept, states, encoder })
    }

    async fn run(
        &mut self,
        store: &mut KeyedStore,
        panes: &Panes,
        fired: Fired,
        (settings, intake, occasion): (&WindowedSettings, &Intake, &Occasion),
        rejects: &mut Rejects,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        let windows: Vec<Window> = fired.panes.iter().map(|pane| panes.windows[*pane as usize]).collect();
        let (rows, distinct) = distinct_keys(store, panes, &fired.panes);
        let columns = match self.plugin.keys[..] {
            [] => Vec::new(),
            _ => decode_keys(&settings.key_kinds, distinct.iter().map(Vec::as_slice)).map_err(|e| intake.bug(e))?,
        };
        let columns: Vec<ArrayRef> = self.plugin.keys.iter().map(|column| columns[*column].clone()).collect();
        let keys = Keys { count: distinct.len(), rows: &rows, columns: &columns };
        let states = read_all(store, &panes.touched, self.states.clone(), occasion)?
            .into_iter()
            .map(|values| pick(values, &fired.panes).map_err(|error| intake.bug(error)))
            .collect::<Result<Vec<_>, _>>()?;
        let ProcessPlugin { instance, reads, schemas, side, .. } = &mut self.plugin;
        let result = {
            let reader = store.maps(&panes.touched, occasion.now_ms());
            let mut maps = MapsOf { reader, base: self.states.start, keys: &fired.panes };
            let input = KeyedInput { keys, states: &states, maps: &mut maps };
            let elements = Elements { batch: &fired.rows, reads, groups: &fired.groups };
            let (moment, records) = (occasion.moment, occasion.records.clone());
            instance.process_window(moment, &windows, elements, input, schemas, records)?
        };
        let key = |key: u32| fired.panes[key as usize];
        let changes: Vec<StateChange> =
            result.states.into_iter().map(|change| change_of(change, self.states.start, key)).collect();
        store.apply(&panes.touched, &changes, occasion.now_ms())?;
        let emitted = result.emitted;
        let side = *side;
        if !emitted.rejections.is_empty() {
            let rejected = self.rejects(&fired.rows, emitted.rejections);
            rejects.records(rejected, fired.rows.arrived, outputs).await?;
        }
        for (output, rows) in emitted.side_outputs {
            outputs.emit(side + output, rows).await?;
        }
        outputs.emit(0, emitted.main).await
    }

    fn rejects(&mut self, rows: &Batch, rejections: Vec<(usize, String)>) -> Vec<Reject> {
        let mut text = |row: usize| {
            let mut encoded = Encoded::default();
            self.encoder.encode(&rows.columns.slice(row, 1), &mut encoded);
            String::from_utf8_lossy(&encoded.data).trim_end().to_owned()
        };
        rejections
            .into_iter()
            .map(|(row, reason)| Reject { reason, record: text(row), timestamp: rows.timestamps[row] })
            .collect()
    }
}

/// The keys of these panes, each once, and for each pane which it is.
fn distinct_keys(store: &KeyedStore, panes: &Panes, fired: &[u32]) -> (Vec<u32>, Vec<Vec<u8>>) {
    let all: Vec<&[u8]> = store.keys(&panes.touched).collect();
    let mut numbers: HashMap<&[u8], u32> = HashMap::with_capacity(fired.len());
    let mut distinct = Vec::new();
    let rows = fired
        .iter()
        .map(|pane| {
            let key = all[*pane as usize];
            *numbers.entry(key).or_insert_with(|| {
                distinct.push(key.to_vec());
                distinct.len() as u32 - 1
            })
        })
        .collect();
    (rows, distinct)
}

impl Emission {
    /// From now on another process works.
    pub(super) fn replace(&mut self, new: Replacement) {
        if let Emission::Process(process) = self {
            let plugin = &mut process.plugin;
            (plugin.instance, plugin.keys) = (new.instance, new.keys);
            if !process.kept {
                plugin.reads = new.reads;
            }
        }
    }

    /// The guest, if there is one.
    pub(super) fn instance(&mut self) -> Option<&mut Instance> {
        match self {
            Emission::Results => None,
            Emission::Process(process) => Some(&mut process.plugin.instance),
        }
    }

    /// Emits what fired.
    pub(super) async fn emit(
        &mut self,
        store: &mut KeyedStore,
        panes: &Panes,
        fired: Fired,
        around: (&WindowedSettings, &Intake, &Occasion),
        rejects: &mut Rejects,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        match self {
            Emission::Process(process) => process.run(store, panes, fired, around, rejects, outputs).await,
            Emission::Results => {
                let (settings, intake, _) = around;
                let rows = with_keys(store, panes, fired, settings, intake)?;
                outputs.emit(0, rows).await
            }
        }
    }
}

/// An aggregate's results after key and window.
fn with_keys(
    store: &KeyedStore,
    panes: &Panes,
    fired: Fired,
    settings: &WindowedSettings,
    intake: &Intake,
) -> Result<Batch, TaskError> {
    let Fired { panes: of, mut rows, .. } = fired;
    let keys: Vec<&[u8]> = store.keys(&panes.touched).collect();
    let keys = of.iter().map(|pane| keys[*pane as usize]);
    let mut columns = decode_keys(&settings.key_kinds, keys).map_err(|error| intake.bug(error))?;
    if settings.window_columns {
        let time = |time: fn(&Window) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(of.iter().map(|pane| time(&panes.windows[*pane as usize]))))
        };
        columns.push(time(|window| window.start));
        columns.push(time(|window| window.end));
    }
    columns.extend(rows.columns.columns().iter().cloned());
    rows.columns = settings.schema.record_batch(columns, of.len()).map_err(|what| intake.bug(what))?;
    Ok(rows)
}
