//! Plans as a dataflow is built from them.
use super::{
    plugins::{OUT, PAID, job, planned},
    with,
};
use crate::job::{Exchange, NodeId, Plan, PlanEdge, Role};

fn edge<'a>(plan: &'a Plan, from: &str, to: &str) -> &'a PlanEdge {
    plan.edges.iter().find(|edge| plan.node(edge.from).name == from && plan.node(edge.to).name == to).unwrap()
}

/// What holds for every plan.
#[track_caller]
fn check_structure(plan: &Plan) {
    for (index, node) in plan.nodes.iter().enumerate() {
        assert_eq!(node.id, NodeId(index));
        assert!(plan.task(node.task).nodes.contains(&node.id));
        assert_eq!(plan.task(node.task).parallelism, node.parallelism);
    }
    assert_eq!(plan.tasks.iter().map(|task| task.nodes.len()).sum::<usize>(), plan.nodes.len());
    for (index, edge) in plan.edges.iter().enumerate() {
        assert_eq!(edge.id.0, index);
        assert!(edge.from < edge.to && edge.output < plan.node(edge.from).outputs.len());
        let (from, to) = (plan.task(plan.node(edge.from).task), plan.task(plan.node(edge.to).task));
        assert_eq!(edge.chained, from.id == to.id);
        assert!(from.id <= to.id);
        if edge.chained {
            assert_eq!((&edge.exchange, &edge.adapt), (&Exchange::Forward, &None));
            assert!(from.chain.contains(&edge.id));
        } else {
            assert!(from.outgoing.contains(&edge.id) && to.incoming.contains(&edge.id));
            assert_eq!(to.head, edge.to);
        }
    }
    for task in &plan.tasks {
        assert_eq!(task.head, task.nodes[0]);
        let fed: Vec<NodeId> = task.chain.iter().map(|edge| plan.edge(*edge).to).collect();
        assert_eq!(fed, task.nodes[1..]);
        assert_eq!(task.incoming.is_empty(), matches!(plan.node(task.head).role, Role::Source { .. }));
    }
}

#[test]
fn tasks_edges_and_nodes_agree() {
    for text in [
        with("parallelism: 2", "parallelism: 1"),
        with("parallelism: 2", "parallelism: 3"),
        with("input: lines, ", "input: lines, chain: false, parallelism: 1, "),
        job(
            PAID,
            "x: { input: paid, key: user, parallelism: 4, transform: { plugin: large } }\ny: { input: [paid, x], transform: { plugin: alerts } }",
            "out: { input: [x, y], print: {} }\nalerts: { input: y.alerts, print: {} }",
        ),
    ] {
        check_structure(&planned(&text).unwrap_or_else(|error| panic!("{error}")));
    }
}

#[test]
fn a_key_is_found_in_the_readers_input_after_adapting() {
    let sources = "a: { stdin: {}, format: json, schema: { amount: f64, user: string } }\n\
                   b: { stdin: {}, format: json, schema: { user: string?, amount: f64 } }";
    let text = job(sources, "x: { input: [a, b], key: user, parallelism: 2, transform: { plugin: large } }", OUT);
    let plan = planned(&text).unwrap();
    check_structure(&plan);
    let (a, b) = (edge(&plan, "a", "x"), edge(&plan, "b", "x"));
    assert_eq!((a.input, b.input), (0, 1));
    assert_eq!(a.exchange, Exchange::Hash { key: vec![1] });
    assert_eq!(b.exchange, Exchange::Hash { key: vec![1] });
    assert_eq!((&a.adapt, &b.adapt), (&Some(vec![0, 1]), &Some(vec![1, 0])));
    assert_eq!(plan.node(a.to).input.as_ref().unwrap().to_string(), "{ amount: f64, user: string? }");
    let Role::Operator { plugins, key, .. } = &plan.node(a.to).role else { panic!("no operator") };
    assert_eq!((&plugins[0].reads, key), (&vec![0], &vec![1]));
}

#[test]
fn outputs_are_the_main_one_then_the_plugins_then_late_then_rejected() {
    let text = job(
        PAID,
        "x: { input: paid, transform: { plugin: alerts } }\ns: { input: x, key: user, window: { tumbling: 1s }, uid: sums, aggregate: { plugin: sum } }",
        "out: { input: s, print: {} }",
    );
    let plan = planned(&text).unwrap();
    let outputs = |name: &str| {
        let node = plan.nodes.iter().find(|node| node.name == name).unwrap();
        let names: Vec<&str> = node.outputs.iter().map(|port| port.name.as_deref().unwrap_or("-")).collect();
        (node.uid.clone(), names.join(" "), node.late_output(), node.rejected_output())
    };
    assert_eq!(outputs("paid"), ("paid".into(), "- rejected".into(), None, Some(1)));
    assert_eq!(outputs("x"), ("x".into(), "- alerts rejected".into(), None, Some(2)));
    assert_eq!(outputs("s"), ("sums".into(), "- late rejected".into(), Some(1), Some(2)));
    assert_eq!(outputs("out"), ("out".into(), String::new(), None, None));
}

#[test]
fn a_source_finds_its_time_and_a_sink_its_columns() {
    let source = PAID.replace("ok: bool? }", "ok: bool? }, time: { column: at }");
    let text = job(
        &source,
        "x: { input: paid, transform: { plugin: large } }",
        "out: { input: x, print: {}, columns: [at, user] }",
    );
    let plan = planned(&text).unwrap();
    assert_eq!(plan.nodes[0].role, Role::Source { connector: "stdin".into(), time: Some(2), inferred: false });
    let Role::Sink { writes, written, .. } = &plan.nodes[2].role else { panic!("no sink") };
    assert_eq!((writes, written.to_string().as_str()), (&vec![2, 0], "{ at: i64, user: string }"));
}

#[test]
fn a_long_chain_is_planned() {
    let operators: Vec<String> = (0..3000)
        .map(|i| match i {
            0 => "x0: { input: paid, transform: { plugin: large } }".to_owned(),
            _ => format!("x{i}: {{ input: x{}, transform: {{ plugin: large }} }}", i - 1),
        })
        .collect();
    let plan = planned(&job(PAID, &operators.join("\n"), "out: { input: x2999, print: {} }")).unwrap();
    check_structure(&plan);
    assert_eq!(plan.tasks.len(), 1);
}

#[test]
fn windows_of_all_rows_get_accumulators_where_nobody_wants_rows() {
    let combined = |window: &str, parallelism: &str, more: &str| {
        let text = with("key: word, window: { tumbling: 5s }", &format!("window: {{ {window} }}"));
        let text = text.replacen("parallelism: 2", parallelism, 1) + more;
        edge(&planned(&text).unwrap_or_else(|error| panic!("{error}")), "words", "counts").combined
    };
    assert!(combined("tumbling: 5s", "parallelism: 2", ""));
    assert!(combined("sliding: { size: 5s, slide: 1s }", "parallelism: 2", ""));
    assert!(!combined("tumbling: 5s", "parallelism: 1", ""));
    assert!(!combined("tumbling: 5s", "parallelism: 2", "  late: { input: counts.late, print: {} }\n"));
    for window in ["tumbling: 5s, time: processing", "tumbling: 5s, allowed_lateness: 1s", "session: 5s", "count: 3"] {
        assert!(!combined(window, "parallelism: 2", ""), "{window}");
    }
    let by_key = planned(super::JOB).unwrap_or_else(|error| panic!("{error}"));
    assert!(!edge(&by_key, "words", "counts").combined);
}
