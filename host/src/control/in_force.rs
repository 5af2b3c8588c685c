//! Which plugins a job runs now: those of its job file, and what was put in their place since. Must not know how that comes about.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Bound, Changed, PluginSource, Prepared, RolledBack, RunError, SourceError,
    change::of_bound,
    rules::{name_of, nothing},
    trials::{TrialLeft, Trials},
};
use crate::{
    dataflow::TaskError,
    job::PluginRef,
    model::{CanaryVersion, OperatorVersion, latest_versions},
    plugin::{LoadError, Plugin},
};

/// The plugins a job runs.
pub(super) struct InForce {
    /// As the job file has it.
    base: Arc<Prepared>,
    now: Mutex<Now>,
    /// Never asked for while `now` is.
    trials: Mutex<Trials>,
}

struct Now {
    prepared: Arc<Prepared>,
    /// All changes there have been since the job was first started, as far as they are known, the last of each plugin.
    accepted: Vec<OperatorVersion>,
    /// Plugins by digest, so that going back finds them.
    known: HashMap<String, Arc<Plugin>>,
    /// What runs a version whose change is not in force yet, or rows that it is given again, and what is in force there.
    changing: Option<(String, OperatorVersion)>,
}

impl InForce {
    /// Of a job with these changes since its file was written, of which some are on trial at this time.
    pub(super) fn new(
        base: Arc<Prepared>,
        accepted: Vec<OperatorVersion>,
        (trials, at): (&[TrialLeft], Duration),
    ) -> InForce {
        let known = base.plugins.values().map(|bound| (bound.plugin.digest().to_owned(), bound.plugin.clone()));
        let now = Now { prepared: base.clone(), accepted, known: known.collect(), changing: None };
        let trial = |left: &TrialLeft| Some(left.clone().go_on(name_of(&base, &left.back)?, at));
        let trials = Mutex::new(trials.iter().filter_map(trial).collect());
        InForce { base, now: Mutex::new(now), trials }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The versions on trial.
    pub(super) fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job as it runs now.
    pub(super) fn prepared(&self) -> Arc<Prepared> {
        self.now().prepared.clone()
    }

    /// What is in force in place of what the job file says.
    pub(super) fn versions(&self) -> Vec<OperatorVersion> {
        self.now().accepted.clone()
    }

    /// The number of the next change.
    pub(super) fn next_change(&self) -> u64 {
        self.now().accepted.iter().map(|version| version.change).max().unwrap_or(0) + 1
    }

    /// The barrier of a change is out: some subtasks of this operator or sink run another version than this one, or rows that they are given
    /// again.
    pub(super) fn changing(&self, operator: &str, from: &OperatorVersion) {
        self.now().changing = Some((operator.to_owned(), from.clone()));
    }

    /// That barrier has passed all of them.
    pub(super) fn changed(&self) {
        self.now().changing = None;
    }

    /// A change is in force; `prepared` is the job with it.
    pub(super) fn accept(&self, version: OperatorVersion, prepared: Arc<Prepared>) {
        let mut now = self.now();
        let canaries = prepared.canaries.values().map(|canary| &canary.bound);
        for bound in prepared.plugins.values().chain(canaries) {
            now.known.entry(bound.plugin.digest().to_owned()).or_insert_with(|| bound.plugin.clone());
        }
        now.accepted = latest_versions(now.accepted.iter().chain([&version]));
        now.prepared = prepared;
    }

    /// If this failure is that of what a barrier that is out has brought: the version in force, with which the next start begins.
    pub(super) fn give_up(&self, error: &RunError) -> Option<OperatorVersion> {
        let (operator, from) = self.now().changing.take()?;
        (error.operator() == Some(&operator)).then_some(from)
    }

    /// If this failure is that of a canary: from the next start on, what it was beside has all keys.
    fn drop_canary(&self, error: &RunError) -> Option<RolledBack> {
        let RunError::Task(TaskError::Canary { operator, .. }) = error else { return None };
        let change = self.next_change();
        let mut now = self.now();
        let uid = now.prepared.plan.find(operator)?.uid.clone();
        let its = |version: &&OperatorVersion| version.uid == uid && version.canary.is_some();
        let from = now.accepted.iter().find(its)?.clone();
        let to = OperatorVersion { change, canary: None, ..from.clone() };
        now.accepted = latest_versions(now.accepted.iter().chain([&to]));
        Some(RolledBack { operator: operator.clone(), from, to, of_canary: true })
    }

    /// If this failure at this time is that of a canary, or of a version on trial: the version before it is in force from the next start on.
    pub(super) fn roll_back(&self, error: &RunError, at: Duration) -> Option<RolledBack> {
        if let Some(dropped) = self.drop_canary(error) {
            return Some(dropped);
        }
        let trial = self.trials().failed(error.operator()?, at)?;
        let to = OperatorVersion { change: self.next_change(), ..trial.back };
        let mut now = self.now();
        // It is there, since it was accepted with its trial.
        let from = now.accepted.iter().find(|version| version.uid == to.uid && version.kind == to.kind)?.clone();
        now.accepted = latest_versions(now.accepted.iter().chain([&to]));
        Some(RolledBack { operator: trial.operator, from, to, of_canary: false })
    }

    /// The job as it is to start: as a checkpoint has it, and with changes that came after. Those are put in force at once, for they were
    /// promised. It is another than that before, so that what was made ready for that is not taken for what fits this.
    pub(super) fn start(
        &self,
        restored: &[OperatorVersion],
        source: Option<&dyn PluginSource>,
    ) -> Result<Arc<Prepared>, RunError> {
        let versions = latest_versions(self.versions().iter().chain(restored));
        self.trials().restored(restored);
        let replaced = versions
            .iter()
            .filter_map(|version| {
                // An operator or rule that is gone has no plugin either.
                let name = name_of(&self.base, version)?;
                let OperatorVersion { uid, plugin, digest, configuration, .. } = version;
                let bound = self.bound(uid, (plugin, digest, configuration), source);
                Some(bound.map(|bound| ((name, version.kind), bound)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut prepared = Arc::new(match versions.is_empty() {
            true => Prepared::clone(&self.base),
            false => self.base.with_rules(&versions, replaced)?,
        });
        for version in &versions {
            let Some(name) = name_of(&self.base, version) else { continue };
            let Some(canary) = &version.canary else { continue };
            let CanaryVersion { plugin, digest, configuration, .. } = canary;
            let bound = self.bound(&version.uid, (plugin, digest, configuration), source)?;
            let counts = self.now().prepared.canary(&name).map(|(_, canary)| canary.counts.clone());
            let id = (name, version.kind);
            prepared = Arc::new(prepared.with_canary(id, bound, canary, counts.unwrap_or_default())?);
        }
        let mut now = self.now();
        (now.prepared, now.accepted) = (prepared.clone(), versions);
        Ok(prepared)
    }

    /// What is in force by what is restored, which has `restored` in force, and nobody had told of: by operator, rule or sink.
    pub(super) fn unknown(&self, restored: &[OperatorVersion]) -> Vec<(String, Changed)> {
        let known = self.versions();
        let named = |to: OperatorVersion| {
            let name = name_of(&self.base, &to).unwrap_or_else(|| to.uid.clone());
            let from = known.iter().find(|it| it.has_place_of(&to)).cloned().or_else(|| {
                let bound = self.base.plugins.get(&(name.clone(), to.kind))?;
                Some(of_bound(bound, 0, &*self.base.plan.find(&name)?, to.kind))
            });
            let added = to.rule.as_ref().map_or(0, |rule| rule.added);
            (name, Changed { from: from.unwrap_or_else(|| nothing(&to.uid, to.kind, added)), to })
        };
        let all = latest_versions(known.iter().chain(restored));
        all.into_iter().filter(|version| !known.contains(version)).map(named).collect()
    }

    /// The operators and sinks, by uid, one of whose plugins came into force after what is restored, which has `restored` in force. That the
    /// state fits, and what of it is discarded, was decided then.
    pub(super) fn newer(&self, restored: &[OperatorVersion]) -> HashSet<String> {
        let is_there = |version: &OperatorVersion| {
            restored.iter().any(|it| it.uid == version.uid && it.kind == version.kind && it.change >= version.change)
        };
        self.now().accepted.iter().filter(|version| !is_there(version)).map(|version| version.uid.clone()).collect()
    }

    /// A plugin of an operator or sink, by uid: by its name, its digest and its configuration.
    fn bound(
        &self,
        uid: &str,
        (name, digest, configuration): (&str, &str, &str),
        source: Option<&dyn PluginSource>,
    ) -> Result<Bound, RunError> {
        let known = self.now().known.get(digest).cloned();
        let plugin = match (known, source) {
            (Some(plugin), _) => Ok(plugin),
            (None, Some(source)) => source.load(&PluginRef::Digest(digest.to_owned())),
            (None, None) => {
                let what = format!("{name} is in force since a change of the running job, and is nowhere to be found");
                Err(LoadError::Unknown(what).into())
            }
        };
        let (place, operator) = (self.base.spec.file.to_string(), uid.to_owned());
        let plugin = plugin.map_err(|error| match error {
            SourceError::Load(error) => RunError::Plugin { place, operator, plugin: name.to_owned(), error },
            SourceError::Build(error) => RunError::Build { place, operator, error },
        })?;
        self.now().known.insert(digest.to_owned(), plugin.clone());
        Ok(Bound { plugin, configuration: configuration.to_owned(), variables: self.base.spec.variables.clone() })
    }
}
