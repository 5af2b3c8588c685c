//! Versions for a share of an operator's keys: what is checked and made ready before one begins, gets another share, takes the place of the
//! version in force or ends, each of which is a change like any other. Must not know how a stage divides its rows.
use std::sync::Arc;

use super::{
    Bound, ChangeError, ChangeRequest, PluginId, Prepared, ReadyChange, RunError, TrialSpec,
    change::{Checked, check, find, replacement, version},
    migration::Fit,
    run::Shared,
    trials::can_last,
    wiring::Wiring,
};
use crate::{
    dataflow::{CallCounts, CanaryChange, CanaryCounts, CanaryStart, Offer, Place, TaskError},
    job::{PlanNode, PluginColumns, Role},
    model::{CanaryVersion, OperatorKind, OperatorVersion, Share},
    plugin::LoadError,
};

/// What is to have a share of the keys.
#[derive(Clone)]
pub struct CanaryRequest {
    /// Which plugin, of what. On trial it is not: it ends by itself if it fails the job.
    pub change: ChangeRequest,
    /// Of the keys.
    pub share: Share,
    /// Columns of the input by which rows are divided that have no key, by name; if empty, those that the version in force reads.
    pub by: Vec<String>,
}

/// What becomes of a canary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CanaryStep {
    /// It has another share of the keys: all it had and more, or some of those.
    Share(Share),
    /// It has all keys: it is the version in force, maybe on trial.
    Promote(Option<TrialSpec>),
    /// It has none any more.
    Discard,
}

/// A canary, and what it and the version in force have done since it began or the job was last started by its server.
#[derive(Clone, Debug)]
pub struct CanaryReport {
    /// The operator, by name.
    pub operator: String,
    /// What is in force, with its canary.
    pub version: OperatorVersion,
    /// What the version in force has done.
    pub in_force: CallCounts,
    /// What the canary has done.
    pub canary: CallCounts,
}

/// A canary of a job that can be started.
#[derive(Clone)]
pub struct BoundCanary {
    pub(super) bound: Bound,
    pub(super) share: Share,
    columns: PluginColumns,
    by: Vec<usize>,
    pub(super) counts: Arc<CanaryCounts>,
}

impl Prepared {
    /// The same job with a canary, whose plugin is `bound`. Fails if it cannot be planned with that.
    pub(super) fn with_canary(
        &self,
        id: PluginId,
        bound: Bound,
        canary: &CanaryVersion,
        counts: Arc<CanaryCounts>,
    ) -> Result<Prepared, RunError> {
        let planned = self.with([(id.clone(), bound.clone())])?.plan;
        let unusable = |what: &str| RunError::Plugin {
            place: self.spec.file.to_string(),
            operator: id.0.clone(),
            plugin: canary.plugin.clone(),
            error: LoadError::Contract(what.to_owned()),
        };
        let node = planned.find(&id.0);
        let columns = node.as_ref().and_then(|node| node.role.plugin(id.1));
        let columns = columns.ok_or_else(|| unusable("the plan has no such plugin"))?.clone();
        let by = node.as_ref().and_then(|node| columns_of(node, &canary.by).ok());
        let by = by.ok_or_else(|| unusable("the columns are gone by which its rows are told from others"))?;
        let mut prepared = self.clone();
        prepared.canaries.insert(id, BoundCanary { bound, share: canary.share, columns, by, counts });
        Ok(prepared)
    }

    /// The canary of an operator, by name.
    pub(super) fn canary(&self, operator: &str) -> Option<(OperatorKind, &BoundCanary)> {
        self.canaries.iter().find(|((name, _), _)| name == operator).map(|((_, kind), canary)| (*kind, canary))
    }
}

impl BoundCanary {
    fn start(
        &self,
        of: (&Shared, &Prepared),
        node: &PlanNode,
        kind: OperatorKind,
        subtask: u32,
    ) -> Result<CanaryStart, LoadError> {
        let guest = replacement(of, node, (kind, &self.columns), &self.bound, subtask)?;
        Ok(CanaryStart { guest, share: self.share, by: self.by.clone(), counts: self.counts.clone() })
    }
}

