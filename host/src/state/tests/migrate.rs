//! State of an earlier schema version: every kind of it is migrated in calls of bounded size, whatever it comes from and goes to; the rest
//! stays, and what cannot be migrated is named.
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Int64Array, StringArray,
    cast::AsArray,
    types::{Float64Type, Int64Type},
};
use arrow_buffer::OffsetBuffer;

use super::{
    model::{rows, settings},
    oracle::{INT, LIST, MAP, TEXT, states},
};
use crate::{
    model::{
        Kind, MapReader, NoMaps, OperatorState, Redistribution, SnapshotKind, SnapshotRequest, StateChange,
        StateDescription, StateKind, StateValues, StoreSnapshot, SubtaskState, TimeDomain, TimerChange, Window,
        key_text,
    },
    state::{
        BroadcastMaps, CopiedState, KeyedStore, Layout, MIGRATED_VALUES_MAX, MigrateError, Migrator, NoMigrator,
        OperatorLists, StateBackend, StateError, StateMigration, StoreSettings, TaskSettings, Touched, UNMIGRATED_MAX,
        rehearse,
    },
};

const KEYS: i64 = 6000;
const WINDOW: Window = Window { start: 0, end: 10 };

/// Makes cents of euros: `int` and `map` as text and as numbers, elements of `list` as they are. Refuses one.
#[derive(Default)]
struct Cents {
    refused: Option<i64>,
    calls: Vec<usize>,
}

impl Migrator for Cents {
    fn migrates(&self, state: usize) -> bool {
        state != TEXT
    }

    fn migrate(&mut self, state: usize, from_version: u32, values: &ArrayRef) -> Result<ArrayRef, MigrateError> {
        assert_eq!(from_version, 1);
        self.calls.push(values.len());
        let numbers: Vec<i64> = match state {
            MAP => values.as_string::<i32>().iter().map(|text| text.unwrap().parse().unwrap()).collect(),
            _ => values.as_primitive::<Int64Type>().values().to_vec(),
        };
        if let Some(number) = numbers.iter().find(|number| Some(**number) == self.refused) {
            return Err(MigrateError { what: format!("{number} is no money"), retry: false });
        }
        let cents = numbers.iter().map(|number| number * 100);
        Ok(match state {
            INT => Arc::new(cents.map(|cents| Some(cents.to_string())).collect::<StringArray>()),
            LIST => Arc::new(Int64Array::from_iter_values(cents)),
            _ => Arc::new(arrow_array::Float64Array::from_iter_values(cents.map(|cents| cents as f64))),
        })
    }

    fn key_text(&self, key: &[u8]) -> String {
        key_text(&[Kind::Int64], key)
    }
}

/// What is declared now, in another order.
fn newer() -> Vec<StateDescription> {
    let mut newer = states();
    for (state, value) in [(INT, Kind::Utf8), (LIST, Kind::Int64), (MAP, Kind::Float64)] {
        (newer[state].schema_version, newer[state].value) = (2, value);
    }
    newer
}

pub(super) fn touch(store: &mut KeyedStore, keys: &[i64]) -> Touched {
    let (keys, hashes) = rows(keys);
    let windows = vec![WINDOW; hashes.len()];
    let windows = (store.settings.layout != Layout::Keys).then_some(&windows[..]);
    let mut touched = Touched::default();
    store.touch(&keys, &hashes, windows, &mut touched).expect("touched");
    touched
}

