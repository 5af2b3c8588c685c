//! The stage for windows that are kept by key: whose trigger is not just their end, which are kept for late rows, are sessions, or
//! whose rows are processed together.
use std::collections::HashSet;

use arrow_array::ArrayRef;
use async_trait::async_trait;

use super::{
    StateHome, TriggerPlugin, WindowWork, WindowedSettings,
    contents::{CONTENTS, Contents, Held},
    emission::{Emission, Process},
    failing::{Added, Decided},
    firing::{Decider, Firing, Occasion, Panes},
    intake::Intake,
    rounds::rounds,
    state::states_of,
};
use crate::{
    checkpoint::CommitPermit,
    dataflow::{Failures, Guests, Moments, Operator, Outputs, Rejects, Replacement, RowNumbers, TaskError},
    model::{
        Batch, Decision, EventTime, KeyRows, OperatorKind, SnapshotRequest, StateChange, SubtaskState, TimeDomain,
        TimerChange, WATERMARK_END, Window,
    },
    plugin::Instance,
    state::{KeyedStore, Layout, Touched},
    window::{Assigner, Repeat, over_at},
};

/// Windows by key at work.
pub(super) struct Windows {
    pub(super) settings: WindowedSettings,
    pub(super) intake: Intake,
    pub(super) contents: Contents,
    pub(super) firing: Firing,
    pub(super) emission: Emission,
    pub(super) rejects: Rejects,
    pub(super) failures: Failures,
    pub(super) moments: Moments,
    pub(super) store: KeyedStore,
    /// Number of states in the store.
    states: usize,
    pub(super) watermark: EventTime,
    seen: u64,
    /// When processing time has something to do.
    wake_at: Option<i64>,
}

/// A processing time at which nothing is over.
const NEVER_MS: i64 = i64::MIN;

/// Rows with the window of each. A row of several windows is there several times.
pub(super) struct Assigned {
    pub(super) batch: Batch,
    pub(super) windows: Vec<Window>,
    /// The row of the input each stems from; ascending.
    pub(super) origins: Vec<u32>,
    /// The numbers of these.
    pub(super) numbers: RowNumbers,
}

impl Windows {
    /// With what an earlier run left.
    pub(super) fn open(
        settings: WindowedSettings,
        work: WindowWork,
        trigger: Option<TriggerPlugin>,
        (rejects, failures, moments): (Rejects, Failures, Moments),
        home: &StateHome,
        restored: SubtaskState,
    ) -> Result<Windows, TaskError> {
        let intake = settings.intake();
        let (mut contents, process) = match work {
            WindowWork::Aggregate(aggregate) => (Contents::accumulators(aggregate, &intake)?, None),
            WindowWork::Process(process) => (Contents::elements(&process, &intake)?, Some(process)),
            WindowWork::Both(both) => (Contents::accumulators(both.0, &intake)?, Some(both.1)),
        };
        let decider = match trigger {
            None => Decider::BuiltIn(settings.trigger),
            Some(plugin) => Decider::Plugin(Box::new(plugin)),
        };
        let mut states = contents.state();
        let of_trigger = states.len();
        states.extend(decider.states());
        let of_process = states.len();
        let mut firing = Firing::new(decider, of_trigger..of_process, intake.clone());
        let mut emission = match process {
            None => Emission::Results,
            Some(process) => {
                states.extend(states_of(OperatorKind::ProcessWindow, &process.instance.description().states));
                let kept = matches!(contents, Contents::Elements(..));
                let process = Process::new(process, of_process..states.len(), contents.schema(), kept, &intake)?;
                Emission::Process(Box::new(process))
            }
        };
        let (name, layout) = match settings.assigner {
            Assigner::Sliding(_) => ("windows", Layout::Windows),
            Assigner::Session(_) => ("sessions", Layout::Sessions),
            Assigner::Global => ("global", Layout::Windows),
        };
        let (count, watermark) = (states.len(), restored.watermark);
        let mut guests = Guests::new(&settings.key_kinds)
            .with(CONTENTS, contents.instance())
            .with(of_trigger, firing.instance())
            .with(of_process, emission.instance());
        let store = home.open(name, states, layout, restored, &mut guests)?;
        let mut it = Windows {
            settings,
            intake,
            contents,
            firing,
            emission,
            rejects,
            failures,
            moments,
            store,
            states: count,
            watermark,
            seen: 0,
            wake_at: None,
        };
        it.plan_wake();
        Ok(it)
    }

