//! Builds the stages of joins, with the state they had.
use super::wiring::{Wiring, bug};
use crate::{
    dataflow::{
        JoinInput, JoinSettings, Moments, Operator, StateHome, TaskError, Windowing, interval_join, window_join,
    },
    job::{OperatorSpec, PlanNode, Role, StepSpec},
    model::{SubtaskState, groups_of},
};

impl Wiring<'_> {
    /// The stage of a join.
    pub(super) fn join(
        &self,
        node: &PlanNode,
        spec: &OperatorSpec,
        subtask: u32,
        state: SubtaskState,
    ) -> Result<Box<dyn Operator>, TaskError> {
        let (Role::Operator { key, second_key, .. }, Some(first), Some(second)) =
            (&node.role, &node.input, &node.second)
        else {
            return Err(bug(&node.name, "it has not two inputs"));
        };
        let input = |schema: &_, key: &Vec<usize>| JoinInput { schema: Clone::clone(schema), key: key.clone() };
        let settings = JoinSettings {
            node: node.name.clone(),
            inputs: [input(first, key), input(second, second_key)],
            schema: node.outputs[0].schema.clone(),
            batch_records: self.plan().batch.records,
        };
        let rejects = [self.rejects(node, spec.on_error, first)?, self.rejects(node, spec.on_error, second)?];
        let moments = Moments::new(self.environment, &node.uid, subtask);
        let max_parallelism = self.plan().max_parallelism;
        let home = StateHome {
            backend: self.backend.clone(),
            uid: node.uid.clone(),
            subtask,
            start: self.restored.start,
            groups: groups_of(subtask, node.parallelism, max_parallelism),
            max_parallelism,
            drop_vanished: self.drop_vanished,
        };
        match (&spec.step, &spec.window) {
            (StepSpec::IntervalJoin(interval), _) => {
                interval_join(settings, *interval, rejects, moments, &home, state)
            }
            (StepSpec::WindowJoin, Some(window)) => {
                let windowing = Windowing { assigner: window.assigner, time: window.time };
                window_join(settings, windowing, rejects, moments, &home, state)
            }
            _ => Err(bug(&node.name, "it is no join, or one without a window")),
        }
    }
}
