//! `map-state`: what a guest may read of maps while it is called. Every index is checked before it reaches the reader; a read that
//! fails is a trap. Must not know where maps are kept.
use std::ptr::NonNull;

use super::{
    columns::{column_for_guest, column_from_guest, length_of},
    contract::{
        map_state::{self, Page},
        types::Column,
    },
    guest::GuestState,
    wasi::Refused,
};
use crate::model::{Kind, MapReader, StateDescription, StateKind};

/// Entries of a page; a guest that asks for more gets this many.
pub const MAP_PAGE_ENTRIES_MAX: u32 = 65_536;

/// The maps of a call.
pub(super) struct Maps<'a> {
    pub(super) reader: &'a mut (dyn MapReader + 'a),
    /// Those declared, of all kinds.
    pub(super) states: &'a [StateDescription],
    /// How many keys the call has.
    pub(super) keys: usize,
}

/// Maps lent to a guest for the length of one call.
pub(super) struct Lent(NonNull<Maps<'static>>);

// SAFETY: a call runs on one thread, from the loan to its end, and there is no loan between calls: it is the empty place for one
// that goes from thread to thread.
unsafe impl Send for Lent {}

/// Map keys looked up in one call of `get`, which nothing interrupts.
const MAP_KEYS_MAX: usize = 1 << 18;

impl Lent {
    /// # Safety
    /// `maps` must outlive what is returned, and not be touched while it lasts.
    pub(super) unsafe fn new(maps: &mut Maps<'_>) -> Lent {
        Lent(NonNull::from(maps).cast())
    }

    fn maps(&mut self) -> &mut Maps<'_> {
        // SAFETY: by the promise made to `new`, the maps are there, and nobody else's; they are given out for no longer than
        // `self` is borrowed, so to one at a time.
        unsafe { self.0.cast().as_mut() }
    }
}

impl Maps<'_> {
    fn state(&self, index: u32) -> Result<(usize, &StateDescription, Kind), String> {
        let Some(state) = self.states.get(index as usize) else {
            return Err(format!("there is no state {index}, {} are declared", self.states.len()));
        };
        match (state.kind, state.key) {
            (StateKind::Map | StateKind::Broadcast, Some(key)) => Ok((index as usize, state, key)),
            (kind, _) => {
                Err(format!("state `{}` is of kind {kind}, which is not read but comes with the call", state.name))
            }
        }
    }

    fn get(&mut self, state: u32, keys: &[u32], map_keys: Column) -> Result<Column, String> {
        let (index, state, key_kind) = self.state(state)?;
        let named = |what: String| format!("state `{}`: {what}", state.name);
        let count = if state.kind == StateKind::Broadcast {
            if !keys.is_empty() {
                return Err(named(format!("{} keys were given, broadcast state has none", keys.len())));
            }
            length_of(&map_keys).ok_or_else(|| named("a column of bits does not say how long it is".into()))?
        } else {
            let wrong = keys.iter().copied().max().filter(|key| *key as usize >= self.keys);
            if let Some(key) = wrong {
                return Err(named(format!("there is no key {key}, the call has {}", self.keys)));
            }
            keys.len()
        };
        if count > MAP_KEYS_MAX {
            return Err(named(format!("{count} map keys were given at once, {MAP_KEYS_MAX} are the most")));
        }
        let map_keys = column_from_guest(map_keys, key_kind, false, count)
            .map_err(|what| named(format!("the map keys: {what}")))?;
        let values = self.reader.get(index, keys, &map_keys)?;
        Ok(column_for_guest(&values))
    }

    fn scan(&mut self, state: u32, key: u32, after: Option<&[u8]>, limit: u32) -> Result<Page, String> {
        let (index, state, _) = self.state(state)?;
        let keyed = state.kind == StateKind::Map;
        if keyed && key as usize >= self.keys {
            return Err(format!("state `{}`: there is no key {key}, the call has {}", state.name, self.keys));
        }
        if limit == 0 {
            return Err(format!("state `{}`: a page of no entries was asked for", state.name));
        }
        let limit = limit.min(MAP_PAGE_ENTRIES_MAX) as usize;
        let page = self.reader.scan(index, if keyed { key } else { 0 }, after, limit)?;
        Ok(Page { map_keys: column_for_guest(&page.map_keys), values: column_for_guest(&page.values), next: page.next })
    }
}

