//! Which plugins a job runs now: those of its job file, and what was put in their place since. Must not know how that comes about.
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Bound, PluginSource, Prepared, RolledBack, RunError, SourceError, rules::name_of};
use crate::{
    job::PluginRef,
    model::{OperatorVersion, latest_versions},
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
        for bound in prepared.plugins.values() {
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

    /// If this failure at this time is that of a version on trial: the version before it is in force from the next start on.
    pub(super) fn roll_back(&self, error: &RunError, at: Duration) -> Option<RolledBack> {
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
                Some(self.bound(version, source).map(|bound| ((name, version.kind), bound)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let prepared = match versions.is_empty() {
            true => self.base.clone(),
            false => Arc::new(self.base.with_rules(&versions, replaced)?),
        };
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

    fn bound(&self, version: &OperatorVersion, source: Option<&dyn PluginSource>) -> Result<Bound, RunError> {
        let known = self.now().known.get(&version.digest).cloned();
        let plugin = match (known, source) {
            (Some(plugin), _) => Ok(plugin),
            (None, Some(source)) => source.load(&PluginRef::Digest(version.digest.clone())),
            (None, None) => {
                let what = format!(
                    "{} is in force since a change of the running job, and is nowhere to be found",
                    version.plugin
                );
                Err(LoadError::Unknown(what).into())
            }
        };
        let plugin = plugin.map_err(|error| match error {
            SourceError::Load(error) => RunError::Plugin {
                place: self.base.spec.file.to_string(),
                operator: version.uid.clone(),
                plugin: version.plugin.clone(),
                error,
            },
            SourceError::Build(error) => {
                RunError::Build { place: self.base.spec.file.to_string(), operator: version.uid.clone(), error }
            }
        })?;
        self.now().known.insert(version.digest.clone(), plugin.clone());
        Ok(Bound { plugin, configuration: version.configuration.clone() })
    }
}
