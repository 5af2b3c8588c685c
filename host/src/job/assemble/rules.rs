//! Rules: their names, what each of them runs, and what each has of its own.
use std::{path::Path, sync::Arc};

use indexmap::IndexMap;
use serde_saphyr::Spanned;

use super::{
    failures::on_failure,
    operator::{capabilities, limits, plugin},
};
use crate::{
    job::{
        Code, JobError, OperatorSpec, RULES_MAX, RuleSettings, RulesSpec,
        raw::{Named, RawRule, RawRuleSettings},
        values::Context,
    },
    model::OperatorKind,
};

/// The rules of an operator, of which all else is known.
pub(super) fn rules(
    context: &Context<'_>,
    operator: &OperatorSpec,
    raw: Spanned<Named<RawRule>>,
    output: Option<Spanned<Named<Spanned<String>>>>,
    base: &Path,
) -> Result<RulesSpec, JobError> {
    let (place, raw) = (raw.referenced, raw.value.0);
    if raw.is_empty() && output.is_none() {
        let message = "an operator without rules, and without `output`: which columns it writes is not known";
        return Err(context
            .refuse(Code::MissingField, place, message)
            .help("write `output:` with the columns rules will write, such as `output: { user: i64, note: string? }`, or a rule"));
    }
    if raw.len() > RULES_MAX {
        let message = format!("an operator has {} rules; {RULES_MAX} are the most", raw.len());
        return Err(context.refuse(Code::BadValue, place, message).help("divide them among several operators"));
    }
    let mut rules = IndexMap::new();
    for (name, raw) in raw {
        context.name(&name)?;
        let spec = rule(context, operator, &name, raw, base)?;
        // YAML has no name twice.
        rules.insert(name.value, Arc::new(spec));
    }
    let output = output.map(|output| context.schema(&output)).transpose()?;
    Ok(RulesSpec { rules, output })
}

fn rule(
    context: &Context<'_>,
    operator: &OperatorSpec,
    at: &Spanned<String>,
    raw: RawRule,
    base: &Path,
) -> Result<OperatorSpec, JobError> {
    let RawRule { transform, keyed_process, on_error, on_failure, limits, capabilities } = raw;
    let (kind, raw) = match (transform, keyed_process) {
        (Some(raw), None) => (OperatorKind::Transform, raw),
        (None, Some(raw)) => (OperatorKind::KeyedProcess, raw),
        (Some(_), Some(second)) => {
            let message = format!("the rule `{}` has both `transform` and `keyed_process`", at.value);
            return Err(context.refuse(Code::Step, second.referenced, message).help("make it two rules"));
        }
        (None, None) => {
            let message = format!("the rule `{}` runs nothing", at.value);
            let help = "write one of `transform` and `keyed_process`, such as `transform: { plugin: ... }`";
            return Err(context.refuse(Code::Step, at.referenced, message).help(help));
        }
    };
    if kind == OperatorKind::KeyedProcess && operator.key.is_empty() {
        let message = format!("the rule `{}` is a `keyed_process`, but its operator has no `key`", at.value);
        return Err(context
            .refuse(Code::Window, raw.referenced, message)
            .help("write `key:` with the columns whose rows belong together, beside `rules:`"));
    }
    let settings = rule_settings(context, operator, RawRuleSettings { on_error, on_failure, limits, capabilities })?;
    Ok(OperatorSpec {
        place: context.place(at.referenced),
        ..operator.rule(kind, plugin(context, raw, base)?, settings)
    })
}

/// What a rule has of its own, or else of its operator.
pub(in crate::job) fn rule_settings(
    context: &Context<'_>,
    operator: &OperatorSpec,
    raw: RawRuleSettings,
) -> Result<RuleSettings, JobError> {
    Ok(RuleSettings {
        limits: raw.limits.map(|raw| limits(context, raw.value)).transpose()?.unwrap_or(operator.limits),
        capabilities: raw
            .capabilities
            .map(|raw| capabilities(context, &raw))
            .transpose()?
            .unwrap_or(operator.capabilities),
        on_failure: raw.on_failure.map(|raw| on_failure(context, raw)).transpose()?.unwrap_or(operator.on_failure),
        on_error: raw.on_error.unwrap_or(operator.on_error),
    })
}
