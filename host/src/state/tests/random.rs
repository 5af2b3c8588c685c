//! Random operations, compared with the model at every read.
use std::{collections::BTreeSet, sync::Arc};

use arrow_array::{Array, ArrayRef, Int64Array, StringArray, cast::AsArray, types::Int64Type};
use arrow_buffer::OffsetBuffer;

use super::{
    model::{World, rows},
    oracle::{INT, LIST, MAP, TEXT},
};
use crate::{
    model::{MapReader, SnapshotKind, StateChange, StateValues, TimeDomain, TimerChange, Window, decode_keys},
    state::{Cursor, Due, Layout, StateBackend, Touched},
};

const KEYS: i64 = 300;

fn window(number: i64) -> Window {
    Window { start: number * 10 - 20, end: number * 10 - 10 }
}

fn single(values: StateValues) -> ArrayRef {
    match values {
        StateValues::Single(values) => values,
        other => panic!("{other:?}"),
    }
}

impl World {
    /// The keys of a batch, all of one store, and their windows.
    fn batch(&self, random: &mut fastrand::Rng) -> (usize, Vec<(Window, i64)>) {
        let store = random.usize(..self.stores.len());
        let count = random.usize(1..40);
        let mut batch = Vec::new();
        let mut current = window(random.i64(0..4));
        while batch.len() < count {
            let key = random.i64(0..KEYS);
            if random.u8(..) < 60 {
                current = window(random.i64(0..4));
            }
            if self.store(key) == store {
                batch.push((if self.layout == Layout::Keys { Window::GLOBAL } else { current }, key));
            }
        }
        (store, batch)
    }

    fn touch(&mut self, store: usize, batch: &[(Window, i64)]) -> (Touched, Vec<(Window, i64)>) {
        let (keys, hashes) = rows(&batch.iter().map(|it| it.1).collect::<Vec<_>>());
        let windows: Vec<Window> = batch.iter().map(|it| it.0).collect();
        let mut touched = Touched::default();
        let windows = (self.layout != Layout::Keys).then_some(&windows[..]);
        self.stores[store].touch(&keys, &hashes, windows, &mut touched).expect("touched");
        let distinct: Vec<_> = touched.first_rows().iter().map(|row| batch[*row as usize]).collect();
        for (row, group) in touched.groups.iter().enumerate() {
            assert_eq!(distinct[*group as usize], batch[row]);
        }
        assert_eq!(distinct.len(), touched.len());
        (touched, distinct)
    }

