//! Keyed state of one subtask of one operator: columns of values by key, timers, snapshots. Both backends behave the same. Must
//! not know what values mean.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use super::{
    backend::StateBackend,
    chain::Chain,
    db::{Db, Writes},
    error::StateError,
    files::Files,
    migrate::{Migrator, NoMigrator},
    settings::{Layout, Restored, StoreSettings},
    table::{Shape, Table, WRITE_BYTES},
    timers::Timers,
    touched::Touched,
    union::Union,
    wire::{OPEN, ROW, WINDOW_BYTES, window_bytes},
};
use crate::model::{KeyRows, Kind, StateDescription, StateKind, StoreSnapshot, Window};

/// The keyed state of a subtask.
pub struct KeyedStore {
    pub(super) settings: StoreSettings,
    pub(super) restored: Restored,
    pub(super) shape: Arc<Shape>,
    /// By window; one of all time unless tables are by window.
    pub(super) tables: Vec<Table>,
    /// The open windows of keys, of sessions.
    pub(super) open: Option<Table>,
    pub(super) timers: Timers,
    /// Of windows that were scanned together.
    pub(super) union: Union,
    pub(super) db: Option<Db>,
    pub(super) writes: Option<Writes>,
    /// Counts touches, to know what this one has found without clearing anything between two.
    batch: u32,
    /// The latest processing time heard of, in ms.
    pub(super) now_ms: i64,
    /// Whether deletions must be remembered: a checkpoint has been taken on which the next can build.
    pub(super) tracking: bool,
    /// Windows forgotten since the last checkpoint.
    pub(super) dropped: BTreeSet<Window>,
    pub(super) chain: Chain,
    pub(super) files: Arc<Mutex<Files>>,
    /// Checkpoints not known to be complete or aborted; savepoints are none.
    pub(super) checkpoints: BTreeSet<u64>,
    /// Local folders that snapshots still refer to, by checkpoint.
    pub(super) folders: BTreeMap<u64, Vec<PathBuf>>,
}

impl KeyedStore {
    /// Opens a store with what `restored`, the snapshots of all subtasks of an earlier run with their parts' contents, hold of
    /// its key groups. States are found by name; values of earlier schema versions are refused.
    pub fn open(
        backend: &StateBackend,
        settings: StoreSettings,
        restored: Vec<StoreSnapshot>,
    ) -> Result<KeyedStore, StateError> {
        KeyedStore::open_migrating(backend, settings, restored, &mut NoMigrator)
    }

    /// The same, with values of earlier schema versions made into those of the declared ones. Fails at the first that cannot be; what is
    /// restored stays as it is in any case.
    pub fn open_migrating(
        backend: &StateBackend,
        settings: StoreSettings,
        restored: Vec<StoreSnapshot>,
        migrator: &mut dyn Migrator,
    ) -> Result<KeyedStore, StateError> {
        let suffix = if settings.layout == Layout::Sessions { WINDOW_BYTES } else { 0 };
        let memory = backend.is_memory();
        let max_parallelism = settings.max_parallelism;
        let states: Arc<[StateDescription]> = settings.states.clone().into();
        let shape = Arc::new(Shape { states, maps: memory, kind: ROW, suffix, max_parallelism });
        let open = (settings.layout == Layout::Sessions).then(|| {
            let list = StateDescription {
                name: "open windows".to_owned(),
                kind: StateKind::List,
                schema_version: 0,
                value: Kind::Binary,
                key: None,
                time_to_live: None,
            };
            let states: Arc<[StateDescription]> = Arc::new([list]);
            Table::new(Window::GLOBAL, &Arc::new(Shape { states, maps: false, kind: OPEN, suffix: 0, max_parallelism }))
        });
        let tables =
            if settings.layout == Layout::Windows { Vec::new() } else { vec![Table::new(Window::GLOBAL, &shape)] };
        let mut store = KeyedStore {
            settings,
            restored: Restored::default(),
            shape,
            tables,
            open,
            timers: Timers::default(),
            union: Union::default(),
            db: None,
            writes: None,
            batch: 0,
            now_ms: i64::MIN,
            tracking: false,
            dropped: BTreeSet::new(),
            chain: Chain::default(),
            files: Arc::default(),
            checkpoints: BTreeSet::new(),
            folders: BTreeMap::new(),
        };
        store.restore(backend, restored, migrator)?;
        Ok(store)
    }

    /// What became of restored states.
    pub fn restored(&self) -> &Restored {
        &self.restored
    }

    /// Finds, or makes, the row of each key: of `keys[i]`, in `windows[i]` for [`Layout::Windows`]; for [`Layout::Sessions`] in
    /// `windows[i]`, or without windows the key's list of open windows. `hashes` are those of the keys.
    pub fn touch(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        windows: Option<&[Window]>,
        touched: &mut Touched,
    ) -> Result<(), StateError> {
        touched.clear(windows.is_some() && self.settings.layout == Layout::Sessions);
        self.batch = self.batch.wrapping_add(1);
        self.make_room()?;
        let mut from = Vec::new();
        match (self.settings.layout, windows) {
            (Layout::Windows, Some(windows)) => {
                let mut row = 0;
                // Rows mostly come in runs of one window.
                while row < windows.len() {
                    let run = windows[row..]
                        .iter()
                        .position(|window| *window != windows[row])
                        .map_or(windows.len(), |length| row + length);
                    self.touch_run(keys, &hashes[row..run], row, windows[row], touched, &mut from);
                    row = run;
                }
            }
            (Layout::Sessions, Some(windows)) => {
                let (keys, hashes) = in_windows(keys, windows);
                self.touch_run(&keys, &hashes, 0, Window::GLOBAL, touched, &mut from);
            }
            (Layout::Keys | Layout::Sessions, None) => {
                self.touch_run(keys, hashes, 0, Window::GLOBAL, touched, &mut from);
            }
            _ => return Err(self.bug("rows were touched with windows it does not have")),
        }
        let db = self.db.take();
        let filled =
            self.tables_of(touched)?.into_iter().zip(from).try_for_each(|(table, from)| table.fill(from, db.as_ref()));
        self.db = db;
        filled
    }

