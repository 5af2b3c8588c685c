//! A change of an operator on its way: its plugin found and kept from being deleted, its configuration checked, made, noted. Guarantees that
//! what was put in force is on disk before whoever asked hears of it. Must not know what was asked for.
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    Action, CanaryPart, Change, Outcome, Seen, ServiceError, Version,
    entry::Entry,
    history::{Promised, before},
    jobs::{Inner, blocking},
    trials::KeptTrial,
};
use crate::{
    control::{
        CanaryRequest, CanaryStep, ChangeError, ChangeRequest, Changed, JobView, SourceError, StateMigration, TrialSpec,
    },
    job::{PluginRef, Variables, fill},
    model::{OperatorKind, OperatorVersion, Share},
    plugin::{LoadError, Plugin, schema::validator},
};

/// Bytes of a configuration as JSON.
pub const CONFIGURATION_BYTES_MAX: usize = 64 << 10;

/// What is told of a configuration that does not fit.
const MISTAKES_MAX: usize = 5;

/// A change that was made, or could be.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Swapped {
    /// The operator or sink, by name.
    pub operator: String,
    /// What was in force.
    pub from: Version,
    /// What is in force now, or would be.
    pub to: Version,
    /// Whether it is in force: not if it was only checked.
    pub in_force: bool,
    /// Of what was only checked, and declares other states: what taking over the state would come to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub migration: Vec<StateMigration>,
}

/// What a request is about.
pub(super) struct Target {
    pub(super) view: JobView,
    pub(super) operator: String,
    pub(super) version: OperatorVersion,
}

impl Target {
    /// Fails if something else is in force than whoever asks has seen.
    pub(super) fn seen(self, seen: &Seen) -> Result<Target, ServiceError> {
        match seen {
            Some(seen) if !seen.contains(&self.version.change) => Err(ChangeError::Overtaken.into()),
            _ => Ok(self),
        }
    }
}

/// Where its next plugin comes from.
pub(super) enum Next {
    Same,
    Uploaded(PluginRef),
    Loaded(Arc<Plugin>),
}

/// How a version comes to be in force.
#[derive(Clone)]
pub(super) enum Way {
    /// In place of the one there is.
    InPlace,
    /// For a share of the keys.
    Share {
        /// Of the keys.
        share: Share,
        /// Columns by which rows without a key are divided.
        by: Vec<String>,
    },
    /// It has a share of the keys already.
    Canary(CanaryStep),
}

/// A change to be made.
pub(super) struct Order {
    pub(super) who: String,
    pub(super) action: Action,
    pub(super) target: Target,
    pub(super) plugin: Next,
    /// The one there is if absent.
    pub(super) configuration: Option<Value>,
    pub(super) trial: Option<TrialSpec>,
    /// States that may be discarded.
    pub(super) force: Vec<String>,
    pub(super) dry_run: bool,
    pub(super) way: Way,
}

impl Order {
    /// With the configuration there is, and nothing else.
    pub(super) fn new(who: &str, action: Action, target: Target, plugin: Next, way: Way) -> Order {
        let (who, force) = (who.to_owned(), Vec::new());
        Order { who, action, target, plugin, configuration: None, trial: None, force, dry_run: false, way }
    }
}

/// A plugin that is not deleted meanwhile.
pub(super) struct Wanted {
    entry: Arc<Entry>,
    digest: String,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut live = self.entry.live();
        if let Some(at) = live.wanted.iter().position(|digest| *digest == self.digest) {
            live.wanted.swap_remove(at);
        }
    }
}

/// Fails unless a configuration, with its variables filled in, is one of a plugin with this schema. Tells no value of a variable.
pub(super) fn fits(
    operator: &str,
    schema: &str,
    configuration: &Value,
    variables: &Variables,
) -> Result<(), ServiceError> {
    let wrong = |what: String| ServiceError::Configuration { operator: operator.to_owned(), what };
    let is_one = |configuration: &Value| match configuration.to_string().len() {
        _ if !configuration.is_object() => Err(wrong("a configuration is an object".to_owned())),
        bytes if bytes > CONFIGURATION_BYTES_MAX => {
            Err(wrong(format!("the configuration has {bytes} bytes, {CONFIGURATION_BYTES_MAX} are the most")))
        }
        _ => Ok(()),
    };
    is_one(configuration)?;
    let filled = fill(configuration, variables).map_err(wrong)?;
    is_one(&filled.configuration)?;
    if schema.is_empty() {
        return Ok(());
    }
    let broken = |error: String| wrong(format!("the plugin's schema cannot be used: {error}"));
    let validator = validator(schema).map_err(broken)?;
    let mistakes = validator.iter_errors(&filled.configuration).take(MISTAKES_MAX);
    let mistakes = mistakes.map(|mistake| match filled.has_variables() {
        true => filled.hide(format!("`{}`: {}", mistake.instance_path(), mistake.masked())),
        false => format!("`{}`: {mistake}", mistake.instance_path()),
    });
    let mistakes: Vec<_> = mistakes.collect();
    if mistakes.is_empty() { Ok(()) } else { Err(wrong(mistakes.join("; "))) }
}

