//! Rules of a job that come and go while it runs: which there are, what they have counted, and what becomes of the state of those that are gone.
//! Must not know how records reach them.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    Bound, ChangeError, NodeReport, PluginId, Prepared, ReadyChange, RunError,
    change::{of_bound, same_plan, version},
    prepare::try_configuration,
    run::Shared,
    shadow::open_in_force,
};
use crate::{
    dataflow::{NewRule, NodeMetrics, Offer, Place},
    job::{
        JobSpec, OperatorSpec, PlanNode, PluginRef, PluginSpec, RULE_KINDS, RULES_MAX, check_rule, parse_rule_settings,
        rule_name,
    },
    model::{OperatorKind, OperatorVersion, RuleVersion, split_rule},
    plugin::{LoadError, Plugin},
};

/// A rule that is to come or to go.
#[derive(Clone)]
pub struct RuleRequest {
    /// The operator, by name or uid.
    pub operator: String,
    /// The rule's name.
    pub rule: String,
    /// Which of both.
    pub change: RuleChange,
}

/// What is to become of a rule.
#[derive(Clone)]
pub enum RuleChange {
    /// It is added behind the others, and begins without state.
    Add {
        /// As what the plugin is run; may be left out where it can be run as one kind of rule only.
        kind: Option<OperatorKind>,
        /// What it runs.
        plugin: Arc<Plugin>,
        /// A JSON object.
        configuration: String,
        /// `limits`, `capabilities`, `on_failure` and `on_error` as in a job file, a JSON object.
        settings: String,
    },
    /// It is removed, with its state.
    Remove,
}

/// A rule, and what it has done.
#[derive(Clone, Debug)]
pub struct RuleReport {
    /// Its name.
    pub rule: String,
    /// What it runs.
    pub version: OperatorVersion,
    /// The change that added it; 0 if the job file has it.
    pub added: u64,
    /// What it has done since then, all its subtasks together; its name is that in the job.
    pub counts: NodeReport,
}

/// The rules of an operator.
#[derive(Clone, Debug)]
pub struct RulesReport {
    /// The operator's name.
    pub operator: String,
    /// Its uid.
    pub uid: String,
    /// In the order rows go through them.
    pub rules: Vec<RuleReport>,
}

/// What rules count, by uid, for each subtask.
#[derive(Default)]
pub(super) struct RuleCounts(Mutex<BTreeMap<String, Vec<Arc<NodeMetrics>>>>);

impl RuleCounts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<Arc<NodeMetrics>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of one subtask of a rule.
    fn of(&self, rule: &PlanNode, subtask: u32) -> Arc<NodeMetrics> {
        let mut all = self.lock();
        let new = || (0..rule.parallelism).map(|_| Arc::default()).collect();
        all.entry(rule.uid.clone()).or_insert_with(new)[subtask as usize].clone()
    }

    /// Of all subtasks of all rules of an operator.
    pub(super) fn of_all(&self, operator: &str) -> Vec<Arc<NodeMetrics>> {
        let prefix = rule_name(operator, "");
        let all = self.lock();
        all.range(prefix.clone()..)
            .take_while(|(uid, _)| uid.starts_with(&prefix))
            .flat_map(|(_, it)| it)
            .cloned()
            .collect()
    }
}

impl Shared {
    /// What a subtask of an operator or sink, or of a rule, counts. There may be more places where its plugins run than it has subtasks: in
    /// those it reads from. They count with its last.
    pub(super) fn counts_of(&self, node: &PlanNode, subtask: u32) -> Arc<NodeMetrics> {
        let subtask = subtask.min(node.parallelism - 1);
        match split_rule(&node.name) {
            Some(_) => self.rule_counts.of(node, subtask),
            None => self.metrics[node.id.0][subtask as usize].clone(),
        }
    }

    /// What all its subtasks count.
    pub(super) fn all_counts_of(&self, node: &PlanNode) -> Vec<Arc<NodeMetrics>> {
        (0..node.parallelism).map(|subtask| self.counts_of(node, subtask)).collect()
    }

