//! Rules of operators of a running job, as they are seen, added and removed by request. Guarantees, as for any change, that what came of it is on disk
//! before whoever asked hears of it. Must not know how records reach a rule.
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Action, Change, Jobs, Outcome, Request, ServiceError, Version,
    change::{Next, Wanted, fits},
    entry::Entry,
    jobs::{Inner, blocking, detached},
    operators::{kind, uploaded},
    requests::running,
};
use crate::{
    control::{ChangeError, JobView, RuleChange, RuleReport, RuleRequest},
    job::{RULE_KINDS, rule_name},
    model::OperatorKind,
    plugin::Plugin,
};

/// A rule of an operator. What it has counted is of this start by the server, all subtasks together.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RuleInfo {
    /// Its name.
    pub rule: String,
    /// Its name among the job's operators: that of its operator, `:`, and its own.
    pub operator: String,
    /// Its uid among theirs.
    pub uid: String,
    /// The change that added it; 0 if the job file has it.
    pub added: u64,
    /// What it runs.
    #[serde(flatten)]
    pub version: Version,
    /// Rows in.
    pub records_in: u64,
    /// Rows out.
    pub records_out: u64,
    /// Rows it has rejected.
    pub rejected: u64,
    /// Rows and timers that calls have failed on and that were passed over.
    pub failed: u64,
    /// How often its circuit breaker has opened.
    pub circuits_opened: u64,
}

/// A rule that is to be added.
#[derive(Clone, Debug, Default)]
pub struct AddedRule {
    /// Its name: a letter, then letters, digits, `-` and `_`.
    pub name: String,
    /// An uploaded plugin, `name@1.0.0` or `sha256:` and its digest.
    pub plugin: String,
    /// As what it is run: `keyed-process` or `transform`. May be left out where the plugin can be one of them only.
    pub kind: Option<String>,
    /// An object. Default: empty.
    pub configuration: Option<Value>,
    /// `limits`, `capabilities`, `on_failure` and `on_error` as in a job file, those there are.
    pub settings: Map<String, Value>,
}

impl From<RuleReport> for RuleInfo {
    fn from(report: RuleReport) -> RuleInfo {
        let RuleReport { rule, version, added, counts } = report;
        RuleInfo {
            rule,
            operator: counts.name,
            uid: version.uid.clone(),
            added,
            version: (&version).into(),
            records_in: counts.records_in,
            records_out: counts.records_out,
            rejected: counts.rejected,
            failed: counts.failed,
            circuits_opened: counts.circuits_opened,
        }
    }
}

/// What there is where there is no rule.
fn nothing(kind: &str) -> Version {
    let (plugin, digest) = (String::new(), String::new());
    Version { change: 0, kind: kind.to_owned(), plugin, digest, configuration: json!({}), canary: None }
}

/// A change of the rules of an operator that is under way.
struct Order {
    who: String,
    action: Action,
    view: JobView,
    /// Name and uid of the operator.
    of: (String, String),
    rule: String,
    from: Version,
}

impl Jobs {
    /// The rules of an operator, by name or uid, in the order rows go through them.
    pub fn rules(&self, job: &str, operator: &str) -> Result<Vec<RuleInfo>, ServiceError> {
        let (view, _) = running(&*self.0.find(job)?, Request::Change)?;
        Ok(view.rules(operator)?.rules.into_iter().map(RuleInfo::from).collect())
    }

    /// Adds a rule to an operator. Returns once it is in force, and at every start of the job from then on.
    pub async fn add_rule(
        &self,
        job: &str,
        operator: &str,
        added: AddedRule,
        who: &str,
    ) -> Result<RuleInfo, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let (view, _) = running(&entry, Request::Change)?;
        let there = view.rules(operator)?;
        let wanted = added.kind.as_deref().map(kind).transpose()?;
        let plugin = uploaded(Some(&added.plugin))?;
        let from = nothing(wanted.map(OperatorKind::interface).unwrap_or_default());
        let (action, of, rule) = (Action::Add, (there.operator, there.uid), added.name.clone());
        let order = Order { who: who.to_owned(), action, view, of, rule, from };
        detached(async move { inner.add_rule(&entry, order, plugin, wanted, added).await }).await
    }

    /// Removes a rule of an operator, with its state. Returns once it is gone, and from every start of the job from then on.
    pub async fn remove_rule(&self, job: &str, operator: &str, rule: &str, who: &str) -> Result<(), ServiceError> {
        let (_, entry) = self.to(job)?;
        let (view, _) = running(&entry, Request::Change)?;
        let there = view.rules(operator)?;
        let now = there.rules.iter().find(|report| report.rule == rule);
        let from = now.map_or_else(|| nothing(""), |report| (&report.version).into());
        let (action, of, rule) = (Action::Remove, (there.operator, there.uid), rule.to_owned());
        let order = Order { who: who.to_owned(), action, view, of, rule, from };
        detached(async move {
            let request =
                RuleRequest { operator: order.of.0.clone(), rule: order.rule.clone(), change: RuleChange::Remove };
            let to = Some(nothing(&order.from.kind));
            let made = order.make(&entry, move |_| Ok(request)).await;
            order.note(&entry, to, made).await.map(drop)
        })
        .await
    }
}

