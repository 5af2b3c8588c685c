//! Versions that are not trusted yet, at most one in force in each place of a plugin. Pure: told the times and what operators have done. Must not know
//! how what was before one that fails is put back.
use std::time::Duration;

use super::{
    ChangeError, RunError, TrialSpec,
    pace::{Pace, Sample},
};
use crate::{
    job::JobSpec,
    model::{OperatorKind, OperatorVersion},
};

/// Fails if a sink of the job cannot keep what is not committed for as long as a version of this operator is on trial `with_state`, for nothing is
/// committed meanwhile. Nothing has been for the time `held`.
pub(super) fn can_last(
    job: &JobSpec,
    operator: &str,
    trial: Option<TrialSpec>,
    held: Duration,
) -> Result<(), ChangeError> {
    let Some(TrialSpec { time, .. }) = trial.filter(|trial| trial.with_state) else { return Ok(()) };
    let time = time.saturating_add(held);
    let limits = job.sinks.iter().filter_map(|(name, sink)| Some((name, sink.connector.uncommitted_max()?)));
    match limits.min_by_key(|(_, max)| *max).filter(|(_, max)| time >= *max) {
        None => Ok(()),
        Some((sink, max)) => {
            let max = humantime::format_duration(max);
            let what =
                format!("nothing is committed until all trials are over, and the sink `{sink}` loses it after {max}");
            Err(ChangeError::Trial { operator: operator.to_owned(), what })
        }
    }
}

/// How often a version on trial is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A version that is on trial for some time from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialLeft {
    /// The change that put it in force.
    pub change: u64,
    /// For how long, and what it has to stand.
    pub spec: TrialSpec,
    /// What was in force before.
    pub back: OperatorVersion,
}

impl TrialLeft {
    /// In another run of the job, whose counts begin anew.
    pub(super) fn go_on(self, operator: String, now: Duration) -> Trial {
        Trial::new(operator, self, Counts::default(), now)
    }
}

/// A version that is not trusted yet.
#[derive(Debug)]
pub(super) struct Trial {
    /// The operator or sink, by name.
    pub(super) operator: String,
    /// The change that put it in force.
    change: u64,
    /// Until when, on the monotonic clock.
    until: Duration,
    spec: TrialSpec,
    /// What the operator had done before; more, where it has done again what it is not to be charged for twice.
    before: Counts,
    /// What it has done on trial by the latest checkpoint, which is where a start goes on.
    kept: Counts,
    /// What was in force before.
    pub(super) back: OperatorVersion,
    /// How fast it is.
    pace: Pace,
}

impl Trial {
    /// Of an operator, by name, that has done this before.
    pub(super) fn new(
        operator: String,
        TrialLeft { change, spec, back }: TrialLeft,
        before: Counts,
        now: Duration,
    ) -> Trial {
        let until = now.saturating_add(spec.time);
        Trial { operator, change, until, spec, before, kept: Counts::default(), back, pace: Pace::default() }
    }
}

/// What becomes of that which an operator is given, other than that it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Rows.
    pub(super) rejected: u64,
    /// Rows, timers and windows passed over.
    pub(super) failed: u64,
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts { rejected: self.rejected + other.rejected, failed: self.failed + other.failed }
    }

    fn minus(self, other: Counts) -> Counts {
        Counts {
            rejected: self.rejected.saturating_sub(other.rejected),
            failed: self.failed.saturating_sub(other.failed),
        }
    }
}

/// What an operator on trial has done, without what a canary beside it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) counts: Counts,
    pub(super) calls: Sample,
}

/// What each version on trial, by its change, had done when the barrier of a checkpoint went out.
pub(super) type SoFar = Vec<(u64, Counts)>;

/// The versions on trial.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// The latest last.
    all: Vec<Trial>,
    /// Since when there has been one with its state without a break, and hence no checkpoint; of no meaning if there is none.
    held: Duration,
}

impl FromIterator<Trial> for Trials {
    fn from_iter<T: IntoIterator<Item = Trial>>(trials: T) -> Trials {
        let mut all = Trials::default();
        trials.into_iter().for_each(|trial| all.add(trial));
        all
    }
}