    /// Everything of some keys is as it should be.
    fn compare(&mut self, store: usize, touched: &Touched, keys: &[(Window, i64)]) {
        let now = self.oracle.now;
        let store = &mut self.stores[store];
        let ints = single(store.read(touched, INT, now).expect("ints"));
        let texts = single(store.read(touched, TEXT, now).expect("texts"));
        let StateValues::Many { offsets, values } = store.read(touched, LIST, now).expect("lists") else { panic!() };
        let found: BTreeSet<i64> = decode_keys(&[crate::model::Kind::Int64], store.keys(touched)).expect("keys")[0]
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .copied()
            .collect();
        assert_eq!(found, keys.iter().map(|it| it.1).collect());
        for (i, (window, key)) in keys.iter().enumerate() {
            let row = self.oracle.row(*window, *key);
            let at = |array: &ArrayRef| array.is_valid(i).then_some(i);
            assert_eq!(
                at(&ints).map(|i| ints.as_primitive::<Int64Type>().value(i)),
                row.int,
                "int of {window:?} {key}"
            );
            let text = row.text.as_mut().map(|(time, text)| {
                *time = now;
                text.clone()
            });
            assert_eq!(
                at(&texts).map(|i| texts.as_string::<i32>().value(i).to_owned()),
                text,
                "text of {window:?} {key}"
            );
            let list = values.slice(offsets[i] as usize, (offsets[i + 1] - offsets[i]) as usize);
            assert_eq!(&list.as_primitive::<Int64Type>().values()[..], row.list, "list of {window:?} {key}");
            let (mut found, mut after) = (Vec::new(), None);
            let mut maps = store.maps(touched, now);
            loop {
                let page = maps.scan(MAP, i as u32, after.as_deref(), 2).expect("a page");
                let keys = page.map_keys.as_primitive::<Int64Type>().values().to_vec();
                found.extend(
                    keys.into_iter().zip(page.values.as_string::<i32>().iter().map(|it| it.map(str::to_owned))),
                );
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let expected: Vec<_> = row.map.iter().map(|(key, (_, value))| (*key, Some(value.clone()))).collect();
            assert_eq!(found, expected, "map of {window:?} {key}");
            let asked: ArrayRef = Arc::new(Int64Array::from((-2..3).collect::<Vec<_>>()));
            let got = maps.get(MAP, &[i as u32; 5], &asked).expect("entries");
            let expected: Vec<_> = (-2..3).map(|key| row.map.get(&key).map(|(_, value)| &value[..])).collect();
            assert_eq!(got.as_string::<i32>().iter().collect::<Vec<_>>(), expected, "entries of {window:?} {key}");
        }
    }

    fn change(&mut self, random: &mut fastrand::Rng) {
        let (store, batch) = self.batch(random);
        let (touched, keys) = self.touch(store, &batch);
        self.compare(store, &touched, &keys);
        let now = self.oracle.now;
        let mut changes = Vec::new();
        for _ in 0..random.usize(..4) {
            let picked: Vec<u32> = (0..keys.len() as u32).filter(|_| random.bool()).collect();
            let state = random.usize(..4);
            let numbers: Vec<Option<i64>> =
                picked.iter().map(|_| (random.u8(..) > 60).then(|| random.i64(..))).collect();
            let texts: Vec<_> = numbers.iter().map(|it| it.map(|it| "x".repeat((it & 15) as usize))).collect();
            let append = random.bool();
            if random.u8(..4) == 0 {
                for key in &picked {
                    let (window, key) = keys[*key as usize];
                    let row = self.oracle.row(window, key);
                    match state {
                        INT => row.int = None,
                        TEXT => row.text = None,
                        LIST => row.list.clear(),
                        _ => row.map.clear(),
                    }
                }
                changes.push(StateChange::Clear { state, keys: picked });
                continue;
            }
            for (i, key) in picked.iter().enumerate() {
                let (window, key) = keys[*key as usize];
                let row = self.oracle.row(window, key);
                match state {
                    INT => row.int = numbers[i],
                    TEXT => row.text = texts[i].clone().map(|text| (now, text)),
                    LIST => {
                        if !append {
                            row.list.clear();
                        }
                        row.list.extend(numbers[i]);
                    }
                    _ => match &texts[i] {
                        Some(text) => drop(row.map.insert(i as i64 % 5 - 2, (now, text.clone()))),
                        None => drop(row.map.remove(&(i as i64 % 5 - 2))),
                    },
                }
            }
            let text_column: ArrayRef = Arc::new(StringArray::from(texts));
            changes.push(match state {
                INT => StateChange::Put { state, keys: picked, values: Arc::new(Int64Array::from(numbers)) },
                TEXT => StateChange::Put { state, keys: picked, values: text_column },
                LIST => {
                    let offsets = OffsetBuffer::from_lengths(numbers.iter().map(|it| usize::from(it.is_some())));
                    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.into_iter().flatten()));
                    match append {
                        true => StateChange::Append { state, keys: picked, offsets, values },
                        false => StateChange::Replace { state, keys: picked, offsets, values },
                    }
                }
                _ => {
                    let map_keys = Arc::new(Int64Array::from_iter_values((0..picked.len() as i64).map(|i| i % 5 - 2)));
                    StateChange::PutEntries { state, keys: picked, map_keys, values: text_column }
                }
            });
        }
        self.stores[store].apply(&touched, &changes, now).expect("applied");
        self.change_timers(store, &touched, &keys, random);
        self.compare(store, &touched, &keys);
    }

    fn change_timers(&mut self, store: usize, touched: &Touched, keys: &[(Window, i64)], random: &mut fastrand::Rng) {
        let changes: Vec<TimerChange> = (0..random.usize(..20))
            .map(|_| TimerChange {
                key: random.u32(..keys.len() as u32),
                time: self.oracle.now + random.i64(-20..60),
                domain: random.choice([TimeDomain::Event, TimeDomain::Processing]).expect("one"),
                set: random.u8(..4) > 0,
            })
            .collect();
        for change in &changes {
            let (window, key) = keys[change.key as usize];
            let timer = (change.domain, change.time, window, key);
            if change.set {
                self.oracle.timers.insert(timer)
            } else {
                self.oracle.timers.remove(&timer)
            };
        }
        self.stores[store].change_timers(touched, &changes).expect("timers");
    }

    fn fire(&mut self, random: &mut fastrand::Rng) {
        let domain = random.choice([TimeDomain::Event, TimeDomain::Processing]).expect("one");
        let until = self.oracle.now + random.i64(-10..20);
        let mut fired = Vec::new();
        for store in &mut self.stores {
            let mut due = Due::default();
            loop {
                let first = store.next_timer(domain);
                store.take_due(domain, until, 7, &mut due).expect("due");
                if due.is_empty() {
                    assert!(first.is_none_or(|first| first > until));
                    break;
                }
                assert_eq!(first, Some(due.times[0]));
                assert!(due.times.is_sorted() && due.len() <= 7);
                let keys: Vec<i64> = (0..due.len())
                    .map(|i| i64::from_le_bytes(due.keys().get(i).try_into().expect("8 bytes")))
                    .collect();
                let of: BTreeSet<_> = due.windows.iter().zip(&keys).collect();
                assert_eq!(of.len(), due.len(), "a key fires once a call");
                fired.extend((0..due.len()).map(|i| (domain, due.times[i], due.windows[i], keys[i])));
            }
        }
        fired.sort_unstable();
        let (due, left) =
            std::mem::take(&mut self.oracle.timers).into_iter().partition(|it| it.0 == domain && it.1 <= until);
        self.oracle.timers = left;
        assert_eq!(fired, due.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    }

    /// Every window holds its keys; the union of two holds those of both.
    fn scan(&mut self, random: &mut fastrand::Rng) {
        let limit = random.usize(1..50);
        let store = random.usize(..self.stores.len());
        let mine = |world: &World, windows: &[Window]| -> BTreeSet<i64> {
            let rows = world.oracle.rows.iter().filter(|((window, key), row)| {
                windows.contains(window) && world.store(*key) == store && (row.int.is_some() || !row.list.is_empty())
            });
            rows.map(|((_, key), _)| *key).collect()
        };
        let windows: Vec<Window> = self.stores[store].windows().collect();
        assert!(windows.is_sorted());
        for window in windows {
            let (mut seen, mut after) = (Vec::new(), Some(Cursor::default()));
            while let Some(cursor) = after {
                let page = self.stores[store].scan_window(window, cursor, limit).expect("a page");
                let keys: Vec<(Window, i64)> = self.stores[store]
                    .keys(&page.touched)
                    .map(|key| (window, i64::from_le_bytes(key.try_into().expect("8 bytes"))))
                    .collect();
                self.compare(store, &page.touched, &keys);
                seen.extend(keys.into_iter().map(|it| it.1));
                after = page.next;
            }
            let distinct: BTreeSet<i64> = seen.iter().copied().collect();
            assert_eq!(distinct.len(), seen.len(), "a key comes once");
            assert!(distinct.is_superset(&mine(self, &[window])));
        }
        let both = [window(1), window(2), window(9)];
        let (mut seen, mut after) = (Vec::new(), Some(Cursor::default()));
        while let Some(cursor) = after {
            let page = self.stores[store].scan_windows(&both, cursor, limit).expect("a page");
            let keys: Vec<i64> =
                (0..page.len).map(|i| i64::from_le_bytes(page.keys.get(i).try_into().expect("8 bytes"))).collect();
            let ints = single(self.stores[store].read(&page.touched, INT, self.oracle.now).expect("ints"));
            let mut found: Vec<_> = page.owners.iter().zip(ints.as_primitive::<Int64Type>()).collect();
            found.retain(|(_, int)| int.is_some());
            let of = |at: u32| both.iter().map(move |window| (at, *window));
            let mut expected: Vec<(u32, Option<i64>)> = (0..keys.len() as u32)
                .flat_map(of)
                .map(|(at, window)| (at, self.oracle.row(window, keys[at as usize]).int))
                .collect();
            expected.retain(|(_, int)| int.is_some());
            let mut found: Vec<_> = found.into_iter().map(|(at, int)| (*at, int)).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected);
            seen.extend(keys);
            after = page.next;
        }
        let distinct: BTreeSet<i64> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "a key comes once");
        assert!(distinct.is_superset(&mine(self, &both)));
    }

    fn drop_window(&mut self, random: &mut fastrand::Rng) {
        let window = window(random.i64(0..4));
        for store in &mut self.stores {
            store.drop_window(window).expect("dropped");
        }
        self.oracle.rows.retain(|(it, _), _| *it != window);
    }

    fn open_windows(&mut self, random: &mut fastrand::Rng) {
        let (store, batch) = self.batch(random);
        let keys: Vec<i64> = batch.iter().map(|it| it.1).collect::<BTreeSet<_>>().into_iter().collect();
        let (encoded, hashes) = rows(&keys);
        let mut touched = Touched::default();
        self.stores[store].touch(&encoded, &hashes, None, &mut touched).expect("touched");
        let found = self.stores[store].open_windows(&touched).expect("open windows");
        let expected: Vec<_> = keys.iter().map(|key| self.oracle.open.get(key).cloned().unwrap_or_default()).collect();
        assert_eq!(found, expected);
        let new: Vec<Vec<Window>> = keys.iter().map(|_| (0..random.i64(0..3)).map(window).collect()).collect();
        let numbers: Vec<u32> = (0..keys.len() as u32).collect();
        self.stores[store].put_open_windows(&touched, &numbers, &new).expect("put");
        self.oracle.open.extend(keys.into_iter().zip(new));
    }

    fn step(&mut self, random: &mut fastrand::Rng) {
        match random.u8(..100) {
            0..50 => self.change(random),
            50..60 => self.fire(random),
            60..70 => self.oracle.now += random.i64(0..15),
            70..76 if self.layout == Layout::Windows => self.scan(random),
            76..79 if self.layout == Layout::Windows => self.drop_window(random),
            70..79 if self.layout == Layout::Sessions => self.open_windows(random),
            79..87 => drop(self.snapshot(SnapshotKind::Checkpoint)),
            87..92 => {
                if let Some(checkpoint) = self.some_pending(random) {
                    self.complete(checkpoint);
                }
            }
            92..95 => {
                if let Some(checkpoint) = self.some_pending(random) {
                    self.abort(checkpoint);
                }
            }
            95 => {
                let savepoint = self.snapshot(SnapshotKind::Savepoint);
                self.complete(savepoint);
            }
            96..98 => {
                let parallelism = random.choice([self.stores.len() as u32, 1, 2, 3]).expect("one");
                self.restore(parallelism, random.usize(..self.backends.len()));
            }
            _ => {}
        }
    }
}

