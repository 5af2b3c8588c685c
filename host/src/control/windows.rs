//! Builds the stages of windows: from what the job file says of a window to what the stage is told.
use std::{num::NonZeroU64, time::Duration};

use super::{
    operators::{Parts, key_kinds},
    wiring::{Wiring, bug},
};
use crate::{
    dataflow::{
        AggregatePlugin, Combiner, Operator, Place, ProcessPlugin, StateHome, TaskError, TriggerPlugin, WindowWork,
        WindowedSettings, windowed,
    },
    job::{AssignerSpec, FiringSpec, PlanEdge, Role, StepSpec, TriggerSpec, WindowSpec},
    model::{OperatorKind, SubtaskState, TimeDomain, groups_of},
    window::{Assigner, Every, Lateness, Repeat, Sessions, Sliding, Trigger},
};

impl Wiring<'_> {
    /// The stage of an operator on windows.
    pub(super) fn windowed(&self, mut parts: Parts<'_>) -> Result<Box<dyn Operator>, TaskError> {
        let node = parts.node;
        let (Some(window), Role::Operator { key, .. }) = (&parts.spec.window, &node.role) else {
            return Err(bug(&node.name, "it has no window"));
        };
        let work = match &parts.spec.step {
            StepSpec::Aggregate(_) => WindowWork::Aggregate(self.aggregate(&parts)?),
            StepSpec::ProcessWindow(_) => WindowWork::Process(self.process(&parts)?),
            StepSpec::AggregateProcess { .. } => {
                WindowWork::Both(Box::new((self.aggregate(&parts)?, self.process(&parts)?)))
            }
            _ => return Err(bug(&node.name, "its step knows no windows")),
        };
        let trigger = match &window.trigger {
            TriggerSpec::Plugin(_) => Some(TriggerPlugin {
                instance: self.instance(&parts, OperatorKind::Trigger)?,
                reads: parts.columns(OperatorKind::Trigger)?.reads.clone(),
            }),
            _ => None,
        };
        let settings = WindowedSettings {
            node: node.name.clone(),
            key: key.clone(),
            key_kinds: key_kinds(node, key),
            assigner: assigner(window.assigner),
            time: window.time,
            lateness: Lateness::new(window.allowed_lateness),
            trigger: built_in(window),
            late: node.late_output(),
            window_columns: true,
            schema: node.outputs[0].schema.clone(),
            batch_records: self.plan().batch.records,
            combined: self.plan().edges.iter().any(|edge| edge.to == node.id && edge.combined),
        };
        let home = self.home(&parts);
        let restored = std::mem::take(&mut parts.state);
        windowed(settings, work, trigger, self.lost(&parts)?, self.moments(&parts), &home, restored)
    }

    /// Where the state of an operator's subtask is kept.
    pub(super) fn home(&self, parts: &Parts<'_>) -> StateHome {
        let (node, max_parallelism) = (parts.node, self.plan().max_parallelism);
        StateHome {
            backend: self.backend.clone(),
            uid: node.uid.clone(),
            subtask: parts.subtask,
            start: self.restored.start,
            groups: groups_of(parts.subtask, node.parallelism, max_parallelism),
            max_parallelism,
            drop_vanished: self.drop_vanished(node),
        }
    }

    /// What aggregates rows before they take an edge.
    pub(super) fn combiner(&self, edge: &PlanEdge, subtask: u32) -> Result<Combiner, TaskError> {
        let node = self.plan().node(edge.to);
        let spec = &self.spec().operators[&node.name];
        let parts = Parts { node, spec, subtask, state: SubtaskState::default() };
        let (Some(window), StepSpec::Aggregate(_)) = (&spec.window, &spec.step) else {
            return Err(bug(&node.name, "it has no window to aggregate for"));
        };
        let Assigner::Sliding(windows) = assigner(window.assigner) else {
            return Err(bug(&node.name, "its windows have no slices"));
        };
        let aggregate = self.aggregate(&parts)?;
        let (rejects, moments) = (self.rejects_of(&parts)?, self.moments(&parts));
        let outputs = (node.outputs.len(), self.metrics(node.id, 0));
        let place = Place { uid: node.uid.clone(), edge: Some(edge.id.0), subtask };
        let changes = (place, self.shared.changes.clone());
        Combiner::new(&node.name, windows, aggregate, rejects, moments, outputs, changes)
    }

    fn aggregate(&self, parts: &Parts<'_>) -> Result<AggregatePlugin, TaskError> {
        let instance = self.instance(parts, OperatorKind::Aggregate)?;
        Ok(AggregatePlugin { instance, reads: parts.columns(OperatorKind::Aggregate)?.reads.clone() })
    }

    fn process(&self, parts: &Parts<'_>) -> Result<ProcessPlugin, TaskError> {
        let instance = self.instance(parts, OperatorKind::ProcessWindow)?;
        let columns = parts.columns(OperatorKind::ProcessWindow)?;
        let schemas = parts.schemas(instance.description().side_outputs.len(), columns.side);
        let (reads, keys, side) = (columns.reads.clone(), columns.keys.clone(), columns.side);
        Ok(ProcessPlugin { instance, reads, keys, schemas, side })
    }
}

/// Which windows.
pub(super) fn assigner(spec: AssignerSpec) -> Assigner {
    match spec {
        AssignerSpec::Tumbling { size, offset } => Assigner::Sliding(Sliding::tumbling(size, offset)),
        AssignerSpec::Sliding { size, slide, offset } => Assigner::Sliding(Sliding::new(size, slide, offset)),
        AssignerSpec::Session { gap } => Assigner::Session(Sessions::new(gap)),
        AssignerSpec::Global => Assigner::Global,
    }
}

/// When they fire; of no meaning where a plugin decides.
fn built_in(spec: &WindowSpec) -> Trigger {
    let at_end = Trigger::at_end(spec.time);
    let trigger = match &spec.trigger {
        TriggerSpec::EventTime => Trigger::at_end(TimeDomain::Event),
        TriggerSpec::ProcessingTime => Trigger::at_end(TimeDomain::Processing),
        TriggerSpec::Count(count) => Trigger::count(NonZeroU64::new(*count).unwrap_or(NonZeroU64::MIN)),
        TriggerSpec::Every(interval) => Trigger::every(every(*interval, spec.time)),
        TriggerSpec::EarlyLate { early, late } => {
            Trigger { early: early.map_or(Repeat::NEVER, firing), late: late.map_or(Repeat::EACH, firing), ..at_end }
        }
        TriggerSpec::Plugin(_) => at_end,
    };
    if spec.purge { trigger.purging() } else { trigger }
}

fn firing(spec: FiringSpec) -> Repeat {
    match spec {
        FiringSpec::Every(interval) => Repeat { every: Some(every(interval, TimeDomain::Processing)), ..Repeat::NEVER },
        FiringSpec::Count(count) => Repeat { count: NonZeroU64::new(count), ..Repeat::NEVER },
    }
}

fn every(interval: Duration, domain: TimeDomain) -> Every {
    // The job file allows whole milliseconds within a century or so.
    Every { interval_ms: i64::try_from(interval.as_millis()).unwrap_or(i64::MAX), domain, aligned: true }
}