impl Trials {
    /// `to` is in force now where `from` was, maybe on trial: this ends the trial of another version there.
    pub(super) fn accept(&mut self, from: &OperatorVersion, to: &OperatorVersion, trial: Option<Trial>) {
        // A canary beside it changes nothing of what is on trial.
        let stays = (&from.digest, &from.configuration) == (&to.digest, &to.configuration);
        let ends = !stays || trial.is_some();
        let ended = |it: &Trial| ends && (&it.back.uid, it.back.kind) == (&to.uid, to.kind);
        let others = self.all.extract_if(.., |it| ended(it)).collect::<Vec<_>>();
        if let Some(trial) = trial {
            self.hold(&trial, &others);
            self.all.push(trial);
        }
    }

    fn add(&mut self, trial: Trial) {
        self.hold(&trial, &[]);
        self.all.push(trial);
    }

    /// One begins, where `ended` have just ended.
    fn hold(&mut self, trial: &Trial, ended: &[Trial]) {
        let began = trial.until.saturating_sub(trial.spec.time);
        let holds = |it: &Trial| it.spec.with_state && it.until > began;
        if trial.spec.with_state && !self.all.iter().chain(ended).any(holds) {
            self.held = began;
        }
    }

    /// For how long no checkpoint has been taken.
    pub(super) fn held_for(&mut self, now: Duration) -> Duration {
        if self.hold_checkpoints(now) { now.saturating_sub(self.held) } else { Duration::ZERO }
    }

    /// What each has done so far, of which operators have done so much.
    pub(super) fn so_far(&self, counts: impl Fn(&str) -> Counts) -> SoFar {
        self.all.iter().map(|trial| (trial.change, counts(&trial.operator).minus(trial.before))).collect()
    }

    /// The checkpoint is complete at whose barrier they had done that.
    pub(super) fn keep(&mut self, so_far: &SoFar) {
        for trial in &mut self.all {
            let found = so_far.iter().find(|(change, _)| *change == trial.change);
            trial.kept = found.map_or(trial.kept, |(_, counts)| *counts);
        }
    }

    /// The job starts again from the latest checkpoint: what was done since is done again, and counts again.
    pub(super) fn again(&mut self, counts: impl Fn(&str) -> Counts) {
        for trial in &mut self.all {
            (trial.before, trial.pace) = (counts(&trial.operator).minus(trial.kept), Pace::default());
        }
    }

    /// From one moment to the next an operator has another count, since a canary that is no more is not left out of it.
    pub(super) fn counted(&mut self, operator: &str, before: Counts, after: Counts) {
        for trial in self.all.iter_mut().filter(|trial| trial.operator == operator && before != after) {
            (trial.before, trial.pace) = (trial.before.plus(after.minus(before)), Pace::default());
        }
    }

    /// A start begins with what has these versions in force. What is there of a version on trial cannot be undone: its trial, if it was to be
    /// undone with its state, is over.
    pub(super) fn restored(&mut self, versions: &[OperatorVersion]) {
        let has = |trial: &Trial| {
            let of = |it: &&OperatorVersion| (&it.uid, it.kind) == (&trial.back.uid, trial.back.kind);
            versions.iter().find(of).is_some_and(|it| it.change >= trial.change)
        };
        self.all.retain(|trial| !(trial.spec.with_state && has(trial)));
    }

    /// Whether no checkpoint is to be taken.
    pub(super) fn hold_checkpoints(&mut self, now: Duration) -> bool {
        self.current(now).iter().any(|trial| trial.spec.with_state)
    }

    /// Whether the latest version on trial of this operator is of this kind, and can be undone with all it has done.
    pub(super) fn can_be_taken_back(&mut self, operator: &str, kind: OperatorKind, now: Duration) -> bool {
        let latest = self.current(now).iter().rfind(|trial| trial.operator == operator);
        latest.is_some_and(|trial| trial.spec.with_state && trial.back.kind == kind)
    }

    /// Ends the trial whose version a failure of this operator is due to: the latest.
    pub(super) fn failed(&mut self, operator: &str, now: Duration) -> Option<Trial> {
        let at = self.current(now).iter().rposition(|trial| trial.operator == operator)?;
        Some(self.all.remove(at))
    }

