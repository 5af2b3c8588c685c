//! The accumulators of open windows, in memory: a table per window, so that a window that fired is forgotten at once.
use std::collections::VecDeque;

use arrow_array::ArrayRef;

use super::{
    key_table::{KeyTable, Mark},
    values::{Values, gather, scatter},
};
use crate::model::{EventTime, KeyRows, Kind};

/// Open windows and what is in them.
pub struct WindowStore {
    kind: Kind,
    /// Ordered by start.
    windows: VecDeque<Window>,
    /// Counts batches, to know what this one has touched without clearing anything between two.
    batch: u32,
}

struct Window {
    start: EventTime,
    keys: KeyTable,
    values: Values,
}

/// The accumulators a batch touches.
#[derive(Debug, Default)]
pub struct Touched {
    /// For each row of the batch, which of `places` it belongs to.
    pub groups: Vec<u32>,
    /// Which window (by its rank among the batch's) and which key in it.
    places: Vec<(u32, u32)>,
    /// Ranks of the batch's windows among all.
    windows: Vec<usize>,
}

impl Touched {
    /// How many accumulators the batch touches.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it touches none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// A window taken out of the store.
pub struct WindowContents {
    /// Its start.
    pub start: EventTime,
    keys: KeyTable,
    values: Values,
    kind: Kind,
    /// Keys with an accumulator.
    set: Vec<(u32, u32)>,
}

impl WindowContents {
    /// Number of keys.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether no key has anything.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The encoded keys from `from` on, at most `count`.
    pub fn keys(&self, from: usize, count: usize) -> impl Iterator<Item = &[u8]> + Clone {
        self.set.iter().skip(from).take(count).map(|(_, place)| self.keys.key(*place as usize))
    }

    /// Their accumulators.
    pub fn accumulators(&self, from: usize, count: usize) -> ArrayRef {
        let end = self.set.len().min(from + count);
        gather(self.kind, &[&self.values], &self.set[from..end])
    }
}

impl WindowStore {
    /// An empty store for accumulators of this kind.
    pub fn new(kind: Kind) -> WindowStore {
        WindowStore { kind, windows: VecDeque::new(), batch: 0 }
    }

    /// The start of the first window still open.
    pub fn first(&self) -> Option<EventTime> {
        self.windows.front().map(|window| window.start)
    }

    /// Number of open windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Whether no window is open.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Number of keys in all open windows.
    pub fn keys(&self) -> usize {
        self.windows.iter().map(|window| window.keys.len()).sum()
    }

    /// Finds, or makes, the place of each row: row `i` has key `i` and belongs to the window that starts at `starts[i]`.
    pub fn touch(&mut self, keys: &KeyRows, hashes: &[u64], starts: &[EventTime], touched: &mut Touched) {
        touched.groups.clear();
        touched.places.clear();
        touched.windows.clear();
        self.batch = self.batch.wrapping_add(1);
        let mut row = 0;
        // Rows mostly come in runs of one window.
        while row < starts.len() {
            let run = starts[row..]
                .iter()
                .position(|start| *start != starts[row])
                .map_or(starts.len(), |length| row + length);
            let at = self.open(starts[row], touched);
            let rank = touched.windows.iter().position(|window| *window == at).unwrap_or_else(|| {
                touched.windows.push(at);
                touched.windows.len() - 1
            }) as u32;
            self.windows[at].touch(keys, &hashes[row..run], row, (self.batch, rank), touched);
            row = run;
        }
    }

    /// The rank of the window with this start, which is opened if it is not there. `touched` keeps naming the same windows.
    fn open(&mut self, start: EventTime, touched: &mut Touched) -> usize {
        match self.windows.binary_search_by_key(&start, |window| window.start) {
            Ok(at) => at,
            Err(at) => {
                let (keys, values) = (KeyTable::default(), Values::new(self.kind));
                self.windows.insert(at, Window { start, keys, values });
                touched.windows.iter_mut().filter(|window| **window >= at).for_each(|window| *window += 1);
                at
            }
        }
    }

