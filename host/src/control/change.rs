//! Changing the plugin of an operator, or its configuration, while the job runs: what is checked and made ready before, so that the change
//! itself is a matter of passing a barrier. Nothing here touches the data path.
use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{
    Bound, ChangeError, PluginId, Prepared,
    migration::{Fit, Rehearsing, fit},
    prepare::{limits, try_configuration},
    run::Shared,
    shadow::open_in_force,
    trials::can_last,
};
use crate::{
    dataflow::{Offer, Place, Reopening, Replacement},
    job::{Plan, PlanNode, PluginColumns, Role},
    model::{Description, OperatorKind, OperatorVersion},
    plugin::{LoadError, Plugin},
};

/// What is asked for.
#[derive(Clone)]
pub struct ChangeRequest {
    /// The operator or sink, by name or uid.
    pub operator: String,
    /// As what the plugin is run; may be left out where the operator has one plugin only.
    pub kind: Option<OperatorKind>,
    /// The new plugin; the one there is if absent.
    pub plugin: Option<Arc<Plugin>>,
    /// The new configuration, a JSON object; the one there is if absent.
    pub configuration: Option<String>,
    /// How it is tried, if it is.
    pub trial: Option<TrialSpec>,
    /// States of the version in force that are discarded: those the new one does not declare.
    pub force: Vec<String>,
}

/// A version on trial: if its operator fails the job in that time, the version before is put back, and the job starts again at once from
/// its latest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialSpec {
    /// For how long, from when it is in force.
    pub time: Duration,
    /// A checkpoint is taken just before the change, and none while it is on trial: going back then undoes all that the new version has done
    /// to state, and what it has written to exactly-once sinks was never seen. Without, going back is to the old code with the latest
    /// state.
    pub with_state: bool,
    /// More rows rejected than this, by all subtasks, are a failure; any number is fine if absent.
    pub rejected_max: Option<u64>,
    /// More rows, timers and windows that calls have failed on and that were passed over than this, by all subtasks, are a failure; any number is fine
    /// if absent.
    pub failed_max: Option<u64>,
    /// More time than this for a row, timer or window, in the mean of all calls of any second, is a failure; any is fine if absent.
    pub record_time_max: Option<Duration>,
}

/// A change that is ready to be made.
pub struct ReadyChange {
    pub(super) base: Arc<Prepared>,
    pub(super) prepared: Arc<Prepared>,
    /// The operator or sink, by name.
    pub(super) operator: String,
    pub(super) trial: Option<TrialSpec>,
    /// What is in force until then, with the number of its change, 0 if it is that of the job file.
    pub(super) from: OperatorVersion,
    /// What will be in force.
    pub(super) to: OperatorVersion,
    pub(super) offers: Vec<(Place, Offer)>,
    /// What is needed to find out what taking over the state would come to, where states differ.
    pub(super) rehearsing: Option<Rehearsing>,
    /// Whether values of an earlier schema version have to be migrated.
    pub(super) migrates: bool,
}

impl ReadyChange {
    /// Of a canary, which needs no other state.
    pub(super) fn of_canary(
        (base, prepared): (Arc<Prepared>, Prepared),
        operator: String,
        (from, to): (OperatorVersion, OperatorVersion),
        trial: Option<TrialSpec>,
        offers: Vec<(Place, Offer)>,
    ) -> ReadyChange {
        let prepared = Arc::new(prepared);
        ReadyChange { base, prepared, operator, trial, from, to, offers, rehearsing: None, migrates: false }
    }

    /// What is in force until it is made.
    pub fn from(&self) -> &OperatorVersion {
        &self.from
    }

    /// What will be in force.
    pub fn to(&self) -> &OperatorVersion {
        &self.to
    }
}

/// A change that can be made.
pub(super) struct Checked {
    pub(super) base: Arc<Prepared>,
    pub(super) prepared: Prepared,
    pub(super) id: PluginId,
    /// Where it is made, in the job with it.
    pub(super) node: PlanNode,
    pub(super) from: OperatorVersion,
    pub(super) to: OperatorVersion,
    pub(super) bound: Bound,
    pub(super) fit: Fit,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What was in force; its change is 0 if it is what the job file says.
    pub from: OperatorVersion,
    /// What is in force.
    pub to: OperatorVersion,
}

/// What runs in an operator's or sink's place of this kind.
pub(super) fn version(
    prepared: &Prepared,
    versions: &[OperatorVersion],
    node: &PlanNode,
    id: &PluginId,
) -> OperatorVersion {
    let known = versions.iter().find(|version| version.uid == node.uid && version.kind == id.1);
    known.cloned().unwrap_or_else(|| of_bound(&prepared.plugins[id], 0, node, id.1))
}

