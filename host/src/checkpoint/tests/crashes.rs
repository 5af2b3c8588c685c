//! Checkpoints survive whatever happens between two operations on the store, and cleanups take nothing that is needed.
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::*;

/// A store whose operations that change something fail from the one with this number on; that one is done nonetheless if so told.
struct Failing<'a> {
    inner: &'a dyn CheckpointStore,
    at: usize,
    done: bool,
    count: AtomicUsize,
}

impl Failing<'_> {
    /// Whether to do an operation, and whether to say that it was done.
    fn fate(&self) -> (bool, bool) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        (count < self.at || (count == self.at && self.done), count < self.at)
    }
}

fn crash(name: &str) -> StoreError {
    StoreError::Io { name: name.to_owned(), what: "crash".into() }
}

#[async_trait]
impl CheckpointStore for Failing<'_> {
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError> {
        let (done, said) = self.fate();
        let outcome = if done { self.inner.put(name, content).await } else { Err(crash(name)) };
        if said { outcome } else { Err(crash(name)) }
    }
    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError> {
        let (done, said) = self.fate();
        let outcome = if done { self.inner.create(name, content).await } else { Err(crash(name)) };
        if said { outcome } else { Err(crash(name)) }
    }
    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.inner.get(name).await
    }
    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError> {
        self.inner.fetch(blob).await
    }
    async fn length(&self, name: &str) -> Result<u64, StoreError> {
        self.inner.length(name).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.list(prefix).await
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let (done, said) = self.fate();
        let outcome = if done { self.inner.delete(name).await } else { Err(crash(name)) };
        if said { outcome } else { Err(crash(name)) }
    }
}

#[test]
fn a_crash_anywhere_in_publishing_and_cleaning_leaves_the_old_checkpoint_or_the_new_one() {
    let old = texts(&[("1/a", "one"), ("1/b", "two")]);
    let new = texts(&[("1/b", "two"), ("2/c", "three"), ("2/d", "")]);
    let mut outcomes = BTreeSet::new();
    // Three puts, then a manifest and a blob to delete.
    for (at, done) in (0..=5).flat_map(|at| [(at, false), (at, true)]) {
        let directory = tempfile::tempdir().unwrap();
        for inner in stores(&directory) {
            let manifest = first(&*inner);
            let failing = Failing { inner: &*inner, at, done, count: AtomicUsize::new(0) };
            let published = block_on(publish(&failing, second(), &known(&manifest)));
            if published.is_ok() {
                let plan = retention(&block_on(survey(&failing)).unwrap(), 1, &[]);
                assert_eq!(plan.manifests, [manifest_name(1)]);
                assert_eq!(plan.blobs, ["parts/1/a"]);
                let cleaned = block_on(clean(&failing, &plan));
                assert_eq!(cleaned.is_ok(), at == 5);
            }
            let recovered = block_on(latest(&*inner)).unwrap();
            assert_eq!(recovered.skipped, []);
            let manifest = recovered.manifest.unwrap();
            let expected = if manifest.checkpoint == 1 { &old } else { &new };
            assert_eq!(&contents(&*inner, &manifest).unwrap(), expected, "{at} {done}");
            assert!(published.is_err() || manifest.checkpoint == 2, "what was said to be durable is");
            outcomes.insert((at, done, manifest.checkpoint));
            // The next cleanup removes what was left over.
            block_on(clean(&*inner, &retention(&block_on(survey(&*inner)).unwrap(), 1, &[]))).unwrap();
            let parts = block_on(inner.list(PARTS)).unwrap();
            assert_eq!(parts, expected.keys().map(|name| part_blob(name)).collect::<Vec<_>>(), "{at} {done}");
        }
    }
    assert!(outcomes.contains(&(2, false, 1)) && outcomes.contains(&(2, true, 2)), "{outcomes:?}");
    assert_eq!(outcomes.len(), 12, "both stores agree");
}

