//! The states of a store: how they are described in snapshots, when their values expire, and what becomes of them when a plugin
//! declares others than it did.
use super::{
    error::StateError,
    migrate::Migrator,
    settings::{Layout, Restored, StoreSettings},
    wire::{Reader, WINDOW_BYTES, put_bytes, put_cell, put_number, read_cell, read_window, window_bytes},
};
use crate::model::{KeyGroups, Kind, StateDescription, StateKind, Window};

/// Of headers and notes; others are refused.
const VERSION: u64 = 1;

const KINDS: [Kind; 5] = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8, Kind::Binary];
const STATE_KINDS: [StateKind; 8] = [
    StateKind::Value,
    StateKind::List,
    StateKind::Reducing,
    StateKind::Aggregating,
    StateKind::Map,
    StateKind::OperatorList,
    StateKind::OperatorUnion,
    StateKind::Broadcast,
];
const LAYOUTS: [Layout; 3] = [Layout::Keys, Layout::Windows, Layout::Sessions];

/// What snapshots say of the store they were taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) layout: Layout,
    pub(super) max_parallelism: u32,
    pub(super) groups: KeyGroups,
    /// Without times to live, which do not matter to what is written.
    pub(super) states: Vec<StateDescription>,
    /// A bit for each section that a run has all of, not only what changed.
    pub(super) whole: u16,
    /// Windows forgotten before the run's own entries.
    pub(super) dropped: Vec<Window>,
}

impl Header {
    pub(super) fn of(settings: &StoreSettings) -> Header {
        let bare = |state: &StateDescription| StateDescription { time_to_live: None, ..state.clone() };
        Header {
            layout: settings.layout,
            max_parallelism: settings.max_parallelism,
            groups: settings.groups.clone(),
            states: settings.states.iter().map(bare).collect(),
            whole: u16::MAX,
            dropped: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut into = Vec::new();
        put_number(VERSION, &mut into);
        into.push(position(&LAYOUTS, self.layout));
        for number in [self.max_parallelism, self.groups.start, self.groups.end] {
            put_number(number.into(), &mut into);
        }
        put_number(self.whole.into(), &mut into);
        put_number(self.states.len() as u64, &mut into);
        for state in &self.states {
            put_bytes(state.name.as_bytes(), &mut into);
            put_shape(state, &mut into);
        }
        put_number(self.dropped.len() as u64, &mut into);
        self.dropped.iter().for_each(|window| into.extend_from_slice(&window_bytes(*window)));
        into
    }

    /// `Err` says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        let mut reader = Reader(bytes);
        match reader.number() {
            Some(VERSION) => Header::decode_rest(&mut reader).ok_or("its header is cut off or not one"),
            Some(_) => Err("it was written by a later version of wasmill"),
            None => Err("it has no header"),
        }
    }

    fn decode_rest(reader: &mut Reader<'_>) -> Option<Header> {
        let layout = *LAYOUTS.get(usize::from(reader.byte()?))?;
        let small = |reader: &mut Reader<'_>| u32::try_from(reader.number()?).ok();
        let max_parallelism = small(reader)?;
        let groups = small(reader)?..small(reader)?;
        let whole = u16::try_from(reader.number()?).ok()?;
        let states = (0..reader.number()?)
            .map(|_| {
                let name = String::from_utf8(reader.bytes()?.to_vec()).ok()?;
                read_shape(name, reader)
            })
            .collect::<Option<Vec<_>>>()?;
        let dropped =
            (0..reader.number()?).map(|_| read_window(reader.take(WINDOW_BYTES)?)).collect::<Option<Vec<_>>>()?;
        reader.is_empty().then_some(Header { layout, max_parallelism, groups, states, whole, dropped })
    }
}

/// Appends what a state is, without its name.
pub(super) fn put_shape(state: &StateDescription, into: &mut Vec<u8>) {
    into.push(position(&STATE_KINDS, state.kind));
    into.push(position(&KINDS, state.value));
    into.push(state.key.map_or(u8::MAX, |kind| position(&KINDS, kind)));
    put_number(state.schema_version.into(), into);
}

/// What a state of this name was.
pub(super) fn read_shape(name: String, reader: &mut Reader<'_>) -> Option<StateDescription> {
    Some(StateDescription {
        name,
        kind: *STATE_KINDS.get(usize::from(reader.byte()?))?,
        value: *KINDS.get(usize::from(reader.byte()?))?,
        key: match reader.byte()? {
            u8::MAX => None,
            kind => Some(*KINDS.get(usize::from(kind))?),
        },
        schema_version: u32::try_from(reader.number()?).ok()?,
        time_to_live: None,
    })
}

fn position<T: PartialEq>(all: &[T], one: T) -> u8 {
    all.iter().position(|it| *it == one).unwrap_or_default() as u8
}

