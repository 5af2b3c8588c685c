//! State by subtask: what is read after changes, what snapshots are byte by byte, and what is refused.
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, StringArray, cast::AsArray, types::Int64Type};
use arrow_buffer::OffsetBuffer;

use crate::{
    model::{
        Kind, MapReader, NoMaps, OperatorState, Redistribution, StateChange, StateDescription, StateKind, StateValues,
    },
    state::{BroadcastMaps, OperatorLists, StateError, TASK_STATE_BYTES_MAX, TaskSettings, maps::READ_BYTES_MAX},
};

fn state(name: &str, kind: StateKind, value: Kind, key: Option<Kind>) -> StateDescription {
    StateDescription { name: name.into(), kind, schema_version: 3, value, key, time_to_live: None }
}

/// One by key, then the broadcast state `names`.
fn broadcast() -> TaskSettings {
    let states = vec![
        state("count", StateKind::Value, Kind::Int64, None),
        state("names", StateKind::Broadcast, Kind::Utf8, Some(Kind::Int64)),
    ];
    TaskSettings { name: "join".into(), states, drop_vanished: false }
}

fn operator() -> TaskSettings {
    let states = vec![
        state("kept", StateKind::OperatorList, Kind::Utf8, None),
        state("seen", StateKind::OperatorUnion, Kind::Int64, None),
    ];
    TaskSettings { name: "out".into(), states, drop_vanished: false }
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn put(entries: &[(i64, Option<&str>)]) -> StateChange {
    let (keys, values): (Vec<_>, Vec<_>) = entries.iter().copied().unzip();
    StateChange::PutEntries { state: 1, keys: Vec::new(), map_keys: ints(&keys), values: texts(&values) }
}

fn append(state: usize, values: ArrayRef) -> StateChange {
    StateChange::Append { state, keys: vec![0], offsets: OffsetBuffer::from_lengths([values.len()]), values }
}

fn replace(state: usize, values: ArrayRef) -> StateChange {
    StateChange::Replace { state, keys: vec![0], offsets: OffsetBuffer::from_lengths([values.len()]), values }
}

/// What the lists hold: `kept` and `seen`.
fn held(lists: &OperatorLists) -> (Vec<String>, Vec<i64>) {
    let read = lists.read().expect("lists");
    let [StateValues::Many { values: kept, .. }, StateValues::Many { offsets, values: seen }] = &read[..] else {
        panic!("{read:?}")
    };
    assert_eq!(offsets.len(), 2, "one key");
    let kept = kept.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    (kept, seen.as_primitive::<Int64Type>().values().to_vec())
}

#[test]
fn broadcast_maps_read_what_was_changed_in_order() {
    let mut maps = BroadcastMaps::open(broadcast(), &[]).expect("opens");
    maps.apply(&[put(&[(5, Some("x")), (-5, Some("y")), (7, Some("z"))]), put(&[(5, None), (-5, Some("w"))])])
        .expect("applied");
    let mut reader = maps.beside(NoMaps);
    let values = reader.get(1, &[], &ints(&[7, 5, -5])).expect("values");
    assert_eq!(values.as_string::<i32>().iter().collect::<Vec<_>>(), [Some("z"), None, Some("w")]);
    let page = reader.scan(1, 0, None, 1).expect("a page");
    assert_eq!((page.map_keys.as_primitive::<Int64Type>().values()[0], page.map_keys.len()), (-5, 1));
    let page = reader.scan(1, 9, page.next.as_deref(), 5).expect("a page");
    assert_eq!((&page.map_keys.as_primitive::<Int64Type>().values()[..], page.next), (&[7][..], None));
    assert_eq!(reader.get(0, &[0], &ints(&[1])).unwrap_err(), "state 0 is no map", "others are read elsewhere");
    drop(reader);
    maps.apply(&[StateChange::Clear { state: 1, keys: vec![] }, put(&[(1, Some("a"))])]).expect("applied");
    let page = maps.beside(NoMaps).scan(1, 0, None, 5).expect("a page");
    assert_eq!(&page.map_keys.as_primitive::<Int64Type>().values()[..], [1]);
}

#[test]
fn no_read_of_broadcast_maps_is_larger_than_it_may_be() {
    let large = "x".repeat(TASK_STATE_BYTES_MAX / 2);
    let mut maps = BroadcastMaps::open(broadcast(), &[]).expect("opens");
    maps.apply(&[put(&[(1, Some(&large)), (2, Some(""))])]).expect("applied");
    let mut reader = maps.beside(NoMaps);
    let times = READ_BYTES_MAX / large.len() + 1;
    let mut get = |key| reader.get(1, &[], &ints(&vec![key; times])).map(|values| values.len());
    assert_eq!(get(1), Err("more than 268435456 bytes of a map's values were asked for at once".to_owned()));
    assert_eq!(get(2), Ok(times));
}

#[test]
fn lists_are_appended_to_and_replaced_in_order() {
    let mut lists = OperatorLists::open(operator(), &[]).expect("opens");
    let kept = |values: &[&str]| texts(&values.iter().copied().map(Some).collect::<Vec<_>>());
    lists.apply(&[append(0, kept(&["a", ""])), append(1, ints(&[7])), append(0, kept(&["b"]))]).expect("applied");
    assert_eq!(held(&lists), (vec!["a".into(), "".into(), "b".into()], vec![7]));
    lists
        .apply(&[replace(0, kept(&["c"])), StateChange::Clear { state: 1, keys: vec![0] }, append(1, ints(&[8, 9]))])
        .expect("applied");
    assert_eq!(held(&lists), (vec!["c".into()], vec![8, 9]));
}

#[test]
fn snapshots_are_the_bytes_the_format_says() {
    let mut maps = BroadcastMaps::open(broadcast(), &[]).expect("opens");
    maps.apply(&[put(&[(2, Some("b")), (-1, Some("a"))])]).expect("applied");
    let entry = |key: [u8; 8], value: u8| [&[1, 7, 3, 1, 3, 8][..], &key, &[value]].concat();
    let elements =
        vec![entry([0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], b'a'), entry([0x80, 0, 0, 0, 0, 0, 0, 2], b'b')];
    let names = OperatorState { name: "names".into(), redistribution: Redistribution::Broadcast, elements };
    assert_eq!(maps.snapshot(), std::slice::from_ref(&names));
    let again = BroadcastMaps::open(broadcast(), std::slice::from_ref(&names)).expect("opens");
    assert_eq!(again.snapshot(), [names]);

    let mut lists = OperatorLists::open(operator(), &[]).expect("opens");
    lists.apply(&[append(0, texts(&[Some("hi"), Some("")])), append(1, ints(&[258]))]).expect("applied");
    let states = [
        OperatorState {
            name: "kept".into(),
            redistribution: Redistribution::Split,
            elements: vec![vec![1, 5, 3, 255, 3, b'h', b'i'], vec![1, 5, 3, 255, 3]],
        },
        OperatorState {
            name: "seen".into(),
            redistribution: Redistribution::Union,
            elements: vec![vec![1, 6, 1, 255, 3, 2, 1, 0, 0, 0, 0, 0, 0]],
        },
    ];
    assert_eq!(lists.snapshot().expect("a snapshot"), states);
    assert_eq!(held(&OperatorLists::open(operator(), &states).expect("opens")), held(&lists));
}

#[test]
fn what_does_not_fit_the_declared_states_is_refused() {
    let list = |name: &str, element: &[u8]| OperatorState {
        name: name.into(),
        redistribution: Redistribution::Split,
        elements: vec![element.to_vec()],
    };
    let refused = |settings: TaskSettings, state: OperatorState| match OperatorLists::open(settings, &[state]) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was taken"),
    };
    for (element, code) in [
        (&[][..], "S0705"),
        (&[2, 6, 1, 255, 3, 2, 1, 0, 0, 0, 0, 0, 0], "S0705"),
        (&[1, 6, 1, 255], "S0705"),
        (&[1, 6, 1, 255, 3, 2, 1], "S0705"),
        (&[1, 9, 1, 255, 3, 2, 1, 0, 0, 0, 0, 0, 0], "S0705"),
        (&[1, 5, 1, 255, 3, 2, 1, 0, 0, 0, 0, 0, 0], "S0703"),
        (&[1, 6, 3, 255, 3, b'a'], "S0703"),
    ] {
        let error = refused(operator(), list("seen", element));
        assert!(error.contains(code), "{element:?}: {error}");
    }
    assert!(refused(operator(), list("kept", &[1, 5, 3, 255, 3, 0xFF])).contains("S0705"), "no text");
    let gone = list("gone", &[1, 5, 3, 255, 3, b'a']);
    assert!(refused(operator(), gone.clone()).contains("S0704"));
    assert!(refused(operator(), list("kept", &[1, 5, 3, 255, 1, b'a'])).contains("S0709"), "another version");
    let lenient = TaskSettings { drop_vanished: true, ..operator() };
    let lists = OperatorLists::open(lenient, &[gone, list("kept", &[1, 5, 3, 255, 3, b'a'])]).expect("opens");
    assert_eq!(lists.restored().vanished, ["gone"]);
    assert_eq!(held(&lists).0, ["a"]);
}

#[test]
fn state_beyond_its_bound_fails_and_says_which() {
    let large = "x".repeat(TASK_STATE_BYTES_MAX / 2);
    let mut lists = OperatorLists::open(operator(), &[]).expect("opens");
    let mut maps = BroadcastMaps::open(broadcast(), &[]).expect("opens");
    lists.apply(&[append(0, texts(&[Some(&large)]))]).expect("fits");
    maps.apply(&[put(&[(1, Some(&large))]), put(&[(1, Some(&large))])]).expect("fits, once");
    let is_too_large = |error: StateError, of: &str| match error {
        StateError::TooLarge { state, .. } => assert_eq!(state, of),
        other => panic!("{other}"),
    };
    is_too_large(lists.apply(&[append(0, texts(&[Some(&large)]))]).unwrap_err(), "kept");
    is_too_large(maps.apply(&[put(&[(2, Some(&large))])]).unwrap_err(), "names");
}