#[test]
fn a_checkpoint_that_is_not_whole_is_passed_over_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    for store in stores(&directory) {
        let manifest = first(&*store);
        block_on(publish(&*store, second(), &known(&manifest))).unwrap();
        let name = manifest_name(2);
        let whole = block_on(store.get(&name)).unwrap();
        let spoilt = |blob: &str, content: Bytes| {
            block_on(store.put(blob, Blob::Bytes(content))).unwrap();
            let recovered = block_on(latest(&*store)).unwrap();
            let [(skipped, error)] = &recovered.skipped[..] else { panic!("{:?}", recovered.skipped) };
            assert_eq!((skipped, recovered.highest), (&name, Some(2)));
            assert_eq!(recovered.manifest.as_ref(), Some(&manifest));
            error.clone()
        };
        assert!(matches!(spoilt(&name, whole.slice(..whole.len() - 1)), StoreError::Damaged { .. }));
        assert!(matches!(spoilt(&name, Bytes::new()), StoreError::Damaged { .. }));
        block_on(store.put(&name, Blob::Bytes(whole))).unwrap();
        assert!(matches!(spoilt("parts/2/c", Bytes::from_static(b"thre")), StoreError::Damaged { .. }));
        block_on(store.delete("parts/2/c")).unwrap();
        let recovered = block_on(latest(&*store)).unwrap();
        assert_eq!(recovered.skipped, [(name.clone(), StoreError::Missing("parts/2/c".into()))]);
        // A wrong content of the right length shows when it is read.
        block_on(store.put("parts/2/c", Blob::Bytes(Bytes::from_static(b"THREE")))).unwrap();
        let newest = block_on(latest(&*store)).unwrap().manifest.unwrap();
        assert!(contents(&*store, &newest).unwrap_err().is_loss());
        assert_eq!(block_on(latest_below(&*store, Some(2))).unwrap().manifest, Some(manifest));
        // And where none is whole, none is made up.
        block_on(store.delete("parts/1/b")).unwrap();
        assert!(matches!(block_on(latest(&*store)), Err(StoreError::Unusable { checkpoints: 2, .. })));
    }
}

#[test]
fn a_part_that_nobody_has_made_durable_fails_the_checkpoint_before_anything_is_written() {
    let store = MemoryStore::default();
    let failed = block_on(publish(&store, second(), &BTreeMap::new()));
    assert_eq!(failed, Err(StoreError::Missing("parts/1/b".into())));
    assert_eq!(block_on(store.list("")), Ok(vec![]));
}

#[test]
fn cleanups_never_take_what_a_kept_manifest_or_one_in_flight_needs() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut deleted = 0;
    for _ in 0..300 {
        let retain = random.usize(0..4);
        let mut survey = Survey::default();
        let mut live: BTreeSet<String> = BTreeSet::new();
        let mut in_flight: Vec<(u64, InFlight, BTreeSet<String>)> = Vec::new();
        for checkpoint in 1..random.u64(2..30) {
            // A barrier: some parts are dropped, one is new; what it refers to is decided now.
            live.retain(|_| random.u8(0..4) > 0);
            let new = format!("parts/{checkpoint}");
            live.insert(new.clone());
            let base = survey.manifests.iter().filter_map(number).max();
            in_flight.push((checkpoint, InFlight { base, blobs: [new.clone()].into() }, live.clone()));
            survey.parts.push(new);
            // Some complete, in any order; some never.
            if random.bool() {
                let (checkpoint, _, blobs) = in_flight.swap_remove(random.usize(..in_flight.len()));
                survey.manifests.push(if random.u8(0..20) == 0 {
                    Kept::Unreadable(manifest_name(checkpoint))
                } else {
                    Kept::Readable { id: ManifestId { checkpoint, start: Some(1) }, blobs }
                });
            }
            let flying: Vec<InFlight> = in_flight.iter().map(|(_, flying, _)| flying.clone()).collect();
            let plan = retention(&survey, retain, &flying);
            deleted += plan.blobs.len();
            survey.manifests.retain(|kept| number(kept).is_none_or(|n| !plan.manifests.contains(&manifest_name(n))));
            survey.parts.retain(|part| !plan.blobs.contains(part));
            let unreadable = survey.manifests.iter().any(|kept| number(kept).is_none());
            assert!(!unreadable || plan.blobs.is_empty());
            for kept in &survey.manifests {
                if let Kept::Readable { blobs, .. } = kept {
                    assert!(blobs.iter().all(|blob| survey.parts.contains(blob)), "{survey:?}");
                }
            }
            let newest = survey.manifests.iter().filter_map(number).count();
            assert!(plan.manifests.is_empty() || newest >= retain.max(1));
            for (_, flying, _) in &in_flight {
                assert!(flying.blobs.iter().all(|blob| survey.parts.contains(blob)));
                let kept = |base| survey.manifests.iter().filter_map(number).any(|n| n == base);
                assert!(flying.base.is_none_or(kept), "what it builds on stays");
            }
            if let (Some(_), true) = (survey.manifests.first(), in_flight.is_empty() && !unreadable) {
                assert!(newest <= retain.max(1), "no more are kept than asked for");
            }
        }
    }
    assert!(deleted > 100);
}

fn number(kept: &Kept) -> Option<u64> {
    match kept {
        Kept::Readable { id, .. } => Some(id.checkpoint),
        Kept::Unreadable(_) => None,
    }
}
