//! The decisions: when to take checkpoints, when one is complete, and who gets what of it.
use std::time::Duration;

use super::*;
use crate::model::groups_of;

const SECOND: Duration = Duration::from_secs(1);

fn schedule() -> Schedule {
    Schedule {
        interval: 10 * SECOND,
        min_pause: Duration::ZERO,
        max_concurrent: 2,
        timeout: 25 * SECOND,
        tolerable_failures: 1,
    }
}

#[test]
fn checkpoints_are_triggered_at_the_interval_as_many_at_once_as_allowed() {
    let (schedule, mut progress) = (schedule(), Progress::new(SECOND));
    assert_eq!(schedule.next(SECOND, &progress), Decision::WaitUntil(11 * SECOND));
    assert_eq!(schedule.next(11 * SECOND, &progress), Decision::Trigger);
    progress.triggered(1, 11 * SECOND);
    assert_eq!(schedule.next(12 * SECOND, &progress), Decision::WaitUntil(21 * SECOND));
    progress.triggered(2, 21 * SECOND);
    assert_eq!(schedule.next(31 * SECOND, &progress), Decision::WaitUntil(36 * SECOND));
    progress.completed(1, 32 * SECOND);
    assert_eq!(schedule.next(32 * SECOND, &progress), Decision::Trigger);
    // Where none is to be begun, that is still to be waited for.
    assert_eq!(schedule.times_out(&progress), Some(46 * SECOND));
}

#[test]
fn the_pause_after_one_checkpoint_delays_the_next() {
    let schedule = Schedule { min_pause: 8 * SECOND, ..schedule() };
    let mut progress = Progress::new(Duration::ZERO);
    progress.triggered(1, 10 * SECOND);
    assert_eq!(schedule.next(20 * SECOND, &progress), Decision::WaitUntil(35 * SECOND));
    progress.completed(1, 21 * SECOND);
    assert_eq!(schedule.next(21 * SECOND, &progress), Decision::WaitUntil(29 * SECOND));
    assert_eq!(schedule.next(29 * SECOND, &progress), Decision::Trigger);
}

#[test]
fn checkpoints_that_take_too_long_are_given_up_and_too_many_failures_end_the_job() {
    let (schedule, mut progress) = (schedule(), Progress::new(Duration::ZERO));
    let fail = |progress: &mut Progress, checkpoint, at: Duration| {
        progress.triggered(checkpoint, at);
        let over = at + 25 * SECOND;
        assert_eq!(schedule.next(over, progress), Decision::Abort(checkpoint));
        progress.failed(checkpoint, over);
        schedule.next(over, progress)
    };
    assert_eq!(fail(&mut progress, 1, 10 * SECOND), Decision::Trigger);
    progress.triggered(2, 40 * SECOND);
    progress.completed(2, 41 * SECOND);
    assert_eq!(fail(&mut progress, 3, 50 * SECOND), Decision::Trigger, "success has reset the count");
    let failing = CheckpointsFailing { failures: 2, tolerable: 1 };
    assert_eq!(fail(&mut progress, 4, 80 * SECOND), Decision::Fail(failing));
}

#[test]
fn a_checkpoint_is_complete_once_each_awaited_task_has_acknowledged() {
    let state = |watermark| SubtaskState { watermark, ..SubtaskState::default() };
    let mut pending = Pending::new(3, [0, 1]);
    assert!(pending.acknowledge(1, [("b".into(), 1, state(11)), ("a".into(), 0, state(1))]));
    assert!(!pending.acknowledge(1, [("b".into(), 1, state(99))]), "only once");
    assert!(!pending.acknowledge(7, []), "a task that is not awaited");
    let mut pending = pending.complete().unwrap_err();
    assert_eq!(pending.awaited().collect::<Vec<_>>(), [0]);
    assert!(pending.acknowledge(0, [("b".into(), 0, state(10))]));
    let nodes = pending.complete().unwrap();
    let watermarks = |node: &DraftNode| node.subtasks.iter().map(|subtask| subtask.watermark).collect::<Vec<_>>();
    let found: Vec<_> = nodes.iter().map(|node| (&*node.uid, watermarks(node))).collect();
    assert_eq!(found, [("a", vec![1]), ("b", vec![10, 11])]);
}