/// A store with something in all states of all keys, and a timer each.
fn filled(backend: &StateBackend, layout: Layout) -> KeyedStore {
    let mut store = KeyedStore::open(backend, settings(layout, 0, 1, 1), Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..KEYS).collect();
    let touched = touch(&mut store, &keys);
    let all: Vec<u32> = (0..KEYS as u32).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from(keys.clone()));
    let texts: ArrayRef = Arc::new(keys.iter().map(|key| Some(key.to_string())).collect::<StringArray>());
    store.put_column(&touched, INT, &numbers, 0).expect("put");
    store.put_column(&touched, TEXT, &texts, 0).expect("put");
    let twice: ArrayRef = Arc::new(keys.iter().flat_map(|key| [*key, -*key]).collect::<Int64Array>());
    let offsets = OffsetBuffer::from_lengths(keys.iter().map(|_| 2));
    let append = StateChange::Append { state: LIST, keys: all.clone(), offsets, values: twice };
    let put = StateChange::PutEntries { state: MAP, keys: all, map_keys: numbers, values: texts };
    store.apply(&touched, &[append, put], 0).expect("applied");
    let timer = |key| TimerChange { key, time: i64::from(key), domain: TimeDomain::Event, set: true };
    store.change_timers(&touched, &(0..KEYS as u32).map(timer).collect::<Vec<_>>()).expect("timers");
    store
}

fn snapshot(store: &mut KeyedStore, checkpoint: u64, kind: SnapshotKind) -> StoreSnapshot {
    let request = SnapshotRequest::new(checkpoint, kind, format!("p{checkpoint}"));
    let mut snapshot = store.snapshot(&request).expect("a snapshot");
    snapshot.finish().expect("parts");
    snapshot
}

/// Fails unless the store has cents of all its keys.
fn check(store: &mut KeyedStore, subtask: u32, parallelism: u32) -> usize {
    let mine = |key: &i64| {
        let group = crate::model::key_group(crate::model::key_hash(&key.to_le_bytes()), super::model::GROUPS);
        crate::model::subtask_of(group, parallelism, super::model::GROUPS) == subtask
    };
    let keys: Vec<i64> = (0..KEYS).filter(mine).collect();
    let touched = touch(store, &keys);
    let StateValues::Single(ints) = store.read(&touched, INT, 1).expect("ints") else { panic!("single") };
    let StateValues::Single(texts) = store.read(&touched, TEXT, 1).expect("texts") else { panic!("single") };
    let StateValues::Many { offsets, values } = store.read(&touched, LIST, 1).expect("lists") else { panic!("many") };
    for (row, key) in keys.iter().enumerate() {
        assert_eq!(ints.as_string::<i32>().value(row), (key * 100).to_string());
        assert_eq!(texts.as_string::<i32>().value(row), key.to_string());
        let list = values.as_primitive::<Int64Type>().values();
        assert_eq!(&list[offsets[row] as usize..offsets[row + 1] as usize], [key * 100, -key * 100]);
    }
    let mut maps = store.maps(&touched, 1);
    for (row, key) in keys.iter().enumerate() {
        let page = maps.scan(MAP, row as u32, None, 5).expect("a page");
        assert_eq!(page.map_keys.as_primitive::<Int64Type>().values()[..], [*key]);
        assert_eq!(page.values.as_primitive::<Float64Type>().values()[..], [*key as f64 * 100.0]);
    }
    drop(maps);
    // Written before the others expired.
    let StateValues::Single(texts) = store.read(&touched, TEXT, 1000).expect("texts") else { panic!("single") };
    assert_eq!(texts.null_count(), keys.len());
    let mut due = crate::state::Due::default();
    store.take_due(TimeDomain::Event, i64::MAX, KEYS as usize, &mut due).expect("due");
    assert_eq!(due.times, keys);
    keys.len()
}