impl Entry {
    /// Whether it needs a plugin: by digest, or an uploaded one as jobs name it.
    pub(super) fn needs(&self, plugin: &str) -> bool {
        let (view, wanted) = {
            let live = self.live();
            (live.view.as_ref().map(|(view, _)| view.clone()), live.wanted.iter().any(|digest| digest == plugin))
        };
        let runs = |view: JobView| {
            let tried = view.shadows().into_iter().map(|report| report.version);
            view.versions()
                .into_iter()
                .map(|(_, version)| version)
                .chain(tried)
                .any(|it| Version::from(&it).runs(plugin))
        };
        let record = self.record();
        let back = |promised: &Promised| {
            before(&record.history, promised.uid(), &promised.version).is_some_and(|before| before.runs(plugin))
        };
        wanted
            || view.is_some_and(runs)
            || record.plugins.contains(plugin)
            || record.versions.iter().any(|promised| promised.version.runs(plugin) || back(promised))
            || record.trials.iter().any(|trial| trial.goes_back_to(plugin, self.now_ms()))
    }

    fn want(self: &Arc<Self>, digest: &str) -> Wanted {
        self.live().wanted.push(digest.to_owned());
        Wanted { entry: self.clone(), digest: digest.to_owned() }
    }
}

/// What to ask the engine for. Fails if the configuration is none of the plugin's. Blocks.
pub(super) fn request(
    target: &Target,
    plugin: Option<Arc<Plugin>>,
    configuration: Option<Value>,
    trial: Option<TrialSpec>,
    force: Vec<String>,
) -> Result<ChangeRequest, ServiceError> {
    let kind = target.version.kind;
    let configuration = configuration.unwrap_or_else(|| Version::from(&target.version).configuration);
    let schema = target.view.description(&target.operator, kind, plugin.as_deref()).map(|it| it.configuration);
    let variables = &target.view.prepared().spec.variables;
    fits(&target.operator, schema.as_deref().unwrap_or_default(), &configuration, variables)?;
    Ok(ChangeRequest {
        operator: target.operator.clone(),
        kind: Some(kind),
        plugin,
        configuration: Some(configuration.to_string()),
        trial,
        force,
    })
}

impl Inner {
    /// A plugin that is there and stays, and nothing if it is the one that is there already.
    pub(super) async fn plugin(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        operator: &str,
        from: Next,
    ) -> Result<(Option<Arc<Plugin>>, Option<Wanted>), ServiceError> {
        let reference = match from {
            Next::Same => return Ok((None, None)),
            Next::Loaded(plugin) => {
                let wanted = entry.want(plugin.digest());
                return Ok((Some(plugin), Some(wanted)));
            }
            Next::Uploaded(reference) => reference,
        };
        // Nobody closes it.
        let _turn = self.preparing.acquire().await;
        let (inner, entry, operator) = (self.clone(), entry.clone(), operator.to_owned());
        blocking(move || {
            let load = || {
                inner.source.load(&reference).map_err(|error| {
                    let error = match error {
                        SourceError::Load(error) => error,
                        SourceError::Build(error) => LoadError::Unknown(error.to_string()),
                    };
                    ChangeError::Plugin { operator: operator.clone(), error }
                })
            };
            let wanted = entry.want(load()?.digest());
            // It may have been deleted just before it was wanted.
            Ok((Some(load()?), Some(wanted)))
        })
        .await
    }

