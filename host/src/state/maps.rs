//! Maps by key: in memory cells of rows, above a database entries of its own, written at once and read when asked for.
use arrow_array::{Array, ArrayRef};

use super::{
    error::StateError,
    items::{items, map_key, map_keys},
    schema::is_expired,
    store::KeyedStore,
    touched::Touched,
    wire::{map_prefix, put_entry, read_entry},
};
use crate::model::{MapPage, MapReader, StateDescription, StateKind};

/// Bytes of map values that are read at once; a read of more fails.
pub(super) const READ_BYTES_MAX: usize = 256 << 20;

/// Bytes of keys and values after which a page ends, whatever was asked for.
pub(super) const PAGE_BYTES: usize = 16 << 20;

/// Map keys that a database is asked for at once, so that values are counted before there are too many.
const READ_KEYS: usize = 1024;

/// A row: which of the windows touched, and which of its table's rows.
type Place = (u32, u32);

impl KeyedStore {
    /// Reads maps of the keys touched, as they are after all changes applied so far.
    pub fn maps<'a>(&'a mut self, touched: &'a Touched, now_ms: i64) -> impl MapReader + 'a {
        self.set_now(now_ms);
        Maps { store: self, touched }
    }

    /// Entries of the map of one key touched, at most `limit`: those after `after` and before `until`, in the order of their keys'
    /// bytes.
    pub fn scan_map(
        &mut self,
        touched: &Touched,
        (state, key): (usize, u32),
        (after, until): (Option<&[u8]>, Option<&[u8]>),
        limit: usize,
    ) -> Result<MapPage, StateError> {
        self.scan_entries(touched, (state, key), (after, until), limit.max(1))
    }

    fn prefix(&mut self, touched: &Touched, state: usize, (rank, row): Place) -> Result<Vec<u8>, StateError> {
        let mut tables = self.tables_of(touched)?;
        let mut prefix = Vec::new();
        if let Some(table) = tables.get_mut(rank as usize) {
            let (key, window) = table.shape.split(table.young.keys.key(row as usize), table.window);
            map_prefix(window, table.young.groups[row as usize], state, key, &mut prefix);
        }
        Ok(prefix)
    }

    /// Puts or, without a value, removes an entry. Above a database it is seen once that is written to.
    pub(super) fn put_entry(
        &mut self,
        touched: &Touched,
        state: usize,
        (rank, row): Place,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), StateError> {
        let (now_ms, tracking) = (self.now_ms, self.tracking);
        if self.db.is_none() {
            let mut tables = self.tables_of(touched)?;
            if let Some(table) = tables.get_mut(rank as usize) {
                table.young.values.change_map(state, row as usize, |map| map.put(key, value, now_ms, tracking));
            }
            return Ok(());
        }
        let mut full = self.prefix(touched, state, (rank, row))?;
        full.extend_from_slice(key);
        if let Some(table) = self.tables_of(touched)?.get_mut(rank as usize) {
            table.stored = true;
        }
        let timed = self.settings.states[state].time_to_live.is_some();
        if let Some(writes) = &mut self.writes {
            match value {
                Some(value) => {
                    let mut entry = Vec::with_capacity(value.len() + 9);
                    put_entry(timed.then_some(now_ms), value, &mut entry);
                    writes.put(&full, &entry);
                }
                None => writes.delete(&full),
            }
        }
        self.write_some()
    }

    /// Removes all entries.
    pub(super) fn clear_map(&mut self, touched: &Touched, state: usize, place: Place) -> Result<(), StateError> {
        let tracking = self.tracking;
        if self.db.is_none() {
            let mut tables = self.tables_of(touched)?;
            if let Some(table) = tables.get_mut(place.0 as usize) {
                table.young.values.change_map(state, place.1 as usize, |map| map.clear(tracking));
            }
            return Ok(());
        }
        let prefix = self.prefix(touched, state, place)?;
        let (Some(db), Some(writes)) = (&self.db, &mut self.writes) else { return Ok(()) };
        // Entries put just now go as well.
        db.write(writes)?;
        let mut full = Vec::new();
        db.scan(&prefix, &after_prefix(&prefix), |key, _| {
            full.push(key.to_vec());
            Ok(true)
        })?;
        full.iter().for_each(|key| writes.delete(key));
        Ok(())
    }