    /// What the subtasks of an operator or sink, or of a rule, count.
    pub(super) fn counts(&self, name: &str) -> Vec<Arc<NodeMetrics>> {
        let prepared = self.in_force.prepared();
        prepared.plan.find(name).map(|node| self.all_counts_of(&node)).unwrap_or_default()
    }

    /// What rules have counted that are gone, their operators have counted.
    pub(super) fn settle_rules(&self) {
        let prepared = self.in_force.prepared();
        self.rule_counts.lock().retain(|uid, gone| {
            let stays = prepared.plan.find(uid).is_some();
            let node = split_rule(uid).and_then(|(operator, _)| prepared.plan.find(operator)).filter(|_| !stays);
            for (operator, rule) in node.iter().flat_map(|node| self.metrics[node.id.0].iter().zip(gone.iter())) {
                let counts: [fn(&NodeMetrics) -> &AtomicU64; 5] = [
                    |it| &it.records_out,
                    |it| &it.rejected,
                    |it| &it.failed,
                    |it| &it.circuits_opened,
                    |it| &it.guests_replaced,
                ];
                for of in counts {
                    of(operator).fetch_add(of(rule).load(Relaxed), Relaxed);
                }
            }
            stays
        });
    }
}

/// The rules of an operator, by name or uid.
pub(super) fn reports(shared: &Shared, operator: &str) -> Result<RulesReport, ChangeError> {
    let (prepared, versions) = (shared.in_force.prepared(), shared.in_force.versions());
    let node = of_rules(&prepared, operator)?;
    let report = |name: &str| {
        let rule = node.rule(name)?;
        let kind = RULE_KINDS.into_iter().find(|kind| rule.role.plugin(*kind).is_some())?;
        let version = version(&prepared, &versions, &rule, &(rule.name.clone(), kind));
        let counts = NodeReport::of(&rule.name, &shared.all_counts_of(&rule), &[]);
        let added = version.rule.as_ref().map_or(0, |rule| rule.added);
        Some(RuleReport { rule: name.to_owned(), version, added, counts })
    };
    let rules = node.rules().filter_map(report).collect();
    Ok(RulesReport { operator: node.name.clone(), uid: node.uid.clone(), rules })
}

/// The operator of this name or uid, which has rules.
fn of_rules<'a>(prepared: &'a Prepared, operator: &str) -> Result<&'a PlanNode, ChangeError> {
    let named = |node: &&PlanNode| node.name == operator || node.uid == operator;
    let node = prepared.plan.nodes.iter().find(named);
    let node = node.ok_or_else(|| ChangeError::NoOperator(operator.to_owned()))?;
    let rules = prepared.spec.operators.get(&node.name).and_then(|spec| spec.rules());
    rules.map(|_| node).ok_or_else(|| ChangeError::NoRules(node.name.clone()))
}

