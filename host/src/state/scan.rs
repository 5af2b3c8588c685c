//! Reading windows page by page, and forgetting them.
use super::{
    error::StateError,
    settings::Layout,
    store::KeyedStore,
    table::not_a_row,
    touched::Touched,
    wire::{MAP, ROW, WINDOW_BYTES, window_bytes},
};
use crate::{
    model::{KeyRows, Window, key_hash},
    state::maps::after_prefix,
};

/// Where a scan goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which of the windows scanned.
    pub(super) window: usize,
    /// The row of its table that is next, where the table is all there is.
    pub(super) row: usize,
    /// The full key that was last, where the rest is in a database.
    pub(super) key: Option<Vec<u8>>,
}

/// Some of a window's keys.
#[derive(Clone, Debug, Default)]
pub struct WindowPage {
    /// Their rows, to be read (and changed) as those of a call, whose rows are the keys.
    pub touched: Touched,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

/// Some of the keys of several windows.
#[derive(Clone, Debug)]
pub struct UnionPage {
    /// The keys, each once.
    pub keys: KeyRows,
    /// How many.
    pub len: usize,
    /// Their rows in all of the windows that have any, to be read as those of a call.
    pub touched: Touched,
    /// For each of these rows, to which of the keys it belongs.
    pub owners: Vec<u32>,
    /// Where to go on; none at the end.
    pub next: Option<Cursor>,
}

impl UnionPage {
    pub(super) fn empty() -> UnionPage {
        UnionPage { keys: KeyRows::encode(&[], 0), len: 0, touched: Touched::default(), owners: Vec::new(), next: None }
    }
}

impl KeyedStore {
    /// The first window by its end; of [`Layout::Windows`] only.
    pub fn first_window(&self) -> Option<Window> {
        self.windows().next()
    }

    /// The windows there are, by their ends; of [`Layout::Windows`] only.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        let by_window = self.settings.layout == Layout::Windows;
        self.tables.iter().filter(move |_| by_window).map(|table| table.window)
    }

    /// Finds the rows of keys in one window without making them: `touched` has every key in order, also if it comes twice;
    /// those that are not there read as null and must not be changed.
    pub fn find(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        window: Window,
        touched: &mut Touched,
    ) -> Result<(), StateError> {
        touched.clear(false);
        touched.groups.extend(0..hashes.len() as u32);
        let at = self.tables.binary_search_by_key(&window, |table| table.window).ok();
        let Some(at) = at.filter(|_| self.settings.layout != Layout::Sessions) else {
            touched.places.resize(hashes.len(), (0, 0));
            return Ok(());
        };
        touched.windows.push(window);
        let table = &mut self.tables[at];
        if table.complete && table.old.is_none() {
            // The table one past the last has nothing at place 0.
            let place = |(i, hash): (usize, &u64)| {
                table.young.keys.get(*hash, keys.get(i)).map_or((1, 0), |row| (0, row as u32))
            };
            touched.places.extend(hashes.iter().enumerate().map(place));
            return Ok(());
        }
        let from = table.young.len();
        for (i, hash) in hashes.iter().enumerate() {
            let key = keys.get(i);
            let (row, _) = table.young.keys.find(*hash, key, key.len(), Default::default());
            touched.places.push((0, row as u32));
        }
        table.fill(from, self.db.as_ref())
    }

    /// The keys of a window that have any state, page by page; of [`Layout::Windows`] and [`Layout::Keys`] only. While a scan is
    /// under way its rows stay in memory.
    pub fn scan_window(&mut self, window: Window, after: Cursor, limit: usize) -> Result<WindowPage, StateError> {
        let mut page = WindowPage::default();
        let Ok(at) = self.tables.binary_search_by_key(&window, |table| table.window) else { return Ok(page) };
        page.touched.windows.push(window);
        let limit = limit.max(1);
        let table = &mut self.tables[at];
        if table.complete && table.old.is_none() && after.key.is_none() {
            let mut row = after.row;
            while row < table.young.len() && page.touched.places.len() < limit {
                if table.young.is_live(row) {
                    page.touched.places.push((0, row as u32));
                }
                row += 1;
            }
            page.next = (row < table.young.len()).then_some(Cursor { row, ..after });
            table.scanning = page.next.is_some();
        } else {
            page.next = self.scan_stored(at, after, limit, &mut page.touched)?;
        }
        page.touched.groups = (0..page.touched.places.len() as u32).collect();
        Ok(page)
    }