impl Wiring<'_> {
    /// What the stage of an operator begins with if it has a canary.
    pub(super) fn canary(&self, node: &PlanNode, subtask: u32) -> Result<Option<CanaryChange>, TaskError> {
        let Some((kind, canary)) = self.prepared().canary(&node.name) else { return Ok(None) };
        let failed = |error| {
            let operator = node.name.clone();
            TaskError::Canary { operator: operator.clone(), error: Box::new(TaskError::Load { operator, error }) }
        };
        let start = canary.start((self.shared, self.prepared()), node, kind, subtask).map_err(failed)?;
        Ok(Some(CanaryChange::Begin(Box::new(start))))
    }
}

/// Places of columns of a node's input; the name of one that it does not have otherwise.
fn columns_of(node: &PlanNode, names: &[String]) -> Result<Vec<usize>, String> {
    let fields = node.input.as_ref().map(|schema| schema.fields()).unwrap_or_default();
    let place = |name: &String| fields.iter().position(|field| *field.name == **name).ok_or_else(|| name.clone());
    names.iter().map(place).collect()
}

/// By which columns a canary's rows are told from others: none where state is kept by key, which they are divided by then.
fn divided_by(node: &PlanNode, kind: OperatorKind, asked: Vec<String>) -> Result<Vec<String>, ChangeError> {
    let refused = |what: String| ChangeError::CanaryBy { operator: node.name.clone(), what };
    if kind != OperatorKind::Transform {
        return match asked.is_empty() {
            true => Ok(asked),
            false => Err(refused(
                "rows of an operator with state by key are divided by that, `by` is for `transform`".to_owned(),
            )),
        };
    }
    let fields = node.input.as_ref().map(|schema| schema.fields()).unwrap_or_default();
    let read = node.role.plugin(kind).map(|columns| &columns.reads[..]).unwrap_or_default();
    let key = match &node.role {
        Role::Operator { key, .. } => &key[..],
        _ => &[],
    };
    let by = match asked.is_empty() {
        true => if key.is_empty() { read } else { key }.iter().map(|column| fields[*column].name.to_string()).collect(),
        false => asked,
    };
    match columns_of(node, &by) {
        Ok(columns) if columns.is_empty() => Err(refused("it reads no columns: name some in `by`".to_owned())),
        Ok(_) => Ok(by),
        Err(name) => Err(refused(format!("it has no column `{name}` in its input"))),
    }
}

/// Checks a canary as a change is checked, and makes everything ready for it.
pub(super) fn ready_canary(shared: &Arc<Shared>, request: CanaryRequest) -> Result<ReadyChange, ChangeError> {
    let CanaryRequest { change, share, by } = request;
    let now = shared.in_force.prepared();
    let (node, id) = find(&now, &change.operator, change.kind)?;
    let allowed = [OperatorKind::Transform, OperatorKind::KeyedProcess, OperatorKind::ConnectedProcess];
    if !allowed.contains(&id.1) {
        return Err(ChangeError::NoCanaryOf { operator: node.name.clone(), kind: id.1.interface() });
    }
    if shared.shadows.has(&node.name) {
        return Err(ChangeError::HasShadow(node.name.clone()));
    }
    let by = divided_by(&node, id.1, by)?;
    let checked = check(shared, change).map_err(|error| match error {
        ChangeError::State { operator, plugin, what } => ChangeError::CanaryState { operator, plugin, what },
        error => error,
    })?;
    let Checked { base, id, node, from, mut to, bound, fit, .. } = checked;
    if fit != Fit::Same {
        let what = "it has states more, others, or of later schema versions".to_owned();
        return Err(ChangeError::CanaryState { operator: node.name.clone(), plugin: to.plugin, what });
    }
    let canary = CanaryVersion { plugin: to.plugin, digest: to.digest, configuration: to.configuration, share, by };
    let failed = |error| ChangeError::Plugin { operator: node.name.clone(), error };
    let unplanned = |error: RunError| ChangeError::Plan {
        operator: node.name.clone(),
        plugin: canary.plugin.clone(),
        what: error.to_string(),
    };
    let with = base.with_canary(id.clone(), bound, &canary, Arc::default()).map_err(unplanned)?;
    let bound = &with.canaries[&id];
    let begin = |subtask| Ok(CanaryChange::Begin(Box::new(bound.start((shared, &with), &node, id.1, subtask)?)));
    let offers = offers(&node, begin).map_err(failed)?;
    to = OperatorVersion { change: to.change, canary: Some(canary), ..from.clone() };
    let operator = node.name.clone();
    Ok(ReadyChange::of_canary((base, with), operator, (from, to), None, offers))
}