    /// Makes a change, or checks it, and notes what came of it.
    pub(super) async fn put(self: &Arc<Self>, entry: &Arc<Entry>, order: Order) -> Result<Swapped, ServiceError> {
        let Order { who, action, target, plugin, configuration, trial, force, dry_run, way } = order;
        let (view, operator) = (target.view.clone(), target.operator.clone());
        let (uid, from) = (target.version.uid.clone(), Version::from(&target.version));
        let mut to = None;
        let on_trial = if let Way::Canary(CanaryStep::Promote(spec)) = way { spec } else { trial };
        let made = async {
            let (plugin, wanted) = self.plugin(entry, &operator, plugin).await?;
            let whole = intended(&from, plugin.as_deref(), configuration.as_ref(), target.version.kind);
            to = whole.and_then(|whole| on_the_way(&from, whole, &way));
            let ready = blocking(move || {
                let view = &target.view;
                if let Way::Canary(step) = way {
                    return Ok(view.prepare_step(&target.operator, step)?);
                }
                let change = request(&target, plugin, configuration, trial, force)?;
                Ok(match way {
                    Way::Share { share, by } => view.prepare_canary(CanaryRequest { change, share, by })?,
                    _ => view.prepare_change(change)?,
                })
            });
            let ready = ready.await?;
            if ready.from().change != from.change {
                return Err(ChangeError::Overtaken.into());
            }
            if dry_run {
                let to = Version::from(ready.to());
                return Ok((to, view.rehearse_change(ready).await?, wanted));
            }
            let changed = view.change(ready).await?;
            let trial = on_trial.map(|spec| KeptTrial::new(spec, &changed.from, &changed.to, entry.now_ms()));
            entry.promise(view.in_force(), trial);
            Ok((Version::from(&changed.to), Vec::new(), wanted))
        };
        let made: Result<(Version, Vec<StateMigration>, Option<Wanted>), ServiceError> = made.await;
        if !dry_run {
            let (to, outcome) = match &made {
                Ok((to, ..)) => (Some(to.clone()), Outcome::InForce),
                Err(_) => (to, Outcome::Refused),
            };
            let reason = made.as_ref().err().map(ToString::to_string);
            let (time_ms, who, operator, from) = (entry.now_ms(), Some(who), operator.clone(), from.clone());
            entry.note(Change { time_ms, who, action, operator, uid, from, to, outcome, reason });
            let written = entry.persist().await;
            if made.is_ok() {
                written?;
            }
        }
        let (to, migration, _wanted) = made?;
        Ok(Swapped { operator, from, to, in_force: !dry_run, migration })
    }
}

/// Has a version that is on trial with its state be undone with all it has done, which is noted as it is put back; or notes that it was not.
pub(super) async fn take_back(entry: &Arc<Entry>, target: Target, who: String) -> Result<Swapped, ServiceError> {
    let Target { view, operator, version } = target;
    match view.take_back(&operator, (version.kind, version.change), &who).await {
        Ok(Changed { from, to }) => {
            let (from, to) = (Version::from(&from), Version::from(&to));
            Ok(Swapped { operator, from, to, in_force: true, migration: Vec::new() })
        }
        Err(error) => {
            let (time_ms, who, action, outcome) = (entry.now_ms(), Some(who), Action::Rollback, Outcome::Refused);
            let (uid, from, reason) = (version.uid.clone(), Version::from(&version), Some(error.to_string()));
            entry.note(Change { time_ms, who, action, operator, uid, from, to: None, outcome, reason });
            entry.persist_or_log().await;
            Err(error.into())
        }
    }
}

/// What was to be in force, as far as that is known.
fn intended(
    from: &Version,
    plugin: Option<&Plugin>,
    configuration: Option<&Value>,
    kind: OperatorKind,
) -> Option<Version> {
    let mut to = Version { change: 0, ..from.clone() };
    if let Some(plugin) = plugin {
        let described = plugin.description(kind)?;
        to.plugin = format!("{}@{}", described.name, described.version);
        to.digest = plugin.digest().to_owned();
    }
    // One that is too long is not kept.
    let short = |it: &&Value| it.to_string().len() <= CONFIGURATION_BYTES_MAX;
    to.configuration = configuration.filter(short).unwrap_or(&from.configuration).clone();
    Some(to)
}

/// The same for a share of the keys; none if there is nothing that has a share.
fn on_the_way(from: &Version, to: Version, way: &Way) -> Option<Version> {
    let canary = match way {
        Way::InPlace => return Some(to),
        Way::Share { share, by } => {
            let Version { plugin, digest, configuration, .. } = to;
            CanaryPart { plugin, digest, configuration, share: share.part(), by: by.clone() }
        }
        Way::Canary(step) => {
            let canary = from.canary.clone()?;
            match step {
                CanaryStep::Share(share) => CanaryPart { share: share.part(), ..canary },
                CanaryStep::Promote(_) => {
                    let CanaryPart { plugin, digest, configuration, .. } = canary;
                    return Some(Version { plugin, digest, configuration, canary: None, ..to });
                }
                CanaryStep::Discard => return Some(Version { canary: None, ..to }),
            }
        }
    };
    Some(Version { change: 0, canary: Some(canary), ..from.clone() })
}
