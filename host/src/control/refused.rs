//! Why a change of a running job is refused, or not made. Must not know how changes are made.
use crate::{
    job::{JobError, RULES_MAX},
    plugin::LoadError,
};

/// Why a change is not made. The job runs on as before.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Nobody of that name.
    #[error("[X0101] the job has no operator or sink `{0}` with a plugin")]
    NoOperator(String),
    /// Several plugins.
    #[error("[X0102] `{operator}` runs several plugins: say which is meant, one of {kinds}")]
    WhichPlugin {
        /// Its name.
        operator: String,
        /// The interfaces.
        kinds: String,
    },
    /// The new plugin does not start, or refuses its configuration.
    #[error("[X0103] `{operator}`: {error}")]
    Plugin {
        /// Its name.
        operator: String,
        /// What is wrong.
        error: LoadError,
    },
    /// The job would be another one.
    #[error(
        "[X0104] `{operator}` cannot run {plugin} as it stands: {what}. Stop the job with a savepoint and start it with the new plugin"
    )]
    Plan {
        /// Its name.
        operator: String,
        /// The new plugin.
        plugin: String,
        /// What does not fit.
        what: String,
    },
    /// Its state could not be read.
    #[error("[X0105] `{operator}` has state that {plugin} does not know: {what}")]
    State {
        /// Its name.
        operator: String,
        /// The new plugin.
        plugin: String,
        /// What does not fit.
        what: String,
    },
    /// Nothing is committed meanwhile, which a sink cannot bear for so long.
    #[error("[X0132] `{operator}` cannot be on trial `with_state` for so long: {what}")]
    Trial {
        /// Its name.
        operator: String,
        /// Which sink, and why.
        what: String,
    },
    /// The dry run of a migration has failed.
    #[error("[X0111] {plugin} cannot take over the state of `{operator}`: {what}")]
    Migration {
        /// Its name.
        operator: String,
        /// The new plugin.
        plugin: String,
        /// What cannot be migrated.
        what: String,
    },
    /// A shadow of a sink would write, or not be one.
    #[error("[X0109] `{0}` is a sink: only operators can have a version tried beside them")]
    Sink(String),
    /// Nothing is tried.
    #[error("[X0110] no version is tried beside that of `{0}`")]
    NoShadow(String),
    /// A kind that cannot be divided by its keys.
    #[error(
        "[X0120] `{operator}` runs its plugin as {kind}, which has no canary: try another version beside it (a shadow), or in its place (a trial)"
    )]
    NoCanaryOf {
        /// Its name.
        operator: String,
        /// Its kind.
        kind: &'static str,
    },
    /// One thing after the other.
    #[error("[X0121] another version of `{0}` has a share of its keys: promote or discard it first")]
    HasCanary(String),
    /// The same.
    #[error("[X0122] another version of `{0}` is tried beside it: promote or discard it first")]
    HasShadow(String),
    /// Both versions have one store.
    #[error(
        "[X0123] {plugin} declares other states than what is in force of `{operator}`, and cannot share its store: {what}. Swap it, or try it as a shadow"
    )]
    CanaryState {
        /// Its name.
        operator: String,
        /// The new plugin.
        plugin: String,
        /// What is not the same.
        what: String,
    },
    /// Rows cannot be divided so.
    #[error("[X0124] the rows of `{operator}` cannot be divided so: {what}")]
    CanaryBy {
        /// Its name.
        operator: String,
        /// Why.
        what: String,
    },
    /// There is none.
    #[error("[X0126] no other version of `{0}` has a share of its keys")]
    NoCanary(String),
    /// It has one plugin, or several in a row.
    #[error("[X0113] `{0}` is no operator with rules")]
    NoRules(String),
    /// It was removed, or never there.
    #[error("[X0114] `{operator}` has no rule `{rule}`")]
    NoRule {
        /// The operator.
        operator: String,
        /// The name asked for.
        rule: String,
    },
    /// Names of rules are distinct.
    #[error("[X0115] `{operator}` has a rule `{rule}` already")]
    RuleThere {
        /// The operator.
        operator: String,
        /// The name asked for.
        rule: String,
    },
    /// It has as many as it may.
    #[error("[X0116] `{0}` has {RULES_MAX} rules, no operator has more")]
    TooManyRules(String),
    /// A name or settings that no rule can have.
    #[error(transparent)]
    Rule(#[from] JobError),
    /// Another change was faster.
    #[error("[X0106] the job was changed meanwhile: try again")]
    Overtaken,
    /// Letters that are no input of the operator, or cannot be it now.
    #[error("[X0130] dead letters of `{operator}` cannot be replayed: {what}")]
    Replay {
        /// Its name.
        operator: String,
        /// What does not fit.
        what: String,
    },
    /// The job failed with letters that no checkpoint has.
    #[error(
        "[X0131] the job ended or failed before a checkpoint had what was replayed: if it starts again, it does so without it"
    )]
    Undone,
    /// It ended, or failed.
    #[error(
        "[X0107] the job ended or failed before the change was in force; if it starts again, it does so without it"
    )]
    Ended,
}
