//! Which versions of operators were in force, which were refused, and what was in force before which. Pure. Guarantees that what is kept
//! is bounded. Must not know how versions come into force.
use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{CanaryVersion, OperatorKind, OperatorVersion, RuleVersion, Share, latest_versions};

/// Changes of a job that are remembered.
pub const HISTORY_MAX: usize = 1000;

/// Bytes of all configurations that are remembered, as JSON.
const HISTORY_BYTES_MAX: usize = 1 << 20;

/// What runs, or was to run, in the place of an operator or sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Counts up over all changes of the job, from 1; 0 if it is that of the job file, or was never in force.
    pub change: u64,
    /// As what the plugin is run: an interface of the contract, such as `keyed-process`.
    pub kind: String,
    /// `name@version`; empty where there is no such rule.
    pub plugin: String,
    /// SHA-256 of the component, in hexadecimal digits; empty where there is no such rule.
    pub digest: String,
    /// An object.
    pub configuration: Value,
    /// The version that has a share of the keys, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryPart>,
}

/// A version that has, or was to have, a share of an operator's keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CanaryPart {
    /// `name@version`.
    pub plugin: String,
    /// SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
    /// An object.
    pub configuration: Value,
    /// Of the keys, as a part of 1.
    pub share: f64,
    /// Columns by which rows without a key are divided; none if they have one.
    pub by: Vec<String>,
}

impl CanaryPart {
    /// `None` with a share that there is not.
    fn version(&self) -> Option<CanaryVersion> {
        Some(CanaryVersion {
            plugin: self.plugin.clone(),
            digest: self.digest.clone(),
            configuration: self.configuration.to_string(),
            share: Share::of(self.share)?,
            by: self.by.clone(),
        })
    }
}

impl From<&CanaryVersion> for CanaryPart {
    fn from(canary: &CanaryVersion) -> CanaryPart {
        CanaryPart {
            plugin: canary.plugin.clone(),
            digest: canary.digest.clone(),
            // It was an object when it was put in force.
            configuration: serde_json::from_str(&canary.configuration).unwrap_or_default(),
            share: canary.share.part(),
            by: canary.by.clone(),
        }
    }
}

impl Version {
    /// Without its configuration, which may be long.
    pub(super) fn brief(&self) -> Value {
        let mut brief = json!({ "change": self.change, "plugin": self.plugin, "digest": self.digest });
        if let Some(CanaryPart { plugin, digest, share, .. }) = &self.canary {
            brief["canary"] = json!({ "plugin": plugin, "digest": digest, "share": share });
        }
        brief
    }

    /// Whether it is run, for some keys or for all.
    pub(super) fn runs(&self, digest: &str) -> bool {
        self.digest == digest || self.canary.as_ref().is_some_and(|canary| canary.digest == digest)
    }

    fn bytes(&self) -> usize {
        let canary = self.canary.as_ref().map_or(0, |canary| canary.configuration.to_string().len());
        self.configuration.to_string().len() + canary
    }
}

impl From<&OperatorVersion> for Version {
    fn from(version: &OperatorVersion) -> Version {
        Version {
            change: version.change,
            kind: version.kind.interface().to_owned(),
            plugin: version.plugin.clone(),
            digest: version.digest.clone(),
            // It was an object when it was put in force.
            configuration: serde_json::from_str(&version.configuration).unwrap_or_default(),
            canary: version.canary.as_ref().map(CanaryPart::from),
        }
    }
}

/// A version that is in force at every start of the job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Promised {
    uid: String,
    #[serde(flatten)]
    pub(super) version: Version,
    /// Of a rule that was added or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<RuleVersion>,
}

impl From<&OperatorVersion> for Promised {
    fn from(version: &OperatorVersion) -> Promised {
        Promised { uid: version.uid.clone(), version: version.into(), rule: version.rule.clone() }
    }
}