pub(super) fn of_bound(bound: &Bound, change: u64, node: &PlanNode, kind: OperatorKind) -> OperatorVersion {
    OperatorVersion {
        change,
        uid: node.uid.clone(),
        kind,
        plugin: name_of(bound.plugin.description(kind)),
        digest: bound.plugin.digest().to_owned(),
        configuration: bound.configuration.clone(),
        canary: None,
        rule: None,
    }
}

fn name_of(description: Option<&Description>) -> String {
    description.map_or_else(|| "?".to_owned(), |it| format!("{}@{}", it.name, it.version))
}

/// What every operator and sink with plugins runs now.
pub(super) fn all_versions(shared: &Shared) -> Vec<(String, OperatorVersion)> {
    let (prepared, versions) = (shared.in_force.prepared(), shared.in_force.versions());
    let ids = prepared.plugins.keys();
    let of = ids.filter_map(|id| {
        let node = prepared.plan.find(&id.0)?;
        Some((id.0.clone(), version(&prepared, &versions, &node, id)))
    });
    of.collect()
}

/// Checks a change and makes everything ready for it. May take as long as the plugin takes to be configured.
pub(super) fn ready(shared: &Arc<Shared>, request: ChangeRequest) -> Result<ReadyChange, ChangeError> {
    let trial = request.trial;
    let Checked { base, prepared, id, node, from, to, bound, fit } = check(shared, request)?;
    let held = shared.in_force.trials().held_for(shared.environment.clock.monotonic());
    can_last(&prepared.spec, &node.name, trial, held)?;
    let prepared = Arc::new(prepared);
    let node = &node;
    let failed = |error| ChangeError::Plugin { operator: node.name.clone(), error };
    let mut offers = replacements((shared, &prepared), node, id.1, &bound).map_err(failed)?;
    let (mut rehearsing, mut migrates) = (None, false);
    if let Fit::Other { migrates: older } = fit {
        rehearsing = Some(Rehearsing::new((shared, &prepared), node, id.1, &bound).map_err(failed)?);
        migrates = older;
        // Sinks keep what they have prepared, and open the lists of their plugins anew by themselves.
        if let Role::Operator { .. } = node.role {
            for (place, offer) in offers.iter_mut().filter(|(place, _)| place.edge.is_none()) {
                let open = open_in_force(shared, &prepared, node, place.subtask);
                *offer = Offer::Reopen(Box::new(Reopening { operator: node.name.clone(), open }));
            }
        }
    }
    let operator = node.name.clone();
    let prepared = prepared.clone();
    Ok(ReadyChange { base, prepared, operator, trial, from, to, offers, rehearsing, migrates })
}

/// Checks a change.
pub(super) fn check(shared: &Shared, request: ChangeRequest) -> Result<Checked, ChangeError> {
    let base = shared.in_force.prepared();
    let (node, id) = find(&base, &request.operator, request.kind)?;
    let node = &*node;
    if base.canary(&node.name).is_some() {
        return Err(ChangeError::HasCanary(node.name.clone()));
    }
    let bound = &base.plugins[&id];
    let new = Bound {
        plugin: request.plugin.unwrap_or_else(|| bound.plugin.clone()),
        configuration: request.configuration.unwrap_or_else(|| bound.configuration.clone()),
        variables: bound.variables.clone(),
    };
    let failed = |error| ChangeError::Plugin { operator: node.name.clone(), error };
    let kind = id.1;
    let Some(described) = new.plugin.description(kind) else {
        let what = format!("{} exports no {}", new.plugin.path().display(), kind.interface());
        return Err(failed(LoadError::Contract(what)));
    };
    let plugin = name_of(Some(described));
    let unplanned = |what| ChangeError::Plan { operator: node.name.clone(), plugin: plugin.clone(), what };
    let unreadable = |what| ChangeError::State { operator: node.name.clone(), plugin: plugin.clone(), what };
    let prepared = base.with([(id.clone(), new.clone())]).map_err(|error| unplanned(error.to_string()))?;
    let mut fits = Fit::Same;
    if let Some(old) = bound.plugin.description(kind) {
        same_outputs(old, described).map_err(unplanned)?;
        let migrates = new.plugin.migrates();
        fits = fit((old, described), migrates, &request.force, request.trial).map_err(unreadable)?;
    }
    same_plan(&base.plan, &prepared.plan, node).map_err(unplanned)?;
    try_configuration(&node.name, kind, &prepared.limits(&node.name), &new).map_err(failed)?;
    let from = version(&base, &shared.in_force.versions(), node, &id);
    let to = of_bound(&new, shared.in_force.next_change(), node, kind);
    Ok(Checked {
        to: OperatorVersion { rule: from.rule.clone(), ..to },
        from,
        node: find(&prepared, &node.name, Some(kind))?.0.into_owned(),
        bound: new,
        fit: fits,
        prepared,
        id,
        base,
    })
}