fn check_all(backends: &[StateBackend]) {
    for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (from, to) = (&backends[from % backends.len()], &backends[to % backends.len()]);
        for (layout, kind) in [
            (Layout::Keys, SnapshotKind::Checkpoint),
            (Layout::Keys, SnapshotKind::Savepoint),
            (Layout::Windows, SnapshotKind::Checkpoint),
            (Layout::Sessions, SnapshotKind::Savepoint),
        ] {
            let mut store = filled(from, layout);
            let taken = snapshot(&mut store, 1, kind);
            let mut keys = 0;
            for (subtask, parallelism) in [(0, 2), (1, 2)] {
                let mut cents = Cents::default();
                let uid = format!("rescaled-{subtask}");
                let settings = StoreSettings { states: newer(), uid, ..settings(layout, subtask, parallelism, 2) };
                let opened = KeyedStore::open_migrating(to, settings, vec![taken.clone()], &mut cents);
                let mut opened = opened.expect("migrates");
                let found = check(&mut opened, subtask, parallelism);
                assert_eq!(opened.restored().migrated, 4 * found as u64);
                assert!(cents.calls.iter().all(|values| *values <= MIGRATED_VALUES_MAX));
                assert!(cents.calls.len() < 40, "{} calls", cents.calls.len());
                keys += found;
                // What is written from now on is of the new version.
                let again = snapshot(&mut opened, 2, kind);
                let settings = StoreSettings { states: newer(), ..opened.settings.clone() };
                drop(opened);
                let settings = StoreSettings { uid: format!("again-{subtask}"), ..settings };
                KeyedStore::open(to, settings, vec![again]).expect("needs no migration");
            }
            assert_eq!(keys, KEYS as usize);
        }
    }
}

#[test]
fn values_of_all_kinds_are_migrated_and_the_rest_stays() {
    check_all(&[StateBackend::memory()]);
    #[cfg(feature = "rocksdb")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        check_all(&[StateBackend::memory(), super::random::rocksdb(folder.path())]);
    }
}

fn check_refused(backend: &StateBackend) {
    let mut store = filled(backend, Layout::Keys);
    let taken = snapshot(&mut store, 1, SnapshotKind::Savepoint);
    let open = |uid: &str, states: Vec<StateDescription>, cents: &mut dyn Migrator| {
        let settings = StoreSettings { states, uid: uid.to_owned(), ..settings(Layout::Keys, 0, 1, 2) };
        KeyedStore::open_migrating(backend, settings, vec![taken.clone()], cents).err()
    };
    let newer_int = || [&newer()[..1], &states()[1..]].concat();
    let mut cents = Cents { refused: Some(4711), ..Cents::default() };
    let Some(error) = open("a", newer_int(), &mut cents) else { panic!("it was migrated") };
    let expected = "[S0710] store: state `int`, key 4711: its value of schema version 1 cannot be made into one of \
                    version 2: 4711 is no money";
    assert_eq!(error.to_string(), expected);
    assert!(cents.calls.len() < 40, "{} calls to find one value", cents.calls.len());
    let newer_map = || [&states()[..MAP], &newer()[MAP..]].concat();
    let Some(error) = open("b", newer_map(), &mut cents) else { panic!("it was migrated") };
    assert!(error.to_string().contains("state `map`, key 4711, entry 4711:"), "{error}");
    // Nothing was changed.
    assert!(open("c", states(), &mut cents).is_none());
    let version = |error: Option<StateError>| match error {
        Some(StateError::Version { state, was, is, .. }) => (state, was, is),
        other => panic!("{other:?}"),
    };
    assert_eq!(version(open("d", newer_map(), &mut NoMigrator)), ("map".to_owned(), 1, 2));
    let mut older = states();
    older[LIST].schema_version = 0;
    assert_eq!(version(open("e", older, &mut cents)), ("list".to_owned(), 1, 0));
    let mut other = newer();
    other[MAP].key = Some(Kind::Utf8);
    assert!(matches!(open("f", other, &mut cents), Some(StateError::Incompatible { state, .. }) if state == "map"));
}