    /// Looks at all of them: fails if one has rejected or failed on too much or is too slow, otherwise says when to look again.
    pub(super) fn look(&mut self, now: Duration, done: impl Fn(&str) -> Done) -> Result<Option<Duration>, RunError> {
        for trial in self.current(now) {
            let Done { counts, calls } = done(&trial.operator);
            let operator = || trial.operator.clone();
            let rejected = counts.rejected.saturating_sub(trial.before.rejected);
            if let Some(max) = trial.spec.rejected_max.filter(|max| rejected > *max) {
                return Err(RunError::OnTrial { operator: operator(), what: format!("rejected {rejected} rows"), max });
            }
            let failed = counts.failed.saturating_sub(trial.before.failed);
            if let Some(max) = trial.spec.failed_max.filter(|max| failed > *max) {
                let what = format!("failed on {failed} rows, timers or windows");
                return Err(RunError::OnTrial { operator: operator(), what, max });
            }
            if let Some(max) = trial.spec.record_time_max
                && let Some(mean) = trial.pace.mean(calls).filter(|mean| *mean > max)
            {
                return Err(RunError::TooSlow { operator: operator(), mean, max });
            }
        }
        Ok(self.all.iter().map(|trial| (now + LOOK).min(trial.until)).min())
    }

    /// Those whose time is not over.
    fn current(&mut self, now: Duration) -> &mut [Trial] {
        self.all.retain(|trial| trial.until > now);
        &mut self.all
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        job,
        model::{CanaryVersion, Share},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn version(change: u64, uid: &str, digest: &str) -> OperatorVersion {
        OperatorVersion {
            change,
            uid: uid.into(),
            kind: OperatorKind::Transform,
            plugin: String::new(),
            digest: digest.into(),
            configuration: "{}".into(),
            canary: None,
            rule: None,
        }
    }

    /// Until so many seconds.
    fn trial(operator: &str, until: u32, with_state: bool) -> Option<Trial> {
        let time = SECOND * until;
        let spec = TrialSpec { time, with_state, rejected_max: Some(5), failed_max: Some(2), record_time_max: None };
        let left = TrialLeft { change: 1, spec, back: version(0, operator, "before") };
        Some(Trial::new(operator.into(), left, Counts { rejected: 10, failed: 1 }, Duration::ZERO))
    }

    fn failed(trials: &mut Trials, operator: &str, now: u32) -> bool {
        trials.failed(operator, SECOND * now).is_some()
    }

    /// `a` until 10 s, with its state, and `b` until 20 s.
    fn two() -> Trials {
        let mut trials = Trials::default();
        for (operator, until, with_state) in [("a", 10, true), ("b", 20, false)] {
            let (from, to) = (version(0, operator, "before"), version(1, operator, "new"));
            trials.accept(&from, &to, trial(operator, until, with_state));
        }
        trials
    }

    #[test]
    fn one_with_its_state_is_shorter_than_a_sink_can_wait() {
        let text = "
name: j
sources: { in: { stdin: {}, format: text } }
sinks:
  out: { input: in, kafka: { brokers: 'a:1', topic: t, transaction_timeout: 10min } }
  often: { input: in, kafka: { brokers: 'a:1', topic: t, delivery: at_least_once, transaction_timeout: 1s } }
";
        let spec = job::parse(text, "job", &|_| None, Path::new("")).unwrap();
        let trial = |time, with_state| {
            Some(TrialSpec {
                time: SECOND * time,
                with_state,
                rejected_max: None,
                failed_max: None,
                record_time_max: None,
            })
        };
        let refused = can_last(&spec, "a", trial(600, true), Duration::ZERO).unwrap_err().to_string();
        assert!(
            refused.starts_with("[X0132] `a`") && refused.contains("the sink `out` loses it after 10m"),
            "{refused}"
        );
        for lasts in [trial(599, true), trial(600, false), None] {
            can_last(&spec, "a", lasts, Duration::ZERO).unwrap();
        }
        assert!(can_last(&spec, "a", trial(300, true), SECOND * 300).is_err());
        can_last(&spec, "a", trial(300, true), SECOND * 299).unwrap();
    }

    #[test]
    fn each_lasts_its_time_whatever_becomes_of_others() {
        let mut trials = two();
        let back = |trials: &mut Trials, of: &str, now: u32| {
            trials.can_be_taken_back(of, OperatorKind::Transform, SECOND * now)
        };
        assert!(back(&mut trials, "a", 9) && !back(&mut trials, "a", 10) && !back(&mut two(), "b", 9));
        assert!(!two().can_be_taken_back("a", OperatorKind::Sink, SECOND * 9));
        let mut trials = two();
        assert!(trials.hold_checkpoints(SECOND * 9) && failed(&mut trials, "a", 9));
        assert!(!trials.hold_checkpoints(SECOND * 9) && !failed(&mut trials, "a", 9));
        assert!(failed(&mut trials, "b", 19));
        let mut trials = two();
        assert!(!trials.hold_checkpoints(SECOND * 10) && !failed(&mut trials, "a", 10));
        assert!(!failed(&mut trials, "b", 20));
    }

    #[test]
    fn how_long_checkpoints_are_held_is_known_over_trials_that_follow_each_other() {
        let mut trials = two();
        assert_eq!([5, 12].map(|at| trials.held_for(SECOND * at)), [SECOND * 5, Duration::ZERO]);
        let mut trials = two();
        let began = |at: u32, time: u32| {
            let mut trial = trial("a", time, true).unwrap();
            trial.until = SECOND * (at + time);
            Some(trial)
        };
        let version = version(1, "a", "new");
        trials.accept(&version, &version, began(8, 9));
        assert_eq!([10, 16].map(|at| trials.held_for(SECOND * at)), [SECOND * 10, SECOND * 16]);
        trials.accept(&version, &version, began(18, 9));
        assert_eq!(trials.held_for(SECOND * 20), SECOND * 2);
    }

    #[test]
    fn what_is_done_again_and_what_others_do_is_charged_once_or_not_at_all() {
        let mut trials = two();
        let counts = |rejected| Counts { rejected, failed: 1 };
        let too_much = |trials: &mut Trials, rejected| {
            let calls = Sample { at: SECOND, call_ns: 0, items: 0 };
            let bearable = Done { counts: Counts::default(), calls };
            let done =
                |operator: &str| if operator == "b" { Done { counts: counts(rejected), calls } } else { bearable };
            trials.look(SECOND, done).is_err()
        };
        // Three by a checkpoint, five by the failure: two of them are to come again.
        let at_barrier = trials.so_far(|_| counts(13));
        assert!(!too_much(&mut trials, 15));
        trials.keep(&at_barrier);
        trials.again(|_| counts(15));
        assert!(!too_much(&mut trials, 17) && too_much(&mut trials, 18));
        // A canary has rejected a hundred, and is no more.
        trials.counted("b", counts(17), counts(117));
        assert!(!too_much(&mut trials, 117) && too_much(&mut trials, 118));
        trials.counted("a", counts(0), counts(100));
        assert!(too_much(&mut trials, 118));
    }

    #[test]
    fn a_trial_ends_when_something_else_is_in_force_in_its_place() {
        let mut trials = two();
        let (on_trial, other) = (version(1, "a", "new"), version(2, "a", "other"));
        trials.accept(&version(0, "c", "x"), &version(2, "c", "y"), None);
        let canary = CanaryVersion {
            plugin: String::new(),
            digest: "canary".into(),
            configuration: "{}".into(),
            share: Share::from_steps(100).unwrap(),
            by: Vec::new(),
        };
        trials.accept(&on_trial, &OperatorVersion { canary: Some(canary), ..on_trial.clone() }, None);
        assert_eq!(trials.all.len(), 2);
        trials.accept(&on_trial, &other, None);
        assert!(!failed(&mut trials, "a", 1) && failed(&mut trials, "b", 1));
    }

    #[test]
    fn what_a_checkpoint_has_of_a_version_is_not_undone_with_its_state() {
        let mut trials = two();
        trials.restored(&[version(0, "a", "before"), version(1, "b", "new"), version(7, "c", "x")]);
        assert!(trials.hold_checkpoints(SECOND) && trials.all.len() == 2);
        trials.restored(&[version(1, "a", "new")]);
        assert!(!trials.hold_checkpoints(SECOND) && !failed(&mut trials, "a", 1) && failed(&mut trials, "b", 1));
    }

    #[test]
    fn one_is_looked_at_until_it_has_rejected_or_failed_on_too_much() {
        let mut trials = two();
        let calls = Sample { at: SECOND, call_ns: 0, items: 0 };
        let bearable = Done { counts: Counts { rejected: 15, failed: 3 }, calls };
        assert_eq!(trials.look(SECOND, |_| bearable).unwrap(), Some(SECOND + LOOK));
        assert_eq!(trials.look(SECOND * 10 - LOOK / 2, |_| bearable).unwrap(), Some(SECOND * 10));
        for (counts, what) in [
            (Counts { rejected: 16, failed: 3 }, "has rejected 6 rows since its version was changed, 5 are allowed"),
            (
                Counts { rejected: 15, failed: 4 },
                "has failed on 3 rows, timers or windows since its version was changed, 2",
            ),
        ] {
            let done = |operator: &str| if operator == "b" { Done { counts, calls } } else { bearable };
            let error = trials.look(SECOND, done).unwrap_err();
            assert_eq!(error.operator(), Some("b"));
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(Trials::default().look(SECOND, done).unwrap(), None);
        }
    }
}
