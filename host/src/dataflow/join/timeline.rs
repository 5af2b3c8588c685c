//! The rows of both inputs of a join, kept by key in the order of their times. They are entries of maps, one an input, so that any
//! stretch of time can be read page by page and rows are added and removed without touching others; what is read and written of a key
//! does not depend on how many rows it has. Knows neither windows nor intervals.
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, builder::BinaryBuilder, cast::AsArray, new_null_array};
use arrow_schema::DataType;

use super::{JoinSettings, Side};
use crate::{
    dataflow::{StateHome, TaskError, windowed::elements::encode},
    model::{
        Batch, EventTime, KeyRows, Kind, OperatorState, Redistribution, SnapshotRequest, StateChange, StateDescription,
        StateKind, SubtaskState, TimeDomain, TimerChange,
    },
    state::{Due, KeyedStore, Layout, NoMigrator, Touched},
};

/// Name of the operator state with the number that tells rows of one key and time apart.
const SEQUENCE: &str = "sequence";

/// Rows of one key by time.
pub(super) struct Timeline {
    pub(super) store: KeyedStore,
    settings: JoinSettings,
    /// All columns of each input.
    columns: [Vec<usize>; 2],
    /// The number of the next row; larger than those of all rows kept.
    sequence: u64,
}

/// A stretch of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: EventTime,
    pub(super) to: EventTime,
}

impl Stretch {
    pub(super) const ALL: Stretch = Stretch { from: EventTime::MIN, to: EventTime::MAX };
}

/// Some rows of a key, in the order of their times and, within one, of their arrival.
pub(super) struct Page {
    /// Where each lies.
    pub(super) places: BinaryArray,
    /// The rows as bytes.
    pub(super) rows: BinaryArray,
    /// Where to go on; none at the end.
    pub(super) next: Option<Vec<u8>>,
}

impl Page {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The time by which a row is kept.
    pub(super) fn time(&self, row: usize) -> EventTime {
        self.places.value(row).first_chunk().map_or(EventTime::MIN, |time| from_bytes(*time))
    }

