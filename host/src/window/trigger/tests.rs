//! Triggers at work on one window, with a simulated time.
use std::collections::BTreeSet;

use super::*;
use crate::model::NO_WATERMARK;

const WINDOW: Window = Window { start: 0, end: 100 };

/// A window, its trigger and its timers.
struct Simulation {
    trigger: Trigger,
    window: Window,
    times: Times,
    registers: Registers,
    timers: BTreeSet<(i64, TimeDomain)>,
    /// At which watermark and processing time it fired.
    fired: Vec<(i64, i64)>,
    purged: usize,
}

impl Simulation {
    fn new(trigger: Trigger, window: Window) -> Simulation {
        let times = Times { watermark: NO_WATERMARK, now_ms: 0 };
        let registers = Registers::default();
        Simulation { trigger, window, times, registers, timers: BTreeSet::new(), fired: Vec::new(), purged: 0 }
    }

    fn note(&mut self, decision: Decision, requests: Vec<TimerRequest>) {
        for request in requests {
            let timer = (request.time, request.domain);
            if request.set {
                self.timers.insert(timer);
            } else {
                assert!(self.timers.remove(&timer), "{timer:?} was not set");
            }
        }
        if matches!(decision, Decision::Fire | Decision::FireAndPurge) {
            self.fired.push((self.times.watermark, self.times.now_ms));
        }
        self.purged += usize::from(decision == Decision::FireAndPurge);
    }

    fn element(&mut self, time: i64) {
        let mut requests = Vec::new();
        let decision = self.trigger.on_element(time, self.window, self.times, &mut self.registers, &mut requests);
        self.note(decision, requests);
    }

    fn advance(&mut self, watermark: i64, now_ms: i64) {
        self.times = Times { watermark, now_ms };
        while let Some(timer) = self.timers.iter().copied().find(|(time, domain)| *time <= self.times.of(*domain)) {
            self.timers.remove(&timer);
            let mut requests = Vec::new();
            let decision = self.trigger.on_timer(timer, self.window, &mut self.registers, &mut requests);
            self.note(decision, requests);
        }
    }
}

fn every(interval_ms: i64, domain: TimeDomain) -> Every {
    Every { interval_ms, domain, aligned: true }
}

#[test]
fn at_the_end_of_the_window_and_again_with_each_late_row() {
    let mut it = Simulation::new(Trigger::at_end(TimeDomain::Event), WINDOW);
    it.element(5);
    it.element(7);
    it.advance(98, 0);
    assert!(it.fired.is_empty());
    it.advance(99, 0);
    assert_eq!(it.fired, [(99, 0)]);
    it.element(8);
    it.element(9);
    it.advance(120, 0);
    assert_eq!(it.fired, [(99, 0), (99, 0), (99, 0)]);
    assert!(it.timers.is_empty());
}

#[test]
fn by_processing_time_a_window_is_over_at_its_end_and_not_a_millisecond_before() {
    let mut it = Simulation::new(Trigger::at_end(TimeDomain::Processing).purging(), WINDOW);
    it.element(0);
    it.advance(1000, 99);
    assert!(it.fired.is_empty());
    it.advance(1000, 100);
    assert_eq!((it.fired.len(), it.purged), (1, 1));
}

#[test]
fn a_count_is_reached_with_every_so_many_rows_whatever_the_time() {
    let mut it = Simulation::new(Trigger::count(NonZeroU64::new(3).expect("not 0")).purging(), Window::GLOBAL);
    let mut expected = Vec::new();
    for n in 1..=10 {
        it.advance(n, 0);
        it.element(0);
        if n % 3 == 0 {
            expected.push((n, 0));
        }
    }
    it.advance(i64::MAX, i64::MAX);
    assert_eq!((&it.fired, it.purged), (&expected, 3));
}

#[test]
fn at_regular_times_it_fires_if_something_came_since() {
    let mut random = fastrand::Rng::with_seed(5);
    for domain in [TimeDomain::Event, TimeDomain::Processing] {
        for _ in 0..100 {
            let interval = random.i64(1..40);
            let mut it = Simulation::new(Trigger::every(every(interval, domain)), WINDOW);
            let mut expected = BTreeSet::from([100]);
            for time in 0..=100 {
                // Before a row of a time, all earlier ones have come.
                it.advance(time - 1, time);
                if time < 100 && (random.u8(0..10) == 0 || time == 0) {
                    it.element(time);
                    expected.insert(((time / interval + 1) * interval).min(100));
                }
            }
            let fired: Vec<i64> = it.fired.iter().map(|(_, now_ms)| *now_ms).collect();
            assert_eq!(fired, expected.into_iter().collect::<Vec<_>>(), "{interval} {domain:?}");
            assert!(it.timers.is_empty());
        }
    }
}

#[test]
fn an_interval_that_is_not_aligned_begins_with_the_first_row_since_it_fired() {
    let every = Every { interval_ms: 10, domain: TimeDomain::Processing, aligned: false };
    let mut it = Simulation::new(Trigger { end: None, ..Trigger::every(every) }, WINDOW);
    for now_ms in 0..60 {
        it.advance(0, now_ms);
        if [3, 5, 12, 17, 40].contains(&now_ms) {
            it.element(0);
        }
    }
    assert_eq!(it.fired, [(0, 13), (0, 27), (0, 50)]);
}

#[test]
fn early_on_time_and_late_firings_each_have_their_own_rule() {
    let late = Repeat { count: NonZeroU64::new(2), every: None };
    let early = Repeat { count: None, every: Some(every(10, TimeDomain::Processing)) };
    let mut it = Simulation::new(Trigger { end: Some(TimeDomain::Event), early, late, purge: false }, WINDOW);
    it.element(1);
    it.advance(0, 10);
    it.advance(0, 35);
    assert_eq!(it.fired, [(0, 10)], "nothing came after the first early firing");
    it.element(2);
    assert_eq!(it.timers.len(), 2);
    it.advance(99, 36);
    assert_eq!(it.fired, [(0, 10), (99, 36)]);
    assert!(it.timers.is_empty(), "the early timer is gone with the end: {:?}", it.timers);
    it.element(3);
    assert_eq!(it.trigger.on_cleanup(it.registers), Decision::Fire);
    it.element(4);
    assert_eq!(it.fired.len(), 3);
    assert_eq!(it.trigger.on_cleanup(it.registers), Decision::Continue);
}

#[test]
fn joined_sessions_count_together_and_have_timers_of_their_own() {
    let early = Repeat { count: NonZeroU64::new(4), every: Some(every(10, TimeDomain::Processing)) };
    let trigger = Trigger { early, ..Trigger::at_end(TimeDomain::Event) };
    let times = Times { watermark: 0, now_ms: 0 };
    let (one, other) = (Registers { pending: Some(2), next: Some(20) }, Registers { pending: Some(1), next: Some(10) });
    let mut requests = Vec::new();
    let merged = trigger.merged([one, other].into_iter(), WINDOW, times, &mut requests);
    assert_eq!(merged, Registers { pending: Some(3), next: Some(10) });
    let set = |time, domain| TimerRequest { time, domain, set: true };
    assert_eq!(requests, [set(99, TimeDomain::Event), set(10, TimeDomain::Processing)]);
    let mut it = Simulation::new(trigger, WINDOW);
    it.registers = merged;
    it.note(Decision::Continue, requests);
    it.element(50);
    assert_eq!((it.fired.len(), it.timers.len()), (1, 1));
}