impl Promised {
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether both are of one place, in which one plugin is in force.
    pub(super) fn is_in_place_of(&self, other: &Promised) -> bool {
        (&self.uid, &self.version.kind) == (&other.uid, &other.version.kind)
    }

    /// Whether both are of the same plugin and configuration, and of the same rule if they are of one, whatever has a share of the keys.
    pub(super) fn runs_the_same(&self, other: &Promised) -> bool {
        let Version { digest, configuration, .. } = &self.version;
        (digest, configuration, &self.rule) == (&other.version.digest, &other.version.configuration, &other.rule)
    }

    /// `None` if this program knows no such kind of operator.
    pub(super) fn version(&self) -> Option<OperatorVersion> {
        Some(OperatorVersion {
            change: self.version.change,
            uid: self.uid.clone(),
            kind: OperatorKind::of_interface(&self.version.kind)?,
            plugin: self.version.plugin.clone(),
            digest: self.version.digest.clone(),
            configuration: self.version.configuration.to_string(),
            canary: self.version.canary.as_ref().and_then(CanaryPart::version),
            rule: self.rule.clone(),
        })
    }
}

/// What was promised, as the engine has it.
pub(super) fn versions(promised: &[Promised]) -> Vec<OperatorVersion> {
    promised.iter().filter_map(Promised::version).collect()
}

/// What was promised, with what is in force: the latest of each. What the job file says needs no promise.
pub(super) fn promise(promised: &[Promised], in_force: &[OperatorVersion]) -> Vec<Promised> {
    let (before, changed) = (versions(promised), in_force.iter().filter(|version| version.change > 0));
    let latest = latest_versions(before.iter().chain(changed));
    latest.iter().map(Promised::from).collect()
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Another plugin, maybe with another configuration.
    Swap,
    /// What was there before.
    Rollback,
    /// Another configuration.
    Config,
    /// What was tried beside it, or had a share of the keys.
    Promote,
    /// Another version for a share of the keys.
    Canary,
    /// Another share of the keys for that.
    Share,
    /// No share of the keys for it any more.
    Discard,
    /// A rule that was not there.
    Add,
    /// No such rule any more.
    Remove,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was put in force.
    InForce,
    /// It was not.
    Refused,
    /// `from` has failed on trial, or its canary has failed, and `to` was put back.
    RolledBack,
}

/// What has led from one version to another, as far as that can be seen.
pub(super) fn action(from: &Version, to: &Version) -> Action {
    match (&from.canary, &to.canary) {
        _ if from.digest.is_empty() => Action::Add,
        _ if to.digest.is_empty() => Action::Remove,
        _ if from.digest != to.digest => Action::Swap,
        _ if from.configuration != to.configuration => Action::Config,
        (None, Some(_)) => Action::Canary,
        (Some(_), None) => Action::Discard,
        (Some(_), Some(_)) => Action::Share,
        (None, None) => Action::Swap,
    }
}

/// A change of an operator, made or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// When, in ms since 1970-01-01 UTC.
    pub time_ms: i64,
    /// Who asked for it; null if it came about by itself.
    pub who: Option<String>,
    /// What was asked for.
    pub action: Action,
    /// The operator or sink, by name.
    pub operator: String,
    /// Its uid.
    pub uid: String,
    /// What was in force.
    pub from: Version,
    /// What is in force since then, or was to be; null if that is not known.
    pub to: Option<Version>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it is not, or no more, in force.
    pub reason: Option<String>,
}

impl Change {
    /// The number of the change, if it was made.
    fn made(&self) -> Option<u64> {
        self.to.as_ref().filter(|_| self.outcome != Outcome::Refused).map(|to| to.change)
    }

    fn bytes(&self) -> usize {
        self.from.bytes() + self.to.as_ref().map_or(0, Version::bytes)
    }
}