impl Inner {
    async fn add_rule(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        order: Order,
        plugin: Next,
        kind: Option<OperatorKind>,
        added: AddedRule,
    ) -> Result<RuleInfo, ServiceError> {
        let configuration = added.configuration.unwrap_or_else(|| json!({}));
        let mut to = None;
        let made: Result<(Version, Option<Wanted>), ServiceError> = async {
            let name = rule_name(&order.of.0, &order.rule);
            let (plugin, wanted) = self.plugin(entry, &name, plugin).await?;
            let missing = || ServiceError::Request("a rule needs a plugin".to_owned());
            let plugin = plugin.ok_or_else(missing)?;
            to = intended(&plugin, kind, &configuration);
            let (operator, rule) = (order.of.0.clone(), order.rule.clone());
            let settings = Value::Object(added.settings).to_string();
            let request = move |view: &JobView| {
                let described = kinds(kind).find_map(|kind| plugin.description(kind));
                let schema = described.map(|it| it.configuration.as_str()).unwrap_or_default();
                fits(&name, schema, &configuration, &view.prepared().spec.variables)?;
                let configuration = configuration.to_string();
                let change = RuleChange::Add { kind, plugin, configuration, settings };
                Ok(RuleRequest { operator, rule, change })
            };
            Ok((order.make(entry, request).await?, wanted))
        }
        .await;
        let (made, _wanted) = match made {
            Ok((version, wanted)) => (Ok(version), wanted),
            Err(error) => (Err(error), None),
        };
        order.note(entry, to, made).await?;
        let rules = order.view.rules(&order.of.0)?.rules.into_iter();
        // Somebody may have removed it again.
        let mut rules = rules.filter(|report| report.rule == order.rule);
        rules.next().map(RuleInfo::from).ok_or_else(|| ChangeError::Overtaken.into())
    }
}

/// As what a plugin may be run.
fn kinds(wanted: Option<OperatorKind>) -> impl Iterator<Item = OperatorKind> {
    RULE_KINDS.into_iter().filter(move |kind| wanted.is_none_or(|wanted| wanted == *kind))
}

/// What was to be in force, as far as that is known.
fn intended(plugin: &Plugin, wanted: Option<OperatorKind>, configuration: &Value) -> Option<Version> {
    let described = kinds(wanted).find_map(|kind| plugin.description(kind))?;
    Some(Version {
        canary: None,
        change: 0,
        kind: described.kind.interface().to_owned(),
        plugin: format!("{}@{}", described.name, described.version),
        digest: plugin.digest().to_owned(),
        configuration: configuration.clone(),
    })
}

impl Order {
    /// Makes the change that is asked for; what is in force then.
    async fn make(
        &self,
        entry: &Arc<Entry>,
        request: impl FnOnce(&JobView) -> Result<RuleRequest, ServiceError> + Send + 'static,
    ) -> Result<Version, ServiceError> {
        let view = self.view.clone();
        let ready = blocking(move || Ok(view.prepare_rule(request(&view)?)?)).await?;
        let changed = self.view.change(ready).await?;
        entry.promise_all(&self.view);
        Ok((&changed.to).into())
    }

    /// Notes what came of it; `to` is what was to be in force.
    async fn note(
        &self,
        entry: &Arc<Entry>,
        to: Option<Version>,
        made: Result<Version, ServiceError>,
    ) -> Result<Version, ServiceError> {
        let (to, outcome) = match &made {
            Ok(version) => (Some(version.clone()), Outcome::InForce),
            Err(_) => (to, Outcome::Refused),
        };
        let reason = made.as_ref().err().map(ToString::to_string);
        let [operator, uid] = [&self.of.0, &self.of.1].map(|of| rule_name(of, &self.rule));
        let (time_ms, who, action) = (entry.now_ms(), Some(self.who.clone()), self.action);
        entry.note(Change { time_ms, who, action, operator, uid, from: self.from.clone(), to, outcome, reason });
        let written = entry.persist().await;
        let made = made?;
        written?;
        Ok(made)
    }
}
