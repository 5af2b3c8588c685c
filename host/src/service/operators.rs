//! Operators of a running job as they are seen and changed by request: other plugins, other configurations, versions tried beside them.
//! Must not know how records reach an operator.
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    Action, Change, Jobs, Request, ServiceError, Swapped, Version,
    canary::of_operator,
    change::{Next, Order, Target, Way, request, take_back},
    entry::Entry,
    history::{before, merge},
    jobs::{blocking, detached},
    requests::running,
};
use crate::{
    control::{ChangeError, JobView, Letter, ReplayRequest, ShadowReport, ShadowRequest, TrialSpec},
    dataflow::Compared,
    job::{InputSide, PluginRef},
    model::{OperatorKind, OperatorVersion},
};

/// What runs in the place of an operator or sink.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct OperatorInfo {
    /// Its name.
    pub operator: String,
    /// Its uid.
    pub uid: String,
    /// Its plugin.
    #[serde(flatten)]
    pub version: Version,
}

/// Numbers of changes that whoever asks may have seen in force of an operator: one of them is to be in force still. Any may be if absent.
pub type Seen = Option<Vec<u64>>;

/// What is to run in the place of an operator or sink.
#[derive(Clone, Debug, Default)]
pub struct Swap {
    /// An uploaded plugin, `name@1.0.0` or `sha256:` and its digest; the one there is if absent.
    pub plugin: Option<String>,
    /// As what it is run: an interface of the contract. May be left out where the operator has one plugin only.
    pub kind: Option<String>,
    /// An object; the one there is if absent.
    pub configuration: Option<Value>,
    /// How it is tried, if it is.
    pub trial: Option<TrialSpec>,
    /// States that are discarded: those there are that the plugin does not declare.
    pub force: Vec<String>,
    /// Whether it is only checked.
    pub dry_run: bool,
    /// What was seen in force.
    pub seen: Seen,
}

/// What is to be tried beside an operator.
#[derive(Clone, Debug, Default)]
pub struct Shadow {
    /// An uploaded plugin; the one there is if absent.
    pub plugin: Option<String>,
    /// As what it is run.
    pub kind: Option<String>,
    /// An object; the one there is if absent.
    pub configuration: Option<Value>,
    /// Columns of outputs that may differ.
    pub ignored: Vec<String>,
}

/// Dead letters that are to be processed again.
#[derive(Clone, Debug)]
pub struct Replay {
    /// An uploaded plugin that processes them; the one in force if absent.
    pub plugin: Option<String>,
    /// As what it is run.
    pub kind: Option<String>,
    /// An object; the one in force if absent.
    pub configuration: Option<Value>,
    /// Of which input they are.
    pub side: InputSide,
    /// What they are.
    pub letters: Vec<Letter>,
}

/// Dead letters that were processed again.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Replayed {
    /// The operator, by name.
    pub operator: String,
    /// What has processed them; of change 0 if it was put in force by no change.
    pub by: Version,
    /// How many there were. Those that failed again are dead letters again.
    pub letters: usize,
}

/// What is tried beside an operator, and what has come of it so far.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ShadowInfo {
    /// The operator, by name.
    pub operator: String,
    /// What is tried. Its number is not that of a change.
    pub version: Version,
    /// Held against what is in force.
    pub compared: Compared,
}

impl From<ShadowReport> for ShadowInfo {
    fn from(report: ShadowReport) -> ShadowInfo {
        let ShadowReport { operator, version, compared } = report;
        ShadowInfo { operator, version: (&version).into(), compared }
    }
}

/// What all operators and sinks with plugins run.
pub(super) fn operators(view: &JobView) -> Vec<OperatorInfo> {
    let info = |(operator, it): (String, OperatorVersion)| OperatorInfo {
        operator,
        uid: it.uid.clone(),
        version: (&it).into(),
    };
    view.versions().into_iter().map(info).collect()
}

pub(super) fn kind(interface: &str) -> Result<OperatorKind, ServiceError> {
    let unknown = || ServiceError::Request(format!("`{interface}` is no kind of operator"));
    OperatorKind::of_interface(&interface.replace('_', "-")).ok_or_else(unknown)
}

pub(super) fn uploaded(plugin: Option<&str>) -> Result<Next, ServiceError> {
    let Some(text) = plugin else { return Ok(Next::Same) };
    let unknown =
        || ServiceError::Request(format!("`{text}` is no plugin: write `name@1.0.0`, or `sha256:` and a digest"));
    PluginRef::uploaded(text).map(Next::Uploaded).ok_or_else(unknown)
}

