//! A job between topics of Kafka whose process is killed, at any moment and at the worst, whose rules are changed, and whose brokers go away and come back; and
//! one whose process comes back when another has taken its place. What it writes is there once, complete and in order.
use std::time::Duration;

use fastrand::Rng;
use wasmill_tests::kafka::Broker;

use super::{
    kafka_jobs::{Fraud, Writer},
    kafka_rules::Rules,
    process::{COMPLETE, Life},
};

const KILLS: usize = 50;
/// So often one of them comes while brokers are just back.
const KILLS_PER_RESTART: usize = 10;

/// At which kills the rules are changed, to version 2.0 and back.
const SWAPS: [usize; 2] = [KILLS / 3, 2 * KILLS / 3];

/// Between checkpoints.
const INTERVAL: &str = "100ms";

/// What a start says of each transaction that was prepared and not committed.
const SETTLED: &str = "committing a transaction";

/// Runs the job until something ends its process; what it said.
fn live(job: &Rules, random: &mut Rng) -> String {
    match random.u32(..8) {
        // Between a checkpoint and the commit of what it counts on.
        0..=2 => {
            let number = random.usize(1..=3).to_string();
            let (code, said) = job.start(&["--crash-at-checkpoint", &number]).end();
            assert_eq!(code, None, "it was to crash: {said}");
            said
        }
        // Anywhere on the way up.
        3 => {
            let mut life = job.start(&[]);
            life.read_for(Duration::from_micros(random.u64(..600_000)));
            life.kill()
        }
        _ => {
            let mut life = job.start(&[]);
            for _ in 0..random.usize(1..=3) {
                life.wait_for([COMPLETE, "a barrier goes out"][random.usize(..2)]);
            }
            life.read_for(Duration::from_micros(random.u64(..120_000)));
            life.kill()
        }
    }
}

/// Has brokers go away under a running job, and come back.
fn without_brokers(broker: &Broker, life: &mut Life) {
    broker.kill(None);
    life.wait_for("Connection refused");
    broker.restart(None);
    // What it had to say before is of no interest.
    life.read_for(Duration::ZERO);
    life.wait_for(COMPLETE);
}

/// What one life is for.
enum Turn {
    Plain,
    WithoutBrokers,
    /// To the version of this mark.
    Swap(u64),
}

fn turn(kill: usize) -> Turn {
    match SWAPS.iter().zip(1..).find(|(at, _)| **at == kill) {
        Some((_, mark)) => Turn::Swap(mark),
        None if kill % KILLS_PER_RESTART == KILLS_PER_RESTART / 2 => Turn::WithoutBrokers,
        None => Turn::Plain,
    }
}

#[test]
fn killed_again_and_again_between_topics_with_its_rules_changed_it_writes_everything_once_and_in_order() {
    let broker = Broker::own();
    let mut random = Rng::with_seed(4);
    let job = Rules::new(&broker, "crash");
    let writer = Writer::start(&job.input, 2, random.fork());
    let mut settled = job.submit().matches(SETTLED).count();
    for kill in 0..KILLS {
        let said = match turn(kill) {
            Turn::Plain => live(&job, &mut random),
            Turn::WithoutBrokers => {
                let mut life = job.start(&[]);
                life.wait_for(COMPLETE);
                without_brokers(&broker, &mut life);
                life.kill()
            }
            Turn::Swap(mark) => {
                let mut life = job.start(&[]);
                life.wait_for(COMPLETE);
                job.swap(&mut life, mark);
                // With or without a checkpoint that has it.
                life.read_for(Duration::from_micros(random.u64(..200_000)));
                life.kill()
            }
        };
        settled += said.matches(SETTLED).count();
        if kill == KILLS / 2 {
            job.input.extend(3);
            writer.extend(3);
        }
    }
    let written = writer.stop();
    assert!(settled > KILLS / 10, "only {settled} transactions were left for the next start to commit");
    job.finish(written.iter().map(Vec::len).sum());
    let marks = job.check(&written);
    assert_eq!(marks, [vec![0, 1, 2], vec![0, 1, 2], vec![1, 2]]);
}

