//! The program killed by the system, again and again, and its checkpoints damaged: its output is that of a run nobody disturbed, once
//! and complete, and a job that has ended stays so.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use fastrand::Rng;
use wasmill::checkpoint::{CheckpointStore, LocalStore, MANIFESTS, ManifestId, read};

use super::{
    jobs,
    process::{COMPLETE, Folder, Setup, below, expected, transactions},
};

/// Of each backend.
const KILLS: usize = 50;
/// Records of each file a life.
const RECORDS: usize = 250;

const SETUP: Setup =
    Setup { parallelism: 2, rocksdb: false, follow: true, checkpoints: ", interval: 50ms", operators: &["alerts"] };

/// Starts of which something is visible.
fn starts(folder: &Folder) -> BTreeSet<String> {
    let files = folder.files("alerts").into_iter().filter(|(name, _)| !name.starts_with('.'));
    files.map(|(name, _)| name.split('-').nth(2).unwrap().to_owned()).collect()
}

/// Kills a job at random moments: mostly soon after something that was seen, sometimes anywhere on the way up.
fn kill_often(folder: &mut Folder, setup: &Setup, random: &mut Rng) {
    let share = folder.left() / (KILLS + 2);
    for _ in 0..KILLS {
        folder.feed(share / 4);
        let mut life = folder.start(setup, &[]);
        if random.u32(..8) == 0 {
            life.read_for(Duration::from_micros(random.u64(..400_000)));
        } else {
            for _ in 0..random.usize(1..=3) {
                let event = [COMPLETE, "a barrier goes out"][random.usize(..2)];
                life.wait_for(event);
                folder.feed(share / 4);
            }
            life.read_for(Duration::from_micros(random.u64(..80_000)));
        }
        life.kill();
    }
}

fn check(rocksdb: bool, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let records = transactions(&mut random, (KILLS + 2) * RECORDS);
    let setup = Setup { rocksdb, ..SETUP };
    // Nobody disturbs this one.
    let mut folder = Folder::new(&records);
    folder.feed_all();
    folder.run(&Setup { follow: false, ..setup }, &[]);
    let expected = expected(&records);
    folder.check("alerts", &expected);

    let mut folder = Folder::new(&records);
    kill_often(&mut folder, &setup, &mut random);
    let (visible, starts) = (folder.visible("alerts").len(), starts(&folder).len());
    assert!((1..expected.len()).contains(&visible), "{visible} lines of {} when it was last killed", expected.len());
    assert!(starts > KILLS / 3, "only {starts} starts have come to anything");
    folder.feed_all();
    // The last goes on with the other's checkpoints.
    let last = Setup { follow: false, rocksdb: !rocksdb, ..setup };
    folder.run(&last, &[]);
    folder.check("alerts", &expected);

    let files = folder.files("alerts");
    for setup in [last, setup] {
        let said = folder.run(&setup, &[]);
        assert!(said.contains("there is nothing left to do"), "{said}");
        assert!(folder.files("alerts") == files, "the output has changed");
    }
    let kept = below(&folder.path("checkpoints"));
    assert!(kept.iter().all(|name| !name.contains(".unfinished")), "{kept:?}");
    assert_eq!(kept.iter().filter(|name| name.starts_with(MANIFESTS)).count(), 2, "{kept:?}");
    let databases = below(&folder.path("state/fraud.databases"));
    assert_eq!(databases, ["in-use"]);
}

#[test]
fn killed_in_memory_again_and_again_it_writes_everything_once() {
    check(false, 1);
}

#[test]
fn killed_on_rocksdb_again_and_again_it_writes_everything_once() {
    check(true, 2);
}

/// The two newest checkpoints, the newest first: name of the manifest and of blobs with their lengths.
pub fn newest(checkpoints: &Path) -> [(String, BTreeMap<String, u64>); 2] {
    let store = LocalStore::open(checkpoints).unwrap();
    let runtime = jobs::runtime();
    let mut names = runtime.block_on(store.list(MANIFESTS)).unwrap();
    [(); 2].map(|()| {
        let name = names.pop().expect("two checkpoints");
        let manifest = runtime.block_on(read(&store, &name)).unwrap();
        (name, manifest.blobs().map(|blob| (blob.name.clone(), blob.bytes)).collect())
    })
}

/// Ways to damage a file.
const DAMAGES: [fn(&Path); 3] = [
    |path| fs::remove_file(path).unwrap(),
    |path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    },
    |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(path, bytes).unwrap();
    },
];

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let mut random = Rng::with_seed(3);
    let records = transactions(&mut random, 2000);
    let half = records.each_ref().map(|records| records[..1000].to_vec());
    let (due, all) = (expected(&half).len(), expected(&records));
    let setup = Setup { rocksdb: true, ..SETUP };
    // The two newest checkpoints are to be of the same moment: then nothing is written twice when the older one is gone back to.
    let mut folder = Folder::new(&half);
    folder.feed_all();
    let mut life = folder.start(&setup, &[]);
    while folder.visible("alerts").len() < due {
        life.wait_for(COMPLETE);
    }
    (0..4).for_each(|_| drop(life.wait_for(COMPLETE)));
    life.kill();

    let [(manifest, blobs), (before, others)] = newest(&folder.path("checkpoints"));
    let own = blobs.iter().filter(|(name, _)| !others.contains_key(*name));
    let (blob, _) = own.max_by_key(|(_, bytes)| **bytes).expect("a blob of its own");
    let before = ManifestId::of(&before).expect("a manifest").checkpoint;
    for (name, damage, named) in [&manifest, blob]
        .into_iter()
        .flat_map(|name| DAMAGES.iter().enumerate().map(move |(i, damage)| (name, damage, (name, i))))
    {
        let copy = folder.copy();
        damage(&copy.path("checkpoints").join(name));
        for (file, records) in ["left", "right"].iter().zip(&records) {
            fs::write(copy.path(file).with_extension("jsonl"), records.join("\n")).unwrap();
        }
        let said = copy.run(&Setup { follow: false, ..setup }, &[]);
        // A manifest that is gone is no checkpoint that anybody could name.
        assert!(said.contains(name.as_str()) || named == (&manifest, 0), "{name} is not in: {said}");
        assert!(said.contains(&format!("restored checkpoint={before} ")), "not {before}: {said}");
        copy.check("alerts", &all);
    }
}
