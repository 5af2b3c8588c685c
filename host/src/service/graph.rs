//! A job as a graph of what runs, with what each node has done and how fast it is doing it. Pure; told the times.
use std::{collections::VecDeque, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    control::{MetricReport, NodeReport},
    job::{Exchange, Plan, PlanNode, Role},
};

/// From one sample of a job's counts to the next.
pub(super) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Samples that rates are made of: over this many intervals.
const RATE_INTERVALS: usize = 5;

/// A job's nodes and what connects them.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct JobGraph {
    /// Each after all that it reads.
    pub nodes: Vec<GraphNode>,
    /// What is read by whom.
    pub edges: Vec<GraphEdge>,
}

/// A source, operator or sink. Counts are of this start by the server, all subtasks together; what was done again after a failure counts
/// again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GraphNode {
    /// Its name in the job.
    pub name: String,
    /// By which its state is found.
    pub uid: String,
    /// `source`, `operator` or `sink`.
    pub role: &'static str,
    /// What it does, or its connector.
    pub kind: String,
    /// Names and versions of its plugins: of those in force.
    pub plugins: Vec<String>,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Nodes of the same task run together, without a queue between them.
    pub task: usize,
    /// Rows in.
    pub records_in: u64,
    /// Rows out, side outputs included.
    pub records_out: u64,
    /// Rows too late for their window.
    pub late: u64,
    /// Rows rejected, or malformed.
    pub rejected: u64,
    /// Rows, timers and windows that calls have failed on and that were passed over.
    pub failed: u64,
    /// Rows in per second, over the last seconds.
    pub records_in_per_second: f64,
    /// Rows out per second, over the last seconds.
    pub records_out_per_second: f64,
    /// How far event time has come, in ms since 1970-01-01 UTC; null before the first watermark. The largest number there is after the
    /// end of the input.
    pub watermark: Option<i64>,
    /// What its plugins have measured themselves; that of rules is in `/metrics` only.
    pub metrics: Vec<MetricReport>,
}

/// An output that is read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct GraphEdge {
    /// The node that is read.
    pub from: String,
    /// Its side output; null for the main one.
    pub output: Option<String>,
    /// The node that reads.
    pub to: String,
    /// How rows find their subtask: `forward`, `rebalance`, `hash` or `broadcast`.
    pub exchange: &'static str,
    /// Whether there is no queue between them.
    pub chained: bool,
}

/// A job's counts at a time: rows in and out of each node.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    at: Duration,
    counts: Vec<(u64, u64)>,
}

impl Sample {
    pub(super) fn of(at: Duration, nodes: &[NodeReport]) -> Sample {
        Sample { at, counts: nodes.iter().map(|node| (node.records_in, node.records_out)).collect() }
    }
}

/// Adds a sample to those kept.
pub(super) fn sample(samples: &mut VecDeque<Sample>, sample: Sample) {
    if samples.len() > RATE_INTERVALS {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// Rows in and out of a node, per second.
fn rates(samples: &VecDeque<Sample>, node: usize) -> (f64, f64) {
    let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return (0.0, 0.0) };
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    match (first.counts.get(node), last.counts.get(node)) {
        (Some(before), Some(after)) if seconds > 0.0 => {
            let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
            (rate(before.0, after.0), rate(before.1, after.1))
        }
        _ => (0.0, 0.0),
    }
}

/// What a job is like.
pub(super) fn graph(
    plan: &Plan,
    (reports, measured): (Vec<NodeReport>, Vec<MetricReport>),
    samples: &VecDeque<Sample>,
) -> JobGraph {
    let node = |(index, (node, report)): (usize, (&PlanNode, NodeReport))| {
        let (records_in_per_second, records_out_per_second) = rates(samples, index);
        let (role, kind, plugins) = match &node.role {
            Role::Source { connector, .. } => ("source", connector.clone(), Vec::new()),
            Role::Operator { step, plugins, .. } => {
                ("operator", (*step).to_owned(), plugins.iter().map(|plugin| plugin.name.clone()).collect())
            }
            Role::Sink { connector, plugin, .. } => {
                ("sink", connector.clone(), plugin.iter().map(|plugin| plugin.name.clone()).collect())
            }
        };
        GraphNode {
            name: node.name.clone(),
            uid: node.uid.clone(),
            role,
            kind,
            plugins,
            parallelism: node.parallelism,
            task: node.task.0,
            records_in: report.records_in,
            records_out: report.records_out,
            late: report.late,
            rejected: report.rejected,
            failed: report.failed,
            records_in_per_second,
            records_out_per_second,
            watermark: report.watermark,
            metrics: measured.iter().filter(|metric| metric.operator == node.name).cloned().collect(),
        }
    };
    let edges = plan.edges.iter().map(|edge| GraphEdge {
        from: plan.node(edge.from).name.clone(),
        output: plan.node(edge.from).outputs.get(edge.output).and_then(|port| port.name.clone()),
        to: plan.node(edge.to).name.clone(),
        exchange: match edge.exchange {
            Exchange::Forward => "forward",
            Exchange::Rebalance => "rebalance",
            Exchange::Hash { .. } => "hash",
            Exchange::Broadcast => "broadcast",
        },
        chained: edge.chained,
    });
    JobGraph { nodes: plan.nodes.iter().zip(reports).enumerate().map(node).collect(), edges: edges.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_seconds_only() {
        let mut samples = VecDeque::new();
        let add = |samples: &mut VecDeque<Sample>, seconds: u64, records_in: u64| {
            let at = Duration::from_secs(seconds);
            sample(samples, Sample { at, counts: vec![(records_in, records_in * 2)] });
        };
        assert_eq!(rates(&samples, 0), (0.0, 0.0));
        add(&mut samples, 0, 1_000_000);
        assert_eq!(rates(&samples, 0), (0.0, 0.0));
        (1..=10).for_each(|second| add(&mut samples, second, 1_000_000 + second * 30));
        assert_eq!(rates(&samples, 0), (30.0, 60.0));
        (11..=15).for_each(|second| add(&mut samples, second, 1_000_300));
        assert_eq!(rates(&samples, 0), (0.0, 0.0));
        assert_eq!(rates(&samples, 1), (0.0, 0.0));
    }
}