pub(super) fn nothing_new() -> ServiceError {
    ServiceError::Request("name a plugin, a configuration, or both".to_owned())
}

/// The plugin a request is about, of a job that runs.
pub(super) fn target(entry: &Entry, operator: &str, interface: Option<&str>) -> Result<Target, ServiceError> {
    let (view, _) = running(entry, Request::Change)?;
    let wanted = interface.map(kind).transpose()?;
    let mut found = view.versions();
    found.retain(|(name, version)| {
        (name == operator || version.uid == operator) && wanted.is_none_or(|kind| kind == version.kind)
    });
    match found.len() {
        0 => Err(ChangeError::NoOperator(operator.to_owned()).into()),
        1 => {
            let (operator, version) = found.swap_remove(0);
            Ok(Target { view, operator, version })
        }
        _ => {
            let kinds: Vec<_> = found.iter().map(|(_, version)| version.kind.interface()).collect();
            Err(ChangeError::WhichPlugin { operator: operator.to_owned(), kinds: kinds.join(", ") }.into())
        }
    }
}

impl Jobs {
    /// What all operators and sinks with plugins run, or ran when the job ended; none if it has not run since the server started.
    pub fn operators(&self, job: &str) -> Result<Vec<OperatorInfo>, ServiceError> {
        let entry = self.0.find(job)?;
        let live = entry.live();
        Ok(live.view.as_ref().map_or_else(|| live.last_operators.clone(), |(view, _)| operators(view)))
    }

    /// What runs in the place of one operator or sink, by name or uid; of which kind has to be said if it runs several plugins.
    pub fn operator(&self, job: &str, operator: &str, kind: Option<&str>) -> Result<OperatorInfo, ServiceError> {
        let Target { operator, version, .. } = target(&*self.0.find(job)?, operator, kind)?;
        Ok(OperatorInfo { operator, uid: version.uid.clone(), version: (&version).into() })
    }

    /// The latest changes of an operator or sink, by name or uid, oldest first. Fails if there is no such one, as far as that is known.
    pub fn versions(&self, job: &str, operator: &str) -> Result<Vec<Change>, ServiceError> {
        let known = self.operators(job)?;
        let entry = self.0.find(job)?;
        let record = entry.record();
        let of = |change: &&Change| change.operator == operator || change.uid == operator;
        let changes: Vec<_> = record.history.iter().filter(of).cloned().collect();
        if changes.is_empty() && !known.iter().any(|it| it.operator == operator || it.uid == operator) {
            return Err(ChangeError::NoOperator(operator.to_owned()).into());
        }
        Ok(changes)
    }

