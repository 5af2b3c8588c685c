//! Builds the stages of joins.
use super::{
    operators::Parts,
    wiring::{Wiring, bug},
};
use crate::{
    dataflow::{JoinInput, JoinSettings, Operator, TaskError, Windowing, interval_join, window_join},
    job::{Role, StepSpec},
    model::Schema,
};

impl Wiring<'_> {
    /// The stage of a join.
    pub(super) fn join(&self, mut parts: Parts<'_>) -> Result<Box<dyn Operator>, TaskError> {
        let node = parts.node;
        let (Role::Operator { key, second_key, .. }, Some(first), Some(second)) =
            (&node.role, &node.input, &node.second)
        else {
            return Err(bug(&node.name, "it has not two inputs"));
        };
        let input = |schema: &Schema, key: &[usize]| JoinInput { schema: schema.clone(), key: key.to_vec() };
        let settings = JoinSettings {
            node: node.name.clone(),
            inputs: [input(first, key), input(second, second_key)],
            schema: node.outputs[0].schema.clone(),
            batch_records: self.plan().batch.records,
        };
        let rejects = |schema| self.rejects((node, parts.subtask), parts.spec.on_error, schema);
        let rejects = [rejects(first)?, rejects(second)?];
        let (moments, home, state) = (self.moments(&parts), self.home(&parts), std::mem::take(&mut parts.state));
        match (&parts.spec.step, &parts.spec.window) {
            (StepSpec::IntervalJoin(interval), _) => interval_join(settings, *interval, rejects, moments, &home, state),
            (StepSpec::WindowJoin, Some(window)) => {
                let windowing = Windowing { assigner: window.assigner, time: window.time };
                window_join(settings, windowing, rejects, moments, &home, state)
            }
            _ => Err(bug(&node.name, "it is no join, or one without a window")),
        }
    }
}
