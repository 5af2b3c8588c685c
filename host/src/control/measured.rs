//! The metrics that a job's plugins declare, and what they have come to. Guarantees: shown are those that the versions in force and their
//! canaries declare, from the start on; what a version measured that is not in force any more is shown again if it comes back. Must not know
//! how readings are made or counted.
use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Prepared, run::Shared};
use crate::{
    job::PlanNode,
    model::{MetricKind, OperatorKind},
    plugin::{Measures, MetricValue},
};

/// Metrics of a job that are shown: of more, those of the first operators and rules.
const METRICS_MAX: usize = 10_000;

/// A metric that a plugin of an operator declares, and what it has come to since the job was last started by its server. What was done
/// again after a failure of the job counts again.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MetricReport {
    /// The operator, rule or sink, by its name in the job.
    #[serde(skip)]
    pub operator: String,
    /// Its name.
    pub metric: String,
    /// What it has come to.
    #[serde(flatten)]
    pub value: MetricValue,
}

impl Shared {
    /// What all operators, rules and sinks have measured, in the order of the plan.
    pub(super) fn measured(&self) -> Vec<MetricReport> {
        let prepared = self.in_force.prepared();
        let of_node = |node: &PlanNode| -> Vec<MetricReport> {
            let declared = declared(&prepared, &node.name);
            if declared.is_empty() {
                return Vec::new();
            }
            let subtasks: Vec<_> = (0..node.parallelism).map(|subtask| self.counts_of(node, subtask)).collect();
            let report = |metric: &(String, MetricKind)| MetricReport {
                operator: node.name.clone(),
                metric: metric.0.clone(),
                value: Measures::read(subtasks.iter().map(|subtask| &subtask.measures), metric),
            };
            declared.into_iter().map(report).collect()
        };
        let all = prepared.plan.nodes.iter().flat_map(|node| {
            let rules = node.rules().filter_map(|rule| node.rule(rule)).flat_map(|rule| of_node(&rule));
            of_node(node).into_iter().chain(rules)
        });
        all.take(METRICS_MAX).collect()
    }
}

/// The metrics that plugins of an operator, rule or sink of this name declare.
fn declared<'a>(prepared: &'a Prepared, name: &str) -> BTreeSet<&'a (String, MetricKind)> {
    let first = (name.to_owned(), OperatorKind::ALL[0]);
    let plugins = prepared.plugins.range(first.clone()..);
    let canaries = prepared.canaries.range(first..).map(|(id, canary)| (id, &canary.bound));
    plugins
        .take_while(|(id, _)| id.0 == name)
        .chain(canaries.take_while(|(id, _)| id.0 == name))
        .filter_map(|(id, bound)| bound.plugin.description(id.1))
        .flat_map(|description| &description.metrics)
        .collect()
}
