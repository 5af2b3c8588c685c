//! Reading and changing the states of touched rows, and their timers.
use arrow_array::{Array, ArrayRef};

use super::{
    columns::{gather, scatter},
    error::StateError,
    items::{lists, map_key, put_elements, put_item},
    schema::is_expired,
    store::KeyedStore,
    timers::{self, Due},
    touched::Touched,
    values::Values,
    wire::{WINDOW_BYTES, domain_byte, read_window, window_bytes},
};
use crate::model::{EventTime, StateChange, StateKind, StateValues, TimeDomain, TimerChange, Window};

impl KeyedStore {
    /// The encoded keys touched.
    pub fn keys<'a>(&'a self, touched: &'a Touched) -> impl Iterator<Item = &'a [u8]> + Clone + 'a {
        let tables: Vec<_> = touched
            .windows
            .iter()
            .filter_map(|window| match (&self.open, touched.sessions) {
                (Some(open), false) => Some(open),
                _ => self.tables.iter().find(|table| table.window == *window),
            })
            .collect();
        touched.places.iter().map(move |(rank, row)| match tables.get(*rank as usize) {
            Some(table) => table.shape.split(table.young.keys.key(*row as usize), table.window).0,
            None => &[],
        })
    }

    /// What a state holds for each key touched.
    pub fn read(&mut self, touched: &Touched, state: usize, now_ms: i64) -> Result<StateValues, StateError> {
        let description = self.state(touched, state)?;
        self.set_now(now_ms);
        let mut all = self.values(touched)?;
        if let Some(ttl) = description.time_to_live {
            for (rank, row) in &touched.places {
                let row = *row as usize;
                let Some(values) = all.get_mut(*rank as usize).filter(|values| values.is_set(state, row)) else {
                    continue;
                };
                let expired = is_expired(&description, Some(values.time(state, row)), now_ms);
                if expired && !ttl.return_expired {
                    values.unset(state, row);
                } else if ttl.update_on_read && !expired && values.time(state, row) != now_ms {
                    values.stamp(state, row, now_ms);
                }
            }
        }
        let all: Vec<&Values> = all.iter().map(|values| &**values).collect();
        match description.kind {
            StateKind::Value | StateKind::Reducing | StateKind::Aggregating => {
                Ok(StateValues::Single(gather(description.value, &all, state, &touched.places)))
            }
            StateKind::List => {
                let list = |(rank, row): &(u32, u32)| {
                    all.get(*rank as usize).map_or(&[][..], |values| values.list(state, *row as usize))
                };
                let bytes = touched.places.iter().map(list);
                match lists(description.value, bytes) {
                    Some((offsets, values)) => Ok(StateValues::Many { offsets, values }),
                    None => Err(self.bug("a list in state is none")),
                }
            }
            StateKind::Map => Ok(StateValues::ByImport),
            _ => Err(self.bug("state of a task was read by key")),
        }
    }

    pub(super) fn state(&self, touched: &Touched, state: usize) -> Result<crate::model::StateDescription, StateError> {
        if self.open.is_some() && !touched.sessions {
            return Err(self.bug("the state of a session was asked for without its window"));
        }
        self.settings.states.get(state).cloned().ok_or_else(|| self.bug("a state that was not declared was asked for"))
    }

    /// Notes that rows are about to be changed.
    pub(super) fn mark(&mut self, touched: &Touched, places: &[(u32, u32)]) -> Result<(), StateError> {
        if self.db.is_some() {
            return Ok(());
        }
        let mut tables = self.tables_of(touched)?;
        for (rank, row) in places {
            if let Some(table) = tables.get_mut(*rank as usize) {
                table.changed.mark(*row as usize);
            }
        }
        Ok(())
    }

    fn values(&mut self, touched: &Touched) -> Result<Vec<&mut Values>, StateError> {
        Ok(self.tables_of(touched)?.into_iter().map(|table| &mut table.young.values).collect())
    }

    /// Puts a value for each key touched, in their order; a null clears.
    pub fn put_column(
        &mut self,
        touched: &Touched,
        state: usize,
        values: &ArrayRef,
        now_ms: i64,
    ) -> Result<(), StateError> {
        self.put_places(touched, state, &touched.places, values, now_ms)
    }

    fn put_places(
        &mut self,
        touched: &Touched,
        state: usize,
        places: &[(u32, u32)],
        values: &ArrayRef,
        now_ms: i64,
    ) -> Result<(), StateError> {
        let description = self.state(touched, state)?;
        let is_single = matches!(description.kind, StateKind::Value | StateKind::Reducing | StateKind::Aggregating);
        let rows =
            places.len() == values.len() && places.iter().all(|(rank, _)| (*rank as usize) < touched.windows.len());
        if !is_single || !rows || *values.data_type() != description.value.data_type() {
            return Err(self.bug("values were put that are not the state's"));
        }
        self.set_now(now_ms);
        self.mark(touched, places)?;
        let mut all = self.values(touched)?;
        scatter(&mut all, state, places, values);
        if description.time_to_live.is_some() {
            for (rank, row) in places {
                let values = &mut all[*rank as usize];
                if values.is_set(state, *row as usize) {
                    values.stamp(state, *row as usize, now_ms);
                }
            }
        }
        Ok(())
    }

    /// Makes changes, in order.
    pub fn apply(&mut self, touched: &Touched, changes: &[StateChange], now_ms: i64) -> Result<(), StateError> {
        self.set_now(now_ms);
        for change in changes {
            let (state, keys) = match change {
                StateChange::Put { state, keys, .. }
                | StateChange::Replace { state, keys, .. }
                | StateChange::Append { state, keys, .. }
                | StateChange::PutEntries { state, keys, .. }
                | StateChange::Clear { state, keys } => (*state, keys),
            };
            let places = self.places(touched, keys)?;
            match change {
                StateChange::Put { values, .. } => self.put_places(touched, state, &places, values, now_ms)?,
                StateChange::Replace { offsets, values, .. } => {
                    self.put_lists(touched, state, &places, (offsets, values), false)?;
                }
                StateChange::Append { offsets, values, .. } => {
                    self.put_lists(touched, state, &places, (offsets, values), true)?;
                }
                StateChange::PutEntries { map_keys, values, .. } => {
                    self.put_entries(touched, state, &places, map_keys, values)?;
                }
                StateChange::Clear { .. } => self.clear_places(touched, state, &places)?,
            }
        }
        self.flush_writes()
    }

    fn places(&self, touched: &Touched, keys: &[u32]) -> Result<Vec<(u32, u32)>, StateError> {
        keys.iter()
            .map(|key| touched.places.get(*key as usize).copied())
            .collect::<Option<_>>()
            .ok_or_else(|| self.bug("state of a key that was not touched was changed"))
    }

    fn put_lists(
        &mut self,
        touched: &Touched,
        state: usize,
        places: &[(u32, u32)],
        (offsets, values): (&[i32], &ArrayRef),
        append: bool,
    ) -> Result<(), StateError> {
        let description = self.state(touched, state)?;
        let rows = offsets.len() == places.len() + 1 && offsets.last().is_some_and(|end| *end as usize <= values.len());
        if description.kind != StateKind::List || !rows || *values.data_type() != description.value.data_type() {
            return Err(self.bug("lists were put that are not the state's"));
        }
        let now_ms = self.now_ms;
        self.mark(touched, places)?;
        let mut all = self.values(touched)?;
        let mut elements = Vec::new();
        for (i, ((rank, row), range)) in places.iter().zip(offsets.windows(2)).enumerate() {
            if i % FETCHED_LISTS == 0 {
                fetch_lists(&all, state, &places[i..places.len().min(i + FETCHED_LISTS)]);
            }
            let (table, row) = (&mut all[*rank as usize], *row as usize);
            elements.clear();
            put_elements(values, range[0] as usize..range[1] as usize, &mut elements);
            // What is expired must not live on in front of what is appended.
            if append && is_expired(&description, Some(table.time(state, row)), now_ms) {
                table.unset(state, row);
            }
            table.put_list(state, row, &elements, append);
            if table.is_set(state, row) && !elements.is_empty() {
                table.stamp(state, row, now_ms);
            }
        }
        Ok(())
    }

    fn put_entries(
        &mut self,
        touched: &Touched,
        state: usize,
        places: &[(u32, u32)],
        map_keys: &ArrayRef,
        values: &ArrayRef,
    ) -> Result<(), StateError> {
        let description = self.state(touched, state)?;
        let kinds = *values.data_type() == description.value.data_type()
            && description.key.is_some_and(|key| *map_keys.data_type() == key.data_type());
        if description.kind != StateKind::Map
            || !kinds
            || places.len() != values.len()
            || map_keys.len() != values.len()
        {
            return Err(self.bug("entries were put that are not the state's"));
        }
        self.mark(touched, places)?;
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for (i, place) in places.iter().enumerate() {
            key.clear();
            value.clear();
            map_key(map_keys, i, &mut key);
            if values.is_valid(i) {
                put_item(values, i, &mut value);
            }
            self.put_entry(touched, state, *place, &key, values.is_valid(i).then_some(&value[..]))?;
        }
        Ok(())
    }

    fn clear_places(&mut self, touched: &Touched, state: usize, places: &[(u32, u32)]) -> Result<(), StateError> {
        self.mark(touched, places)?;
        if self.state(touched, state)?.kind == StateKind::Map {
            return places.iter().try_for_each(|place| self.clear_map(touched, state, *place));
        }
        let mut all = self.values(touched)?;
        for (rank, row) in places {
            all[*rank as usize].unset(state, *row as usize);
        }
        Ok(())
    }

    /// Forgets all states of the keys touched.
    pub fn clear(&mut self, touched: &Touched) -> Result<(), StateError> {
        for state in 0..self.settings.states.len() {
            self.clear_places(touched, state, &touched.places)?;
        }
        self.flush_writes()
    }

    /// Writes of maps are seen by what reads next.
    fn flush_writes(&mut self) -> Result<(), StateError> {
        match (&self.db, &mut self.writes) {
            (Some(db), Some(writes)) => db.write(writes),
            _ => Ok(()),
        }
    }

    /// Sets and deletes timers, in order.
    pub fn change_timers(&mut self, touched: &Touched, changes: &[TimerChange]) -> Result<(), StateError> {
        let tracking = self.tracking && self.db.is_none();
        let mut timers = Vec::with_capacity(changes.len());
        {
            let tables = self.tables_of(touched)?;
            for change in changes {
                let Some((rank, row)) = touched.places.get(change.key as usize) else { continue };
                let Some(table) = tables.get(*rank as usize) else { continue };
                let (key, window) = table.shape.split(table.young.keys.key(*row as usize), table.window);
                timers.push(timers::encode(change.time, table.young.groups[*row as usize], window, key));
            }
        }
        if timers.len() != changes.len() {
            return Err(self.bug("a timer of a key that was not touched was changed"));
        }
        for (change, timer) in changes.iter().zip(timers) {
            self.timers.change(domain_byte(change.domain), timer, change.set, tracking, self.writes.as_mut());
        }
        if tracking && self.timers.changed() > 2 * self.timers.len() + MANY_CHANGES {
            self.forget_checkpoints();
        }
        self.refill()
    }

    fn refill(&mut self) -> Result<(), StateError> {
        self.flush_writes()?;
        match &self.db {
            Some(db) => self.timers.refill(db),
            None => Ok(()),
        }
    }

    /// When the first timer is due.
    pub fn next_timer(&self, domain: TimeDomain) -> Option<EventTime> {
        self.timers.next(domain)
    }

    /// Takes timers due at `until` (inclusive) out, in time order, at most `limit`, and at most one of a key (and window), so that
    /// it may still delete or set others of its key: to be called until it gives none.
    pub fn take_due(
        &mut self,
        domain: TimeDomain,
        until: EventTime,
        limit: usize,
        due: &mut Due,
    ) -> Result<(), StateError> {
        let tracking = self.tracking && self.db.is_none();
        self.timers.take_due(domain, until, limit, tracking, self.writes.as_mut(), due);
        self.refill()
    }

    /// The open windows of each key touched (without windows), in the order they were put.
    pub fn open_windows(&mut self, touched: &Touched) -> Result<Vec<Vec<Window>>, StateError> {
        let tables = self.tables_of(touched)?;
        let windows = |(rank, row): &(u32, u32)| {
            let list = tables[*rank as usize].young.values.list(0, *row as usize);
            list.chunks_exact(WINDOW_BYTES).filter_map(read_window).collect()
        };
        Ok(touched.places.iter().map(windows).collect())
    }

    /// Notes the open windows of keys: key `keys[i]` of those touched (without windows) has `windows[i]`.
    pub fn put_open_windows(
        &mut self,
        touched: &Touched,
        keys: &[u32],
        windows: &[Vec<Window>],
    ) -> Result<(), StateError> {
        if self.open.is_none() || touched.sessions {
            return Err(self.bug("open windows were noted where there are none"));
        }
        let places = self.places(touched, keys)?;
        self.mark(touched, &places)?;
        let mut tables = self.tables_of(touched)?;
        for ((rank, row), windows) in places.iter().zip(windows) {
            let list: Vec<u8> = windows.iter().flat_map(|window| window_bytes(*window)).collect();
            tables[*rank as usize].young.values.put_list(0, *row as usize, &list, false);
        }
        Ok(())
    }
}

/// Loads where lists are to be written. A write looks at what is there first; here no load waits for another, so that many are under way
/// at once.
fn fetch_lists(all: &[&mut Values], state: usize, places: &[(u32, u32)]) {
    let lengths = places.iter().map(|(rank, row)| all[*rank as usize].list(state, *row as usize).len());
    std::hint::black_box(lengths.sum::<usize>());
}

/// Lists fetched together.
const FETCHED_LISTS: usize = 64;

/// So many more changes of timers than timers make the next checkpoint whole.
const MANY_CHANGES: usize = 1 << 16;
