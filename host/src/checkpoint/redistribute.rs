//! Who gets what of a checkpoint when the job's nodes or their parallelism have changed. Pure.
use std::collections::BTreeMap;

use super::{
    Manifest, RestoreError,
    manifest::{NodeState, StoreEntry},
};
use crate::model::{EventTime, KeyGroups, NO_WATERMARK, OperatorState, Redistribution, SplitPosition, groups_of};

/// What a subtask starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The least of all subtasks that left something.
    pub watermark: EventTime,
    /// Those of all subtasks: which of them a reader goes on with is its own decision.
    pub splits: Vec<SplitPosition>,
    /// Those with key groups of the subtask. They may have more groups than the subtask has.
    pub stores: Vec<StoreEntry>,
    /// As each state's redistribution has it, in order of their names.
    pub operator_states: Vec<OperatorState>,
}

/// Nodes of a checkpoint, by whether the job still has them.
#[derive(Debug)]
pub struct Matching<'a> {
    /// Those the job has, in the order of the manifest.
    pub matched: Vec<&'a NodeState>,
    /// Uids of those it has not and that hold state.
    pub non_restored: Vec<String>,
}

/// Finds the nodes of a job in a checkpoint.
pub fn match_nodes<'a>(manifest: &'a Manifest, uids: &[&str]) -> Matching<'a> {
    let (matched, others): (Vec<_>, Vec<_>) = manifest.nodes.iter().partition(|node| uids.contains(&&*node.uid));
    let lost = others.into_iter().filter(|node| node.holds_state());
    Matching { matched, non_restored: lost.map(|node| node.uid.clone()).collect() }
}

impl<'a> Matching<'a> {
    /// The nodes to restore. Fails if state would be lost.
    pub fn complete(self) -> Result<Vec<&'a NodeState>, RestoreError> {
        if self.non_restored.is_empty() { Ok(self.matched) } else { Err(RestoreError::NonRestored(self.non_restored)) }
    }
}

/// What each of `parallelism` subtasks of a node gets.
pub fn redistribute(node: &NodeState, parallelism: u32, max_parallelism: u32) -> Vec<Share> {
    let watermark = node.subtasks.iter().map(|subtask| subtask.watermark).min().unwrap_or(NO_WATERMARK);
    let splits: Vec<SplitPosition> = node.subtasks.iter().flat_map(|subtask| subtask.splits.clone()).collect();
    let states = operator_states(node);
    let share = |subtask| {
        let groups = groups_of(subtask, parallelism, max_parallelism);
        let stores = node.subtasks.iter().flat_map(|old| &old.stores);
        Share {
            watermark,
            splits: splits.clone(),
            stores: stores.filter(|store| intersect(&store.groups, &groups)).cloned().collect(),
            operator_states: states.iter().map(|state| deal(state, subtask, parallelism)).collect(),
        }
    };
    (0..parallelism).map(share).collect()
}

/// What all subtasks of a node have prepared and must be committed.
pub fn committables(node: &NodeState) -> Vec<Vec<u8>> {
    node.subtasks.iter().flat_map(|subtask| subtask.committables.clone()).collect()
}

fn intersect(a: &KeyGroups, b: &KeyGroups) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// The states of a node, the elements of all subtasks together; of those that all have, the first one's.
fn operator_states(node: &NodeState) -> Vec<OperatorState> {
    let mut states: BTreeMap<&str, OperatorState> = BTreeMap::new();
    for state in node.subtasks.iter().flat_map(|subtask| &subtask.operator_states) {
        match states.get_mut(&*state.name) {
            None => {
                states.insert(&state.name, state.clone());
            }
            Some(all) if all.redistribution != Redistribution::Broadcast => {
                all.elements.extend(state.elements.iter().cloned());
            }
            Some(_) => {}
        }
    }
    states.into_values().collect()
}

/// A subtask's part of a state.
fn deal(state: &OperatorState, subtask: u32, parallelism: u32) -> OperatorState {
    let OperatorState { name, redistribution, elements } = state;
    let elements = match redistribution {
        Redistribution::Split => {
            elements.iter().skip(subtask as usize).step_by(parallelism.max(1) as usize).cloned().collect()
        }
        Redistribution::Union | Redistribution::Broadcast => elements.clone(),
    };
    OperatorState { name: name.clone(), redistribution: *redistribution, elements }
}