/// A node of subtasks whose states say whose they are.
fn node(parallelism: u32, max: u32) -> NodeState {
    let state = |name: &str, redistribution, elements: &[u8]| OperatorState {
        name: name.into(),
        redistribution,
        elements: elements.iter().map(|element| vec![*element]).collect(),
    };
    let subtask = |s: u32| SubtaskEntry {
        watermark: 100 - i64::from(s),
        splits: vec![SplitPosition { split: s.to_string(), position: vec![] }],
        stores: vec![StoreEntry {
            store: s.to_string(),
            format: StoreFormat::Runs,
            groups: groups_of(s, parallelism, max),
            note: vec![],
            parts: vec![],
        }],
        operator_states: vec![
            state("broadcast", Redistribution::Broadcast, &[7]),
            state("split", Redistribution::Split, &[2 * s as u8, 2 * s as u8 + 1]),
            state("union", Redistribution::Union, &[s as u8]),
        ],
        committables: vec![vec![s as u8]],
    };
    NodeState { uid: "n".into(), parallelism, subtasks: (0..parallelism).map(subtask).collect() }
}

#[test]
fn every_key_group_finds_its_store_at_any_parallelism() {
    for (old, new, max) in [(1, 4, 8), (4, 1, 8), (2, 3, 128), (3, 2, 128), (5, 7, 11), (4, 4, 8)] {
        let node = node(old, max);
        for (s, share) in redistribute(&node, new, max).iter().enumerate() {
            let groups = groups_of(s as u32, new, max);
            for group in groups.clone() {
                let having = share.stores.iter().filter(|store| store.groups.contains(&group)).count();
                assert_eq!(having, 1, "{old} to {new}: group {group}");
            }
            let needless = |store: &StoreEntry| !groups.clone().any(|group| store.groups.contains(&group));
            assert!(!share.stores.iter().any(needless), "{old} to {new}");
        }
    }
}

#[test]
fn operator_state_is_dealt_out_as_each_state_has_it() {
    let node = node(3, 8);
    let shares = redistribute(&node, 2, 8);
    let elements = |share: &Share, name: &str| {
        let state = share.operator_states.iter().find(|state| state.name == name).unwrap();
        state.elements.concat()
    };
    let all = |name: &str| shares.iter().map(|share| elements(share, name)).collect::<Vec<_>>();
    assert_eq!(all("split"), [[0, 2, 4], [1, 3, 5]]);
    assert_eq!(all("union"), [[0, 1, 2], [0, 1, 2]]);
    assert_eq!(all("broadcast"), [[7], [7]]);
    for share in &shares {
        assert_eq!((share.watermark, share.splits.len()), (98, 3));
    }
    assert_eq!(committables(&node), [[0], [1], [2]]);
}

#[test]
fn state_of_a_node_that_is_gone_is_not_lost_silently() {
    let mut stateless = node(1, 8);
    stateless.uid = "map".into();
    stateless.subtasks[0] =
        SubtaskEntry { watermark: 5, splits: vec![], stores: vec![], operator_states: vec![], committables: vec![] };
    let manifest = Manifest {
        job: "j".into(),
        checkpoint: 1,
        start: 1,
        kind: SnapshotKind::Checkpoint,
        created_ms: 0,
        max_parallelism: 8,
        finished: false,
        versions: vec![],
        nodes: vec![stateless, node(2, 8)],
    };
    let restored = match_nodes(&manifest, &["new", "n"]).complete().unwrap();
    assert_eq!(restored, [&manifest.nodes[1]]);
    let lost = match_nodes(&manifest, &["map"]).complete();
    assert_eq!(lost, Err(RestoreError::NonRestored(vec!["n".into()])));
    assert_eq!(manifest.accepts(8), Ok(()));
    assert_eq!(manifest.accepts(9), Err(RestoreError::MaxParallelism { saved: 8, asked: 9 }));
}
