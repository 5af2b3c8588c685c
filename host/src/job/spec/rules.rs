//! Rules as they were asked for: many plugins in one operator, each with settings of its own. Plain data, and what changes of it when rules come and
//! go.
use std::sync::Arc;

use indexmap::IndexMap;

use super::{CapabilitiesSpec, FailureSpec, JobSpec, LimitsSpec, OnError, OperatorSpec, PluginSpec, StepSpec};
use crate::model::{Field, OperatorKind, RULE_SEPARATOR, split_rule};

/// The most rules an operator has.
pub const RULES_MAX: usize = 1024;

/// Kinds of plugin that can be a rule.
pub const RULE_KINDS: [OperatorKind; 2] = [OperatorKind::Transform, OperatorKind::KeyedProcess];

/// `rules: {...}` of an operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RulesSpec {
    /// By name, at most [`RULES_MAX`]; at least one unless `output` is there. Inputs, key, parallelism and so on are those of the operator. Rows go
    /// through them in this order.
    pub rules: IndexMap<String, Arc<OperatorSpec>>,
    /// `output: { user: i64, note: string? }`: the columns that all of them write. Default: those of the first; known in any case once the job
    /// is prepared.
    pub output: Option<Vec<Field>>,
}

/// What a rule has beside its plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// Limits on its plugin.
    pub limits: LimitsSpec,
    /// What its plugin is granted.
    pub capabilities: CapabilitiesSpec,
    /// What becomes of calls of its plugin that fail.
    pub on_failure: FailureSpec,
    /// What becomes of records it rejects.
    pub on_error: OnError,
}

/// The name of a rule among the operators of a job, or its uid, given those of its operator.
pub fn rule_name(operator: &str, rule: &str) -> String {
    format!("{operator}{RULE_SEPARATOR}{rule}")
}

impl OperatorSpec {
    /// Its rules, if it has the step for that.
    pub fn rules(&self) -> Option<&RulesSpec> {
        match &self.step {
            StepSpec::Rules(rules) => Some(rules),
            _ => None,
        }
    }

    /// A rule of this operator. `kind` is one of [`RULE_KINDS`].
    pub fn rule(&self, kind: OperatorKind, plugin: PluginSpec, settings: RuleSettings) -> OperatorSpec {
        let RuleSettings { limits, capabilities, on_failure, on_error } = settings;
        let step = match kind {
            OperatorKind::KeyedProcess => StepSpec::KeyedProcess(plugin),
            _ => StepSpec::Transform(plugin),
        };
        OperatorSpec { step, limits, capabilities, on_failure, on_error, ..self.clone_without_rules() }
    }

    fn clone_without_rules(&self) -> OperatorSpec {
        OperatorSpec {
            place: self.place,
            inputs: self.inputs.clone(),
            key: self.key.clone(),
            second: None,
            window: None,
            step: StepSpec::Rules(RulesSpec::default()),
            parallelism: self.parallelism,
            uid: self.uid.clone(),
            chain: self.chain,
            on_error: self.on_error,
            on_failure: self.on_failure,
            limits: self.limits,
            capabilities: self.capabilities,
        }
    }
}

impl JobSpec {
    /// An operator or, by `operator:rule`, a rule.
    pub fn operator(&self, name: &str) -> Option<&OperatorSpec> {
        match split_rule(name) {
            None => self.operators.get(name),
            Some((operator, rule)) => Some(&**self.operators.get(operator)?.rules()?.rules.get(rule)?),
        }
    }

    /// All operators with their names, each followed by its rules with theirs.
    pub fn operators_and_rules(&self) -> impl Iterator<Item = (String, &OperatorSpec)> {
        self.operators.iter().flat_map(|(name, operator)| {
            let rules = operator.rules().into_iter().flat_map(|rules| &rules.rules);
            let rules = rules.map(move |(rule, spec)| (rule_name(name, rule), &**spec));
            std::iter::once((name.clone(), operator)).chain(rules)
        })
    }

    /// Whether any operator has the step for rules.
    pub fn has_rules(&self) -> bool {
        self.operators.values().any(|operator| operator.rules().is_some())
    }

    /// The rules of an operator, to be changed; of one that is there and has the step for that.
    pub fn rules_mut(&mut self, operator: &str) -> Option<&mut RulesSpec> {
        match &mut self.operators.get_mut(operator)?.step {
            StepSpec::Rules(rules) => Some(rules),
            _ => None,
        }
    }
}