/// Adds a change where its number belongs: one that fails at once may be told of before it is known to be in force.
pub(super) fn remember(history: &mut Vec<Change>, change: Change) {
    let later = |other: &Change| change.made().zip(other.made()).is_some_and(|(made, other)| other > made);
    let place = history.iter().position(later).unwrap_or(history.len());
    history.insert(place, change);
    let mut bytes: usize = history.iter().map(Change::bytes).sum();
    let mut gone = history.len().saturating_sub(HISTORY_MAX);
    for (at, old) in history.iter().enumerate() {
        if at >= gone && bytes <= HISTORY_BYTES_MAX {
            break;
        }
        bytes -= old.bytes();
        gone = gone.max(at + 1);
    }
    history.drain(..gone);
}

/// What was in force before a version, if that is known. Before one that was put back is what was before it the first time: going back
/// again goes further back, and never to what was gone back from.
pub(super) fn before<'a>(history: &'a [Change], uid: &str, version: &Version) -> Option<&'a Version> {
    let mut before: HashMap<u64, &Version> = HashMap::new();
    for change in history.iter().filter(|change| change.uid == uid && change.from.kind == version.kind) {
        let Some(made) = change.made() else { continue };
        let from = match change.action {
            Action::Rollback => {
                let restored = before.get(&change.from.change);
                restored.and_then(|restored| before.get(&restored.change)).copied()
            }
            Action::Swap | Action::Config | Action::Promote => Some(&change.from),
            // What has the other keys stays what it was.
            Action::Canary | Action::Share | Action::Discard => before.get(&change.from.change).copied(),
            // Before a rule was there is nothing to go back to.
            Action::Add | Action::Remove => None,
        };
        before.extend(from.map(|from| (made, from)));
    }
    before.get(&version.change).copied()
}

