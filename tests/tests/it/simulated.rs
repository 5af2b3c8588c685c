//! A few simulated jobs; `simulate` runs as many as one likes.
use wasmill_tests::simulation;

#[test]
fn a_hundred_simulated_jobs_lose_and_double_nothing() {
    let guests = simulation::guests();
    let (mut crashes, mut takeovers, mut checkpoints) = (0, 0, 0);
    on_a_large_stack(|| {
        for seed in 0..100 {
            let passed = simulation::run(seed, &guests).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
            crashes += passed.crashes;
            takeovers += passed.takeovers;
            checkpoints += passed.checkpoints;
        }
    });
    assert!(
        crashes > 20 && takeovers > 5 && checkpoints > 100,
        "{crashes} crashes, {takeovers} takeovers and {checkpoints} checkpoints are too few to find anything"
    );
}

#[test]
fn a_seed_goes_the_same_way_again() {
    let guests = simulation::guests();
    on_a_large_stack(|| {
        for seed in [1, 5, 8, 13] {
            assert_eq!(simulation::run(seed, &guests), simulation::run(seed, &guests));
        }
    });
}

/// Guests need room.
fn on_a_large_stack(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(simulation::STACK_BYTES).spawn_scoped(scope, work);
        if let Err(panic) = thread.unwrap().join() {
            std::panic::resume_unwind(panic);
        }
    });
}