/// Who is meant, by name or uid, and which plugin.
pub(super) fn find<'a>(
    prepared: &'a Prepared,
    operator: &str,
    kind: Option<OperatorKind>,
) -> Result<(Cow<'a, PlanNode>, PluginId), ChangeError> {
    let node = prepared.plan.find(operator).ok_or_else(|| ChangeError::NoOperator(operator.to_owned()))?;
    let id = which(prepared, &node, kind)?;
    Ok((node, id))
}

/// Which of an operator's plugins is meant.
fn which(prepared: &Prepared, node: &PlanNode, kind: Option<OperatorKind>) -> Result<PluginId, ChangeError> {
    let ids: Vec<&PluginId> =
        prepared.plugins.keys().filter(|id| id.0 == node.name && kind.is_none_or(|kind| kind == id.1)).collect();
    match ids[..] {
        [] => Err(ChangeError::NoOperator(node.name.clone())),
        [id] => Ok(id.clone()),
        _ => {
            let kinds: Vec<_> = ids.iter().map(|id| id.1.interface()).collect();
            Err(ChangeError::WhichPlugin { operator: node.name.clone(), kinds: kinds.join(", ") })
        }
    }
}

/// What others read of an operator must stay as it is.
fn same_outputs(old: &Description, new: &Description) -> Result<(), String> {
    if old.output != new.output {
        return Err("it writes other columns".to_owned());
    }
    if old.side_outputs != new.side_outputs {
        return Err("it has other side outputs".to_owned());
    }
    // Rows of a window are kept as the columns a process reads.
    if new.kind == OperatorKind::ProcessWindow && old.inputs != new.inputs {
        return Err("it reads other columns, and open windows keep those it read so far".to_owned());
    }
    Ok(())
}

/// Everything but the columns that the plugins of one node read must be as it was.
pub(super) fn same_plan(old: &Plan, new: &Plan, node: &PlanNode) -> Result<(), String> {
    let blank = |role: &Role| match role.clone() {
        Role::Operator { step, key, second_key, .. } => Role::Operator { step, plugins: Vec::new(), key, second_key },
        Role::Sink { connector, writes, shaped, written, .. } => {
            Role::Sink { connector, plugin: None, writes, shaped, written }
        }
        role @ Role::Source { .. } => role,
    };
    for (before, after) in old.nodes.iter().zip(&new.nodes) {
        let same_role = match before.id == node.id {
            true => blank(&before.role) == blank(&after.role),
            false => before.role == after.role,
        };
        let others = before.input == after.input && before.second == after.second && before.outputs == after.outputs;
        if !same_role || !others || before.parallelism != after.parallelism {
            return Err(format!(
                "`{}` would have other columns, since they follow from what its readers ask for",
                before.name
            ));
        }
    }
    match old.edges == new.edges && old.tasks == new.tasks {
        true => Ok(()),
        false => Err("rows would go other ways".to_owned()),
    }
}

/// What the plugin of a kind reads of a node.
pub(super) fn columns(node: &PlanNode, kind: OperatorKind) -> Result<&PluginColumns, LoadError> {
    node.role.plugin(kind).ok_or_else(|| LoadError::Contract("the plan has no such plugin".to_owned()))
}

/// A guest for a place where the plugin runs, and what it reads.
pub(super) fn replacement(
    (shared, prepared): (&Shared, &Prepared),
    node: &PlanNode,
    (kind, columns): (OperatorKind, &PluginColumns),
    bound: &Bound,
    subtask: u32,
) -> Result<Replacement, LoadError> {
    let placement = prepared.placement(node, subtask, &shared.environment.clock);
    let spec = prepared.limits(&node.name);
    let mut instance = bound.instantiate(kind, placement, limits(&spec))?;
    instance.count_in(&shared.counts_of(node, subtask).measures);
    let PluginColumns { reads, second_reads, keys, .. } = columns.clone();
    Ok(Replacement { kind, instance, reads, second_reads, keys })
}

/// A guest for every place where the plugin runs.
fn replacements(
    (shared, prepared): (&Shared, &Prepared),
    node: &PlanNode,
    kind: OperatorKind,
    bound: &Bound,
) -> Result<Vec<(Place, Offer)>, LoadError> {
    let plan = &prepared.plan;
    let columns = columns(node, kind)?;
    let offer = |subtask| -> Result<Offer, LoadError> {
        Ok(Offer::Replace(Box::new(replacement((shared, prepared), node, (kind, columns), bound, subtask)?)))
    };
    let place = |edge, subtask| Place { uid: node.uid.clone(), edge, subtask };
    let mut all = Vec::new();
    for subtask in 0..node.parallelism {
        all.push((place(None, subtask), offer(subtask)?));
    }
    for edge in plan.edges.iter().filter(|edge| edge.to == node.id && edge.combined && kind == OperatorKind::Aggregate)
    {
        for subtask in 0..plan.node(edge.from).parallelism {
            all.push((place(Some(edge.id.0), subtask), offer(subtask)?));
        }
    }
    Ok(all)
}
