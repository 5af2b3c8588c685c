//! Whatever several runs of a job do to one store at the same time, and wherever they are killed: what was committed is what the next run goes
//! on from.
use std::{
    cell::RefCell,
    collections::BTreeSet,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use fastrand::Rng;

use super::{
    super::starts::{name, starts},
    *,
};

/// A store whose operations each let others go first.
struct Yielding(MemoryStore);

async fn others() {
    let mut passed = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut passed, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[async_trait]
impl CheckpointStore for Yielding {
    async fn put(&self, name: &str, content: Blob) -> Result<BlobReference, StoreError> {
        others().await;
        self.0.put(name, content).await
    }
    async fn create(&self, name: &str, content: Blob) -> Result<bool, StoreError> {
        others().await;
        self.0.create(name, content).await
    }
    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        others().await;
        self.0.get(name).await
    }
    async fn fetch(&self, blob: &BlobReference) -> Result<Blob, StoreError> {
        self.0.fetch(blob).await
    }
    async fn length(&self, name: &str) -> Result<u64, StoreError> {
        self.0.length(name).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        others().await;
        self.0.list(prefix).await
    }
    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        others().await;
        self.0.delete(name).await
    }
}

fn run(id: impl ToString) -> Run {
    Run { id: id.to_string(), process: 7 }
}

/// What sinks have made visible; each checkpoint has a number more than the one before.
#[derive(Default)]
struct Outside {
    next: u8,
    committed: BTreeSet<u8>,
}

fn state(manifest: &Manifest) -> Vec<u8> {
    manifest.nodes[0].subtasks[0].committables.concat()
}

/// A run of so many starts, each of some checkpoints; what the last has.
async fn live(
    store: &dyn CheckpointStore,
    run: &Run,
    outside: &RefCell<Outside>,
    (starts, checkpoints): (u32, u32),
) -> Result<Vec<u8>, StoreError> {
    let mut known = Vec::new();
    let mut own = None;
    for _ in 0..starts {
        let start = claim(store, run, own, 0).await?;
        own = Some(start);
        let found = match latest(store).await {
            // Those that it has looked at may be deleted by who came later.
            Err(error) => return check_newest(store, start).await.and(Err(error)),
            Ok(found) => found,
        };
        begin(store, start, run, found.id.map_or(Base::Nothing, Base::Checkpoint), 0).await?;
        known = found.manifest.as_ref().map(state).unwrap_or_default();
        outside.borrow_mut().committed.extend(&known);
        for checkpoint in (1..=u64::from(checkpoints)).map(|number| found.highest.unwrap_or(0) + number) {
            known.push(outside.borrow().next);
            outside.borrow_mut().next += 1;
            let mut draft = Draft { start, ..draft(checkpoint, vec![]) };
            draft.nodes[0].subtasks[0].committables = known.iter().map(|number| vec![*number]).collect();
            publish(store, draft, &BTreeMap::new()).await?;
            others().await;
            outside.borrow_mut().committed.extend(&known);
            let survey = survey(store).await?;
            check_newest(store, start).await?;
            clean(store, &retention(&survey, 2, &[])).await?;
        }
    }
    Ok(known)
}

#[test]
fn of_runs_on_one_store_the_latest_goes_on_and_what_was_committed_is_what_it_has() {
    let (mut fenced, mut unused) = (0, 0);
    for seed in 0..500 {
        let mut random = Rng::with_seed(seed);
        let (store, outside) = (Yielding(MemoryStore::default()), RefCell::default());
        let runs: Vec<Run> = (0..3).map(run).collect();
        let mut lives: Vec<Pin<Box<dyn Future<Output = _> + '_>>> = Vec::new();
        for run in &runs {
            lives.push(Box::pin(live(&store, run, &outside, (random.u32(1..3), random.u32(0..4)))));
        }
        while !lives.is_empty() {
            let chosen = random.usize(..lives.len());
            // One goes on for a while, and may be killed then.
            for _ in 0..random.u32(1..30) {
                match lives[chosen].as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => {}
                    Poll::Ready(Err(StoreError::Fenced { start, newer, .. })) => {
                        assert!(newer > start);
                        fenced += 1;
                        drop(lives.swap_remove(chosen));
                        break;
                    }
                    Poll::Ready(outcome) => {
                        outcome.unwrap();
                        drop(lives.swap_remove(chosen));
                        break;
                    }
                }
            }
            if random.u8(..8) == 0 && !lives.is_empty() {
                drop(lives.swap_remove(random.usize(..lives.len())));
            }
        }
        let listed = block_on(store.0.list(MANIFESTS)).unwrap().len();
        let found = block_on(latest(&store.0)).unwrap();
        unused += usize::from(found.manifest.is_none() && listed > 0 || listed > 2);
        let left = block_on(live(&store.0, &run("last"), &outside, (1, 0))).unwrap();
        let committed = &outside.borrow().committed;
        assert_eq!(&left.iter().copied().collect::<BTreeSet<_>>(), committed, "seed {seed}");
    }
    assert!(fenced > 125 && unused > 5, "{fenced} {unused}");
}

