//! Which plugins a job runs now: those of its job file, and what was put in their place since. Must not know how that comes about.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Bound, PluginSource, Prepared, RolledBack, RunError, SourceError, rules::name_of};
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
}

struct Now {
    prepared: Arc<Prepared>,
    /// All changes there have been since the job was first started, as far as they are known, the last of each plugin.
    accepted: Vec<OperatorVersion>,
    /// Plugins by digest, so that going back finds them.
    known: HashMap<String, Arc<Plugin>>,
    trial: Option<Trial>,
    /// What runs a version whose change is not in force yet, and what it ran before.
    changing: Option<(String, OperatorVersion)>,
}

/// A version that is not trusted yet.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// The operator or sink, by name.
    pub(super) operator: String,
    /// Until when, on the monotonic clock.
    pub(super) until: Duration,
    /// Whether no checkpoint is taken meanwhile, so that going back undoes all there was of it.
    pub(super) with_state: bool,
    /// Rows the operator had rejected before, and how many more are too many.
    pub(super) rejected: Option<(u64, u64)>,
    /// The longest it may take for a record.
    pub(super) record_time_max: Option<Duration>,
    /// What was in force before.
    pub(super) back: OperatorVersion,
}

impl InForce {
    /// Of a job with these changes since its file was written.
    pub(super) fn new(base: Arc<Prepared>, accepted: Vec<OperatorVersion>) -> InForce {
        let known = base.plugins.values().map(|bound| (bound.plugin.digest().to_owned(), bound.plugin.clone()));
        let now = Now { prepared: base.clone(), accepted, known: known.collect(), trial: None, changing: None };
        InForce { base, now: Mutex::new(now) }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The barrier of a change is out: some subtasks of this operator or sink run another version than this one.
    pub(super) fn changing(&self, operator: &str, from: &OperatorVersion) {
        self.now().changing = Some((operator.to_owned(), from.clone()));
    }

    /// A change is in force, maybe on trial; `prepared` is the job with it.
    pub(super) fn accept(&self, version: OperatorVersion, prepared: Arc<Prepared>, trial: Option<Trial>) {
        let mut now = self.now();
        (now.trial, now.changing) = (trial, None);
        let canaries = prepared.canaries.values().map(|canary| &canary.bound);
        for bound in prepared.plugins.values().chain(canaries) {
            now.known.entry(bound.plugin.digest().to_owned()).or_insert_with(|| bound.plugin.clone());
        }
        now.accepted = latest_versions(now.accepted.iter().chain([&version]));
        now.prepared = prepared;
    }

    /// The version on trial, if one is at this time.
    pub(super) fn trial(&self, at: Duration) -> Option<Trial> {
        self.now().trial.take_if(|trial| trial.until <= at);
        self.now().trial.clone()
    }

    /// If this failure is that of a version that is not in force in all subtasks yet: the one before it, with which the next start begins.
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
        Some(RolledBack { operator: operator.clone(), from, to })
    }

    /// If this failure at this time is that of a canary, or of a version on trial: the version before it is in force from the next start on.
    pub(super) fn roll_back(&self, error: &RunError, at: Duration) -> Option<RolledBack> {
        if let Some(dropped) = self.drop_canary(error) {
            return Some(dropped);
        }
        let trial = self.trial(at).filter(|trial| error.operator() == Some(&trial.operator))?;
        let to = OperatorVersion { change: self.next_change(), ..trial.back };
        let mut now = self.now();
        now.trial = None;
        // It is there, since it was accepted with its trial.
        let from = now.accepted.iter().find(|version| version.uid == to.uid && version.kind == to.kind)?.clone();
        now.accepted = latest_versions(now.accepted.iter().chain([&to]));
        Some(RolledBack { operator: trial.operator, from, to })
    }

    /// The job as it is to start: as a checkpoint has it, and with changes that came after. Those are put in force at once, for they were
    /// promised.
    pub(super) fn start(
        &self,
        restored: &[OperatorVersion],
        source: Option<&dyn PluginSource>,
    ) -> Result<Arc<Prepared>, RunError> {
        let versions = latest_versions(self.versions().iter().chain(restored));
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
        let mut prepared = match versions.is_empty() {
            true => self.base.clone(),
            false => Arc::new(self.base.with_rules(&versions, replaced)?),
        };
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
        Ok(Bound { plugin, configuration: configuration.to_owned() })
    }
}