    /// The accumulators in `touched`, null where there is none yet.
    pub fn gather(&self, touched: &Touched) -> ArrayRef {
        let all: Vec<&Values> = touched.windows.iter().map(|at| &self.windows[*at].values).collect();
        gather(self.kind, &all, &touched.places)
    }

    /// Puts the new accumulators where [`gather`](WindowStore::gather) took the old ones from.
    pub fn scatter(&mut self, touched: &Touched, accumulators: &ArrayRef) {
        if let [at] = touched.windows[..] {
            scatter(&mut [&mut self.windows[at].values], &touched.places, accumulators);
            return;
        }
        let mut ranked: Vec<(usize, &mut Values)> = self
            .windows
            .iter_mut()
            .enumerate()
            .filter_map(|(at, window)| Some((touched.windows.iter().position(|it| *it == at)?, &mut window.values)))
            .collect();
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        let mut all: Vec<&mut Values> = ranked.into_iter().map(|(_, values)| values).collect();
        scatter(&mut all, &touched.places, accumulators);
    }

    /// Takes the first window out.
    pub fn take_first(&mut self) -> Option<WindowContents> {
        let Window { start, keys, values } = self.windows.pop_front()?;
        let set = (0..keys.len()).filter(|key| values.is_set(*key)).map(|key| (0, key as u32)).collect();
        Some(WindowContents { start, keys, values, kind: self.kind, set })
    }
}

impl Window {
    fn touch(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        first_row: usize,
        (batch, rank): (u32, u32),
        into: &mut Touched,
    ) {
        let unseen = Mark { batch: batch.wrapping_sub(1), group: 0 };
        into.groups.extend(hashes.iter().enumerate().map(|(i, hash)| {
            let (data, length) = keys.tail(first_row + i);
            let (number, mark) = self.keys.find(*hash, data, length, unseen);
            if mark.batch != batch {
                *mark = Mark { batch, group: into.places.len() as u32 };
                into.places.push((rank, number as u32));
            }
            mark.group
        }));
        self.values.grow(self.keys.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, Int64Array, StringArray, cast::AsArray, types::Int64Type};

    use super::*;

    fn count(store: &mut WindowStore, words: &[&str], starts: &[i64]) {
        let keys = KeyRows::encode(&[Arc::new(StringArray::from(words.to_vec()))], words.len());
        let mut hashes = Vec::new();
        keys.hash_into(words.len(), &mut hashes);
        let mut touched = Touched::default();
        store.touch(&keys, &hashes, starts, &mut touched);
        let old = store.gather(&touched);
        let mut counts: Vec<i64> =
            (0..old.len()).map(|i| if old.is_null(i) { 0 } else { old.as_primitive::<Int64Type>().value(i) }).collect();
        touched.groups.iter().for_each(|group| counts[*group as usize] += 1);
        store.scatter(&touched, &(Arc::new(Int64Array::from(counts)) as ArrayRef));
    }

    #[test]
    fn rows_of_any_order_of_windows_and_keys_are_counted_each_in_its_place() {
        let mut store = WindowStore::new(Kind::Int64);
        count(&mut store, &["a", "b", "a", "a"], &[10, 10, 20, 10]);
        count(&mut store, &["a", "a", "b", "a"], &[20, 0, 0, 10]);
        let mut seen = Vec::new();
        while let Some(window) = store.take_first() {
            let counts = window.accumulators(0, 99);
            for (i, key) in window.keys(0, 99).enumerate() {
                let key = String::from_utf8(key.to_vec()).expect("text");
                seen.push((window.start, key, counts.as_primitive::<Int64Type>().value(i)));
            }
        }
        let expected = [(0, "a", 1), (0, "b", 1), (10, "a", 3), (10, "b", 1), (20, "a", 2)];
        assert_eq!(seen, expected.map(|(start, key, count)| (start, key.to_owned(), count)));
    }
}
