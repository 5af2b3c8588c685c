//! Which version of a plugin an operator runs, where that is not the one its job file names.
use serde::{Deserialize, Serialize};

use super::{OperatorKind, Share};

/// Between an operator and one of its rules, in names and uids; no name has it.
pub const RULE_SEPARATOR: char = ':';

/// Rules that were added and removed again that are remembered, by all operators of a job. Whatever goes back to before the removal of one that
/// is forgotten has it again.
const REMOVED_RULES_MAX: usize = 4096;

/// What took the place of a plugin in a job: part of every checkpoint from then on, so that recovery goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorVersion {
    /// Counts up over all changes of the job, from 1.
    pub change: u64,
    /// Of the operator or sink.
    pub uid: String,
    /// As what the plugin is run.
    pub kind: OperatorKind,
    /// `name@version`, for people; empty for a rule that was removed.
    pub plugin: String,
    /// SHA-256 of the component, in hexadecimal digits: by which it is found; empty for a rule that was removed.
    pub digest: String,
    /// A JSON object.
    pub configuration: String,
    /// The version that has a share of the keys, if there is one.
    pub canary: Option<CanaryVersion>,
    /// Of a rule that is not there as the job file has it.
    pub rule: Option<RuleVersion>,
}

/// A version of an operator that is in force for a share of the keys, beside the one that has the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryVersion {
    /// `name@version`, for people.
    pub plugin: String,
    /// SHA-256 of the component, in hexadecimal digits: by which it is found.
    pub digest: String,
    /// A JSON object.
    pub configuration: String,
    /// Of the keys.
    pub share: Share,
    /// Columns of the input that stand for the key where rows have none, by name; empty where they have one.
    pub by: Vec<String>,
}

/// That a rule was added to its operator, or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleVersion {
    /// The change that added it; 0 if the job file has it. One that is added again begins without state.
    pub added: u64,
    /// Whether it is there no more.
    pub removed: bool,
    /// Its limits and what becomes of failures, as in a job file, a JSON object; empty if the job file says.
    pub settings: String,
}

impl OperatorVersion {
    /// Whether it is a rule that is there no more.
    pub fn is_removed(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.removed)
    }

    /// Whether one of them takes the place of the other. A rule that is added again may be of another kind.
    pub fn has_place_of(&self, other: &OperatorVersion) -> bool {
        self.uid == other.uid && (self.kind == other.kind || self.uid.contains(RULE_SEPARATOR))
    }
}

/// The operator, and the rule of it, that a name or uid is of.
pub fn split_rule(name: &str) -> Option<(&str, &str)> {
    name.split_once(RULE_SEPARATOR)
}

/// The latest of each plugin in force: of several of one operator and kind, that with the highest number.
pub fn latest_versions<'a>(versions: impl IntoIterator<Item = &'a OperatorVersion>) -> Vec<OperatorVersion> {
    let mut latest: Vec<OperatorVersion> = Vec::new();
    for version in versions {
        match latest.iter_mut().find(|it| it.has_place_of(version)) {
            Some(it) if it.change < version.change => *it = version.clone(),
            Some(_) => {}
            None => latest.push(version.clone()),
        }
    }
    latest.sort_by_key(|version| version.change);
    // Those of the job file's have to be known for ever, or they would be there again.
    let gone = |version: &OperatorVersion| version.rule.as_ref().is_some_and(|rule| rule.removed && rule.added > 0);
    let mut forgotten = latest.iter().filter(|version| gone(version)).count().saturating_sub(REMOVED_RULES_MAX);
    latest.retain(|version| match forgotten > 0 && gone(version) {
        true => {
            forgotten -= 1;
            false
        }
        false => true,
    });
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(change: u64, uid: &str, kind: OperatorKind) -> OperatorVersion {
        OperatorVersion {
            change,
            uid: uid.into(),
            kind,
            plugin: "p@1.0.0".into(),
            digest: String::new(),
            configuration: "{}".into(),
            canary: None,
            rule: None,
        }
    }

    #[test]
    fn the_last_change_of_each_plugin_counts() {
        let (aggregate, process) = (OperatorKind::Aggregate, OperatorKind::ProcessWindow);
        let all = [
            version(3, "a", aggregate),
            version(1, "b", aggregate),
            version(5, "a", process),
            version(2, "a", aggregate),
            version(4, "b", aggregate),
        ];
        let latest = latest_versions(&all);
        assert_eq!(latest.iter().map(|version| version.change).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn a_rule_is_one_whatever_its_kind_and_only_so_many_that_are_gone_are_remembered() {
        let rule = |change, uid: &str, kind, added, removed| OperatorVersion {
            rule: Some(RuleVersion { added, removed, settings: String::new() }),
            ..version(change, uid, kind)
        };
        let (transform, keyed) = (OperatorKind::Transform, OperatorKind::KeyedProcess);
        let again = [rule(1, "a:x", transform, 1, true), rule(2, "a:x", keyed, 2, false)];
        assert_eq!(latest_versions(&again), again[1..]);
        let of_file = rule(1, "a:file", keyed, 0, true);
        let gone = |number| rule(number, &format!("a:r{number}"), keyed, 1, true);
        let many: Vec<_> = (2..2 + REMOVED_RULES_MAX as u64 + 3).map(gone).collect();
        let latest = latest_versions(many.iter().chain([&of_file]));
        assert_eq!(latest[0], of_file);
        assert_eq!(latest[1..], many[3..]);
    }
}
