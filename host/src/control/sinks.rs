//! Builds the stages that write, with the plugins in front of them and the state these had.
use super::wiring::{Wiring, bug};
use crate::{
    codec::Format,
    dataflow::{Guests, Moments, Rejects, SinkPlugin, SinkStage, TaskError},
    job::{PlanNode, Role, SinkSpec},
    model::{OperatorKind, Schema, SubtaskState},
    state::OperatorLists,
};

impl Wiring<'_> {
    /// The stage of a sink.
    pub(super) fn sink(&mut self, node: &PlanNode, subtask: u32) -> Result<SinkStage, TaskError> {
        let Role::Sink { writes, written, shaped, .. } = &node.role else {
            return Err(bug(&node.name, "it is no sink"));
        };
        let spec = &self.spec().sinks[&node.name];
        let state = self.restored.take(&node.uid, subtask).unwrap_or_default();
        let plugin = self.sink_plugin((node, subtask), spec, shaped, &state)?;
        let writer = spec
            .connector
            .open(&self.opening(node, subtask))
            .map_err(|error| TaskError::Connector { node: node.name.clone(), error })?;
        let encoder = spec.format.encoder(written).map_err(|what| bug(&node.name, what))?;
        let writes = (shaped != written).then(|| (writes.to_vec(), written.clone()));
        let clock = self.environment.clock.clone();
        Ok(SinkStage::new(&node.name, plugin, writes, encoder, writer, clock, self.shared.latency.clone()))
    }

    fn sink_plugin(
        &self,
        (node, subtask): (&PlanNode, u32),
        spec: &SinkSpec,
        shaped: &Schema,
        state: &SubtaskState,
    ) -> Result<Option<SinkPlugin>, TaskError> {
        if spec.plugin.is_none() {
            return Ok(None);
        }
        let kind = OperatorKind::Sink;
        let mut instance = self.instantiate((node, subtask), kind)?;
        let columns = node.role.plugin(kind).ok_or_else(|| bug(&node.name, "it has no such plugin"))?;
        let input = node.input.as_ref().ok_or_else(|| bug(&node.name, "it has no input"))?;
        let encoder = Format::Json.encoder(input).map_err(|what| bug(&node.name, what))?;
        let rejects = Rejects::unread(&node.name, spec.on_error, encoder).of_subtask(subtask);
        let lost = (rejects, self.failures((node, subtask), spec.on_failure)?);
        let moments = Moments::new(self.environment, &node.uid, subtask);
        let settings = self.task_settings(node, &instance.description().states);
        let mut guests = Guests::new(&[]).with(0, Some(&mut instance));
        let lists = OperatorLists::open_migrating(settings, &state.operator_states, &mut guests)?;
        let (reads, shaped) = (columns.reads.clone(), shaped.clone());
        Ok(Some(SinkPlugin::new(instance, reads, shaped, lost, moments, lists, state.watermark)))
    }
}