    /// Puts another plugin, or another configuration, in the place of an operator's or sink's. Returns once it is in force, and at every
    /// start of the job from then on.
    pub async fn swap(&self, job: &str, operator: &str, swap: Swap, who: &str) -> Result<Swapped, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, swap.kind.as_deref())?.seen(&swap.seen)?;
        if swap.plugin.is_none() && swap.configuration.is_none() {
            return Err(nothing_new());
        }
        let Swap { configuration, trial, force, dry_run, .. } = swap;
        let plugin = uploaded(swap.plugin.as_deref())?;
        let order = Order::new(who, Action::Swap, target, plugin, Way::InPlace);
        let order = Order { configuration, trial, force, dry_run, ..order };
        detached(async move { inner.put(&entry, order).await }).await
    }

    /// Puts back what was in force before; if that is on trial with its state, with the state of then.
    pub async fn rollback(
        &self,
        job: &str,
        operator: &str,
        kind: Option<&str>,
        seen: Seen,
        who: &str,
    ) -> Result<Swapped, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, kind)?.seen(&seen)?;
        if target.view.can_be_taken_back(&target.operator, target.version.kind) {
            let who = who.to_owned();
            return detached(async move { take_back(&entry, target, who).await }).await;
        }
        let before = before(&entry.record().history, &target.version.uid, &(&target.version).into()).cloned();
        let before = before.ok_or_else(|| ServiceError::NothingBefore(target.operator.clone()))?;
        let plugin = match before.digest == target.version.digest {
            true => Next::Same,
            false => Next::Uploaded(PluginRef::Digest(before.digest)),
        };
        let configuration = Some(before.configuration);
        let order = Order { configuration, ..Order::new(who, Action::Rollback, target, plugin, Way::InPlace) };
        detached(async move { inner.put(&entry, order).await }).await
    }

    /// Changes the configuration of an operator or sink by a JSON merge patch (RFC 7396).
    pub async fn configure(
        &self,
        job: &str,
        operator: &str,
        kind: Option<&str>,
        patch: Value,
        seen: Seen,
        who: &str,
    ) -> Result<Swapped, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, kind)?.seen(&seen)?;
        let mut configuration = Version::from(&target.version).configuration;
        merge(&mut configuration, patch);
        let order = Order::new(who, Action::Config, target, Next::Same, Way::InPlace);
        let order = Order { configuration: Some(configuration), ..order };
        detached(async move { inner.put(&entry, order).await }).await
    }

    /// Tries another version beside that in force. One that was tried before ends.
    pub async fn shadow(&self, job: &str, operator: &str, shadow: Shadow) -> Result<ShadowInfo, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, shadow.kind.as_deref())?;
        if shadow.plugin.is_none() && shadow.configuration.is_none() {
            return Err(nothing_new());
        }
        let plugin = uploaded(shadow.plugin.as_deref())?;
        let Shadow { configuration, ignored, .. } = shadow;
        detached(async move {
            let (plugin, _wanted) = inner.plugin(&entry, &target.operator, plugin).await?;
            let view = target.view.clone();
            let ready = blocking(move || {
                let change = request(&target, plugin, configuration, None, Vec::new())?;
                Ok(target.view.prepare_shadow(ShadowRequest { change, ignored })?)
            });
            Ok(view.shadow(ready.await?).await?.into())
        })
        .await
    }

    /// What is tried beside an operator, by name or uid.
    pub fn shadow_report(&self, job: &str, operator: &str) -> Result<ShadowInfo, ServiceError> {
        let (view, _) = running(&*self.0.find(job)?, Request::Change)?;
        let of = |report: &ShadowReport| report.operator == operator || report.version.uid == operator;
        let found = view.shadows().into_iter().find(of);
        Ok(found.ok_or_else(|| ChangeError::NoShadow(operator.to_owned()))?.into())
    }

    /// Puts what is tried beside an operator in force, with the state of what is; or its canary, for all keys.
    pub async fn promote(
        &self,
        job: &str,
        operator: &str,
        trial: Option<TrialSpec>,
        seen: Seen,
        who: &str,
    ) -> Result<Swapped, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let (view, _) = running(&entry, Request::Change)?;
        if of_operator(&view, operator).is_some() {
            return self.promote_canary(job, operator, trial, seen, who).await;
        }
        let promotion = view.promotion(operator)?;
        let kind = promotion.kind.map(OperatorKind::interface);
        let target = target(&entry, operator, kind)?.seen(&seen)?;
        let plugin = promotion.plugin.map_or(Next::Same, Next::Loaded);
        let configuration = promotion.configuration.and_then(|text| serde_json::from_str(&text).ok());
        let order = Order::new(who, Action::Promote, target, plugin, Way::InPlace);
        let order = Order { configuration, trial, ..order };
        detached(async move { inner.put(&entry, order).await }).await
    }

    /// Has an operator process rows that it has rejected or failed on, or another plugin in its place with its state. Returns once a checkpoint
    /// has what came of them, if the job keeps any.
    pub async fn replay(&self, job: &str, operator: &str, replay: Replay) -> Result<Replayed, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, replay.kind.as_deref())?;
        let plugin = uploaded(replay.plugin.as_deref())?;
        let Replay { configuration, side, letters, .. } = replay;
        let count = letters.len();
        detached(async move {
            let (plugin, _wanted) = inner.plugin(&entry, &target.operator, plugin).await?;
            let (view, operator) = (target.view.clone(), target.operator.clone());
            let ready = blocking(move || {
                let by = request(&target, plugin, configuration, None, Vec::new())?;
                Ok(target.view.prepare_replay(ReplayRequest { by, side, letters })?)
            });
            let ready = ready.await?;
            let by = Version::from(ready.by());
            view.replay(ready).await?;
            Ok(Replayed { operator, by, letters: count })
        })
        .await
    }

    /// Ends what is tried beside an operator, or its canary.
    pub async fn discard(&self, job: &str, operator: &str, seen: Seen, who: &str) -> Result<(), ServiceError> {
        let (_, entry) = self.to(job)?;
        let (view, _) = running(&entry, Request::Change)?;
        if of_operator(&view, operator).is_some() {
            return self.discard_canary(job, operator, seen, who).await;
        }
        if seen.is_some() {
            target(&entry, operator, None)?.seen(&seen)?;
        }
        let operator = operator.to_owned();
        detached(async move { Ok(view.discard(&operator).await?) }).await
    }
}