/// Checks that a rule can come or go, and makes everything ready for it.
pub(super) fn ready_rule(shared: &Arc<Shared>, request: RuleRequest) -> Result<ReadyChange, ChangeError> {
    let base = shared.in_force.prepared();
    let node = of_rules(&base, &request.operator)?;
    let there = node.rule(&request.rule);
    let RuleRequest { rule, change, .. } = request;
    let (operator, number) = (node.name.clone(), shared.in_force.next_change());
    let (from, to, added) = match (change, there) {
        (RuleChange::Remove, None) => return Err(ChangeError::NoRule { operator, rule }),
        (RuleChange::Remove, Some(there)) => {
            let kind = RULE_KINDS.into_iter().find(|kind| there.role.plugin(*kind).is_some());
            let id = (there.name.clone(), kind.unwrap_or(OperatorKind::Transform));
            let from = version(&base, &shared.in_force.versions(), &there, &id);
            let in_file = shared.prepared.spec.operator(&there.name).is_some();
            let added = from.rule.as_ref().filter(|_| !in_file).map_or(0, |rule| rule.added);
            let to = OperatorVersion { change: number, ..nothing(&from.uid, from.kind, added) };
            (from, to, None)
        }
        (RuleChange::Add { .. }, Some(_)) => return Err(ChangeError::RuleThere { operator, rule }),
        (RuleChange::Add { kind, plugin, configuration, settings }, None) => {
            check_rule(&rule)?;
            parse_rule_settings(&settings, &base.spec.operators[&operator])?;
            if node.rules().count() >= RULES_MAX {
                return Err(ChangeError::TooManyRules(operator));
            }
            let kind = kind_of(&plugin, kind, &rule_name(&operator, &rule))?;
            let bound = Bound { plugin, configuration, variables: base.spec.variables.clone() };
            let named = OperatorVersion { uid: rule_name(&node.uid, &rule), ..of_bound(&bound, number, node, kind) };
            let to = RuleVersion { added: number, removed: false, settings };
            let to = OperatorVersion { rule: Some(to), ..named };
            (nothing(&to.uid, kind, 0), to, Some(bound))
        }
    };
    let name = rule_name(&operator, &rule);
    let replaced = added.clone().map(|bound| ((name.clone(), to.kind), bound));
    let unplanned = |what: String| {
        let plugin = if to.is_removed() { from.plugin.clone() } else { to.plugin.clone() };
        ChangeError::Plan { operator: name.clone(), plugin, what }
    };
    let prepared = base.with_rules([&to], replaced).map_err(|error| unplanned(error.to_string()))?;
    same_plan(&base.plan, &prepared.plan, node).map_err(unplanned)?;
    if let Some(bound) = &added {
        let failed = |error| ChangeError::Plugin { operator: name.clone(), error };
        try_configuration(&name, to.kind, &prepared.limits(&name), bound).map_err(failed)?;
    }
    let prepared = Arc::new(prepared);
    let offers = offers(shared, &prepared, node, &to);
    let (base, operator) = (base.clone(), name);
    Ok(ReadyChange { base, prepared, operator, trial: None, from, to, offers, rehearsing: None, migrates: false })
}

/// What is in force of a rule that is not there.
pub(super) fn nothing(uid: &str, kind: OperatorKind, added: u64) -> OperatorVersion {
    OperatorVersion {
        change: 0,
        uid: uid.to_owned(),
        kind,
        plugin: String::new(),
        digest: String::new(),
        configuration: "{}".to_owned(),
        canary: None,
        rule: Some(RuleVersion { added, removed: true, settings: String::new() }),
    }
}

/// As which kind of rule a plugin is run.
fn kind_of(plugin: &Plugin, wanted: Option<OperatorKind>, operator: &str) -> Result<OperatorKind, ChangeError> {
    let kinds = RULE_KINDS.into_iter().filter(|kind| wanted.is_none_or(|wanted| wanted == *kind));
    let kinds: Vec<OperatorKind> = kinds.filter(|kind| plugin.description(*kind).is_some()).collect();
    let named = |kinds: &[OperatorKind]| kinds.iter().map(|kind| kind.interface()).collect::<Vec<_>>().join(", ");
    match kinds[..] {
        [kind] => Ok(kind),
        [] => {
            let kinds = wanted.map_or_else(|| named(&RULE_KINDS), |kind| kind.interface().to_owned());
            let what = format!("{} exports none of what it could be run as here: {kinds}", plugin.path().display());
            Err(ChangeError::Plugin { operator: operator.to_owned(), error: LoadError::Contract(what) })
        }
        _ => Err(ChangeError::WhichPlugin { operator: operator.to_owned(), kinds: named(&kinds) }),
    }
}

