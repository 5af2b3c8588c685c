//! Versions tried beside those in force: begun, looked at, and ended. Must not know how they are compared.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::{
    Bound, ChangeError, ChangeRequest, Prepared,
    change::{Checked, check},
    restore::Restored,
    run::Shared,
    wiring::{Wiring, bug},
};
use crate::{
    dataflow::{Compared, Comparison, Environment, Offer, OpenOperator, Operator, Place, ShadowStart, TaskError},
    job::{PlanNode, Role},
    model::{OperatorKind, OperatorVersion, SubtaskState},
    state::StateBackend,
};

/// What is tried beside the version in force.
#[derive(Clone)]
pub struct ShadowRequest {
    /// Which plugin, of what. On trial it is not: it cannot do anything.
    pub change: ChangeRequest,
    /// Columns of outputs that may differ, by name.
    pub ignored: Vec<String>,
}

/// A shadow, and what has come of it so far.
#[derive(Clone, Debug)]
pub struct ShadowReport {
    /// The operator, by name.
    pub operator: String,
    /// What is tried.
    pub version: OperatorVersion,
    /// Held against what is in force.
    pub compared: Compared,
}

/// The shadows of a job, by operator.
#[derive(Default)]
pub(super) struct Shadows(Mutex<BTreeMap<String, At>>);

#[derive(Clone)]
struct At {
    version: OperatorVersion,
    bound: Bound,
    kind: OperatorKind,
    comparison: Arc<Comparison>,
}

impl At {
    fn report(&self, operator: &str) -> ShadowReport {
        let (operator, version) = (operator.to_owned(), self.version.clone());
        ShadowReport { operator, version, compared: self.comparison.so_far() }
    }
}

impl Shadows {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, At>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an operator has one.
    pub(super) fn has(&self, operator: &str) -> bool {
        self.lock().contains_key(operator)
    }

    /// The shadow of an operator or sink is no more.
    pub(super) fn end(&self, operator: &str) {
        self.lock().remove(operator);
    }

    /// The job starts: what was tried before is no more.
    pub(super) fn end_all(&self) {
        self.lock().clear();
    }

    pub(super) fn reports(&self) -> Vec<ShadowReport> {
        self.lock().iter().map(|(operator, at)| at.report(operator)).collect()
    }

    /// What makes the shadow of an operator, by name or uid, the version in force.
    pub(super) fn promotion(&self, operator: &str) -> Option<ChangeRequest> {
        let shadows = self.lock();
        let (name, at) = shadows.iter().find(|(name, at)| *name == operator || at.version.uid == operator)?;
        Some(ChangeRequest {
            operator: name.clone(),
            kind: Some(at.kind),
            plugin: Some(at.bound.plugin.clone()),
            configuration: Some(at.bound.configuration.clone()),
            trial: None,
            force: Vec::new(),
        })
    }
}

/// A shadow that is ready to begin.
pub struct ReadyShadow {
    pub(super) base: Arc<Prepared>,
    pub(super) operator: String,
    at: At,
    pub(super) offers: Vec<(Place, Offer)>,
}

impl ReadyShadow {
    /// Notes that it begins.
    pub(super) fn begins(&self, shadows: &Shadows) {
        shadows.lock().insert(self.operator.clone(), self.at.clone());
    }

    pub(super) fn report(&self) -> ShadowReport {
        self.at.report(&self.operator)
    }
}

/// Checks a shadow as a change is checked, and makes everything ready for it.
pub(super) fn ready_shadow(shared: &Arc<Shared>, request: ShadowRequest) -> Result<ReadyShadow, ChangeError> {
    let Checked { base, prepared, id, node, to, bound, .. } = check(shared, request.change)?;
    let prepared = Arc::new(prepared);
    let Role::Operator { key, .. } = &node.role else {
        return Err(ChangeError::Sink(node.name.clone()));
    };
    let input = node.input.as_ref().map(|schema| schema.fields()).unwrap_or_default();
    let key: Vec<String> = key.iter().map(|at| input[*at].name.to_string()).collect();
    let comparison = Arc::new(Comparison::default());
    let start = |subtask| ShadowStart {
        open: open(shared, &prepared, &node, subtask),
        comparison: comparison.clone(),
        ports: node.outputs.iter().map(|port| (port.name.clone(), port.schema.clone())).collect(),
        key: key.clone(),
        ignored: request.ignored.clone(),
    };
    let offers =
        (0..node.parallelism).map(|subtask| (place(&node, subtask), Offer::Shadow(Box::new(start(subtask))))).collect();
    Ok(ReadyShadow {
        base,
        operator: node.name.clone(),
        at: At { version: to, bound, kind: id.1, comparison: comparison.clone() },
        offers,
    })
}

/// What ends the shadow of an operator, by name or uid.
pub(super) fn discard(
    shared: &Shared,
    prepared: &Prepared,
    operator: &str,
) -> Result<(String, Vec<(Place, Offer)>), ChangeError> {
    let node = prepared.plan.find(operator);
    let node = node.filter(|node| shared.shadows.has(&node.name));
    let node = node.ok_or_else(|| ChangeError::NoShadow(operator.to_owned()))?;
    let offers = (0..node.parallelism).map(|subtask| (place(&node, subtask), Offer::Discard)).collect();
    Ok((node.name.clone(), offers))
}

fn place(node: &PlanNode, subtask: u32) -> Place {
    Place { uid: node.uid.clone(), edge: None, subtask }
}

/// Opens the operator beside the one in force, with the state it is given.
fn open(shared: &Arc<Shared>, prepared: &Arc<Prepared>, node: &PlanNode, subtask: u32) -> OpenOperator {
    let (shared, prepared, node) = (shared.clone(), prepared.clone(), node.clone());
    Box::new(move |state, start| {
        let backend = shared.backend().ok_or_else(|| bug(&node.name, "the job has ended"))?.beside()?;
        open_with((&shared, &prepared), (&backend, true), (&node, subtask), state, start)
    })
}

/// Opens the operator where the job keeps its state, with the state it is given; of which what it does not declare is left behind.
pub(super) fn open_in_force(
    shared: &Arc<Shared>,
    prepared: &Arc<Prepared>,
    node: &PlanNode,
    subtask: u32,
) -> OpenOperator {
    let (shared, prepared, node) = (shared.clone(), prepared.clone(), node.clone());
    Box::new(move |state, start| {
        let backend = shared.backend().ok_or_else(|| bug(&node.name, "the job has ended"))?;
        open_with((&shared, &prepared), (&backend, false), (&node, subtask), state, start)
    })
}

fn open_with(
    (shared, prepared): (&Shared, &Prepared),
    (backend, is_shadow): (&StateBackend, bool),
    (node, subtask): (&PlanNode, u32),
    state: SubtaskState,
    start: u64,
) -> Result<Box<dyn Operator>, TaskError> {
    let environment: Environment = shared.environment.clone();
    let mut restored = Restored::of(&node.uid, subtask, state);
    restored.start = start;
    // Nobody reports: it is no task.
    let (reports, _) = mpsc::channel(1);
    let mut wiring = Wiring::new((shared, prepared), &environment, backend, true, &mut restored, reports);
    wiring.is_shadow = is_shadow;
    wiring.operator(node, subtask)
}
