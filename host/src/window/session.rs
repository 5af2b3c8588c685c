//! Sessions: windows that last as long as rows of a key come, and end once none has come for a while. A row may join what were two
//! sessions before it.
use std::time::Duration;

use super::whole_ms;
use crate::model::{EventTime, Window};

/// Sessions that end after a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    gap_ms: i64,
}

impl Sessions {
    /// Rows of a key less than `gap` apart belong together; whole ms, at least 1. A row exactly `gap` after the last one begins a
    /// session: the one before is over by then, and may have fired.
    pub fn new(gap: Duration) -> Sessions {
        Sessions { gap_ms: whole_ms(gap).max(1) }
    }

    /// The session of a row alone.
    #[inline]
    pub fn window_of(self, time: EventTime) -> Window {
        // At the end of the scale it would have no room for its row.
        let start = time.min(EventTime::MAX - 1);
        Window { start, end: start.saturating_add(self.gap_ms) }
    }
}

/// A session of one key while a batch is put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// From its first row to the gap after its last.
    pub window: Window,
    /// The sessions there were before that are one with it now, in their order; more than one have been joined, one with another
    /// window has grown.
    pub before: Vec<Window>,
}

impl Session {
    /// Whether what is kept for the sessions before must be moved to it.
    pub fn has_changed(&self) -> bool {
        !matches!(self.before[..], [before] if before == self.window)
    }
}

/// The sessions of one key: none overlaps another.
#[derive(Clone, Debug, Default)]
pub struct SessionSet {
    /// Ordered by time.
    sessions: Vec<Session>,
}

impl SessionSet {
    /// The sessions there are, in any order; none may overlap another.
    pub fn new(windows: impl IntoIterator<Item = Window>) -> SessionSet {
        let mut sessions: Vec<Session> =
            windows.into_iter().map(|window| Session { window, before: vec![window] }).collect();
        sessions.sort_unstable_by_key(|session| session.window.start);
        SessionSet { sessions }
    }

    /// The window a row alone, with this window, would be part of.
    pub fn joined(&self, window: Window) -> Window {
        self.overlapping(window).1
    }

    /// Puts a row alone, with this window, in; gives the window it is part of now.
    pub fn add(&mut self, window: Window) -> Window {
        let (range, window) = self.overlapping(window);
        if let [session] = &mut self.sessions[range.clone()] {
            session.window = window;
        } else {
            let before =
                self.sessions[range.clone()].iter().flat_map(|session| session.before.iter().copied()).collect();
            self.sessions.splice(range, [Session { window, before }]);
        }
        window
    }

    /// The session a time lies in.
    pub fn find(&self, time: EventTime) -> Option<usize> {
        let at = self.sessions.partition_point(|session| session.window.end <= time);
        self.sessions.get(at).filter(|session| session.window.start <= time).map(|_| at)
    }

    /// All of them, in the order of their times.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    fn overlapping(&self, window: Window) -> (std::ops::Range<usize>, Window) {
        let first = self.sessions.partition_point(|session| session.window.end <= window.start);
        let count = self.sessions[first..].iter().take_while(|session| session.window.start < window.end).count();
        let range = first..first + count;
        let joined = self.sessions[range.clone()].iter().fold(window, |joined, session| Window {
            start: joined.start.min(session.window.start),
            end: joined.end.max(session.window.end),
        });
        (range, joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions by their definition: sorted times, cut where the gap is reached.
    fn naive(times: &[i64], gap: i64) -> Vec<Window> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        sorted
            .chunk_by(|earlier, later| later - earlier < gap)
            .map(|run| Window { start: run[0], end: run[run.len() - 1] + gap })
            .collect()
    }

    #[test]
    fn whatever_the_order_of_rows_the_sessions_are_those_of_the_sorted_times() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..500 {
            let gap = random.i64(1..20);
            let sessions = Sessions::new(Duration::from_millis(gap as u64));
            let times: Vec<i64> = (0..random.usize(0..30)).map(|_| random.i64(-100..100)).collect();
            let cut = random.usize(0..=times.len());
            let mut set = SessionSet::default();
            times[..cut].iter().for_each(|time| {
                set.add(sessions.window_of(*time));
            });
            let before: Vec<Window> = set.sessions().iter().map(|session| session.window).collect();
            assert_eq!(before, naive(&times[..cut], gap));
            // What was there before a second batch is part of exactly one session after it, which holds it.
            let mut set = SessionSet::new(before.iter().rev().copied());
            for time in &times[cut..] {
                let expected = set.joined(sessions.window_of(*time));
                assert_eq!(set.add(sessions.window_of(*time)), expected);
            }
            let after: Vec<Window> = set.sessions().iter().map(|session| session.window).collect();
            assert_eq!(after, naive(&times, gap));
            let joined: Vec<Window> = set.sessions().iter().flat_map(|session| session.before.clone()).collect();
            assert_eq!(joined, before);
            for time in &times {
                let session = &set.sessions()[set.find(*time).expect("a row has a session")];
                assert!(session.window.start <= *time && *time < session.window.end);
            }
        }
    }

    #[test]
    fn a_row_may_join_grow_or_leave_sessions_as_they_are() {
        let of = |start, end| Window { start, end };
        let mut set = SessionSet::new([of(0, 15), of(20, 30), of(50, 60)]);
        assert_eq!(set.add(of(12, 22)), of(0, 30));
        assert_eq!(set.add(of(52, 58)), of(50, 60));
        assert_eq!(set.add(of(30, 40)), of(30, 40), "a gap's length apart is apart");
        let changed: Vec<bool> = set.sessions().iter().map(Session::has_changed).collect();
        assert_eq!(changed, [true, true, false]);
        assert_eq!(set.sessions()[0].before, [of(0, 15), of(20, 30)]);
        assert_eq!((set.find(29), set.find(30), set.find(45)), (Some(0), Some(1), None));
    }
}