#[test]
fn what_cannot_be_migrated_is_named_and_nothing_is_changed() {
    check_refused(&StateBackend::memory());
    #[cfg(feature = "rocksdb")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        check_refused(&super::random::rocksdb(folder.path()));
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_database_opened_anew_leaves_what_checkpoints_on_their_way_need() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = super::random::rocksdb(folder.path());
    let mut store = filled(&backend, Layout::Keys);
    let on_its_way = snapshot(&mut store, 1, SnapshotKind::Checkpoint);
    let copied = snapshot(&mut store, 2, SnapshotKind::Savepoint);
    drop(store);
    let newer = StoreSettings { states: newer(), ..settings(Layout::Keys, 0, 1, 1) };
    let opened = KeyedStore::open_migrating(&backend, newer, vec![copied], &mut Cents::default());
    let mut opened = opened.expect("migrates");
    let files = |snapshot: &StoreSnapshot| {
        let is_there = |part: &crate::model::Part| match &part.content {
            Some(crate::model::Blob::File(path)) => path.exists(),
            other => panic!("{other:?}"),
        };
        snapshot.parts.iter().filter(|part| is_there(part)).count()
    };
    opened.completed(1);
    assert_eq!(files(&on_its_way), on_its_way.parts.len());
    check(&mut opened, 0, 1);
    let next = snapshot(&mut opened, 3, SnapshotKind::Checkpoint);
    assert_eq!(files(&next), next.parts.len());
    opened.completed(3);
    assert_eq!(files(&on_its_way), 0, "nobody needs them any more");
    let touched = touch(&mut opened, &[7]);
    let StateValues::Single(ints) = opened.read(&touched, INT, 1).expect("ints") else { panic!("single") };
    assert_eq!(ints.as_string::<i32>().value(0), "700");
}

#[test]
fn a_rehearsal_counts_what_would_become_of_each_value() {
    let mut store = filled(&StateBackend::memory(), Layout::Keys);
    let stores = vec![snapshot(&mut store, 1, SnapshotKind::Savepoint)];
    let copy =
        || [CopiedState::of(SubtaskState { stores: stores.clone(), ..SubtaskState::default() }).expect("a copy")];
    let mut cents = Cents { refused: Some(4711), ..Cents::default() };
    let counts = rehearse(&copy(), "", &newer(), &mut cents).expect("counted");
    let brief = |count: &StateMigration| (count.state.clone(), count.values, count.to_migrate, count.failing);
    let n = KEYS as u64;
    let expected = [("int", n, n, 1), ("text", n, 0, 0), ("list", 2 * n, 2 * n, 1), ("map", n, n, 1)];
    assert_eq!(
        counts.iter().map(brief).collect::<Vec<_>>(),
        expected.map(|(name, a, b, c)| (name.to_owned(), a, b, c))
    );
    assert_eq!((&*counts[INT].samples[0].key, &*counts[INT].samples[0].reason), ("4711", "4711 is no money"));
    assert_eq!(counts[MAP].samples[0].key, "4711, entry 4711");

    /// Refuses everything.
    struct Never;
    impl Migrator for Never {
        fn migrates(&self, _: usize) -> bool {
            true
        }
        fn migrate(&mut self, _: usize, _: u32, _: &ArrayRef) -> Result<ArrayRef, MigrateError> {
            Err(MigrateError { what: "no".to_owned(), retry: false })
        }
        fn key_text(&self, key: &[u8]) -> String {
            key_text(&[Kind::Int64], key)
        }
    }
    let counts = rehearse(&copy(), "", &newer(), &mut Never).expect("counted");
    assert_eq!(counts.iter().map(|count| count.failing).sum::<u64>(), UNMIGRATED_MAX);
    assert_eq!((counts[INT].samples.len(), counts[INT].to_migrate), (10, n));
}

