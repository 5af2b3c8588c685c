//! The plan as a text for people: a block per task, its nodes as a tree, what leaves it and where to.
use std::fmt;

use super::{EdgeId, Exchange, InputSide, NodeId, Plan, PlanEdge, PlanNode, Role, TaskPlan};
use crate::model::Schema;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "job {}", self.name)?;
        for task in &self.tasks {
            let subtasks = if task.parallelism == 1 { "subtask" } else { "subtasks" };
            writeln!(f, "\ntask {}, {} {subtasks}", task.id.0, task.parallelism)?;
            for id in &task.incoming {
                let edge = self.edge(*id);
                writeln!(f, "  <- {}{}", port(self, edge), how(self, edge))?;
            }
            write_tree(f, self, task)?;
        }
        if !self.warnings.is_empty() {
            writeln!(f)?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

fn write_tree(f: &mut fmt::Formatter<'_>, plan: &Plan, task: &TaskPlan) -> fmt::Result {
    // What is still to be written, the next one last: a node with the edge that feeds it, or an edge that leaves.
    let mut open: Vec<(NodeId, Option<EdgeId>, usize)> = vec![(task.head, None, 1)];
    while let Some((id, fed_by, depth)) = open.pop() {
        write!(f, "{:indent$}", "", indent = 2 * depth)?;
        let side = fed_by.map(|edge| plan.edge(edge)).filter(|edge| edge.output > 0);
        if let Some(edge) = side {
            write!(f, ".{}: ", output_name(plan, edge))?;
        }
        let node = plan.node(id);
        writeln!(f, "{} {}", node.name, Summary(node))?;
        write_rules(f, node, 2 * depth + 2)?;
        for id in task.outgoing.iter().filter(|edge| plan.edge(**edge).from == id) {
            let edge = plan.edge(*id);
            let to = plan.node(edge.to);
            write!(f, "{:indent$}", "", indent = 2 * depth + 2)?;
            if edge.output > 0 {
                write!(f, ".{} ", output_name(plan, edge))?;
            }
            writeln!(f, "-> task {} {}{}", to.task.0, to.name, how(plan, edge))?;
        }
        let chained = task.chain.iter().rev().filter(|edge| plan.edge(**edge).from == id);
        open.extend(chained.map(|edge| (plan.edge(*edge).to, Some(*edge), depth + 1)));
    }
    Ok(())
}

/// The rules of an operator, a line each.
fn write_rules(f: &mut fmt::Formatter<'_>, node: &PlanNode, indent: usize) -> fmt::Result {
    let Role::Operator { plugins, .. } = &node.role else { return Ok(()) };
    for plugin in plugins {
        if let Some(rule) = &plugin.rule {
            writeln!(f, "{:indent$}:{rule} ({} {})", "", plugin.kind.interface(), plugin.name)?;
        }
    }
    Ok(())
}

fn output_name<'a>(plan: &'a Plan, edge: &PlanEdge) -> &'a str {
    plan.node(edge.from).outputs[edge.output].name.as_deref().unwrap_or("")
}

fn port(plan: &Plan, edge: &PlanEdge) -> String {
    let from = plan.node(edge.from);
    let task = format!("task {} {}", from.task.0, from.name);
    if edge.output == 0 { task } else { format!("{task}.{}", output_name(plan, edge)) }
}

fn how(plan: &Plan, edge: &PlanEdge) -> String {
    let side = match edge.side {
        InputSide::First => "",
        InputSide::Second => ", second input",
    };
    match &edge.exchange {
        _ if edge.combined => ", aggregated before".to_owned(),
        Exchange::Forward => side.to_owned(),
        Exchange::Rebalance => format!("{side}, rebalanced"),
        Exchange::Hash { key } => format!("{side}, by {}", columns(plan.node(edge.to).input_of(edge.side), key)),
        Exchange::Broadcast => ", broadcast".to_owned(),
    }
}

fn columns(schema: Option<&Schema>, indices: &[usize]) -> String {
    let names = schema.map(|schema| indices.iter().map(|&index| &*schema.fields()[index].name).collect::<Vec<_>>());
    names.unwrap_or_default().join(", ")
}

/// What a node is, and the columns it gives.
struct Summary<'a>(&'a PlanNode);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let output = self.0.outputs.first().map(|port| &port.schema);
        match &self.0.role {
            Role::Source { connector, inferred, .. } => {
                write!(f, "(source {connector})")?;
                output.iter().try_for_each(|schema| write!(f, " {schema}"))?;
                if *inferred { f.write_str(" as its readers ask for") } else { Ok(()) }
            }
            Role::Operator { step, plugins, key, .. } => {
                let own = plugins.iter().filter(|plugin| plugin.rule.is_none());
                let runs: Vec<String> =
                    own.map(|plugin| format!("{} {}", plugin.kind.interface(), plugin.name)).collect();
                write!(f, "({}", if runs.is_empty() { (*step).to_owned() } else { runs.join(", ") })?;
                if !key.is_empty() {
                    write!(f, " by {}", columns(self.0.input.as_ref(), key))?;
                }
                f.write_str(")")?;
                output.iter().try_for_each(|schema| write!(f, " {schema}"))
            }
            Role::Sink { connector, plugin, written, .. } => {
                write!(f, "(sink {connector}")?;
                plugin.iter().try_for_each(|plugin| write!(f, ", {}", plugin.name))?;
                write!(f, ") {written}")
            }
        }
    }
}