impl GuestState {
    fn reading<R>(&mut self, read: impl FnOnce(&mut Maps<'_>) -> Result<R, String>) -> wasmtime::Result<R> {
        let result = match &mut self.maps {
            Some(lent) => read(lent.maps()),
            None => Err("there is nothing to read in this call".into()),
        };
        result.map_err(|what| wasmtime::Error::new(Refused(format!("map-state: {what}"))))
    }
}

impl map_state::Host for GuestState {
    fn get(&mut self, state: u32, keys: Vec<u32>, map_keys: Column) -> wasmtime::Result<Column> {
        self.reading(|maps| maps.get(state, &keys, map_keys))
    }

    fn scan(&mut self, state: u32, key: u32, after: Option<Vec<u8>>, limit: u32) -> wasmtime::Result<Page> {
        self.reading(|maps| maps.scan(state, key, after.as_deref(), limit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, Int64Array};

    use super::*;
    use crate::{
        model::{MapPage, StateDescription},
        plugin::contract::types::Values,
    };

    /// Answers each map key with 7, and remembers the limits asked for.
    #[derive(Default)]
    struct Sevens {
        limits: Vec<usize>,
    }

    impl MapReader for Sevens {
        fn get(&mut self, _: usize, _: &[u32], map_keys: &ArrayRef) -> Result<ArrayRef, String> {
            Ok(Arc::new(Int64Array::from(vec![Some(7); map_keys.len()])))
        }

        fn scan(&mut self, _: usize, _: u32, _: Option<&[u8]>, limit: usize) -> Result<MapPage, String> {
            self.limits.push(limit);
            let none: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
            Ok(MapPage { map_keys: none.clone(), values: none, next: None })
        }
    }

    fn declared() -> Vec<StateDescription> {
        [
            ("value", StateKind::Value, None),
            ("map", StateKind::Map, Some(Kind::Int64)),
            ("rules", StateKind::Broadcast, Some(Kind::Int64)),
        ]
        .into_iter()
        .map(|(name, kind, key)| StateDescription {
            name: name.into(),
            kind,
            schema_version: 1,
            value: Kind::Int64,
            key,
            time_to_live: None,
        })
        .collect()
    }

    fn numbers(values: &[i64]) -> Column {
        Column { validity: None, values: Values::Int64(values.to_vec()) }
    }

    #[test]
    fn reads_of_what_is_not_there_do_not_reach_the_reader() {
        let (states, mut reader) = (declared(), Sevens::default());
        let mut maps = Maps { reader: &mut reader, states: &states, keys: 2 };
        for (state, keys, map_keys, reason) in [
            (3, &[][..], numbers(&[]), "there is no state 3, 3 are declared"),
            (0, &[0], numbers(&[1]), "state `value` is of kind value, which is not read but comes with the call"),
            (1, &[2], numbers(&[1]), "state `map`: there is no key 2, the call has 2"),
            (1, &[0, 1], numbers(&[1]), "state `map`: the map keys: has 1 values for 2 rows"),
            (
                1,
                &[0],
                Column { validity: Some(vec![0]), ..numbers(&[1]) },
                "state `map`: the map keys: row 0 is null, declared is not nullable",
            ),
            (2, &[0], numbers(&[1]), "state `rules`: 1 keys were given, broadcast state has none"),
            (
                2,
                &[],
                Column { validity: None, values: Values::Boolean(vec![0]) },
                "state `rules`: a column of bits does not say how long it is",
            ),
        ] {
            assert_eq!(maps.get(state, keys, map_keys).unwrap_err(), reason);
        }
        assert_eq!(maps.scan(1, 2, None, 1).unwrap_err(), "state `map`: there is no key 2, the call has 2");
        assert_eq!(maps.scan(1, 1, None, 0).unwrap_err(), "state `map`: a page of no entries was asked for");
        assert!(maps.scan(0, 0, None, 1).is_err());
        for (state, keys) in [(1, &[1, 0][..]), (2, &[])] {
            let values = maps.get(state, keys, numbers(&[1, 2])).unwrap().values;
            assert!(matches!(values, Values::Int64(values) if values == [7, 7]));
        }
        // Broadcast state has no keys, so any will do.
        maps.scan(2, 9, None, u32::MAX).unwrap();
        assert_eq!(reader.limits, [MAP_PAGE_ENTRIES_MAX as usize]);
    }
}