    /// The time by which windows go.
    fn time(&self, now_ms: i64) -> i64 {
        match self.settings.time {
            TimeDomain::Event => self.watermark,
            TimeDomain::Processing => now_ms,
        }
    }

    /// When a window is forgotten.
    pub(super) fn cleanup_time(&self, window: Window) -> EventTime {
        match self.settings.time {
            TimeDomain::Event => self.settings.lateness.cleanup_time(window),
            TimeDomain::Processing => over_at(window.end, TimeDomain::Processing),
        }
    }

    fn is_forgotten(&self, window: Window, now_ms: i64) -> bool {
        self.cleanup_time(window) <= self.time(now_ms) || self.watermark == WATERMARK_END
    }

    fn occasion(&mut self, records: std::ops::Range<u64>) -> Occasion {
        Occasion { moment: self.moments.next(self.watermark), records }
    }

    /// Puts rows into windows, and late rows where they go.
    async fn assign(
        &mut self,
        (batch, numbers): (Batch, RowNumbers),
        occasion: &Occasion,
        outputs: &mut Outputs,
    ) -> Result<Assigned, TaskError> {
        let now_ms = occasion.now_ms();
        let time_of = |row: usize| match self.settings.time {
            TimeDomain::Event => batch.timestamps[row],
            TimeDomain::Processing => now_ms,
        };
        let (mut windows, mut origins, mut late) = (Vec::new(), Vec::new(), Vec::new());
        match self.settings.assigner {
            Assigner::Global => {
                windows.resize(batch.rows(), Window::GLOBAL);
                origins.extend(0..batch.rows() as u32);
            }
            Assigner::Sliding(sliding) => {
                for row in 0..batch.rows() {
                    let before = windows.len();
                    let open = |window: &Window| !self.is_forgotten(*window, now_ms);
                    windows.extend(sliding.windows_of(sliding.slice_of(time_of(row))).filter(open));
                    origins.resize(windows.len(), row as u32);
                    if windows.len() == before {
                        late.push(row as u32);
                    }
                }
            }
            Assigner::Session(sessions) => {
                let alone = (0..batch.rows()).map(|row| sessions.window_of(time_of(row))).collect();
                let joined = self.join_sessions(&batch, alone, occasion)?;
                self.act(joined.panes, joined.decisions, outputs, occasion).await?;
                (windows, origins, late) = (joined.windows, joined.origins, joined.late);
            }
        }
        let whole = origins.len() == batch.rows() && late.is_empty();
        if !late.is_empty() {
            self.intake.late(&batch, late, outputs).await?;
        }
        // As many as there are rows, and none late: each once.
        let batch = if whole { batch } else { self.intake.take(&batch, origins.clone())? };
        Ok(Assigned { batch, windows, origins, numbers })
    }

