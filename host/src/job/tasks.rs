//! Exchanges and chains: which nodes run together, and how rows find their subtask where they do not. Cannot fail: everything
//! was checked before.
use super::{
    AssignerSpec, Exchange, InputSide, NodeId, OutputPort, Plan, PlanEdge, PlanNode, Role, StepSpec, TaskId, TaskPlan,
    TriggerSpec,
    graph::{Feed, Graph, Node, Part},
    plan::EdgeId,
    schemas::NodeSchemas,
};
use crate::model::{Schema, TimeDomain};

pub(super) fn assign(graph: &Graph<'_>, schemas: Vec<NodeSchemas>) -> Plan {
    let spec = graph.spec;
    let nodes = graph.nodes.iter().zip(schemas).enumerate();
    let mut plan = Plan {
        name: spec.name.clone(),
        max_parallelism: spec.max_parallelism,
        batch: spec.batch,
        nodes: nodes.map(|(index, (node, schemas))| plan_node(index, node, schemas, spec.parallelism)).collect(),
        edges: Vec::new(),
        tasks: Vec::new(),
        warnings: graph.warnings(),
    };
    for (to, node) in graph.nodes.iter().enumerate() {
        let first = plan.edges.len();
        for (input, feed) in node.feeds.iter().enumerate() {
            let id = EdgeId(plan.edges.len());
            let edge = plan_edge(&plan, node, id, feed, (NodeId(to), input));
            plan.edges.push(edge);
        }
        place_in_task(&mut plan, NodeId(to), first);
    }
    combine(graph, &mut plan);
    for edge in plan.edges.iter().filter(|edge| !edge.chained) {
        let task = plan.nodes[edge.from.0].task;
        plan.tasks[task.0].outgoing.push(edge.id);
    }
    plan
}

/// Windows of all rows that only fire when they are over get accumulators instead of rows, unless rows themselves are wanted: nobody may
/// read those that are late or rejected, and none are sought that calls fail on.
fn combine(graph: &Graph<'_>, plan: &mut Plan) {
    for (index, node) in graph.nodes.iter().enumerate() {
        let Part::Operator(operator) = node.part else { continue };
        let fires_once = operator.window.as_ref().is_some_and(|window| {
            matches!(window.assigner, AssignerSpec::Tumbling { .. } | AssignerSpec::Sliding { .. })
                && window.time == TimeDomain::Event
                && window.allowed_lateness.is_zero()
                && window.trigger == TriggerSpec::EventTime
        });
        let id = NodeId(index);
        let aggregates = operator.is_window_of_all() && matches!(operator.step, StepSpec::Aggregate(_));
        let sole = plan.edges.iter().all(|edge| edge.to != id || !edge.chained);
        let unread = plan.edges.iter().all(|edge| edge.from != id || edge.output == 0);
        if aggregates && fires_once && sole && unread && operator.on_failure.fails_at_once() {
            plan.edges.iter_mut().filter(|edge| edge.to == id).for_each(|edge| edge.combined = true);
        }
    }
}

/// Puts a node, whose edges are those from `first` on, into the task of the one that feeds it, or into a task of its own.
fn place_in_task(plan: &mut Plan, id: NodeId, first: usize) {
    let edges = &plan.edges[first..];
    let task = match edges {
        [edge] if edge.chained => {
            let task = plan.nodes[edge.from.0].task;
            plan.tasks[task.0].nodes.push(id);
            plan.tasks[task.0].chain.push(edge.id);
            task
        }
        edges => {
            let task = TaskId(plan.tasks.len());
            plan.tasks.push(TaskPlan {
                id: task,
                parallelism: plan.nodes[id.0].parallelism,
                head: id,
                nodes: vec![id],
                chain: Vec::new(),
                incoming: edges.iter().map(|edge| edge.id).collect(),
                outgoing: Vec::new(),
            });
            task
        }
    };
    plan.nodes[id.0].task = task;
}

fn plan_edge(plan: &Plan, reader: &Node<'_>, id: EdgeId, feed: &Feed<'_>, (to, input): (NodeId, usize)) -> PlanEdge {
    let (from, output, side) = (NodeId(feed.from), feed.output, feed.side);
    let (producer, consumer) = (plan.node(from), plan.node(to));
    let key = match (&consumer.role, side) {
        (Role::Operator { key, .. }, InputSide::First) => key.as_slice(),
        (Role::Operator { second_key, .. }, InputSide::Second) => second_key.as_slice(),
        (Role::Source { .. } | Role::Sink { .. }, _) => &[],
    };
    let single = producer.parallelism == 1 && consumer.parallelism == 1;
    let exchange = if side == InputSide::Second && key.is_empty() {
        Exchange::Broadcast
    } else if !key.is_empty() && !single {
        Exchange::Hash { key: key.to_vec() }
    } else if producer.parallelism == consumer.parallelism {
        Exchange::Forward
    } else {
        Exchange::Rebalance
    };
    let may_chain = match reader.part {
        Part::Operator(operator) => operator.chain,
        Part::Source(_) | Part::Sink(_) => true,
    };
    // A node with two inputs has more than one feed.
    let chained = exchange == Exchange::Forward && may_chain && reader.feeds.len() == 1;
    let adapt = consumer.input_of(side).and_then(|input| adaptation(&producer.outputs[output].schema, input));
    PlanEdge { id, from, output, to, input, side, exchange, chained, combined: false, adapt }
}

/// For each column of the input its index in the output, unless they are the same.
fn adaptation(output: &Schema, input: &Schema) -> Option<Vec<usize>> {
    (output != input).then(|| input.fields().iter().filter_map(|field| output.index_of(&field.name)).collect())
}

fn plan_node(index: usize, node: &Node<'_>, schemas: NodeSchemas, job_parallelism: u32) -> PlanNode {
    let (parallelism, uid) = match node.part {
        Part::Source(source) => (source.parallelism, &source.uid),
        Part::Operator(operator) if operator.is_window_of_all() => (Some(1), &operator.uid),
        Part::Operator(operator) => (operator.parallelism, &operator.uid),
        Part::Sink(sink) => (sink.parallelism, &sink.uid),
    };
    let ports = node.outputs().into_iter().zip(schemas.outputs);
    PlanNode {
        id: NodeId(index),
        name: node.name.to_owned(),
        uid: uid.as_deref().unwrap_or(node.name).to_owned(),
        // Replaced when the node's edges are known.
        task: TaskId(0),
        parallelism: parallelism.unwrap_or(job_parallelism),
        role: schemas.role,
        input: schemas.input,
        second: schemas.second,
        outputs: ports.map(|(name, schema)| OutputPort { name: name.map(str::to_owned), schema }).collect(),
    }
}