/// What each subtask of an operator takes for this version of one of its rules.
fn offers(
    shared: &Arc<Shared>,
    prepared: &Arc<Prepared>,
    node: &PlanNode,
    version: &OperatorVersion,
) -> Vec<(Place, Offer)> {
    let rule = prepared.plan.find(&version.uid);
    let offer = |subtask| {
        let offer = match &rule {
            None => Offer::RemoveRule(version.uid.clone()),
            Some(rule) => Offer::AddRule(Box::new(NewRule {
                operator: rule.name.clone(),
                uid: rule.uid.clone(),
                open: open_in_force(shared, prepared, rule, subtask),
                metrics: shared.counts_of(rule, subtask),
            })),
        };
        (Place { uid: node.uid.clone(), edge: None, subtask }, offer)
    };
    (0..node.parallelism).map(offer).collect()
}

/// The operator whose uid this is, among those that have rules.
fn rules_operator<'a>(spec: &'a JobSpec, uid: &str) -> Option<&'a String> {
    let of = |(name, operator): &(&String, &OperatorSpec)| operator.uid.as_ref().unwrap_or(name) == uid;
    spec.operators.iter().find(of).filter(|(_, operator)| operator.rules().is_some()).map(|(name, _)| name)
}

/// Has a job's rules and their plugins be as these versions say, where they say so; plugins of those that are added are still missing.
pub(super) fn apply<'a>(
    changed: impl IntoIterator<Item = &'a OperatorVersion>,
    spec: &mut Arc<JobSpec>,
    plugins: &mut BTreeMap<PluginId, Bound>,
) -> Result<(), RunError> {
    let changed = changed.into_iter().filter_map(|version| Some((version, version.rule.as_ref()?)));
    let mut changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return Ok(());
    }
    // Rows go through them in the order in which they came.
    changed.sort_by_key(|(_, rule)| rule.added);
    let mut new = JobSpec::clone(spec);
    for (version, rule) in changed {
        let Some((operator, name)) = split_rule(&version.uid) else { continue };
        // An operator that is gone has no rules either.
        let Some(operator) = rules_operator(&new, operator).cloned() else { continue };
        for kind in RULE_KINDS {
            plugins.remove(&(rule_name(&operator, name), kind));
        }
        let spec = &new.operators[&operator];
        let added = match rule.removed {
            true => None,
            false => {
                let settings = parse_rule_settings(&rule.settings, spec)?;
                let (plugin, config) = (PluginRef::Digest(version.digest.clone()), BTreeMap::new());
                let plugin = PluginSpec { plugin, place: spec.place, config };
                Some(spec.rule(version.kind, plugin, settings))
            }
        };
        let Some(rules) = new.rules_mut(&operator) else { continue };
        rules.rules.shift_remove(name);
        rules.rules.extend(added.map(|spec| (name.to_owned(), Arc::new(spec))));
    }
    *spec = Arc::new(new);
    Ok(())
}

/// The operator, rule or sink of a job that a version is of, by name; `None` if it is not there, or not any more.
pub(super) fn name_of(job: &Prepared, version: &OperatorVersion) -> Option<String> {
    let Some((operator, rule)) = split_rule(&version.uid) else {
        return job.plan.nodes.iter().find(|node| node.uid == version.uid).map(|node| node.name.clone());
    };
    let name = rule_name(rules_operator(&job.spec, operator)?, rule);
    let is_there = match &version.rule {
        Some(rule) => !rule.removed,
        None => job.spec.operator(&name).is_some(),
    };
    is_there.then_some(name)
}

/// The rules a job starts with, for which a checkpoint may have state.
pub(super) struct RulesOf<'a> {
    /// As the job file has it.
    pub(super) prepared: &'a Prepared,
    /// What has come into force since.
    pub(super) in_force: Vec<OperatorVersion>,
    /// What was in force at the checkpoint, if that is the job's own.
    pub(super) saved: &'a [OperatorVersion],
}