#[test]
fn starts_and_manifests_that_nobody_needs_are_deleted() {
    let store = MemoryStore::default();
    let outside = RefCell::default();
    let mut names = Vec::new();
    for number in 0..20 {
        let published = others_alone(live(&store, &run(number), &outside, (1, number % 3)));
        names.push((published.unwrap().len(), block_on(store.list("")).unwrap().len()));
    }
    // Two manifests, of up to two starts, and the newest start.
    assert!(names.iter().all(|(_, blobs)| *blobs <= 5), "{names:?}");
    // One that nobody needs, of a run that was taken over from.
    let late = Draft { start: 1, ..draft(90, vec![part("late", Some("x"))]) };
    let bytes = {
        let elsewhere = MemoryStore::default();
        let manifest = block_on(publish(&elsewhere, late, &BTreeMap::new())).unwrap();
        block_on(elsewhere.get(&manifest.id().name())).unwrap()
    };
    let id = ManifestId { checkpoint: 90, start: Some(1) };
    block_on(store.put(&id.name(), Blob::Bytes(bytes))).unwrap();
    assert!(block_on(latest(&store)).unwrap().manifest.unwrap().checkpoint < 90);
    others_alone(live(&store, &run("last"), &outside, (1, 1))).unwrap();
    assert!(!block_on(store.list("")).unwrap().contains(&id.name()));
    let newest = block_on(latest(&store)).unwrap();
    assert_eq!(newest.manifest.unwrap().checkpoint, 91, "numbers rise over all");
}

/// Runs what has nobody to wait for.
fn others_alone<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

#[test]
fn what_earlier_versions_have_left_is_gone_on_from() {
    let store = MemoryStore::default();
    let manifest = first(&store);
    let (new, old) = (manifest.id(), ManifestId { checkpoint: 1, start: None });
    let bytes = block_on(store.get(&new.name())).unwrap();
    block_on(store.delete(&new.name())).unwrap();
    block_on(store.put(&old.name(), Blob::Bytes(bytes))).unwrap();
    block_on(store.put(&name(5), Blob::Bytes(Bytes::new()))).unwrap();
    let start = block_on(claim(&store, &run("a"), None, 0)).unwrap();
    assert_eq!(start, 6);
    let found = block_on(latest(&store)).unwrap();
    assert_eq!((found.id, found.manifest), (Some(old), Some(manifest)));
    block_on(begin(&store, start, &run("a"), Base::Checkpoint(old), 0)).unwrap();
    assert_eq!(block_on(latest(&store)).unwrap().id, Some(old));
    assert_eq!(block_on(starts(&store)).unwrap().keys().collect::<Vec<_>>(), [&6]);
}

#[test]
fn a_run_that_starts_again_goes_on_unless_another_has_started() {
    let store = MemoryStore::default();
    let (one, other) = (run("one"), run("other"));
    let claimed = |run: &Run, own| block_on(claim(&store, run, own, 1_700_000_000_000));
    assert_eq!(claimed(&one, None), Ok(1));
    // A claim of its own that it was told had failed.
    assert_eq!(claimed(&one, Some(0)), Ok(2));
    assert_eq!(claimed(&other, None), Ok(3));
    let error = claimed(&one, Some(2)).unwrap_err();
    assert!(matches!(error, StoreError::Fenced { start: 2, newer: 3, .. }), "{error}");
    assert!(error.to_string().contains("start 3, of process 7 at 2023-11-14T22:13:20.000Z"), "{error}");
    assert_eq!(block_on(check_newest(&store, 2)), Err(error));
    assert_eq!(block_on(check_newest(&store, 3)), Ok(()));
    assert_eq!(claimed(&other, Some(3)), Ok(4));
}

#[test]
fn records_are_those_of_the_documentation() {
    let store = MemoryStore::default();
    let run = Run { id: "018bcfe5-6800-7000-8000-000000000000".into(), process: 4711 };
    let base = Base::Checkpoint(ManifestId { checkpoint: 7, start: Some(1) });
    block_on(begin(&store, 2, &run, base, 1_700_000_000_000)).unwrap();
    let record = String::from_utf8(block_on(store.get(&name(2))).unwrap().to_vec()).unwrap();
    assert!(include_str!("../../../../docs/formats/manifest.md").contains(&record), "{record}");
    let later = record.replacen(r#""version":1"#, r#""version":2,"more":0"#, 1);
    block_on(store.put(&name(2), Blob::Bytes(later.into()))).unwrap();
    let refused = StoreError::Version { name: name(2), found: 2, supported: 1 };
    assert_eq!(block_on(latest(&store)).err(), Some(refused));
}