/// Makes ready what is to become of a canary of an operator, by name or uid.
pub(super) fn ready_step(shared: &Shared, operator: &str, step: CanaryStep) -> Result<ReadyChange, ChangeError> {
    let base = shared.in_force.prepared();
    let none = || ChangeError::NoCanary(operator.to_owned());
    let node = &*base.plan.find(operator).ok_or_else(none)?;
    let (kind, bound) = base.canary(&node.name).ok_or_else(none)?;
    let id = (node.name.clone(), kind);
    let from = version(&base, &shared.in_force.versions(), node, &id);
    let canary = from.canary.clone().ok_or_else(none)?;
    let mut to = OperatorVersion { change: shared.in_force.next_change(), canary: None, ..from.clone() };
    let (mut prepared, mut trial) = ((*base).clone(), None);
    prepared.canaries.remove(&id);
    let change: fn(Share) -> CanaryChange = match step {
        CanaryStep::Share(share) => {
            prepared.canaries.insert(id, BoundCanary { share, ..bound.clone() });
            to.canary = Some(CanaryVersion { share, ..canary.clone() });
            CanaryChange::Share
        }
        CanaryStep::Promote(spec) => {
            let unplanned = |error: RunError| ChangeError::Plan {
                operator: node.name.clone(),
                plugin: canary.plugin.clone(),
                what: error.to_string(),
            };
            let held = shared.in_force.trials().held_for(shared.environment.clock.monotonic());
            can_last(&prepared.spec, &node.name, spec, held)?;
            prepared = prepared.with([(id, bound.bound.clone())]).map_err(unplanned)?;
            let CanaryVersion { plugin, digest, configuration, .. } = canary;
            (to, trial) = (OperatorVersion { plugin, digest, configuration, ..to }, spec);
            |_| CanaryChange::Promote
        }
        CanaryStep::Discard => |_| CanaryChange::Discard,
    };
    let share = to.canary.as_ref().map_or(bound.share, |canary| canary.share);
    let offers = offers(node, |_| Ok::<_, ChangeError>(change(share)))?;
    let operator = node.name.clone();
    Ok(ReadyChange::of_canary((base.clone(), prepared), operator, (from, to), trial, offers))
}

fn offers<E>(node: &PlanNode, change: impl Fn(u32) -> Result<CanaryChange, E>) -> Result<Vec<(Place, Offer)>, E> {
    let place = |subtask| Place { uid: node.uid.clone(), edge: None, subtask };
    (0..node.parallelism).map(|subtask| Ok((place(subtask), Offer::Canary(change(subtask)?)))).collect()
}

/// All canaries, and what has come of them so far.
pub(super) fn reports(shared: &Shared) -> Vec<CanaryReport> {
    let (prepared, versions) = (shared.in_force.prepared(), shared.in_force.versions());
    let report = |(id, canary): (&PluginId, &BoundCanary)| {
        let node = prepared.plan.find(&id.0)?;
        let counts = &canary.counts;
        Some(CanaryReport {
            operator: id.0.clone(),
            version: version(&prepared, &versions, &node, id),
            in_force: counts.in_force(),
            canary: counts.canary(),
        })
    };
    prepared.canaries.iter().filter_map(report).collect()
}