/// One seed, on backends that change at restores.
fn run(seed: u64, layout: Layout, backends: Vec<StateBackend>) {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(layout, backends);
        for _ in 0..300 {
            world.step(&mut random);
        }
        world.spared
    }));
    let spared = outcome.unwrap_or_else(|_| panic!("failed with {layout:?}, seed {seed}"));
    assert!(spared.1 > 0, "nothing was ever durable with {layout:?}, seed {seed}");
}

#[test]
fn memory_holds_what_it_should() {
    for seed in 0..8 {
        for layout in [Layout::Keys, Layout::Windows, Layout::Sessions] {
            run(seed, layout, vec![StateBackend::memory()]);
        }
    }
}

#[cfg(feature = "rocksdb")]
pub(super) fn rocksdb(folder: &std::path::Path) -> StateBackend {
    let small = crate::state::RocksDbSettings { cache_bytes: 20_000, ..crate::state::RocksDbSettings::new(folder) };
    StateBackend::rocksdb(small).expect("a folder")
}

#[cfg(feature = "rocksdb")]
#[test]
fn databases_hold_what_they_should() {
    for seed in 0..2 {
        for layout in [Layout::Keys, Layout::Windows, Layout::Sessions] {
            let folder = tempfile::tempdir().expect("a folder");
            run(seed, layout, vec![rocksdb(folder.path())]);
        }
    }
}

#[cfg(feature = "rocksdb")]
#[test]
fn state_moves_between_memory_and_databases() {
    for seed in 0..2 {
        for layout in [Layout::Keys, Layout::Windows, Layout::Sessions] {
            let folder = tempfile::tempdir().expect("a folder");
            run(seed, layout, vec![StateBackend::memory(), rocksdb(folder.path())]);
        }
    }
}
