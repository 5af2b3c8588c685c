//! Stores of all subtasks of an operator, and where their snapshots go.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow_array::{ArrayRef, Int64Array};
use bytes::Bytes;

use super::oracle::{Oracle, states};
use crate::{
    model::{Blob, KeyRows, SnapshotKind, SnapshotRequest, StoreSnapshot, key_group, key_hash, subtask_of},
    state::{KeyedStore, Layout, StateBackend, StoreSettings},
};

pub(super) const GROUPS: u32 = 40;

pub(super) fn rows(keys: &[i64]) -> (KeyRows, Vec<u64>) {
    let rows = KeyRows::encode(&[Arc::new(Int64Array::from(keys.to_vec())) as ArrayRef], keys.len());
    let mut hashes = Vec::new();
    rows.hash_into(keys.len(), &mut hashes);
    (rows, hashes)
}

pub(super) fn settings(layout: Layout, subtask: u32, parallelism: u32, start: u64) -> StoreSettings {
    let mine: Vec<u32> = (0..GROUPS).filter(|group| subtask_of(*group, parallelism, GROUPS) == subtask).collect();
    StoreSettings {
        name: "store".to_owned(),
        uid: "operator".to_owned(),
        subtask,
        start,
        states: states(),
        layout,
        groups: mine[0]..mine[mine.len() - 1] + 1,
        max_parallelism: GROUPS,
        drop_vanished: false,
    }
}

pub(super) struct World {
    pub(super) layout: Layout,
    pub(super) backends: Vec<StateBackend>,
    pub(super) stores: Vec<KeyedStore>,
    pub(super) oracle: Oracle,
    start: u64,
    checkpoint: u64,
    pending: BTreeMap<u64, (Vec<StoreSnapshot>, Oracle)>,
    /// Parts made durable, by name.
    durable: HashMap<String, Bytes>,
    completed: (Vec<StoreSnapshot>, Oracle),
    /// Parts sent without content because they were durable, and all parts.
    pub(super) spared: (usize, usize),
}

impl World {
    pub(super) fn new(layout: Layout, backends: Vec<StateBackend>) -> World {
        let mut world = World {
            layout,
            backends,
            stores: Vec::new(),
            oracle: Oracle::default(),
            start: 0,
            checkpoint: 0,
            pending: BTreeMap::new(),
            durable: HashMap::new(),
            completed: (Vec::new(), Oracle::default()),
            spared: (0, 0),
        };
        world.open(1, 0);
        world
    }

    fn open(&mut self, parallelism: u32, backend: usize) {
        self.start += 1;
        self.pending.clear();
        self.stores.clear();
        self.oracle = self.completed.1.clone();
        let snapshots: Vec<StoreSnapshot> = self.completed.0.iter().cloned().map(|it| self.with_content(it)).collect();
        for subtask in 0..parallelism {
            let settings = settings(self.layout, subtask, parallelism, self.start);
            self.stores.push(KeyedStore::open(&self.backends[backend], settings, snapshots.clone()).expect("opens"));
        }
    }

    fn with_content(&self, mut snapshot: StoreSnapshot) -> StoreSnapshot {
        for part in &mut snapshot.parts {
            let bytes = self.durable.get(&part.name).unwrap_or_else(|| panic!("{} was never sent", part.name));
            part.content = Some(Blob::Bytes(bytes.clone()));
        }
        snapshot.durable = true;
        snapshot
    }

    pub(super) fn store(&self, key: i64) -> usize {
        let group = key_group(key_hash(&key.to_le_bytes()), GROUPS);
        subtask_of(group, self.stores.len() as u32, GROUPS) as usize
    }

    pub(super) fn snapshot(&mut self, kind: SnapshotKind) -> u64 {
        self.checkpoint += 1;
        let checkpoint = self.checkpoint;
        let snapshots = self.stores.iter_mut().enumerate().map(|(subtask, store)| {
            let prefix = format!("{}-{subtask}-{checkpoint}", self.start);
            store.snapshot(&SnapshotRequest::new(checkpoint, kind, prefix)).expect("a snapshot")
        });
        let snapshots: Vec<_> = snapshots.collect();
        self.pending.insert(checkpoint, (snapshots, self.oracle.clone()));
        checkpoint
    }

    pub(super) fn some_pending(&self, random: &mut fastrand::Rng) -> Option<u64> {
        random.choice(self.pending.keys().copied().collect::<Vec<_>>())
    }

    pub(super) fn abort(&mut self, checkpoint: u64) {
        self.pending.remove(&checkpoint);
        self.stores.iter_mut().for_each(|store| store.aborted(checkpoint));
    }

    /// Makes the parts of a checkpoint durable; earlier ones are over.
    pub(super) fn complete(&mut self, checkpoint: u64) {
        let Some((mut snapshots, oracle)) = self.pending.remove(&checkpoint) else { return };
        snapshots.iter_mut().for_each(|snapshot| snapshot.finish().expect("parts"));
        for part in snapshots.iter().flat_map(|snapshot| &snapshot.parts) {
            self.spared.0 += usize::from(part.content.is_none());
            self.spared.1 += 1;
            let bytes = match &part.content {
                None => {
                    assert!(self.durable.contains_key(&part.name), "{} was never sent", part.name);
                    continue;
                }
                Some(Blob::Bytes(bytes)) => bytes.clone(),
                Some(Blob::File(path)) => std::fs::read(path).expect("a file").into(),
            };
            self.durable.insert(part.name.clone(), bytes);
        }
        self.completed = (snapshots, oracle);
        self.stores.iter_mut().for_each(|store| store.completed(checkpoint));
        while let Some(earlier) = self.pending.keys().next().copied().filter(|it| *it < checkpoint) {
            self.abort(earlier);
        }
    }

    /// Starts again from the last complete checkpoint.
    pub(super) fn restore(&mut self, parallelism: u32, backend: usize) {
        self.open(parallelism, backend);
    }
}
