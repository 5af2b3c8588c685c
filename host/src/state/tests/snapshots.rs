//! Snapshots: what is sent, what is refused, and what is forgotten.
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, cast::AsArray, types::Int64Type};

use super::{
    model::{GROUPS, rows, settings},
    oracle::{INT, state, states},
};
use crate::{
    model::{
        Blob, Kind, Part, SnapshotKind, SnapshotRequest, StateKind, StateValues, StoreSnapshot, TimeDomain, TimerChange,
    },
    state::{KeyedStore, Layout, StateBackend, StateError, StoreSettings, Touched},
};

fn memory(settings: StoreSettings, snapshots: Vec<StoreSnapshot>) -> Result<KeyedStore, StateError> {
    KeyedStore::open(&StateBackend::memory(), settings, snapshots)
}

fn touch(store: &mut KeyedStore, keys: &[i64]) -> Touched {
    let (keys, hashes) = rows(keys);
    let mut touched = Touched::default();
    store.touch(&keys, &hashes, None, &mut touched).expect("touched");
    touched
}

fn put(store: &mut KeyedStore, keys: &[i64], values: Vec<Option<i64>>) {
    let touched = touch(store, keys);
    let values: ArrayRef = Arc::new(Int64Array::from(values));
    store.put_column(&touched, INT, &values, 0).expect("put");
}