    fn is_map(&self, touched: &Touched, state: usize) -> Result<StateDescription, StateError> {
        let description = self.state(touched, state)?;
        match description.kind {
            StateKind::Map => Ok(description),
            _ => Err(self.bug("a map was asked for that is none")),
        }
    }

    fn get_entries(
        &mut self,
        touched: &Touched,
        state: usize,
        keys: &[u32],
        wanted: &ArrayRef,
    ) -> Result<Option<ArrayRef>, StateError> {
        let description = self.is_map(touched, state)?;
        let mut room = READ_BYTES_MAX;
        let mut found: Vec<Option<(i64, Vec<u8>)>> = Vec::with_capacity(keys.len());
        let (mut full, mut key) = (Vec::new(), Vec::new());
        for (i, at) in keys.iter().enumerate() {
            let Some(place) = touched.places.get(*at as usize).copied() else {
                return Err(self.bug("a map of a key that was not touched was read"));
            };
            key.clear();
            map_key(wanted, i, &mut key);
            if self.db.is_some() {
                let mut prefix = self.prefix(touched, state, place)?;
                prefix.extend_from_slice(&key);
                full.push(prefix);
            } else {
                let tables = self.tables_of(touched)?;
                let table = tables.get(place.0 as usize);
                let map = table.and_then(|table| table.young.values.map(state, place.1 as usize));
                let entry = map.and_then(|map| map.get(&key));
                if !fits(&mut room, entry.map(|(_, value)| value)) {
                    return Ok(None);
                }
                found.push(entry.map(|(time, value)| (time, value.to_vec())));
            }
        }
        if let Some(db) = &self.db {
            for some in full.chunks(READ_KEYS) {
                for value in db.get(some)? {
                    let entry = value.as_deref().and_then(read_entry);
                    if !fits(&mut room, entry.map(|(_, value)| value)) {
                        return Ok(None);
                    }
                    found.push(entry.map(|(time, value)| (time.unwrap_or(i64::MAX), value.to_vec())));
                }
            }
        }
        self.look(touched, &description, state, (keys, wanted), &mut found)?;
        let values: Vec<Option<&[u8]>> = found.iter().map(|it| it.as_ref().map(|(_, value)| &value[..])).collect();
        items(description.value, &values).map(Some).ok_or_else(|| self.bug("a value of a map is none"))
    }

    /// Takes out what is expired, and prolongs what reading prolongs.
    fn look(
        &mut self,
        touched: &Touched,
        description: &StateDescription,
        state: usize,
        (keys, wanted): (&[u32], &ArrayRef),
        found: &mut [Option<(i64, Vec<u8>)>],
    ) -> Result<(), StateError> {
        let Some(ttl) = description.time_to_live else { return Ok(()) };
        let now_ms = self.now_ms;
        for (i, entry) in found.iter_mut().enumerate() {
            let expired = is_expired(description, entry.as_ref().map(|(time, _)| *time), now_ms);
            if expired && !ttl.return_expired {
                *entry = None;
            } else if ttl.update_on_read
                && !expired
                && let Some((time, value)) = entry
                && *time != now_ms
            {
                let mut key = Vec::new();
                map_key(wanted, i, &mut key);
                self.put_entry(touched, state, touched.places[keys[i] as usize], &key, Some(&value[..]))?;
            }
        }
        match (&self.db, &mut self.writes) {
            (Some(db), Some(writes)) => db.write(writes),
            _ => Ok(()),
        }
    }

