//! Versions for a share of an operator's keys, by request: begun, given another share, and looked at. Must not know how rows are divided.
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    Action, Jobs, Request, Seen, ServiceError, Swapped, Version,
    change::{Next, Order, Way},
    jobs::detached,
    operators::{nothing_new, target, uploaded},
    requests::running,
};
use crate::{
    control::{CanaryReport, CanaryStep, ChangeError, JobView, TrialSpec},
    dataflow::CallCounts,
    model::Share,
};

/// What is to have a share of an operator's keys.
#[derive(Clone, Debug, Default)]
pub struct Canary {
    /// An uploaded plugin; the one there is if absent.
    pub plugin: Option<String>,
    /// As what it is run.
    pub kind: Option<String>,
    /// An object; the one there is if absent.
    pub configuration: Option<Value>,
    /// As a part of 1, from 0.0001 to 0.99.
    pub share: f64,
    /// Columns by which rows without a key are divided; if empty, those that the version in force reads.
    pub by: Vec<String>,
}

/// What both versions have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct CanaryCounts {
    /// The version in force, which has the other keys.
    pub in_force: CallCounts,
    /// The canary.
    pub canary: CallCounts,
}

/// An operator with a canary, and what both versions have done since it began, or since the server or another start of the job by request.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CanaryInfo {
    /// The operator, by name.
    pub operator: String,
    /// What is in force, with its canary. The number is that of the change that began the canary, or gave it its share.
    #[serde(flatten)]
    pub version: Version,
    /// What both have done.
    pub counts: CanaryCounts,
}

impl From<CanaryReport> for CanaryInfo {
    fn from(report: CanaryReport) -> CanaryInfo {
        let CanaryReport { operator, version, in_force, canary } = report;
        CanaryInfo { operator, version: (&version).into(), counts: CanaryCounts { in_force, canary } }
    }
}

fn share(part: f64) -> Result<Share, ServiceError> {
    Share::of(part).ok_or(ServiceError::Share(part))
}

/// The canary of an operator, by name or uid.
pub(super) fn of_operator(view: &JobView, operator: &str) -> Option<CanaryReport> {
    let of = |report: &CanaryReport| report.operator == operator || report.version.uid == operator;
    view.canaries().into_iter().find(of)
}

fn report(view: &JobView, operator: &str) -> Result<CanaryInfo, ServiceError> {
    Ok(of_operator(view, operator).ok_or_else(|| ChangeError::NoCanary(operator.to_owned()))?.into())
}

/// What has come about: the canary as it is, or as it was put in force if it has failed since.
fn done(view: &JobView, swapped: Swapped) -> CanaryInfo {
    let Swapped { operator, to: version, .. } = swapped;
    let now = of_operator(view, &operator);
    now.map_or_else(|| CanaryInfo { operator, version, counts: CanaryCounts::default() }, CanaryInfo::from)
}

impl Jobs {
    /// Has another version process a share of an operator's keys from now on, and at every start of the job.
    pub async fn canary(
        &self,
        job: &str,
        operator: &str,
        canary: Canary,
        who: &str,
    ) -> Result<CanaryInfo, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, canary.kind.as_deref())?;
        let share = share(canary.share)?;
        if canary.plugin.is_none() && canary.configuration.is_none() {
            return Err(nothing_new());
        }
        let plugin = uploaded(canary.plugin.as_deref())?;
        let Canary { configuration, by, .. } = canary;
        let view = target.view.clone();
        let way = Way::Share { share, by };
        let order = Order { configuration, ..Order::new(who, Action::Canary, target, plugin, way) };
        Ok(done(&view, detached(async move { inner.put(&entry, order).await }).await?))
    }

    /// Gives the canary of an operator another share of its keys.
    pub async fn canary_share(
        &self,
        job: &str,
        operator: &str,
        part: f64,
        seen: Seen,
        who: &str,
    ) -> Result<CanaryInfo, ServiceError> {
        let share = share(part)?;
        let (view, _) = running(&*self.0.find(job)?, Request::Change)?;
        let name = report(&view, operator)?.operator;
        Ok(done(&view, self.step(job, &name, (Action::Share, CanaryStep::Share(share)), seen, who).await?))
    }

    /// The canary of an operator, by name or uid.
    pub fn canary_report(&self, job: &str, operator: &str) -> Result<CanaryInfo, ServiceError> {
        let (view, _) = running(&*self.0.find(job)?, Request::Change)?;
        report(&view, operator)
    }

    /// Puts the canary of an operator in force for all keys.
    pub(super) async fn promote_canary(
        &self,
        job: &str,
        operator: &str,
        trial: Option<TrialSpec>,
        seen: Seen,
        who: &str,
    ) -> Result<Swapped, ServiceError> {
        self.step(job, operator, (Action::Promote, CanaryStep::Promote(trial)), seen, who).await
    }

    /// Ends the canary of an operator.
    pub(super) async fn discard_canary(
        &self,
        job: &str,
        operator: &str,
        seen: Seen,
        who: &str,
    ) -> Result<(), ServiceError> {
        self.step(job, operator, (Action::Discard, CanaryStep::Discard), seen, who).await.map(drop)
    }

    async fn step(
        &self,
        job: &str,
        operator: &str,
        (action, step): (Action, CanaryStep),
        seen: Seen,
        who: &str,
    ) -> Result<Swapped, ServiceError> {
        let (inner, entry) = self.to(job)?;
        let target = target(&entry, operator, None)?.seen(&seen)?;
        let order = Order::new(who, action, target, Next::Same, Way::Canary(step));
        detached(async move { inner.put(&entry, order).await }).await
    }
}