/// What becomes of the states of a snapshot, by their numbers in it.
#[derive(Debug, Default)]
pub(super) struct Mapping {
    places: Vec<Option<usize>>,
    old: Vec<Option<StateDescription>>,
}

impl Mapping {
    /// Adds the next state: where it is now, if anywhere, and what it was, if its values are to be migrated.
    pub(super) fn push(&mut self, place: Option<usize>, old: Option<StateDescription>) {
        self.places.push(place);
        self.old.push(old);
    }

    /// Its number now.
    pub(super) fn place(&self, state: usize) -> Option<usize> {
        self.places.get(state).copied().flatten()
    }

    /// What it was, if its values are to be migrated.
    pub(super) fn old(&self, state: usize) -> Option<&StateDescription> {
        self.old.get(state)?.as_ref()
    }

    /// Whether any values are to be migrated.
    pub(super) fn migrates(&self) -> bool {
        self.old.iter().any(Option::is_some)
    }

    /// Whether nothing has to be changed in what was written.
    pub(super) fn is_identity(&self) -> bool {
        self.places.iter().enumerate().all(|(was, is)| *is == Some(was)) && !self.migrates()
    }
}

/// Compares the states of a snapshot with those declared, and notes what differs.
pub(super) fn map_states(
    settings: &StoreSettings,
    header: &Header,
    migrator: &dyn Migrator,
    restored: &mut Restored,
) -> Result<Mapping, StateError> {
    let store = || settings.name.clone();
    if header.layout != settings.layout || header.max_parallelism != settings.max_parallelism {
        let what = format!(
            "it was taken of {:?} with {} key groups, this is {:?} with {}",
            header.layout, header.max_parallelism, settings.layout, settings.max_parallelism
        );
        return Err(StateError::Unreadable { store: store(), what });
    }
    let mut mapping = Mapping::default();
    for was in &header.states {
        let at = settings.states.iter().position(|state| state.name == was.name);
        let mut old = false;
        if let Some(place) = at {
            old = compare_state(&settings.name, was, &settings.states[place], migrator.migrates(place))?;
        } else if !restored.vanished.contains(&was.name) {
            restored.vanished.push(was.name.clone());
        }
        mapping.push(at, old.then(|| was.clone()));
    }
    if !restored.vanished.is_empty() && !settings.drop_vanished {
        return Err(StateError::Vanished { store: store(), states: restored.vanished.clone() });
    }
    Ok(mapping)
}

/// Refuses a state that is another now than it was. True if its values are of an earlier version, and `migrates` says that there is somebody
/// who makes them into what is declared: their type may be another then.
pub(super) fn compare_state(
    store: &str,
    was: &StateDescription,
    is: &StateDescription,
    migrates: bool,
) -> Result<bool, StateError> {
    let old = migrates && was.schema_version < is.schema_version;
    let (store, state) = (|| store.to_owned(), || was.name.clone());
    let same_version = is.schema_version == was.schema_version;
    if (is.kind, is.key) != (was.kind, was.key) || (is.value != was.value && same_version) {
        let say = |state: &StateDescription| match state.key {
            Some(key) => format!("{:?} of {key} to {}", state.kind, state.value),
            None => format!("{:?} of {}", state.kind, state.value),
        };
        return Err(StateError::Incompatible { store: store(), state: state(), was: say(was), is: say(is) });
    }
    if !same_version && !old {
        let (was, is) = (was.schema_version, is.schema_version);
        return Err(StateError::Version { store: store(), state: state(), was, is });
    }
    Ok(old)
}

/// Whether a value of a state, written at `time`, is expired.
pub(super) fn is_expired(state: &StateDescription, time: Option<i64>, now_ms: i64) -> bool {
    match (state.time_to_live, time) {
        (Some(ttl), Some(time)) => time.saturating_add_unsigned(ttl.milliseconds) <= now_ms,
        _ => false,
    }
}

/// An encoded row with other numbers of states, and without what is expired. `None` if nothing is left; `Err` if it is no row.
pub(super) fn remap_row(
    row: &[u8],
    number: impl Fn(usize) -> Option<usize>,
    states: &[StateDescription],
    now_ms: i64,
) -> Result<Option<Vec<u8>>, ()> {
    let mut reader = Reader(row);
    let mut into = Vec::with_capacity(row.len());
    while !reader.is_empty() {
        let cell = read_cell(&mut reader).ok_or(())?;
        let kept = number(cell.state).filter(|at| states.get(*at).is_some_and(|it| !is_expired(it, cell.time, now_ms)));
        if let Some(state) = kept {
            put_cell(state, cell.time, cell.value, &mut into);
        }
    }
    Ok(Some(into).filter(|row| !row.is_empty()))
}
