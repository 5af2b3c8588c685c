//! Windows by key where calls may fail: each call's rows, timers or windows are given to it in parts, until those are found that it fails
//! on. Must not know how windows come about or what decides about them.
use std::{collections::HashSet, ops::Range};

use super::{
    contents::{Fired, Held},
    firing::{Occasion, Panes},
    panes::{Assigned, Windows},
};
use crate::{
    dataflow::{
        Failures, Outputs, Reject, Rejects, TaskError,
        failures::{OfKey, Work},
    },
    model::{Batch, Decision, EventTime, TimeDomain},
    state::KeyedStore,
};

/// Rows of which it was decided whether their windows fire.
pub(super) struct Decided {
    /// The rows.
    pub(super) assigned: Assigned,
    /// The pane of each, if these are not all rows there were.
    pub(super) groups: Option<Vec<u32>>,
    /// What was decided, row by row.
    pub(super) decisions: Vec<Decision>,
}

/// Rows with the pane of each, and which of the assigned ones they are, if not all.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    pub(super) batch: &'a Batch,
    pub(super) groups: &'a [u32],
    pub(super) rows: Option<&'a [u32]>,
}

impl Added<'_> {
    fn row(&self, at: usize) -> usize {
        self.rows.map_or(at, |rows| rows[at] as usize)
    }
}

impl Windows {
    /// What is decided about rows. Those the trigger fails on are no longer among them; `told` are rows of the input of which it was
    /// said that they are lost.
    pub(super) async fn decide(
        &mut self,
        panes: &Panes,
        mut assigned: Assigned,
        told: &mut HashSet<u32>,
        occasion: &Occasion,
        outputs: &mut Outputs,
    ) -> Result<Decided, TaskError> {
        let rows = assigned.batch.rows();
        let (mut work, mut decisions) = (Work::items(rows), Vec::new());
        while let Some(part) = self.failures.next(&mut work) {
            let (batch, groups) = (part_of(&assigned.batch, &part), &panes.touched.groups[part]);
            let result = self.firing.on_rows(&mut self.store, panes, (&batch, groups), occasion);
            match self.failures.after(&mut work, result, outputs.metrics()).await? {
                Some(all) if decisions.is_empty() => decisions = all,
                Some(more) => decisions.extend(more),
                None => {}
            }
        }
        let mut groups = None;
        if work.has_poison() {
            let poison: HashSet<usize> = work.poisoned().collect();
            let kept: Vec<u32> = (0..rows as u32).filter(|row| !poison.contains(&(*row as usize))).collect();
            let added = Added { batch: &assigned.batch, groups: &[], rows: None };
            self.report_rows(work, added, &assigned, told, outputs).await?;
            groups = Some(kept.iter().map(|row| panes.touched.groups[*row as usize]).collect());
            assigned = Assigned {
                batch: self.intake.take(&assigned.batch, kept.clone())?,
                windows: kept.iter().map(|row| assigned.windows[*row as usize]).collect(),
                origins: kept.iter().map(|row| assigned.origins[*row as usize]).collect(),
                numbers: assigned.numbers,
            };
        }
        Ok(Decided { assigned, groups, decisions })
    }

    /// Adds rows to what panes hold. Those rejected, and why.
    pub(super) async fn add_rows(
        &mut self,
        (panes, held): (&Panes, &mut Held),
        added: Added<'_>,
        assigned: &Assigned,
        told: &mut HashSet<u32>,
        occasion: &Occasion,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        let (mut work, mut rejections) = (Work::items(added.batch.rows()), Vec::new());
        while let Some(part) = self.failures.next(&mut work) {
            let (batch, groups) = (part_of(added.batch, &part), &added.groups[part.clone()]);
            let into = (&mut self.store, &panes.touched);
            let result = self.contents.add(into, held, (&batch, groups), &self.intake, occasion);
            let after = self.failures.after(&mut work, result, outputs.metrics()).await?;
            rejections.extend(after.into_iter().flatten().map(|(row, why)| (part.start + row, why)));
        }
        // A row of several windows is rejected once.
        rejections.retain(|(row, _)| told.insert(assigned.origins[added.row(*row)]));
        if !rejections.is_empty() {
            let origins: Vec<u32> = (0..added.batch.rows()).map(|row| assigned.origins[added.row(row)]).collect();
            let numbers = assigned.numbers.take(&origins);
            let plugin = self.contents.instance().map(|instance| instance.name().clone());
            self.rejects.rows(added.batch, rejections, (plugin.as_ref(), &numbers), outputs).await?;
        }
        self.report_rows(work, added, assigned, told, outputs).await
    }