    /// Adds rows to panes, and has panes fire as was decided row by row.
    async fn add(
        &mut self,
        panes: &Panes,
        decided: &Decided,
        told: &mut HashSet<u32>,
        outputs: &mut Outputs,
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        let Decided { assigned, decisions, .. } = decided;
        let groups = decided.groups.as_ref().unwrap_or(&panes.touched.groups);
        let mut held = self.contents.load(&mut self.store, &panes.touched, &self.intake, occasion)?;
        let whole = assigned.batch.rows();
        for round in rounds(groups, decisions, panes.touched.len()) {
            let some;
            let added = if round.rows.len() == whole {
                Added { batch: &assigned.batch, groups, rows: None }
            } else {
                let of: Vec<u32> = round.rows.iter().map(|row| groups[*row as usize]).collect();
                some = (self.intake.take(&assigned.batch, round.rows.clone())?, of);
                Added { batch: &some.0, groups: &some.1, rows: Some(&round.rows) }
            };
            self.add_rows((panes, &mut held), added, assigned, told, occasion, outputs).await?;
            self.carry_out(panes, &mut held, round.decided, outputs, occasion).await?;
        }
        self.contents.save(&mut self.store, &panes.touched, &held, occasion)
    }

    /// Has panes fire as was decided for each.
    async fn act(
        &mut self,
        panes: Panes,
        decisions: Vec<Decision>,
        outputs: &mut Outputs,
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        let decided: Vec<(u32, Decision)> = (0..).zip(decisions).filter(|(_, it)| *it != Decision::Continue).collect();
        if decided.is_empty() {
            return Ok(());
        }
        let mut held = self.contents.load(&mut self.store, &panes.touched, &self.intake, occasion)?;
        self.carry_out(&panes, &mut held, decided, outputs, occasion).await?;
        self.contents.save(&mut self.store, &panes.touched, &held, occasion)
    }

    async fn carry_out(
        &mut self,
        panes: &Panes,
        held: &mut Held,
        decided: Vec<(u32, Decision)>,
        outputs: &mut Outputs,
        occasion: &Occasion,
    ) -> Result<(), TaskError> {
        let those = |wanted: [Decision; 2]| -> Vec<u32> {
            decided.iter().filter(|(_, it)| wanted.contains(it)).map(|(pane, _)| *pane).collect()
        };
        let (fire, purge) =
            (those([Decision::Fire, Decision::FireAndPurge]), those([Decision::Purge, Decision::FireAndPurge]));
        if !fire.is_empty() {
            self.fire((panes, held), &fire, occasion, outputs).await?;
        }
        if !purge.is_empty() {
            self.contents.purge((&mut self.store, &panes.touched), held, purge, &self.intake, occasion)?;
        }
        Ok(())
    }

    /// Timers that are due at `until`, and what they decide.
    async fn advance(&mut self, domain: TimeDomain, until: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut due = crate::state::Due::default();
        loop {
            self.store.take_due(domain, until, self.settings.batch_records, &mut due)?;
            if due.is_empty() {
                return Ok(());
            }
            let occasion = self.occasion(self.seen..self.seen);
            let live = self.live(&due)?;
            if live.is_empty() {
                continue;
            }
            let (keys, hashes) = super::state::select_keys(&due.keys(), &due.hashes, &live);
            let mut panes =
                Panes { windows: live.iter().map(|it| due.windows[*it as usize]).collect(), ..Panes::default() };
            self.store.touch(&keys, &hashes, Some(&panes.windows), &mut panes.touched)?;
            let timers: Vec<_> = live.iter().map(|it| (due.times[*it as usize], domain)).collect();
            let ended = self.watermark == WATERMARK_END;
            let mut decisions = self.decide_timers(&panes, &timers, (ended, &occasion), outputs).await?;
            let over = self.sessions_over(&panes, &timers);
            if !over.is_empty() {
                let last = self.firing.on_cleanup(&mut self.store, &panes.touched, &occasion)?;
                over.iter().map(|pane| *pane as usize).for_each(|pane| {
                    if decisions[pane] == Decision::Continue {
                        decisions[pane] = last[pane];
                    }
                });
            }
            let windows = panes.windows.clone();
            let touched = panes.touched.clone();
            self.act(panes, decisions, outputs, &occasion).await?;
            if !over.is_empty() {
                let clear = |state| StateChange::Clear { state, keys: over.clone() };
                let changes: Vec<StateChange> = (0..self.states).map(clear).collect();
                self.store.apply(&touched, &changes, occasion.now_ms())?;
                self.close_sessions(&keys, &hashes, &windows, &over)?;
            }
        }
    }

