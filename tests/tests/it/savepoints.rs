//! Savepoints through the program: taken by signals, started from with what has changed meanwhile; and what is left of a job that was
//! cancelled.
use std::fs;

use fastrand::Rng;

use super::process::{COMPLETE, Folder, Setup, below, expected, transactions};

const SETUP: Setup =
    Setup { parallelism: 2, rocksdb: false, follow: true, checkpoints: ", interval: 50ms", operators: &["alerts"] };

/// A folder that has half of its input, and all that is to be written in the end.
fn half_fed(seed: u64) -> (Folder, Vec<String>) {
    let records = transactions(&mut Rng::with_seed(seed), 4000);
    let mut folder = Folder::new(&records);
    folder.feed(folder.left() / 2);
    (folder, expected(&records))
}

#[test]
fn savepoints_carry_a_job_to_other_parallelisms_and_backends() {
    let (mut folder, all) = half_fed(1);
    // Without checkpoints between, nothing that comes after the savepoint is visible when the job is killed.
    let mut life = folder.start(&Setup { checkpoints: "", ..SETUP }, &[]);
    life.wait_for(": starting ");
    let taken = loop {
        life.signal("-USR1");
        let line = life.wait_for("savepoint taken: ");
        let hidden = folder.files("alerts").iter().map(|(_, text)| text.len()).sum::<usize>();
        if hidden > 0 {
            break line.split("savepoint taken: ").nth(1).unwrap().to_owned();
        }
    };
    assert!(taken.contains("/savepoints/savepoint-"), "{taken}");
    life.kill();
    assert!(folder.visible("alerts").is_empty());

    let stopped = folder.path("stopped").display().to_string();
    let arguments = ["--from-savepoint", &taken, "--savepoint-on-stop", &stopped];
    let mut life = folder.start(&Setup { parallelism: 3, rocksdb: true, ..SETUP }, &arguments);
    life.wait_for("restored checkpoint=");
    folder.feed(folder.left() / 2);
    (0..2).for_each(|_| drop(life.wait_for(COMPLETE)));
    life.signal("-TERM");
    let (code, said) = life.end();
    assert!(code == Some(0) && said.contains("stopping"), "{code:?}: {said}");

    folder.feed_all();
    let last = Setup { parallelism: 1, follow: false, ..SETUP };
    folder.run(&last, &["--from-savepoint", &stopped]);
    folder.check("alerts", &all);
}

#[test]
fn operators_come_and_go_with_a_savepoint() {
    let (mut folder, all) = half_fed(2);
    let stopped = folder.path("stopped").display().to_string();
    let both = Setup { operators: &["alerts", "second"], ..SETUP };
    let mut life = folder.start(&both, &["--savepoint-on-stop", &stopped]);
    while folder.visible("second").is_empty() {
        life.wait_for(COMPLETE);
    }
    life.signal("-TERM");
    let (code, said) = life.end();
    assert_eq!(code, Some(0), "{said}");

    folder.feed_all();
    let other = Setup { operators: &["alerts", "third"], follow: false, ..SETUP };
    let before = folder.files("alerts");
    let (code, said) = folder.start(&other, &["--from-savepoint", &stopped]).end();
    assert!(code == Some(3) && said.contains("[C0507]") && said.contains("second"), "{code:?}: {said}");
    assert!(folder.files("alerts") == before, "a job that was refused has written");
    folder.run(&other, &["--from-savepoint", &stopped, "--allow-non-restored-state"]);
    folder.check("alerts", &all);
    // It began with the savepoint's positions and no state of its own.
    let third = folder.visible("third");
    assert!(!third.is_empty() && third.len() < all.len(), "{} of {}", third.len(), all.len());
    let second_rule = |line: &&String| line.contains(r#""rule":"R2""#);
    assert!(third.iter().filter(second_rule).all(|line| all.contains(line)));
}

#[test]
fn a_cancelled_job_takes_its_checkpoints_along_if_it_is_told_to() {
    let manifests = |folder: &Folder| below(&folder.path("checkpoints/manifests")).len();
    let (folder, _) = half_fed(3);
    let setup = Setup { rocksdb: true, checkpoints: ", interval: 50ms, on_cancel: delete", ..SETUP };
    // What processes that were killed have left, and what others have.
    let left = ["checkpoints/parts/.unfinished-x", "state/fraud.databases/alerts/0/CURRENT"];
    let others = ["checkpoints/notes", "state/notes"];
    for name in left.iter().chain(&others) {
        fs::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
        fs::write(folder.path(name), "").unwrap();
    }
    let mut life = folder.start(&setup, &[]);
    life.wait_for(COMPLETE);
    assert_eq!(left.map(|name| folder.path(name).exists()), [false, false]);
    // A second one of the same job finds the first.
    let (code, said) = folder.start(&setup, &[]).end();
    assert!(code == Some(3) && said.contains("[S0708]"), "{code:?}: {said}");
    life.wait_for(COMPLETE);
    life.signal("-INT");
    let (code, said) = life.end();
    assert!(code == Some(0) && said.contains("its checkpoints are deleted"), "{code:?}: {said}");
    let kept = below(&folder.path("checkpoints"));
    assert!(kept.iter().all(|name| !name.starts_with("manifests/") && !name.starts_with("parts/")), "{kept:?}");
    assert_eq!(others.map(|name| folder.path(name).exists()), [true, true]);

    // A savepoint is asked for where the job is to go on.
    let stopped = folder.path("stopped").display().to_string();
    let kept_by = [(setup, vec!["--savepoint-on-stop", &stopped]), (SETUP, vec![])];
    for (setup, arguments) in kept_by {
        let mut life = folder.start(&setup, &arguments);
        life.wait_for(COMPLETE);
        life.signal("-TERM");
        let (code, said) = life.end();
        assert!(code == Some(0) && !said.contains("deleted"), "{code:?}: {said}");
        assert!(manifests(&folder) > 0);
    }
}