    fn touch_run(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        first_row: usize,
        window: Window,
        touched: &mut Touched,
        from: &mut Vec<usize>,
    ) {
        let (now_ms, tracking, batch) = (self.now_ms, self.tracking, self.batch);
        let remember = tracking || self.db.is_some();
        let table = match (&mut self.open, touched.sessions) {
            (Some(open), false) => open,
            _ => {
                let at = self.tables.binary_search_by_key(&window, |table| table.window).unwrap_or_else(|at| {
                    self.tables.insert(at, Table::new(window, &self.shape));
                    at
                });
                &mut self.tables[at]
            }
        };
        let mut overrun = false;
        let rank = touched.windows.iter().position(|it| *it == window).unwrap_or_else(|| {
            let shape = &table.shape;
            if !table.scanning {
                table.young.sweep(&shape.states, now_ms, tracking);
                let (suffix, max) = (shape.suffix, shape.max_parallelism);
                overrun = table.young.shrink(&shape.states, shape.maps, remember, suffix, max);
            }
            from.push(table.young.len());
            touched.windows.push(window);
            touched.windows.len() - 1
        });
        table.young.touch(keys, hashes, first_row, (batch, rank as u32), touched);
        if overrun && self.db.is_none() {
            self.forget_checkpoints();
        }
    }

    /// The next checkpoint is whole, so that nothing need be remembered for it.
    pub(super) fn forget_checkpoints(&mut self) {
        self.tracking = false;
        self.chain.clear();
        self.dropped.clear();
        self.timers.settle();
    }

    /// The tables of the windows touched, in their order.
    pub(super) fn tables_of(&mut self, touched: &Touched) -> Result<Vec<&mut Table>, StateError> {
        if let (Some(_), false) = (&self.open, touched.sessions) {
            return Ok(self.open.iter_mut().collect());
        }
        let mut ranked: Vec<(usize, &mut Table)> = self
            .tables
            .iter_mut()
            .filter_map(|table| Some((touched.windows.iter().position(|it| *it == table.window)?, table)))
            .collect();
        if ranked.len() != touched.windows.len() {
            return Err(StateError::Bug {
                store: self.settings.name.clone(),
                what: "a window was forgotten that is still looked at".to_owned(),
            });
        }
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        Ok(ranked.into_iter().map(|(_, table)| table).collect())
    }

    /// Writes and forgets rows not touched for long, where there are too many in memory.
    fn make_room(&mut self) -> Result<(), StateError> {
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Ok(()) };
        let young: usize = self.tables.iter().chain(&self.open).map(|table| table.young.bytes()).sum();
        if young * 2 > db.cache_bytes() {
            for table in self.tables.iter_mut().chain(&mut self.open).filter(|table| !table.scanning) {
                table.age(db, writes)?;
            }
            // It goes by the rows' places.
            self.union = Union::default();
            db.write(writes)?;
        }
        Ok(())
    }

    /// Writes all that the database does not have yet.
    pub(super) fn write_all(&mut self) -> Result<(), StateError> {
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Ok(()) };
        for table in self.tables.iter_mut().chain(&mut self.open) {
            table.write(Some(db), writes)?;
        }
        self.timers.write(writes);
        db.write(writes)
    }

    /// Writes what was put aside to be written once there is enough of it.
    pub(super) fn write_some(&mut self) -> Result<(), StateError> {
        match (&self.db, &mut self.writes) {
            (Some(db), Some(writes)) if writes.bytes() > WRITE_BYTES => db.write(writes),
            _ => Ok(()),
        }
    }

    /// Notes the processing time.
    pub(super) fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        if let Some(db) = &self.db {
            db.set_now(now_ms);
        }
    }

    pub(super) fn bug(&self, what: &str) -> StateError {
        StateError::Bug { store: self.settings.name.clone(), what: what.to_owned() }
    }

    /// Number of rows in memory.
    pub fn rows(&self) -> usize {
        self.tables.iter().flat_map(Table::generations).map(super::rows::Rows::len).sum()
    }

    /// Bytes in memory, approximately.
    pub fn bytes(&self) -> usize {
        self.tables.iter().chain(&self.open).map(Table::bytes).sum::<usize>() + self.timers.bytes()
    }
}

/// Keys with their windows behind them, and the hashes of that.
pub(super) fn in_windows(keys: &KeyRows, windows: &[Window]) -> (KeyRows, Vec<u64>) {
    let mut data = Vec::new();
    let mut offsets = vec![0];
    for (row, window) in windows.iter().enumerate() {
        data.extend_from_slice(keys.get(row));
        data.extend_from_slice(&window_bytes(*window));
        offsets.push(data.len() as i32);
    }
    let keys = KeyRows::Variable { offsets: arrow_buffer::OffsetBuffer::new(offsets.into()), data: data.into() };
    let mut hashes = Vec::new();
    keys.hash_into(windows.len(), &mut hashes);
    (keys, hashes)
}
