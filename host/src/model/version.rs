//! Which version of a plugin an operator runs, where that is not the one its job file names.
use super::{OperatorKind, Share};

/// What took the place of a plugin in a job: part of every checkpoint from then on, so that recovery goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorVersion {
    /// Counts up over all changes of the job, from 1.
    pub change: u64,
    /// Of the operator or sink.
    pub uid: String,
    /// As what the plugin is run.
    pub kind: OperatorKind,
    /// `name@version`, for people.
    pub plugin: String,
    /// SHA-256 of the component, in hexadecimal digits: by which it is found.
    pub digest: String,
    /// A JSON object.
    pub configuration: String,
    /// The version that has a share of the keys, if there is one.
    pub canary: Option<CanaryVersion>,
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

/// The latest of each plugin in force: of several of one operator and kind, that with the highest number.
pub fn latest_versions<'a>(versions: impl IntoIterator<Item = &'a OperatorVersion>) -> Vec<OperatorVersion> {
    let mut latest: Vec<OperatorVersion> = Vec::new();
    for version in versions {
        match latest.iter_mut().find(|it| it.uid == version.uid && it.kind == version.kind) {
            Some(it) if it.change < version.change => *it = version.clone(),
            Some(_) => {}
            None => latest.push(version.clone()),
        }
    }
    latest.sort_by_key(|version| version.change);
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_change_of_each_plugin_counts() {
        let version = |change, uid: &str, kind| OperatorVersion {
            change,
            uid: uid.into(),
            kind,
            plugin: "p@1.0.0".into(),
            digest: String::new(),
            configuration: "{}".into(),
            canary: None,
        };
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
}