#[test]
fn while_brokers_are_away_the_job_says_so_and_then_goes_on() {
    let broker = Broker::own();
    let job = Fraud::new(&broker, "away");
    let writer = Writer::start(&job.input, 2, Rng::with_seed(5));
    let mut life = job.start(INTERVAL, &[]);
    let mut alerts = job.output.reader();
    let before = alerts.wait_for(10).len();
    without_brokers(&broker, &mut life);
    alerts.wait_for(before + 100);
    life.signal("-TERM");
    let (code, said) = life.end();
    assert_eq!(code, Some(0), "{said}");
    let written = writer.stop();
    job.finish();
    job.check(&written);
}

#[test]
fn of_three_brokers_any_may_be_killed_and_come_back() {
    let broker = Broker::own_with(3, &[]);
    let job = Fraud::new(&broker, "three");
    let writer = Writer::start(&job.input, 2, Rng::with_seed(7));
    let mut life = job.start(INTERVAL, &[]);
    let mut alerts = job.output.reader();
    // Each leads partitions, of topics or of transactions, or all of them.
    for node in 1..=3 {
        life.wait_for(COMPLETE);
        broker.kill(Some(node));
        // The others go on without it.
        let before = alerts.wait_for(0).len();
        alerts.wait_for(before + 100);
        broker.restart(Some(node));
    }
    life.signal("-TERM");
    let (code, said) = life.end();
    assert_eq!(code, Some(0), "{said}");
    let written = writer.stop();
    job.finish();
    job.check(&written);
}

#[test]
fn what_the_latest_checkpoint_counts_on_is_there_after_a_start_from_a_savepoint() {
    let (job, folder) = (Fraud::new(Broker::shared(), "back"), tempfile::tempdir().unwrap());
    let saved = folder.path().join("saved").display().to_string();
    let writer = Writer::start(&job.input, 2, Rng::with_seed(9));
    let mut life = job.start(INTERVAL, &["--savepoint-on-stop", &saved]);
    life.wait_for(COMPLETE);
    life.signal("-TERM");
    let (code, said) = life.end();
    assert_eq!(code, Some(0), "{said}");
    for attempt in 0.. {
        assert!(attempt < 100, "checkpoints never count on a transaction");
        // Complete, and nothing of it is committed.
        let (code, said) = job.start(INTERVAL, &["--crash-at-checkpoint", "3"]).end();
        assert_eq!(code, None, "it was to crash: {said}");
        // This one has no checkpoint of its own.
        let mut life = job.start("1h", &["--from-savepoint", &saved]);
        life.wait_for("starting task=");
        if life.kill().contains(SETTLED) {
            break;
        }
    }
    let written = writer.stop();
    job.finish();
    job.check(&written);
}

#[test]
fn a_process_that_comes_back_when_another_has_taken_its_place_is_shut_out() {
    let job = Fraud::new(Broker::shared(), "zombie");
    let writer = Writer::start(&job.input, 2, Rng::with_seed(6));
    // Stopped in the middle of a transaction.
    let mut first = job.start("300ms", &[]);
    for attempt in 0.. {
        assert!(attempt < 100, "there is never an open transaction");
        first.wait_for(COMPLETE);
        first.signal("-STOP");
        if job.output.has_open_transaction() {
            break;
        }
        first.signal("-CONT");
    }
    let mut second = job.start(INTERVAL, &[]);
    (0..3).for_each(|_| drop(second.wait_for(COMPLETE)));
    first.signal("-CONT");
    let (code, said) = first.end();
    assert_eq!(code, Some(1), "{said}");
    // Whichever it comes to first: its transaction, or its checkpoint.
    let shut_out =
        [("C0409", "another run of this job has taken over"), ("C0513", "another run has taken this job over")];
    assert!(shut_out.iter().any(|(code, why)| said.contains(code) && said.contains(why)), "{said}");
    // The other does not mind.
    second.wait_for(COMPLETE);
    second.signal("-TERM");
    let (code, said) = second.end();
    assert_eq!(code, Some(0), "{said}");
    let written = writer.stop();
    job.finish();
    job.check(&written);
}
