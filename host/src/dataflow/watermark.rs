//! Event time: how far it has come at a source, and at a task with several inputs. Pure.
use std::time::Duration;

use crate::model::{EventTime, NO_WATERMARK, WATERMARK_END};

/// The watermark of a stream whose times are out of order by at most a bound: the latest time seen, less the bound, less 1 ms.
/// With a bound of 0 it is that of times that never go back.
#[derive(Clone, Copy, Debug)]
pub struct BoundedOutOfOrderness {
    bound_ms: i64,
    watermark: EventTime,
}

impl BoundedOutOfOrderness {
    /// Before anything was seen since event time had come to `watermark`.
    pub fn new(bound: Duration, watermark: EventTime) -> Self {
        BoundedOutOfOrderness { bound_ms: i64::try_from(bound.as_millis()).unwrap_or(i64::MAX), watermark }
    }

    /// How far event time has come.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// Nothing comes any more.
    pub fn end(&mut self) {
        self.watermark = WATERMARK_END;
    }

    /// Takes note of times; the new watermark if it moved.
    pub fn observe(&mut self, times: &[EventTime]) -> Option<EventTime> {
        let watermark = times.iter().copied().max()?.saturating_sub(self.bound_ms).saturating_sub(1);
        (watermark > self.watermark).then(|| {
            self.watermark = watermark;
            watermark
        })
    }
}

/// The watermark of a task: the least of its inputs', those that are idle or have ended left out.
#[derive(Clone, Debug)]
pub struct WatermarkMerge {
    inputs: Vec<Input>,
    watermark: EventTime,
    idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Input {
    watermark: EventTime,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Active,
    Idle,
    Ended,
}

/// What changed for those downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    None,
    /// Event time has come this far.
    Watermark(EventTime),
    /// All inputs are idle.
    Idle,
    /// All inputs have ended.
    End,
}

impl WatermarkMerge {
    /// For this many inputs, none of which has said anything since event time had come to `watermark`.
    pub fn new(inputs: usize, watermark: EventTime) -> WatermarkMerge {
        let input = Input { watermark: NO_WATERMARK, status: Status::Active };
        WatermarkMerge { inputs: vec![input; inputs], watermark, idle: false }
    }

    /// The watermark so far.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// There is another input.
    pub fn join(&mut self) {
        self.inputs.push(Input { watermark: NO_WATERMARK, status: Status::Active });
        self.idle = false;
    }

    /// An input has rows: it is not idle.
    pub fn active(&mut self, input: usize) {
        if self.inputs[input].status == Status::Idle {
            self.inputs[input].status = Status::Active;
            self.idle = false;
        }
    }

    /// An input's watermark; one that goes back counts for nothing.
    pub fn advance(&mut self, input: usize, watermark: EventTime) -> Progress {
        self.active(input);
        let known = &mut self.inputs[input].watermark;
        *known = watermark.max(*known);
        self.progress()
    }

    /// An input has become idle.
    pub fn idle(&mut self, input: usize) -> Progress {
        self.inputs[input].status = Status::Idle;
        self.progress()
    }

    /// An input has ended. Its last watermark still counts: what it said was true of all it will ever send.
    pub fn end(&mut self, input: usize) -> Progress {
        self.inputs[input].status = Status::Ended;
        self.progress()
    }

    fn progress(&mut self) -> Progress {
        if self.inputs.iter().all(|input| input.status == Status::Ended) {
            return Progress::End;
        }
        let idle = self.inputs.iter().any(|input| input.status == Status::Idle);
        let active = self.inputs.iter().filter(|input| input.status == Status::Active).map(|input| input.watermark);
        // The end of some inputs is not the end while another may still wake up: they are as good as ended then.
        let least = active.filter(|watermark| !idle || *watermark != WATERMARK_END).min();
        match least {
            // Only idle and ended inputs: what the idle ones will send is bounded by nothing, so time stands still.
            None if self.idle => Progress::None,
            None => {
                self.idle = true;
                Progress::Idle
            }
            Some(least) if least > self.watermark => {
                self.watermark = least;
                Progress::Watermark(least)
            }
            Some(_) => Progress::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_s_watermark_trails_the_latest_time_and_never_goes_back() {
        let mut source = BoundedOutOfOrderness::new(Duration::from_millis(10), NO_WATERMARK);
        assert_eq!(source.observe(&[]), None);
        assert_eq!(source.observe(&[100, 120, 90]), Some(109));
        assert_eq!(source.observe(&[115]), None);
        assert_eq!(source.observe(&[121]), Some(110));
        let mut monotonous = BoundedOutOfOrderness::new(Duration::ZERO, NO_WATERMARK);
        assert_eq!(monotonous.observe(&[5]), Some(4));
        assert_eq!(monotonous.observe(&[i64::MIN]), None);
    }

    #[test]
    fn a_task_is_as_far_as_its_slowest_input() {
        let mut merge = WatermarkMerge::new(2, NO_WATERMARK);
        assert_eq!(merge.advance(0, 10), Progress::None);
        assert_eq!(merge.advance(1, 5), Progress::Watermark(5));
        assert_eq!(merge.advance(1, 3), Progress::None);
        assert_eq!(merge.advance(1, 20), Progress::Watermark(10));
    }

    #[test]
    fn an_idle_input_holds_back_nobody_until_it_speaks_again() {
        let mut merge = WatermarkMerge::new(2, NO_WATERMARK);
        merge.advance(0, 10);
        assert_eq!(merge.idle(1), Progress::Watermark(10));
        assert_eq!(merge.advance(0, 20), Progress::Watermark(20));
        merge.active(1);
        assert_eq!(merge.advance(0, 30), Progress::None);
        assert_eq!(merge.advance(1, 25), Progress::Watermark(25));
        assert_eq!(merge.idle(0), Progress::None);
        assert_eq!(merge.idle(1), Progress::Idle);
        assert_eq!(merge.idle(1), Progress::None);
        assert_eq!(merge.advance(0, 40), Progress::Watermark(40));
    }

    #[test]
    fn the_end_of_one_input_is_not_the_end_of_time_while_another_is_idle() {
        let mut merge = WatermarkMerge::new(2, NO_WATERMARK);
        merge.advance(0, 10);
        assert_eq!(merge.idle(1), Progress::Watermark(10));
        // Nobody downstream waits for either.
        assert_eq!(merge.advance(0, WATERMARK_END), Progress::Idle);
        assert_eq!(merge.end(0), Progress::None);
        assert_eq!(merge.advance(1, 30), Progress::Watermark(30));
        assert_eq!(merge.advance(1, WATERMARK_END), Progress::Watermark(WATERMARK_END));
    }

    #[test]
    fn an_ended_input_holds_back_nobody_and_the_last_end_is_the_end() {
        let mut merge = WatermarkMerge::new(2, NO_WATERMARK);
        merge.advance(0, 10);
        assert_eq!(merge.end(1), Progress::Watermark(10));
        assert_eq!(merge.end(0), Progress::End);
    }
}
