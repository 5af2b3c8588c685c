//! A job's process that was taken for dead, and is not: another has taken its place on the same folder when it goes on. It stops, and what is
//! written is right. Must not know how starts are told apart.
use std::time::Duration;

use fastrand::Rng;

use super::process::{COMPLETE, Folder, Life, Setup, expected, transactions};

/// So often a process is taken over.
const TAKEOVERS: usize = 4;

#[test]
fn a_process_that_was_suspended_stops_when_another_has_taken_its_place() {
    let mut random = Rng::with_seed(8);
    let records = transactions(&mut random, 4000);
    let setup =
        Setup { parallelism: 2, rocksdb: false, follow: true, checkpoints: ", interval: 20ms", operators: &["alerts"] };
    // It would start again after any failure that may pass.
    let text = setup.text().replace("restart: none", "restart: { fixed_delay: { attempts: 1000, delay: 10ms } }");
    let mut folder = Folder::new(&records);
    let portion = folder.left() / (2 * TAKEOVERS + 1);
    let start = |folder: &Folder| {
        let mut life = Life::start(&folder.path("."), &text, &[]);
        life.wait_for(COMPLETE);
        life
    };
    let mut life = start(&folder);
    for _ in 0..TAKEOVERS {
        folder.feed(portion);
        life.wait_for(COMPLETE);
        life.read_for(Duration::from_micros(random.u64(..40_000)));
        life.signal("-STOP");
        let mut second = start(&folder);
        folder.feed(portion);
        (0..3).for_each(|_| drop(second.wait_for(COMPLETE)));
        life.signal("-CONT");
        let (code, said) = life.end();
        assert_eq!(code, Some(1), "{said}");
        let (_, since) = said.rsplit_once("C0513").unwrap_or_else(|| panic!("{said}"));
        assert!(since.contains(&format!("of process {} ", second.id())), "{since}");
        // The other does not mind.
        second.wait_for(COMPLETE);
        life = second;
    }
    folder.feed_all();
    life.signal("-TERM");
    let (code, said) = life.end();
    assert_eq!(code, Some(0), "{said}");
    folder.run(&Setup { follow: false, ..setup }, &[]);
    folder.check("alerts", &expected(&records));
}