    /// Which of the timers are of windows that are still there.
    fn live(&mut self, due: &crate::state::Due) -> Result<Vec<u32>, TaskError> {
        let all = 0..due.len() as u32;
        if let Assigner::Session(_) = self.settings.assigner {
            let keys = due.keys();
            let open = self.open_sessions(&keys, &due.hashes)?;
            return Ok(all.filter(|it| open[*it as usize].contains(&due.windows[*it as usize])).collect());
        }
        // Windows are forgotten after their last timers: one that is not there is forgotten.
        let there: HashSet<Window> = self.store.windows().collect();
        Ok(all.filter(|it| there.contains(&due.windows[*it as usize])).collect())
    }

    /// Forgets windows whose time has passed, once all their timers have. Sessions are forgotten by timers of their own.
    async fn forget(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        if let Assigner::Session(_) = self.settings.assigner {
            return Ok(());
        }
        let over: Vec<Window> = self.store.windows().filter(|window| self.is_forgotten(*window, now_ms)).collect();
        for window in over {
            // Rows that came late may have been waiting for others.
            let waits = self.firing.built_in().is_some_and(|it| ![Repeat::NEVER, Repeat::EACH].contains(&it.late));
            let mut next = Some(crate::state::Cursor::default()).filter(|_| waits);
            while let Some(cursor) = next.take() {
                let page = self.store.scan_window(window, cursor, self.settings.batch_records)?;
                let occasion = self.occasion(self.seen..self.seen);
                let decisions = self.firing.on_cleanup(&mut self.store, &page.touched, &occasion)?;
                let panes = Panes { windows: vec![window; page.touched.len()], touched: page.touched };
                self.act(panes, decisions, outputs, &occasion).await?;
                next = page.next;
            }
            self.store.drop_window(window)?;
        }
        Ok(())
    }

    fn plan_wake(&mut self) {
        let timer = self.store.next_timer(TimeDomain::Processing);
        let by_window = self.settings.time == TimeDomain::Processing && self.settings.assigner != Assigner::Global;
        let window = self.store.first_window().filter(|_| by_window);
        self.wake_at = timer.into_iter().chain(window.map(|window| over_at(window.end, TimeDomain::Processing))).min();
    }

    /// All guests.
    fn instances(&mut self) -> impl Iterator<Item = &mut Instance> {
        [self.contents.instance(), self.firing.instance(), self.emission.instance()].into_iter().flatten()
    }

    fn count_replaced(&mut self, outputs: &Outputs) {
        let replaced = self.instances().map(|instance| instance.replaced()).sum();
        outputs.metrics().set_guests_replaced(replaced);
    }
}