impl RulesOf<'_> {
    /// The node that state of this uid belongs to. `Some(None)` if it is that of a rule that was removed since, be it that there is another of
    /// its name; `None` if nobody knows it.
    pub(super) fn home(&self, uid: &str) -> Option<Option<&PlanNode>> {
        let node = |uid: &str| self.prepared.plan.nodes.iter().find(|node| node.uid == uid);
        let Some((operator, rule)) = split_rule(uid) else { return node(uid).map(Some) };
        let name = rules_operator(&self.prepared.spec, operator)?;
        let of = |versions: &[OperatorVersion]| versions.iter().find(|it| it.uid == uid).and_then(|it| it.rule.clone());
        let saved = of(self.saved).map_or(0, |rule| rule.added);
        match of(&self.in_force) {
            Some(rule) if rule.removed || rule.added != saved => Some(None),
            Some(_) => node(operator).map(Some),
            None => self.prepared.spec.operator(&rule_name(name, rule)).and_then(|_| node(operator)).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::{self, plan};

    /// A job with rules of which the file has none.
    fn prepared() -> Prepared {
        let text = "
name: j
sources: { in: { stdin: {}, format: json, schema: { user: i64 } } }
operators: { x: { input: in, uid: u, rules: {}, output: { user: i64 }, limits: { memory: 2MiB } } }
sinks: { out: { input: x, print: {} } }
";
        let spec = job::parse(text, "job", &|_| None, Path::new("")).unwrap();
        let plan = plan(&spec, &BTreeMap::new()).unwrap();
        Prepared { spec: Arc::new(spec), plugins: BTreeMap::new(), plan, canaries: BTreeMap::new() }
    }

    fn version(uid: &str, change: u64, added: u64, removed: bool) -> OperatorVersion {
        let rule = Some(RuleVersion { added, removed, settings: r#"{"on_error": "skip"}"#.into() });
        OperatorVersion { change, rule, ..nothing(uid, OperatorKind::Transform, added) }
    }

    #[test]
    fn state_goes_to_the_rule_that_left_it_and_to_no_other_of_its_name() {
        let prepared = prepared();
        let home = |in_force: &[OperatorVersion], saved: &[OperatorVersion], uid: &str| {
            let rules = RulesOf { prepared: &prepared, in_force: in_force.to_vec(), saved };
            rules.home(uid).map(|node| node.map(|node| node.uid.clone()))
        };
        let (first, again) = ([version("u:a", 2, 2, false)], [version("u:a", 9, 7, false)]);
        let (here, gone) = (Some(Some("u".to_owned())), Some(None));
        assert_eq!(home(&first, &first, "u:a"), here);
        // It was swapped since.
        assert_eq!(home(&again, &[version("u:a", 7, 7, false)], "u:a"), here);
        assert_eq!(home(&again, &first, "u:a"), gone);
        assert_eq!(home(&[version("u:a", 4, 2, true)], &first, "u:a"), gone);
        // One of which nobody knows what became of it.
        assert_eq!(home(&[], &[], "u:a"), None);
        assert_eq!(home(&first, &[], "other:a"), None);
        assert_eq!(home(&[], &[], "u"), here);
    }

    #[test]
    fn rules_are_there_in_the_order_in_which_they_came() {
        let prepared = prepared();
        let changed = [
            version("u:a", 9, 2, false),
            version("u:b", 3, 3, false),
            version("u:c", 4, 1, true),
            version("v:d", 5, 5, false),
        ];
        let (mut spec, mut plugins) = (prepared.spec.clone(), BTreeMap::new());
        apply(&changed, &mut spec, &mut plugins).unwrap();
        let names: Vec<_> = spec.operators_and_rules().map(|(name, _)| name).collect();
        assert_eq!(names, ["x", "x:a", "x:b"]);
        let rule = spec.operator("x:b").unwrap();
        assert_eq!((rule.limits.memory, rule.on_error), (2 << 20, job::OnError::Skip));
        let named = |version| name_of(&prepared, version);
        assert_eq!(changed.each_ref().map(named), [Some("x:a".to_owned()), Some("x:b".to_owned()), None, None]);
        apply(&[version("u:a", 10, 2, true)], &mut spec, &mut plugins).unwrap();
        assert!(spec.operator("x:a").is_none() && prepared.spec.operator("x:b").is_none());
    }
}