    /// Goes by the database, which is made to have everything first.
    fn scan_stored(
        &mut self,
        at: usize,
        after: Cursor,
        limit: usize,
        touched: &mut Touched,
    ) -> Result<Option<Cursor>, StateError> {
        let table = &mut self.tables[at];
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Ok(None) };
        table.write(Some(db), writes)?;
        db.write(writes)?;
        let prefix = [&[ROW][..], &window_bytes(table.window)].concat();
        let from = after.key.as_ref().map_or(prefix.clone(), |key| [&key[..], &[0]].concat());
        let max = table.shape.max_parallelism;
        let mut last = None;
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        db.scan(&from, &after_prefix(&prefix), |key, value| {
            found.push((key[3 + WINDOW_BYTES..].to_vec(), value.to_vec()));
            last = Some(key.to_vec());
            Ok(found.len() < limit)
        })?;
        for (key, value) in &found {
            let (row, _) = table.young.keys.find(key_hash(key), key, key.len(), Default::default());
            if row >= table.young.len() {
                table.young.extend(0, max);
                let old = table.old.as_mut().and_then(|old| Some((old.keys.get(key_hash(key), key)?, old)));
                match old.filter(|(at, old)| old.is_live(*at)) {
                    Some((at, old)) => table.young.take(row, old, at),
                    None if table.young.load(row, value) => {}
                    None => return Err(not_a_row(db)),
                }
            }
            touched.places.push((0, row as u32));
        }
        let next = last.filter(|_| found.len() == limit).map(|key| Cursor { key: Some(key), ..after });
        table.scanning = false;
        Ok(next)
    }

    /// The keys of any of these windows, each once, page by page, and their rows in each window.
    pub fn scan_windows(
        &mut self,
        windows: &[Window],
        mut after: Cursor,
        limit: usize,
    ) -> Result<UnionPage, StateError> {
        let limit = limit.max(1);
        let place = |window: &Window| self.tables.binary_search_by_key(window, |table| table.window).ok();
        let tables: Vec<Option<usize>> = windows.iter().map(place).collect();
        let in_memory = |at: &usize| self.tables[*at].complete && self.tables[*at].old.is_none();
        if self.settings.layout == Layout::Windows && tables.iter().flatten().all(in_memory) {
            return Ok(self.scan_in_memory(windows, &tables, &after, limit));
        }
        while let Some(window) = windows.get(after.window) {
            let at = after.window;
            let page = self.scan_window(*window, after, limit)?;
            let next = match page.next {
                Some(next) => Some(Cursor { window: at, ..next }),
                None if at + 1 < windows.len() => Some(Cursor { window: at + 1, ..Cursor::default() }),
                None => None,
            };
            let (keys, hashes) = self.not_before(&page.touched, &windows[..at])?;
            if !hashes.is_empty() {
                let (mut touched, mut owners) = (Touched::default(), Vec::new());
                for window in windows {
                    let mut found = Touched::default();
                    self.find(&keys, &hashes, *window, &mut found)?;
                    self.add_live(&found, &mut touched, &mut owners);
                }
                return Ok(UnionPage { keys, len: hashes.len(), touched, owners, next });
            }
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        Ok(UnionPage::empty())
    }

    /// Adds the rows found in one window that hold something, and of which of the keys looked for they are.
    fn add_live(&self, found: &Touched, touched: &mut Touched, owners: &mut Vec<u32>) {
        let [window] = found.windows[..] else { return };
        let Ok(at) = self.tables.binary_search_by_key(&window, |table| table.window) else { return };
        let rank = touched.windows.len() as u32;
        touched.windows.push(window);
        for (key, (of, row)) in found.places.iter().enumerate() {
            if *of == 0 && self.tables[at].young.is_live(*row as usize) {
                touched.places.push((rank, *row));
                owners.push(key as u32);
            }
        }
    }

    /// Goes by what was found out when other windows were scanned.
    fn scan_in_memory(
        &mut self,
        windows: &[Window],
        places: &[Option<usize>],
        after: &Cursor,
        limit: usize,
    ) -> UnionPage {
        if *after == Cursor::default() {
            self.union.begin();
        }
        places.iter().flatten().for_each(|at| self.union.include(&self.tables[*at]));
        let tables: Vec<_> = places.iter().map(|at| at.map(|at| &self.tables[at])).collect();
        let page = self.union.page(windows, &tables, after.row, limit);
        places.iter().flatten().for_each(|at| self.tables[*at].scanning = page.next.is_some());
        if page.next.is_none() {
            self.union.end();
        }
        page
    }

    /// Of keys touched, those that none of the windows has.
    fn not_before(&mut self, touched: &Touched, windows: &[Window]) -> Result<(KeyRows, Vec<u64>), StateError> {
        let all: Vec<Vec<u8>> = self.keys(touched).map(<[u8]>::to_vec).collect();
        let (keys, hashes) = rows_of(&all);
        let mut seen = vec![false; all.len()];
        let mut found = Touched::default();
        for window in windows {
            self.find(&keys, &hashes, *window, &mut found)?;
            let table = self.tables.iter().find(|table| table.window == *window);
            for (seen, (rank, row)) in seen.iter_mut().zip(&found.places) {
                *seen |= (*rank as usize) < found.windows.len()
                    && table.is_some_and(|table| table.young.is_live(*row as usize));
            }
        }
        if !seen.contains(&true) {
            return Ok((keys, hashes));
        }
        let left: Vec<Vec<u8>> = all.into_iter().zip(seen).filter(|(_, seen)| !seen).map(|(key, _)| key).collect();
        Ok(rows_of(&left))
    }

    /// Forgets a window with all that is in it but timers.
    pub fn drop_window(&mut self, window: Window) -> Result<(), StateError> {
        if self.settings.layout != Layout::Windows {
            return Err(self.bug("a window was dropped of a store that has none"));
        }
        let Ok(at) = self.tables.binary_search_by_key(&window, |table| table.window) else { return Ok(()) };
        let table = self.tables.remove(at);
        self.union.forget(window);
        if self.tracking && self.db.is_none() {
            self.dropped.insert(window);
        }
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Ok(()) };
        if table.stored {
            for kind in [ROW, MAP] {
                let prefix = [&[kind][..], &window_bytes(window)].concat();
                writes.delete_range(&prefix, &after_prefix(&prefix));
            }
            db.write(writes)?;
        }
        Ok(())
    }
}

fn rows_of(keys: &[Vec<u8>]) -> (KeyRows, Vec<u64>) {
    let offsets = arrow_buffer::OffsetBuffer::<i32>::from_lengths(keys.iter().map(Vec::len));
    let rows = KeyRows::Variable { offsets, data: keys.concat().into() };
    (rows, keys.iter().map(|key| key_hash(key)).collect())
}