#[async_trait]
impl Operator for Windows {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        let mut numbers = RowNumbers::after(self.seen);
        let records = self.seen..self.seen + batch.rows() as u64;
        self.seen = records.end;
        let batch = self.intake.keyed(batch, &mut numbers, &mut self.rejects, outputs).await?;
        let occasion = self.occasion(records);
        let assigned = self.assign((batch, numbers), &occasion, outputs).await?;
        if assigned.batch.rows() > 0 {
            let (keys, hashes) = self.keys_of(&assigned.batch);
            let mut panes = Panes::default();
            self.store.touch(&keys, &hashes, Some(&assigned.windows), &mut panes.touched)?;
            panes.windows = panes.touched.first_rows().iter().map(|row| assigned.windows[*row as usize]).collect();
            let mut told = HashSet::new();
            let decided = self.decide(&panes, assigned, &mut told, &occasion, outputs).await?;
            self.set_cleanup(&panes)?;
            self.add(&panes, &decided, &mut told, outputs, &occasion).await?;
        }
        self.plan_wake();
        self.count_replaced(outputs);
        Ok(())
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        self.advance(TimeDomain::Event, watermark, outputs).await?;
        if watermark == WATERMARK_END {
            // The end of a bounded input is the end of its windows, by whichever time they go.
            self.advance(TimeDomain::Processing, EventTime::MAX, outputs).await?;
        }
        if self.settings.time == TimeDomain::Event || watermark == WATERMARK_END {
            self.forget(NEVER_MS, outputs).await?;
        }
        self.plan_wake();
        outputs.watermark(watermark).await
    }

    fn wake_at(&self) -> Option<i64> {
        self.wake_at
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.advance(TimeDomain::Processing, now_ms, outputs).await?;
        self.forget(now_ms, outputs).await?;
        self.plan_wake();
        Ok(())
    }

    fn moments(&mut self) -> Option<&mut Moments> {
        Some(&mut self.moments)
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        match new.kind {
            OperatorKind::Aggregate => self.contents.replace(new),
            OperatorKind::Trigger => self.firing.replace(new),
            _ => self.emission.replace(new),
        }
        self.failures.replaced();
        Ok(())
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let stores = vec![self.store.snapshot(request)?];
        Ok(SubtaskState { watermark: self.watermark, stores, ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        let checkpoint = permit.checkpoint();
        self.store.completed(checkpoint);
        Ok(self.instances().try_for_each(|instance| instance.checkpoint_completed(checkpoint))?)
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.store.aborted(checkpoint);
        Ok(self.instances().try_for_each(|instance| instance.checkpoint_aborted(checkpoint))?)
    }
}

impl Windows {
    /// The keys of a batch's rows, and their hashes.
    pub(super) fn keys_of(&self, batch: &Batch) -> (KeyRows, Vec<u64>) {
        let columns: Vec<ArrayRef> =
            self.settings.key.iter().map(|column| batch.columns.column(*column).clone()).collect();
        let keys = KeyRows::encode(&columns, batch.rows());
        let hashes = match &batch.key_hashes {
            Some(hashes) => hashes.to_vec(),
            None => {
                let mut hashes = Vec::new();
                keys.hash_into(batch.rows(), &mut hashes);
                hashes
            }
        };
        (keys, hashes)
    }

    /// Sessions are forgotten one by one.
    fn set_cleanup(&mut self, panes: &Panes) -> Result<(), TaskError> {
        if let Assigner::Session(_) = self.settings.assigner {
            let timer = |(pane, window): (usize, &Window)| TimerChange {
                key: pane as u32,
                time: self.cleanup_time(*window),
                domain: self.settings.time,
                set: true,
            };
            let timers: Vec<TimerChange> = panes.windows.iter().enumerate().map(timer).collect();
            self.store.change_timers(&panes.touched, &timers)?;
        }
        Ok(())
    }

    /// Of sessions that are part of others now: there would be one more with each row.
    pub(super) fn delete_timers(&mut self, of: &Touched, windows: &[Window]) -> Result<(), TaskError> {
        let timers = windows.iter().enumerate().flat_map(|(pane, window)| {
            let cleanup = (self.cleanup_time(*window), self.settings.time);
            let all = [Some(cleanup), self.firing.end_timer(*window)].into_iter().flatten();
            all.map(move |(time, domain)| TimerChange { key: pane as u32, time, domain, set: false })
        });
        let timers: Vec<TimerChange> = timers.collect();
        Ok(self.store.change_timers(of, &timers)?)
    }

    /// Which of the panes are sessions whose last timer this is.
    fn sessions_over(&self, panes: &Panes, timers: &[(EventTime, TimeDomain)]) -> Vec<u32> {
        let Assigner::Session(_) = self.settings.assigner else { return Vec::new() };
        let ended = |it: usize| {
            let (time, domain) = timers[it];
            domain == self.settings.time && time >= self.cleanup_time(panes.windows[it])
        };
        (0..timers.len()).filter(|it| ended(*it)).map(|it| it as u32).collect()
    }
}