    /// How many of its rows, which come first, have times for which this holds.
    pub(super) fn count_while(&self, holds: impl Fn(EventTime) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if holds(self.time(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Rows that are to be removed, of the keys touched.
#[derive(Default)]
pub(super) struct Gone {
    sides: [(Vec<u32>, BinaryBuilder); 2],
}

impl Gone {
    /// The first `count` rows of a page.
    pub(super) fn add(&mut self, side: Side, key: u32, page: &Page, count: usize) {
        let (keys, places) = &mut self.sides[side.index()];
        keys.resize(keys.len() + count, key);
        (0..count).for_each(|row| places.append_value(page.places.value(row)));
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.sides.iter().map(|(keys, _)| keys.len()).sum()
    }
}

const SIGN: u64 = 1 << 63;

/// Times as bytes in their order.
fn to_bytes(time: EventTime) -> [u8; 8] {
    (time.cast_unsigned() ^ SIGN).to_be_bytes()
}

fn from_bytes(bytes: [u8; 8]) -> EventTime {
    (u64::from_be_bytes(bytes) ^ SIGN).cast_signed()
}

impl Timeline {
    /// With what an earlier run left under this name.
    pub(super) fn open(
        name: &str,
        settings: &JoinSettings,
        home: &StateHome,
        restored: SubtaskState,
    ) -> Result<Timeline, TaskError> {
        // Rows of one key may have been numbered by any of the subtasks there were.
        let states = restored.operator_states.iter().filter(|state| state.name == SEQUENCE);
        let numbers = states.flat_map(|state| &state.elements);
        let sequence = numbers.filter_map(|it| Some(u64::from_be_bytes(it.as_slice().try_into().ok()?))).max();
        // Rows that were written with other columns are not found again: they could not be read.
        let state = |(side, schema): (&str, &crate::model::Schema)| StateDescription {
            name: format!("{side} {schema}"),
            kind: StateKind::Map,
            schema_version: 1,
            value: Kind::Binary,
            key: Some(Kind::Binary),
            time_to_live: None,
        };
        let [first, second] = &settings.inputs;
        let states = vec![state(("first", &first.schema)), state(("second", &second.schema))];
        let store = home.open(name, states, Layout::Keys, restored, &mut NoMigrator)?;
        let columns = settings.inputs.each_ref().map(|input| (0..input.schema.fields().len()).collect());
        Ok(Timeline { store, settings: settings.clone(), columns, sequence: sequence.unwrap_or(0) })
    }

    /// Adds rows: row `rows[i]` of the batch, of the key `touched.groups[rows[i]]`, at `times[rows[i]]`.
    pub(super) fn insert(
        &mut self,
        side: Side,
        touched: &Touched,
        (batch, times): (&Batch, &[EventTime]),
        rows: &[u32],
        now_ms: i64,
    ) -> Result<(), TaskError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut places = BinaryBuilder::with_capacity(rows.len(), rows.len() * 16);
        for (number, row) in (self.sequence..).zip(rows) {
            places.append_value([to_bytes(times[*row as usize]), number.to_be_bytes()].as_flattened());
        }
        self.sequence += rows.len() as u64;
        let put = StateChange::PutEntries {
            state: side.index(),
            keys: rows.iter().map(|row| touched.groups[*row as usize]).collect(),
            map_keys: Arc::new(places.finish()),
            values: Arc::new(encode(batch, &self.columns[side.index()], rows.iter().copied())),
        };
        Ok(self.store.apply(touched, &[put], now_ms)?)
    }

    /// At most `limit` rows of a key touched in a stretch of time; `next` of a page goes on after that.
    pub(super) fn page(
        &mut self,
        (touched, key): (&Touched, u32),
        side: Side,
        stretch: Stretch,
        next: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Page, TaskError> {
        let (from, until) = (to_bytes(stretch.from), stretch.to.checked_add(1).map(to_bytes));
        let after = next.as_deref().unwrap_or(&from);
        let range = (Some(after), until.as_ref().map(|until| &until[..]));
        let page = self.store.scan_map(touched, (side.index(), key), range, limit)?;
        let bytes = |column: ArrayRef| {
            column.as_binary_opt::<i32>().cloned().ok_or_else(|| self.settings.bug("rows in state are not bytes"))
        };
        Ok(Page { places: bytes(page.map_keys)?, rows: bytes(page.values)?, next: page.next })
    }

    /// Whether a key touched has a row of either input in a stretch of time.
    pub(super) fn has_any(&mut self, of: (&Touched, u32), stretch: Stretch) -> Result<bool, TaskError> {
        for side in Side::BOTH {
            if self.page(of, side, stretch, None, 1)?.len() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes rows.
    pub(super) fn remove(&mut self, touched: &Touched, gone: &mut Gone, now_ms: i64) -> Result<(), TaskError> {
        for side in Side::BOTH {
            let (keys, places) = &mut gone.sides[side.index()];
            if keys.is_empty() {
                continue;
            }
            let map_keys: ArrayRef = Arc::new(places.finish());
            let values = new_null_array(&DataType::Binary, map_keys.len());
            let keys = std::mem::take(keys);
            let remove = StateChange::PutEntries { state: side.index(), keys, map_keys, values };
            self.store.apply(touched, &[remove], now_ms)?;
        }
        Ok(())
    }

    /// Sets timers of keys touched; the same one several times is set once.
    pub(super) fn set_timers(
        &mut self,
        touched: &Touched,
        domain: TimeDomain,
        mut timers: Vec<(u32, EventTime)>,
    ) -> Result<(), TaskError> {
        timers.sort_unstable();
        timers.dedup();
        let change = |(key, time)| TimerChange { key, time, domain, set: true };
        let changes: Vec<TimerChange> = timers.into_iter().map(change).collect();
        Ok(self.store.change_timers(touched, &changes)?)
    }

    /// Takes timers that are due, with their keys touched: at most `batch_records`, of a key at most one, the earliest.
    pub(super) fn take_due(
        &mut self,
        domain: TimeDomain,
        until: EventTime,
        due: &mut Due,
        touched: &mut Touched,
    ) -> Result<bool, TaskError> {
        self.store.take_due(domain, until, self.settings.batch_records, due)?;
        if due.is_empty() {
            return Ok(false);
        }
        self.store.touch(&due.keys(), &due.hashes, None, touched)?;
        Ok(true)
    }

    /// Finds the keys of a batch's rows.
    pub(super) fn touch(&mut self, side: Side, batch: &Batch, touched: &mut Touched) -> Result<Vec<u64>, TaskError> {
        let key = self.settings.inputs[side.index()].key.iter();
        let columns: Vec<ArrayRef> = key.map(|column| batch.columns.column(*column).clone()).collect();
        let keys = KeyRows::encode(&columns, batch.rows());
        let hashes = match &batch.key_hashes {
            Some(hashes) => hashes.to_vec(),
            None => {
                let mut hashes = Vec::new();
                keys.hash_into(batch.rows(), &mut hashes);
                hashes
            }
        };
        self.store.touch(&keys, &hashes, None, touched)?;
        Ok(hashes)
    }

    /// What it takes to go on from here.
    pub(super) fn snapshot(
        &mut self,
        request: &SnapshotRequest,
        watermark: EventTime,
    ) -> Result<SubtaskState, TaskError> {
        let sequence = OperatorState {
            name: SEQUENCE.to_owned(),
            redistribution: Redistribution::Union,
            elements: vec![self.sequence.to_be_bytes().to_vec()],
        };
        let (stores, operator_states) = (vec![self.store.snapshot(request)?], vec![sequence]);
        Ok(SubtaskState { watermark, stores, operator_states, ..SubtaskState::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_times_are_in_their_order_and_come_back() {
        let times = [i64::MIN, -1000, -1, 0, 1, 255, 256, i64::MAX];
        assert!(times.windows(2).all(|pair| to_bytes(pair[0]) < to_bytes(pair[1])));
        assert!(times.iter().all(|time| from_bytes(to_bytes(*time)) == *time));
    }
}