/// A JSON document changed as a patch says (RFC 7396): what the patch has is put in, null takes out.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            value => merge(target.entry(name).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(change: u64) -> Version {
        Version {
            change,
            kind: "transform".into(),
            plugin: format!("p@{change}.0.0"),
            digest: "d".into(),
            configuration: json!({}),
            canary: None,
        }
    }

    fn change(action: Action, from: u64, to: u64, outcome: Outcome) -> Change {
        Change {
            time_ms: 0,
            who: None,
            action,
            operator: "o".into(),
            uid: "u".into(),
            from: version(from),
            to: Some(version(to)),
            outcome,
            reason: None,
        }
    }

    #[test]
    fn going_back_again_goes_further_back_and_never_to_what_has_failed() {
        let mut history = Vec::new();
        let ways_back = |history: &[Change], change| before(history, "u", &version(change)).map(|it| it.change);
        remember(&mut history, change(Action::Swap, 0, 1, Outcome::InForce));
        remember(&mut history, change(Action::Config, 1, 2, Outcome::InForce));
        remember(&mut history, change(Action::Swap, 2, 0, Outcome::Refused));
        // Told of in the other order.
        remember(&mut history, change(Action::Rollback, 3, 4, Outcome::RolledBack));
        remember(&mut history, change(Action::Swap, 2, 3, Outcome::InForce));
        assert_eq!(ways_back(&history, 3), Some(2));
        assert_eq!(ways_back(&history, 4), Some(1));
        remember(&mut history, change(Action::Rollback, 4, 5, Outcome::InForce));
        assert_eq!(ways_back(&history, 5), Some(0));
        remember(&mut history, change(Action::Rollback, 5, 6, Outcome::InForce));
        assert_eq!(ways_back(&history, 6), None);
        remember(&mut history, change(Action::Swap, 6, 7, Outcome::InForce));
        assert_eq!(ways_back(&history, 7), Some(6));
        remember(&mut history, change(Action::Remove, 7, 8, Outcome::InForce));
        remember(&mut history, change(Action::Add, 0, 9, Outcome::InForce));
        assert_eq!(ways_back(&history, 9), None);
        assert_eq!(before(&history, "other", &version(7)), None);
        // Whatever becomes of a canary, the way back is that of what it is beside.
        remember(&mut history, change(Action::Canary, 7, 8, Outcome::InForce));
        remember(&mut history, change(Action::Share, 8, 9, Outcome::InForce));
        remember(&mut history, change(Action::Discard, 9, 10, Outcome::RolledBack));
        assert_eq!([8, 9, 10].map(|made| ways_back(&history, made)), [Some(6); 3]);
        remember(&mut history, change(Action::Promote, 9, 11, Outcome::InForce));
        assert_eq!(ways_back(&history, 11), Some(9));
    }

    #[test]
    fn what_has_led_to_a_version_is_seen_from_what_is_other() {
        let canary = |share| {
            Some(CanaryPart { plugin: "q".into(), digest: "e".into(), configuration: json!({}), share, by: Vec::new() })
        };
        let beside = |share| Version { canary: canary(share), ..version(2) };
        let of = |digest: &str, configuration| Version { digest: digest.into(), configuration, ..version(2) };
        let plain = version(1);
        for (from, to, expected) in [
            (&plain, of("e", json!({})), Action::Swap),
            (&plain, of("d", json!({ "x": 1 })), Action::Config),
            (&plain, of("", json!({})), Action::Remove),
            (&of("", json!({})), plain.clone(), Action::Add),
            (&plain, beside(0.1), Action::Canary),
            (&beside(0.1), beside(0.2), Action::Share),
            (&beside(0.1), plain.clone(), Action::Discard),
        ] {
            assert_eq!(action(from, &to), expected);
        }
    }

    #[test]
    fn only_so_much_is_remembered() {
        let mut history = Vec::new();
        for number in 1..=HISTORY_MAX as u64 + 1 {
            remember(&mut history, change(Action::Swap, number - 1, number, Outcome::InForce));
        }
        assert_eq!((history.len(), history[0].from.change), (HISTORY_MAX, 1));
        let mut large = change(Action::Config, 1001, 1002, Outcome::InForce);
        large.from.configuration = json!("x".repeat(HISTORY_BYTES_MAX - 100));
        remember(&mut history, large);
        assert!(
            history.len() < 100 && history.last().is_some_and(|last| last.from.change == 1001),
            "{}",
            history.len()
        );
    }

    #[test]
    fn the_latest_of_each_is_promised_and_the_job_file_is_not() {
        let in_force = |change, uid: &str| OperatorVersion {
            change,
            uid: uid.into(),
            kind: OperatorKind::Sink,
            plugin: "p@1.0.0".into(),
            digest: "d".into(),
            configuration: r#"{"a":1}"#.into(),
            canary: (change == 3).then(|| CanaryVersion {
                plugin: "p@2.0.0".into(),
                digest: "e".into(),
                configuration: "{}".into(),
                share: Share::of(0.0999).unwrap(),
                by: vec!["a".into()],
            }),
            rule: None,
        };
        let promised = promise(&[], &[in_force(0, "a"), in_force(2, "b")]);
        let promised = promise(&promised, &[in_force(1, "b"), in_force(3, "c")]);
        assert_eq!(versions(&promised), [in_force(2, "b"), in_force(3, "c")]);
        let rule = RuleVersion { added: 4, removed: true, settings: "{}".into() };
        let gone = OperatorVersion { rule: Some(rule), ..in_force(5, "r:x") };
        let written = serde_json::to_string(&promise(&promised, std::slice::from_ref(&gone))).unwrap();
        let read: Vec<Promised> = serde_json::from_str(&written).unwrap();
        assert_eq!(versions(&read), [in_force(2, "b"), in_force(3, "c"), gone]);
    }

    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        for (target, patch, result) in [
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"a": {"b": 1}}), json!({"a": {"c": 2}}), json!({"a": {"b": 1, "c": 2}})),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, patch.clone());
            assert_eq!(merged, result, "{target} with {patch}");
        }
    }
}
