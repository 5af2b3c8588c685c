//! Sessions of keys: which of them rows join, and what is kept of those that have become one.
use std::collections::{BTreeSet, HashSet};

use super::{
    firing::{Occasion, Panes},
    panes::Windows,
    state::select_keys,
};
use crate::{
    dataflow::TaskError,
    model::{Batch, Decision, KeyRows, TimeDomain, Window},
    state::Touched,
    window::SessionSet,
};

/// What became of a batch's rows and of the sessions they joined.
#[derive(Default)]
pub(super) struct Joined {
    /// Sessions that have grown or been joined, with all that was kept of those before.
    pub(super) panes: Panes,
    /// What was decided about each.
    pub(super) decisions: Vec<Decision>,
    /// Rows that are part of a session.
    pub(super) origins: Vec<u32>,
    /// Which, for each of them.
    pub(super) windows: Vec<Window>,
    /// Rows that come too late.
    pub(super) late: Vec<u32>,
}

/// Sessions that become part of others.
#[derive(Default)]
struct Moves {
    /// A row of the batch with the key of each session that is no more.
    rows: Vec<u32>,
    /// These sessions.
    from: Vec<Window>,
    /// Of which of the new ones each is part.
    groups: Vec<u32>,
    /// A row with the key of each new session.
    new_rows: Vec<u32>,
    /// The new ones.
    new: Vec<Window>,
}

impl Windows {
    /// Puts rows, each with the session it would be alone, into the sessions of their keys.
    pub(super) fn join_sessions(
        &mut self,
        batch: &Batch,
        alone: Vec<Window>,
        occasion: &Occasion,
    ) -> Result<Joined, TaskError> {
        let (keys, hashes) = self.keys_of(batch);
        let mut touched = Touched::default();
        self.store.touch(&keys, &hashes, None, &mut touched)?;
        let mut sets: Vec<SessionSet> = self.store.open_windows(&touched)?.into_iter().map(SessionSet::new).collect();
        let mut joined = Joined::default();
        for (row, window) in alone.iter().enumerate() {
            let set = &mut sets[touched.groups[row] as usize];
            let by_event = self.settings.time == TimeDomain::Event;
            if by_event && self.settings.lateness.is_late(set.joined(*window), self.watermark) {
                joined.late.push(row as u32);
            } else {
                set.add(*window);
                joined.origins.push(row as u32);
            }
        }
        // Rows join sessions as they come, so only now is it known which session each is part of.
        for row in &joined.origins {
            let set = &sets[touched.groups[*row as usize] as usize];
            let at = set.find(alone[*row as usize].start).ok_or_else(|| self.intake.bug("a row without a session"))?;
            joined.windows.push(set.sessions()[at].window);
        }
        let moves = self.note_open(&sets, &touched)?;
        if !moves.from.is_empty() {
            (joined.panes, joined.decisions) = self.carry_over(&keys, &hashes, moves, occasion)?;
        }
        Ok(joined)
    }

    /// Notes which sessions are open now, and finds what must be carried over.
    fn note_open(&mut self, sets: &[SessionSet], touched: &Touched) -> Result<Moves, TaskError> {
        let (mut changed, mut open, mut moves) = (Vec::new(), Vec::new(), Moves::default());
        let rows = touched.first_rows();
        for (key, set) in sets.iter().enumerate() {
            if set.sessions().iter().any(|session| session.has_changed()) {
                changed.push(key as u32);
                open.push(set.sessions().iter().map(|session| session.window).collect());
            }
            for session in set.sessions().iter().filter(|it| it.has_changed() && !it.before.is_empty()) {
                moves.groups.resize(moves.groups.len() + session.before.len(), moves.new.len() as u32);
                moves.rows.resize(moves.groups.len(), rows[key]);
                moves.from.extend(&session.before);
                moves.new_rows.push(rows[key]);
                moves.new.push(session.window);
            }
        }
        if !changed.is_empty() {
            self.store.put_open_windows(touched, &changed, &open)?;
        }
        Ok(moves)
    }

    /// Carries over what is kept of sessions to those they are part of now.
    fn carry_over(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        moves: Moves,
        occasion: &Occasion,
    ) -> Result<(Panes, Vec<Decision>), TaskError> {
        let mut from = Touched::default();
        let (old_keys, old_hashes) = select_keys(keys, hashes, &moves.rows);
        self.store.touch(&old_keys, &old_hashes, Some(&moves.from), &mut from)?;
        let lifted = self.contents.lift(&mut self.store, &from, &self.intake, occasion)?;
        let remembered = self.firing.remembered(&mut self.store, &from, occasion)?;
        self.delete_timers(&from, &moves.from)?;
        self.store.clear(&from)?;
        let mut panes = Panes { touched: Touched::default(), windows: moves.new };
        let (new_keys, new_hashes) = select_keys(keys, hashes, &moves.new_rows);
        self.store.touch(&new_keys, &new_hashes, Some(&panes.windows), &mut panes.touched)?;
        let into = (&mut self.store, &panes.touched);
        self.contents.join(into, lifted, &moves.groups, &self.intake, occasion)?;
        let decisions = self.firing.merged(&mut self.store, &panes, &moves.groups, remembered, occasion)?;
        Ok((panes, decisions))
    }

    /// The open sessions of each of these keys.
    pub(super) fn open_sessions(&mut self, keys: &KeyRows, hashes: &[u64]) -> Result<Vec<Vec<Window>>, TaskError> {
        let mut touched = Touched::default();
        self.store.touch(keys, hashes, None, &mut touched)?;
        let open = self.store.open_windows(&touched)?;
        Ok(touched.groups.iter().map(|key| open[*key as usize].clone()).collect())
    }

    /// Some sessions are no more: `over` are those of `keys` in `windows` that are meant.
    pub(super) fn close_sessions(
        &mut self,
        keys: &KeyRows,
        hashes: &[u64],
        windows: &[Window],
        over: &[u32],
    ) -> Result<(), TaskError> {
        let mut touched = Touched::default();
        self.store.touch(keys, hashes, None, &mut touched)?;
        let mut open = self.store.open_windows(&touched)?;
        let closed: HashSet<(u32, Window)> =
            over.iter().map(|it| (touched.groups[*it as usize], windows[*it as usize])).collect();
        let changed: BTreeSet<u32> = closed.iter().map(|(key, _)| *key).collect();
        let changed: Vec<u32> = changed.into_iter().collect();
        let still = |key: &u32| {
            let mut windows = std::mem::take(&mut open[*key as usize]);
            windows.retain(|window| !closed.contains(&(*key, *window)));
            windows
        };
        let open: Vec<Vec<Window>> = changed.iter().map(still).collect();
        self.store.put_open_windows(&touched, &changed, &open)?;
        Ok(())
    }
}