fn ints(store: &mut KeyedStore, keys: &[i64]) -> Vec<Option<i64>> {
    let touched = touch(store, keys);
    match store.read(&touched, INT, 0).expect("ints") {
        StateValues::Single(values) => values.as_primitive::<Int64Type>().iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn snapshot(store: &mut KeyedStore, checkpoint: u64, kind: SnapshotKind) -> StoreSnapshot {
    let request = SnapshotRequest::new(checkpoint, kind, format!("p{checkpoint}"));
    let mut snapshot = store.snapshot(&request).expect("a snapshot");
    snapshot.finish().expect("parts");
    snapshot
}

fn sent(snapshot: &StoreSnapshot) -> usize {
    let length = |blob: &Blob| match blob {
        Blob::Bytes(bytes) => bytes.len(),
        Blob::File(path) => std::fs::metadata(path).expect("a file").len() as usize,
    };
    snapshot.parts.iter().filter_map(|part| part.content.as_ref()).map(length).sum()
}

fn one(states: Vec<crate::model::StateDescription>) -> StoreSettings {
    StoreSettings { states, ..settings(Layout::Keys, 0, 1, 1) }
}

#[test]
fn what_nobody_keeps_has_no_parts_and_later_checkpoints_miss_nothing() {
    let mut store = memory(one(states()), Vec::new()).expect("opens");
    put(&mut store, &[1, 2], vec![Some(10), Some(20)]);
    let request = SnapshotRequest { kept: false, ..SnapshotRequest::new(1, SnapshotKind::Checkpoint, "p1") };
    assert!(store.snapshot(&request).expect("a snapshot").parts.is_empty());
    store.completed(1);
    let kept = snapshot(&mut store, 2, SnapshotKind::Checkpoint);
    let mut restored = memory(one(states()), vec![kept]).expect("restores");
    assert_eq!(ints(&mut restored, &[1, 2]), [Some(10), Some(20)]);
}

#[test]
fn a_checkpoint_sends_what_has_changed_and_what_is_not_known_to_be_durable() {
    let mut store = memory(one(states()), Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..20_000).collect();
    put(&mut store, &keys, keys.iter().copied().map(Some).collect());
    let whole = sent(&snapshot(&mut store, 1, SnapshotKind::Checkpoint));
    put(&mut store, &keys[..50], vec![Some(-1); 50]);
    assert!(sent(&snapshot(&mut store, 2, SnapshotKind::Checkpoint)) > whole, "the first may never be complete");
    store.completed(2);
    put(&mut store, &keys[50..100], vec![Some(-2); 50]);
    let third = snapshot(&mut store, 3, SnapshotKind::Checkpoint);
    assert!(sent(&third) * 20 < whole && third.parts.len() == 3);
    store.aborted(3);
    let fourth = snapshot(&mut store, 4, SnapshotKind::Checkpoint);
    assert_eq!(sent(&fourth), sent(&third), "what the aborted one was to send");
    store.completed(4);
    assert_eq!(sent(&snapshot(&mut store, 5, SnapshotKind::Checkpoint)), 0, "nothing has changed");
    assert!(sent(&snapshot(&mut store, 6, SnapshotKind::Savepoint)) >= whole, "a savepoint is complete in itself");
}

fn check_built_on(backend: &StateBackend) {
    let start = |start| StoreSettings { start, ..one(states()) };
    let mut store = KeyedStore::open(backend, start(1), Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..20_000).collect();
    put(&mut store, &keys, keys.iter().copied().map(Some).collect());
    let mut first = snapshot(&mut store, 1, SnapshotKind::Checkpoint);
    for part in &mut first.parts {
        // A later start removes what the first has in its folder.
        if let Some(Blob::File(path)) = &part.content {
            part.content = Some(Blob::Bytes(std::fs::read(path).expect("a file").into()));
        }
    }
    drop(store);
    let whole = sent(&first);
    for durable in [true, false] {
        let restored = StoreSnapshot { durable, ..first.clone() };
        let mut again = KeyedStore::open(backend, start(2 + u64::from(!durable)), vec![restored]).expect("restores");
        put(&mut again, &[7], vec![Some(-7)]);
        let second = snapshot(&mut again, 2, SnapshotKind::Checkpoint);
        assert_eq!(sent(&second) * 4 < whole, durable, "{} of {whole} bytes", sent(&second));
        let content =
            |part: &Part| first.parts.iter().find(|it| it.name == part.name).and_then(|it| it.content.clone());
        let mut all = second;
        all.parts.iter_mut().for_each(|part| part.content = part.content.take().or_else(|| content(part)));
        let mut third = memory(start(4), vec![all]).expect("restores");
        assert_eq!(ints(&mut third, &[6, 7, 19_999]), [Some(6), Some(-7), Some(19_999)]);
    }
}

#[test]
fn what_was_restored_is_not_sent_again_if_it_is_durable_where_checkpoints_go() {
    check_built_on(&StateBackend::memory());
    #[cfg(feature = "rocksdb")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        check_built_on(&super::random::rocksdb(folder.path()));
    }
}

/// A store, and one that was opened beside it; each was changed since.
fn beside(backend: &StateBackend) -> [KeyedStore; 2] {
    let mut store = KeyedStore::open(backend, one(states()), Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..20_000).collect();
    put(&mut store, &keys, keys.iter().copied().map(Some).collect());
    let whole = sent(&snapshot(&mut store, 1, SnapshotKind::Checkpoint));
    store.completed(1);
    put(&mut store, &[1], vec![Some(10)]);
    let request = SnapshotRequest { beside: true, ..SnapshotRequest::new(2, SnapshotKind::Savepoint, "p2") };
    let mut copy = store.snapshot(&request).expect("a snapshot");
    copy.finish().expect("parts");
    let folder = backend.beside().expect("a backend");
    let mut other = KeyedStore::open(&folder, one(states()), vec![copy]).expect("opens beside it");
    put(&mut store, &[2], vec![Some(20)]);
    put(&mut other, &[3], vec![Some(30)]);
    assert_eq!(ints(&mut store, &[1, 2, 3, 4]), [Some(10), Some(20), Some(3), Some(4)]);
    assert_eq!(ints(&mut other, &[1, 2, 3, 4]), [Some(10), Some(2), Some(30), Some(4)]);
    assert!(sent(&snapshot(&mut store, 3, SnapshotKind::Checkpoint)) * 4 < whole, "it builds on the first");
    store.completed(3);
    [store, other]
}

#[test]
fn a_store_beside_another_has_what_that_had() {
    beside(&StateBackend::memory());
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_database_beside_another_shares_its_files_and_leaves_nothing() {
    use std::os::unix::fs::MetadataExt;

    let below = |folder: &std::path::Path| {
        let mut folders = vec![folder.to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
            let (inner, own): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
            folders.extend(inner);
            files.extend(own);
        }
        files
    };
    let folder = tempfile::tempdir().expect("a folder");
    let [_store, other] = beside(&super::random::rocksdb(folder.path()));
    let files = below(folder.path()).into_iter().filter(|path| path.display().to_string().contains("/.beside-"));
    let tables: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "sst")).collect();
    assert!(!tables.is_empty());
    assert!(tables.iter().any(|path| path.metadata().expect("a file").nlink() > 1), "{tables:?}");
    drop(other);
    let left: Vec<_> =
        below(folder.path()).into_iter().filter(|it| it.display().to_string().contains("beside")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn runs_that_no_section_needs_are_left_out_and_there_are_never_many() {
    let mut store = memory(one(states()), Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..2000).collect();
    put(&mut store, &keys, vec![Some(0); 2000]);
    let mut most = 0;
    for checkpoint in 1..200 {
        let from = checkpoint as usize * 7 % 1900;
        put(&mut store, &keys[from..from + 30], vec![Some(checkpoint as i64); 30]);
        let parts = snapshot(&mut store, checkpoint, SnapshotKind::Checkpoint).parts;
        most = most.max(parts.len());
        store.completed(checkpoint);
    }
    assert!((2..=40).contains(&most), "{most} runs");
}

#[test]
fn a_damaged_part_is_named_whatever_byte_of_it_is_wrong() {
    let mut store = memory(one(states()), Vec::new()).expect("opens");
    put(&mut store, &[1, 2, 3], vec![Some(1); 3]);
    let whole = snapshot(&mut store, 1, SnapshotKind::Checkpoint);
    let Some(Blob::Bytes(bytes)) = whole.parts[0].content.clone() else { panic!() };
    let refused = |content: Option<Blob>| {
        let mut damaged = whole.clone();
        damaged.parts[0].content = content;
        match memory(one(states()), vec![damaged]).err() {
            Some(StateError::Damaged { part, .. }) => part == whole.parts[0].name,
            _ => false,
        }
    };
    assert!(refused(None));
    // The header in front is there for people; the one in the index counts.
    let first = 8 + 1 + whole.note.len();
    for at in first..bytes.len() {
        let mut wrong = bytes.to_vec();
        wrong[at] ^= 1;
        assert!(refused(Some(Blob::Bytes(wrong.into()))), "byte {at} of {}", bytes.len());
    }
    for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        assert!(refused(Some(Blob::Bytes(bytes.slice(..length)))), "{length} of {}", bytes.len());
    }
}

#[test]
fn states_are_found_by_name_and_what_does_not_fit_is_refused() {
    let mut store = memory(one(states()), Vec::new()).expect("opens");
    put(&mut store, &[7], vec![Some(70)]);
    let taken = snapshot(&mut store, 1, SnapshotKind::Savepoint);
    let again = |states, drop_vanished| memory(StoreSettings { drop_vanished, ..one(states) }, vec![taken.clone()]);

    let mut moved = states();
    moved.rotate_left(1);
    moved.insert(0, state("new", StateKind::Value, Kind::Int64, None));
    let mut newer = moved.clone();
    newer[4].schema_version = 2;
    assert!(matches!(again(newer, false), Err(StateError::Version { state, was: 1, is: 2, .. }) if state == "int"));
    let mut store = again(moved, false).expect("opens");
    assert_eq!(ints(&mut store, &[7]), [None], "the new one is empty");
    let touched = touch(&mut store, &[7]);
    let StateValues::Single(values) = store.read(&touched, 4, 0).expect("ints") else { panic!() };
    assert_eq!(values.as_primitive::<Int64Type>().value(0), 70);

    assert!(
        matches!(again(states()[..1].to_vec(), false), Err(StateError::Vanished { states, .. }) if states.len() == 3)
    );
    let mut store = again(states()[..1].to_vec(), true).expect("opens");
    assert_eq!((ints(&mut store, &[7]), store.restored().vanished.len()), (vec![Some(70)], 3));

    let mut other = states();
    other[INT].value = Kind::Float64;
    assert!(matches!(again(other, true), Err(StateError::Incompatible { state, .. }) if state == "int"));
    let more = StoreSettings { max_parallelism: GROUPS + 1, ..one(states()) };
    assert!(matches!(memory(more, vec![taken.clone()]), Err(StateError::Unreadable { .. })));
}

#[test]
fn memory_follows_what_lives() {
    let mut store = memory(one(states()), Vec::new()).expect("opens");
    for round in 0..100 {
        let keys: Vec<i64> = (round * 1000..(round + 1) * 1000).collect();
        put(&mut store, &keys, vec![Some(1); 1000]);
        put(&mut store, &keys, vec![None; 1000]);
        if round % 10 == 0 {
            snapshot(&mut store, round as u64 + 1, SnapshotKind::Checkpoint);
        }
    }
    assert!(store.rows() < 30_000, "{} rows", store.rows());
}

#[cfg(feature = "rocksdb")]
#[test]
fn a_database_sends_each_file_once_and_keeps_few_timers_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = super::random::rocksdb(folder.path());
    let mut store = KeyedStore::open(&backend, one(states()), Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..20_000).collect();
    put(&mut store, &keys, keys.iter().copied().map(Some).collect());
    let touched = touch(&mut store, &keys);
    let timer = |i: i64| TimerChange { key: (i % 20_000) as u32, time: i, domain: TimeDomain::Event, set: true };
    for part in 0..10 {
        let timers: Vec<TimerChange> = (part * 20_000..(part + 1) * 20_000).map(|i| timer(199_999 - i)).collect();
        store.change_timers(&touched, &timers).expect("timers");
    }
    assert!(store.bytes() < 20 << 20, "{} bytes", store.bytes());
    let first = snapshot(&mut store, 1, SnapshotKind::Checkpoint);
    let whole = sent(&first);
    store.completed(1);
    put(&mut store, &[1], vec![Some(5)]);
    let second = snapshot(&mut store, 2, SnapshotKind::Checkpoint);
    assert!(sent(&second) * 4 < whole, "{} of {whole} bytes", sent(&second));
    store.completed(2);
    let mut due = crate::state::Due::default();
    let mut fired = 0;
    loop {
        store.take_due(TimeDomain::Event, i64::MAX, 10_000, &mut due).expect("due");
        if due.is_empty() {
            break;
        }
        assert!(due.times.iter().enumerate().all(|(i, time)| *time == fired + i as i64), "from {fired} on");
        fired += due.len() as i64;
    }
    assert_eq!(fired, 200_000);
    assert_eq!(ints(&mut store, &[1, 19_999]), [Some(5), Some(19_999)]);
}

#[cfg(feature = "rocksdb")]
#[test]
fn compaction_drops_what_has_expired() {
    let folder = tempfile::tempdir().expect("a folder");
    let expiring = state("brief", StateKind::Value, Kind::Int64, Some((1000, false)));
    let settings = StoreSettings { states: vec![expiring], ..one(states()) };
    let mut store = KeyedStore::open(&super::random::rocksdb(folder.path()), settings, Vec::new()).expect("opens");
    let keys: Vec<i64> = (0..1000).collect();
    put(&mut store, &keys, keys.iter().copied().map(Some).collect());
    store.write_all().expect("written");
    let db = store.db.as_ref().expect("a database");
    let entries = || {
        let mut entries = 0;
        db.scan(&[], &[0xff; 16], |_, _| {
            entries += 1;
            Ok(true)
        })
        .expect("scanned");
        entries
    };
    db.set_now(999);
    db.compact();
    assert_eq!(entries(), 1000);
    db.set_now(1000);
    db.compact();
    assert_eq!(entries(), 0);
}
