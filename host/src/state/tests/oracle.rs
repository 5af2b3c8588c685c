//! What keyed state should hold, in the simplest way.
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Kind, StateDescription, StateKind, TimeDomain, TimeToLive, Window};

pub(super) const INT: usize = 0;
pub(super) const TEXT: usize = 1;
pub(super) const LIST: usize = 2;
pub(super) const MAP: usize = 3;
pub(super) const TEXT_TTL: i64 = 50;
pub(super) const MAP_TTL: i64 = 80;

pub(super) fn state(name: &str, kind: StateKind, value: Kind, ttl: Option<(i64, bool)>) -> StateDescription {
    StateDescription {
        name: name.to_owned(),
        kind,
        schema_version: 1,
        value,
        key: (kind == StateKind::Map).then_some(Kind::Int64),
        time_to_live: ttl.map(|(ms, update_on_read)| TimeToLive {
            milliseconds: ms as u64,
            update_on_read,
            return_expired: false,
        }),
    }
}

pub(super) fn states() -> Vec<StateDescription> {
    vec![
        state("int", StateKind::Value, Kind::Int64, None),
        state("text", StateKind::Reducing, Kind::Utf8, Some((TEXT_TTL, true))),
        state("list", StateKind::List, Kind::Int64, None),
        state("map", StateKind::Map, Kind::Utf8, Some((MAP_TTL, false))),
    ]
}

#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) int: Option<i64>,
    pub(super) text: Option<(i64, String)>,
    pub(super) list: Vec<i64>,
    pub(super) map: BTreeMap<i64, (i64, String)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    pub(super) rows: BTreeMap<(Window, i64), Row>,
    pub(super) open: BTreeMap<i64, Vec<Window>>,
    pub(super) timers: BTreeSet<(TimeDomain, i64, Window, i64)>,
    pub(super) now: i64,
}

impl Oracle {
    pub(super) fn row(&mut self, window: Window, key: i64) -> &mut Row {
        let now = self.now;
        let row = self.rows.entry((window, key)).or_default();
        row.text.take_if(|(time, _)| *time + TEXT_TTL <= now);
        row.map.retain(|_, (time, _)| *time + MAP_TTL > now);
        row
    }
}