    /// Rows that calls fail on are lost once, however many windows they are of.
    async fn report_rows(
        &mut self,
        work: Work,
        added: Added<'_>,
        assigned: &Assigned,
        told: &mut HashSet<u32>,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        if !work.has_poison() {
            return Ok(());
        }
        let number = |row: usize| {
            let origin = assigned.origins[added.row(row)];
            told.insert(origin).then(|| assigned.numbers.of(origin as usize))
        };
        let letters = self.failures.row_letters(&work, added.batch, number, &mut self.rejects);
        self.failures.send(letters, &mut self.rejects, outputs).await
    }

    /// A decision a timer; timer `i` is of pane `i`. Timers that the trigger fails on decide nothing.
    pub(super) async fn decide_timers(
        &mut self,
        panes: &Panes,
        timers: &[(EventTime, TimeDomain)],
        (ended, occasion): (bool, &Occasion),
        outputs: &mut Outputs,
    ) -> Result<Vec<Decision>, TaskError> {
        let mut decisions = vec![Decision::Continue; timers.len()];
        let mut work = Work::items(timers.len());
        while let Some(part) = self.failures.next(&mut work) {
            let some = (timers, part.clone());
            let result = self.firing.on_timers(&mut self.store, panes, some, ended, occasion);
            if let Some(decided) = self.failures.after(&mut work, result, outputs.metrics()).await? {
                decisions[part].copy_from_slice(&decided);
            }
        }
        if work.has_poison() {
            let letters = {
                let keys: Vec<&[u8]> = self.store.keys(&panes.touched).collect();
                let of = |timer: usize| Some((keys[timer].to_vec(), OfKey::Timer(timers[timer].0)));
                self.failures.letters(&work, of, &self.rejects)?
            };
            self.failures.send(letters, &mut self.rejects, outputs).await?;
        }
        Ok(decisions)
    }

    /// Has panes fire.
    pub(super) async fn fire(
        &mut self,
        (panes, held): (&Panes, &Held),
        fire: &[u32],
        occasion: &Occasion,
        outputs: &mut Outputs,
    ) -> Result<(), TaskError> {
        let around = (self.settings.batch_records, self.moments.monotonic());
        let mut work = Work::items(fire.len());
        while let Some(part) = self.failures.next(&mut work) {
            let (store, intake) = (&mut self.store, &self.intake);
            let result = self.contents.fire(store, panes, (held, &fire[part]), around, intake, occasion);
            let after = self.failures.after(&mut work, result, outputs.metrics()).await?;
            for fired in after.into_iter().flatten() {
                let around = (&self.settings, &self.intake, occasion);
                let lost = (&mut self.rejects, &mut self.failures);
                self.emission.emit(&mut self.store, panes, fired, around, lost, outputs).await?;
            }
        }
        if work.has_poison() {
            let lost = (&mut self.failures, &self.rejects);
            let letters = window_letters(&work, &self.store, panes, fire, lost)?;
            self.failures.send(letters, &mut self.rejects, outputs).await?;
        }
        Ok(())
    }
}

/// Of windows that a call fails on: `of[i]` is the pane of item `i`.
pub(super) fn window_letters(
    work: &Work,
    store: &KeyedStore,
    panes: &Panes,
    of: &[u32],
    (failures, rejects): (&mut Failures, &Rejects),
) -> Result<Vec<Reject>, TaskError> {
    let keys: Vec<&[u8]> = store.keys(&panes.touched).collect();
    let of = |item: usize| {
        let pane = of[item] as usize;
        Some((keys[pane].to_vec(), OfKey::Window(panes.windows[pane])))
    };
    failures.letters(work, of, rejects)
}

fn part_of(batch: &Batch, part: &Range<usize>) -> Batch {
    if part.len() == batch.rows() { batch.clone() } else { batch.slice(part.start, part.len()) }
}

impl Fired {
    /// Some of the panes, with what is theirs.
    pub(super) fn part(&self, part: &Range<usize>) -> Fired {
        let start = self.groups.partition_point(|group| (*group as usize) < part.start);
        let end = self.groups.partition_point(|group| (*group as usize) < part.end);
        Fired {
            panes: self.panes[part.clone()].to_vec(),
            rows: self.rows.slice(start, end - start),
            groups: self.groups[start..end].iter().map(|group| group - part.start as u32).collect(),
        }
    }
}