#[test]
fn state_of_subtasks_is_migrated_in_its_order() {
    let state = |name: &str, schema_version, kind, value, key| StateDescription {
        name: name.to_owned(),
        kind,
        schema_version,
        value,
        key,
        time_to_live: None,
    };
    let declared = |version, value, text| {
        let list = state("kept", version, StateKind::OperatorList, value, None);
        let names = state("names", version, StateKind::Broadcast, value, Some(Kind::Int64));
        let states = vec![list, state("free", 1, StateKind::Value, text, None), names];
        TaskSettings { name: "out".to_owned(), states, drop_vanished: false }
    };
    let (old, new) = (declared(1, Kind::Int64, Kind::Utf8), declared(2, Kind::Utf8, Kind::Utf8));
    let lists = |settings: &TaskSettings| TaskSettings { states: settings.states[..1].to_vec(), ..settings.clone() };
    let mut kept = OperatorLists::open(lists(&old), &[]).expect("opens");
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..5000));
    let offsets = OffsetBuffer::from_lengths([5000]);
    kept.apply(&[StateChange::Append { state: 0, keys: vec![0], offsets, values: numbers }]).expect("applied");
    // Some are of the new version already.
    let mut taken = kept.snapshot().expect("elements");
    taken[0].elements.insert(2500, [&[1, 5, 3, 255, 2][..], b"new"].concat());
    assert!(matches!(OperatorLists::open(lists(&new), &taken), Err(StateError::Version { was: 1, is: 2, .. })));
    let mut cents = Cents::default();
    let migrated = OperatorLists::open_migrating(lists(&new), &taken, &mut cents).expect("migrates");
    let [StateValues::Many { values, .. }] = &migrated.read().expect("lists")[..] else { panic!("one list") };
    let mut expected: Vec<String> = (0..5000).map(|number| (number * 100).to_string()).collect();
    expected.insert(2500, "new".to_owned());
    assert!(values.as_string::<i32>().iter().flatten().eq(expected.iter()));
    let mut refusing = Cents { refused: Some(2501), ..Cents::default() };
    let error = OperatorLists::open_migrating(lists(&new), &taken, &mut refusing).err().expect("refused");
    assert!(error.to_string().contains("[S0710] out: state `kept`, key element 2502:"), "{error}");

    let mut maps = BroadcastMaps::open(old, &[]).expect("opens");
    let (map_keys, values): (ArrayRef, ArrayRef) =
        (Arc::new(Int64Array::from(vec![5, -5])), Arc::new(Int64Array::from(vec![50, -50])));
    maps.apply(&[StateChange::PutEntries { state: 2, keys: Vec::new(), map_keys, values }]).expect("applied");
    let taken: Vec<OperatorState> = maps.snapshot();
    assert_eq!(taken[0].redistribution, Redistribution::Broadcast);

    /// Its third state is of numbers that become text.
    struct Names(Cents);
    impl Migrator for Names {
        fn migrates(&self, state: usize) -> bool {
            state == 2
        }
        fn migrate(&mut self, _: usize, version: u32, values: &ArrayRef) -> Result<ArrayRef, MigrateError> {
            self.0.migrate(INT, version, values)
        }
        fn key_text(&self, key: &[u8]) -> String {
            self.0.key_text(key)
        }
    }
    let migrated = BroadcastMaps::open_migrating(new.clone(), &taken, &mut Names(Cents::default())).expect("migrates");
    let page = migrated.beside(NoMaps).scan(2, 0, None, 5).expect("a page");
    assert_eq!(page.map_keys.as_primitive::<Int64Type>().values()[..], [-5, 5]);
    assert_eq!(page.values.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["-5000", "5000"]);
    let refusing = Cents { refused: Some(50), ..Cents::default() };
    let error = BroadcastMaps::open_migrating(new, &taken, &mut Names(refusing)).err().expect("refused");
    assert!(error.to_string().contains("state `names`, key 5:"), "{error}");
    let copies = [0, 1].map(|_| {
        let operator_states = taken.clone();
        CopiedState::of(SubtaskState { operator_states, ..SubtaskState::default() }).expect("a copy")
    });
    let counts = rehearse(&copies, "", &declared(2, Kind::Utf8, Kind::Utf8).states, &mut Names(Cents::default()));
    assert_eq!(counts.expect("counted")[2].values, 2, "all subtasks have the same");
}