    fn scan_entries(
        &mut self,
        touched: &Touched,
        (state, key): (usize, u32),
        (after, until): (Option<&[u8]>, Option<&[u8]>),
        limit: usize,
    ) -> Result<MapPage, StateError> {
        let description = self.is_map(touched, state)?;
        let Some(place) = touched.places.get(key as usize).copied() else {
            return Err(self.bug("a map of a key that was not touched was read"));
        };
        let now_ms = self.now_ms;
        let hidden = |time: Option<i64>| {
            is_expired(&description, time, now_ms) && !description.time_to_live.is_some_and(|ttl| ttl.return_expired)
        };
        let mut entries = Entries::at_most(limit);
        if self.db.is_some() {
            let prefix = self.prefix(touched, state, place)?;
            let from = after.map_or(prefix.clone(), |after| [&prefix[..], after, &[0]].concat());
            let to = until.map_or_else(|| after_prefix(&prefix), |until| [&prefix[..], until].concat());
            let Some(db) = &self.db else { return Err(self.bug("a database is gone")) };
            db.scan(&from, &to, |key, value| {
                if let Some((_, value)) = read_entry(value).filter(|(time, _)| !hidden(*time)) {
                    entries.push(&key[prefix.len()..], value);
                }
                Ok(!entries.is_full)
            })?;
        } else {
            let tables = self.tables_of(touched)?;
            let map = tables.get(place.0 as usize).and_then(|table| table.young.values.map(state, place.1 as usize));
            if let Some(map) = map {
                let found = map.after(after).take_while(|(key, ..)| until.is_none_or(|until| *key < until));
                entries.fill(found.filter(|(_, time, _)| !hidden(Some(*time))));
            }
        }
        entries.page(&description).ok_or_else(|| self.bug("an entry of a map is none"))
    }
}

/// Whether there is room for a value; takes it.
pub(super) fn fits(room: &mut usize, value: Option<&[u8]>) -> bool {
    let rest = room.checked_sub(value.map_or(0, <[u8]>::len));
    *room = rest.unwrap_or(0);
    rest.is_some()
}

/// Why a read failed that found more than fits.
pub(super) fn too_large() -> String {
    format!("more than {READ_BYTES_MAX} bytes of a map's values were asked for at once")
}

/// Entries of a page, until it is full.
pub(super) struct Entries {
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
    bytes: usize,
    limit: usize,
    is_full: bool,
}

impl Entries {
    /// Of so many entries, or fewer if they are large.
    pub(super) fn at_most(limit: usize) -> Entries {
        Entries { keys: Vec::new(), values: Vec::new(), bytes: 0, limit, is_full: false }
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.keys.push(key.to_vec());
        self.values.push(value.to_vec());
        self.is_full = self.keys.len() >= self.limit || self.bytes >= PAGE_BYTES;
    }

    /// Takes as many as there is room for.
    pub(super) fn fill<'a>(&mut self, mut entries: impl Iterator<Item = (&'a [u8], i64, &'a [u8])>) {
        while !self.is_full
            && let Some((key, _, value)) = entries.next()
        {
            self.push(key, value);
        }
    }

    /// The page. `None` if they are no entries of the state's.
    pub(super) fn page(self, state: &StateDescription) -> Option<MapPage> {
        let next = if self.is_full { self.keys.last().cloned() } else { None };
        let values: Vec<Option<&[u8]>> = self.values.iter().map(|value| Some(&value[..])).collect();
        Some(MapPage { map_keys: map_keys(state.key?, &self.keys)?, values: items(state.value, &values)?, next })
    }
}

/// What comes after all keys that begin so.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

struct Maps<'a> {
    store: &'a mut KeyedStore,
    touched: &'a Touched,
}

impl MapReader for Maps<'_> {
    fn get(&mut self, state: usize, keys: &[u32], map_keys: &ArrayRef) -> Result<ArrayRef, String> {
        if keys.len() != map_keys.len() {
            return Err("there are not as many keys as map keys".to_owned());
        }
        let values = self.store.get_entries(self.touched, state, keys, map_keys).map_err(|error| error.to_string())?;
        values.ok_or_else(too_large)
    }

    fn scan(&mut self, state: usize, key: u32, after: Option<&[u8]>, limit: usize) -> Result<MapPage, String> {
        self.store.scan_map(self.touched, (state, key), (after, None), limit).map_err(|error| error.to_string())
    }
}
