//! Which versions are on trial, as a job's record has it, so that trials go on when the job is started again. Pure. Must not know how a version
//! that fails is put back.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::Promised;
use crate::{
    control::{TrialLeft, TrialSpec},
    model::OperatorVersion,
};

/// A version on trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptTrial {
    /// When it is over, in ms since 1970-01-01 UTC.
    until_ms: i64,
    with_state: bool,
    rejected_max: Option<u64>,
    failed_max: Option<u64>,
    /// In ns.
    record_time_max: Option<u64>,
    version: Promised,
    /// What was in force before.
    back: Promised,
}

impl KeptTrial {
    /// Of a version that has just come into force.
    pub(super) fn new(spec: TrialSpec, from: &OperatorVersion, to: &OperatorVersion, now_ms: i64) -> KeptTrial {
        let TrialSpec { time, with_state, rejected_max, failed_max, record_time_max } = spec;
        KeptTrial {
            until_ms: now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            with_state,
            rejected_max,
            failed_max,
            record_time_max: record_time_max.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
            version: to.into(),
            // A canary that was promoted is not what is gone back to.
            back: (&OperatorVersion { canary: None, ..from.clone() }).into(),
        }
    }

    /// Whether it is where this version is.
    pub(super) fn is_of(&self, version: &OperatorVersion) -> bool {
        self.version.is_in_place_of(&version.into())
    }

    /// Whether its version is in force, whatever is beside it.
    fn is_in_force(&self, in_force: &[Promised]) -> bool {
        in_force.iter().any(|it| it.is_in_place_of(&self.version) && it.runs_the_same(&self.version))
    }

    /// Whether this plugin, by digest, is put back if it fails before it is over.
    pub(super) fn goes_back_to(&self, digest: &str, now_ms: i64) -> bool {
        self.until_ms > now_ms && self.back.version.runs(digest)
    }

    /// What there is of it at this time.
    fn left(&self, now_ms: i64) -> Option<TrialLeft> {
        let ms = u64::try_from(self.until_ms.saturating_sub(now_ms)).ok().filter(|ms| *ms > 0)?;
        let spec = TrialSpec {
            time: Duration::from_millis(ms),
            with_state: self.with_state,
            rejected_max: self.rejected_max,
            failed_max: self.failed_max,
            record_time_max: self.record_time_max.map(Duration::from_nanos),
        };
        let change = self.version.version.change;
        Some(TrialLeft { change, spec, back: self.back.version()? })
    }
}

/// The trials that go on while this is in force, with one that has just begun, maybe in place of an earlier one there.
pub(super) fn keep(kept: &[KeptTrial], begun: Option<KeptTrial>, in_force: &[Promised], now_ms: i64) -> Vec<KeptTrial> {
    let replaced = |it: &KeptTrial| begun.as_ref().is_some_and(|begun| it.version.is_in_place_of(&begun.version));
    let others = kept.iter().filter(|it| !replaced(it)).chain(&begun);
    others.filter(|it| it.until_ms > now_ms && it.is_in_force(in_force)).cloned().collect()
}

/// What is on trial at this time.
pub(super) fn left(kept: &[KeptTrial], now_ms: i64) -> Vec<TrialLeft> {
    kept.iter().filter_map(|trial| trial.left(now_ms)).collect()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::{
        model::{CanaryVersion, OperatorKind, RuleVersion, Share},
        service::history::promise,
    };

    fn version(change: u64, uid: &str, digest: &str) -> OperatorVersion {
        OperatorVersion {
            change,
            uid: uid.into(),
            kind: OperatorKind::Transform,
            plugin: "p@1.0.0".into(),
            digest: digest.into(),
            configuration: "{}".into(),
            canary: None,
            rule: None,
        }
    }

    const SPEC: TrialSpec = TrialSpec {
        time: Duration::from_millis(100),
        with_state: true,
        rejected_max: Some(3),
        failed_max: Some(4),
        record_time_max: Some(Duration::from_micros(2)),
    };

    #[test]
    fn a_trial_goes_on_for_the_rest_of_its_time_while_its_version_is_in_force() {
        let rule = |added| Some(RuleVersion { added, removed: false, settings: String::new() });
        let from = OperatorVersion { rule: rule(1), ..version(1, "a", "old") };
        let to = OperatorVersion { digest: "new".into(), change: 2, ..from.clone() };
        let begun = KeptTrial::new(SPEC, &from, &to, 1000);
        let kept = keep(&[], Some(begun), &promise(&[], slice::from_ref(&to)), 1000);
        let text = serde_json::to_string(&kept).unwrap();
        let kept: Vec<KeptTrial> = serde_json::from_str(&text).unwrap();
        assert!(kept[0].goes_back_to("old", 1099) && !kept[0].goes_back_to("old", 1100));
        assert!(!kept[0].goes_back_to("new", 1040));
        let left_at =
            |versions: &[OperatorVersion], now_ms| left(&keep(&kept, None, &promise(&[], versions), now_ms), now_ms);
        let expected = |time| TrialLeft { change: 2, spec: TrialSpec { time, ..SPEC }, back: from.clone() };
        let in_force = [to.clone(), version(3, "b", "x")];
        assert_eq!(left_at(&in_force, 1040), [expected(Duration::from_millis(60))]);
        let canary = CanaryVersion {
            plugin: "p@2.0.0".into(),
            digest: "newer".into(),
            configuration: "{}".into(),
            share: Share::of(0.5).unwrap(),
            by: Vec::new(),
        };
        let beside = OperatorVersion { change: 4, canary: Some(canary), ..to.clone() };
        assert_eq!(left_at(&[beside], 1099), [expected(Duration::from_millis(1))]);
        assert_eq!(left(&kept, 1100), []);
        // Another version, nothing but another operator, or another rule of its name.
        let again = OperatorVersion { rule: rule(5), ..to };
        for in_force in [version(3, "a", "other"), version(2, "b", "new"), again] {
            assert_eq!(left_at(slice::from_ref(&in_force), 1040), [], "{in_force:?}");
        }
    }

    #[test]
    fn there_is_one_for_each_place_and_none_that_is_over() {
        let mut kept = Vec::new();
        let in_force = promise(&[], &["a", "b", "c"].map(|uid| version(2, uid, "new")));
        let mut begin = |uid: &str, now_ms| {
            let begun = KeptTrial::new(SPEC, &version(1, uid, "old"), &version(2, uid, "new"), now_ms);
            kept = keep(&kept, Some(begun), &in_force, now_ms);
            kept.iter().map(|it| it.version.uid().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(begin("a", 0), ["a"]);
        assert_eq!(begin("b", 50), ["a", "b"]);
        assert_eq!(begin("a", 60), ["b", "a"]);
        assert_eq!(begin("c", 155), ["a", "c"]);
    }
}
