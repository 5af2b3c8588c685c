//! Builds the stages that run plugins, with the state they had.
use super::{
    prepare::{configuration, limits},
    wiring::{Wiring, bug},
};
use crate::{
    dataflow::{Keyed, KeyedInput, KeyedSettings, Moments, Operator, Rejects, TaskError, Transform},
    job::{OperatorSpec, PlanNode, PluginColumns, PluginSpec, Role, StepSpec},
    model::{Kind, OperatorKind, Schema, StateDescription, SubtaskState, groups_of},
    plugin::{Instance, Placement},
    state::{KeyedStore, Layout, StoreSettings},
};

/// What every stage with a plugin needs.
pub(super) struct Parts<'a> {
    pub(super) node: &'a PlanNode,
    pub(super) spec: &'a OperatorSpec,
    pub(super) subtask: u32,
    /// What it had; empty at the first start.
    pub(super) state: SubtaskState,
}

impl Parts<'_> {
    pub(super) fn columns(&self, kind: OperatorKind) -> Result<&PluginColumns, TaskError> {
        self.node.role.plugin(kind).ok_or_else(|| bug(&self.node.name, "it has no such plugin"))
    }

    /// Of the main output and the side outputs a plugin declares.
    pub(super) fn schemas(&self, declared: usize, side: usize) -> Vec<Schema> {
        let ports = &self.node.outputs;
        let sides = ports.iter().skip(side).take(declared);
        ports.first().into_iter().chain(sides).map(|port| port.schema.clone()).collect()
    }
}

impl Wiring<'_> {
    /// The stage of an operator.
    pub(super) fn operator(&mut self, node: &PlanNode, subtask: u32) -> Result<Box<dyn Operator>, TaskError> {
        let spec = &self.spec().operators[&node.name];
        let state = self.restored.take(&node.uid, subtask).unwrap_or_default();
        let parts = Parts { node, spec, subtask, state };
        Ok(match &spec.step {
            StepSpec::Transform(plugin) => Box::new(self.transform(&parts, plugin)?),
            StepSpec::KeyedProcess(plugin) => Box::new(self.keyed(parts, plugin, OperatorKind::KeyedProcess)?),
            StepSpec::ConnectedProcess(plugin) => Box::new(self.keyed(parts, plugin, OperatorKind::ConnectedProcess)?),
            StepSpec::Aggregate(_) | StepSpec::ProcessWindow(_) | StepSpec::AggregateProcess { .. } => {
                self.windowed(parts)?
            }
            _ => return Err(bug(&node.name, "this step cannot be run yet")),
        })
    }

    pub(super) fn instance(&self, parts: &Parts<'_>, plugin: &PluginSpec, kind: OperatorKind) -> Result<Instance, TaskError> {
        let (operator, parallelism) = (parts.node.name.clone(), parts.node.parallelism);
        let placement = Placement { operator: operator.clone(), subtask: parts.subtask, parallelism };
        self.prepared().plugins[&(operator.clone(), kind)]
            .instantiate(kind, &configuration(plugin), placement, limits(&parts.spec.limits))
            .map_err(|error| TaskError::Load { operator, error })
    }

    pub(super) fn rejects_of(&self, parts: &Parts<'_>) -> Result<Rejects, TaskError> {
        let input = parts.node.input.as_ref().ok_or_else(|| bug(&parts.node.name, "it has no input"))?;
        self.rejects(parts.node, parts.spec.on_error, input)
    }

    pub(super) fn moments(&self, parts: &Parts<'_>) -> Moments {
        Moments::new(self.environment, &parts.node.uid, parts.subtask)
    }

    /// Opens a store with what the subtask had in it.
    fn store(
        &self,
        parts: &mut Parts<'_>,
        name: &str,
        states: Vec<StateDescription>,
        layout: Layout,
    ) -> Result<KeyedStore, TaskError> {
        let (node, max_parallelism) = (parts.node, self.plan().max_parallelism);
        let settings = StoreSettings {
            name: name.to_owned(),
            uid: node.uid.clone(),
            subtask: parts.subtask,
            start: self.restored.start,
            states,
            layout,
            groups: groups_of(parts.subtask, node.parallelism, max_parallelism),
            max_parallelism,
            drop_vanished: self.drop_vanished,
        };
        let (mine, others) = std::mem::take(&mut parts.state.stores).into_iter().partition(|store| store.store == name);
        parts.state.stores = others;
        Ok(KeyedStore::open(self.backend, settings, mine)?)
    }

    fn transform(&self, parts: &Parts<'_>, plugin: &PluginSpec) -> Result<Transform, TaskError> {
        let instance = self.instance(parts, plugin, OperatorKind::Transform)?;
        let columns = parts.columns(OperatorKind::Transform)?;
        let schemas = parts.schemas(instance.description().side_outputs.len(), columns.side);
        let (reads, watermark) = (columns.reads.clone(), parts.state.watermark);
        Ok(Transform::new(instance, reads, schemas, self.rejects_of(parts)?, self.moments(parts), watermark))
    }

    fn keyed(&self, mut parts: Parts<'_>, plugin: &PluginSpec, kind: OperatorKind) -> Result<Keyed, TaskError> {
        let instance = self.instance(&parts, plugin, kind)?;
        let node = parts.node;
        let columns = parts.columns(kind)?.clone();
        let Role::Operator { key, second_key, .. } = &node.role else {
            return Err(bug(&node.name, "it is no operator"));
        };
        let mut inputs = vec![KeyedInput { key: key.clone(), reads: columns.reads.clone() }];
        if kind == OperatorKind::ConnectedProcess {
            inputs.push(KeyedInput { key: second_key.clone(), reads: columns.second_reads.clone() });
        }
        let settings = KeyedSettings {
            node: node.name.clone(),
            inputs,
            key_kinds: key_kinds(node, key),
            key_wanted: columns.keys.clone(),
            schemas: parts.schemas(instance.description().side_outputs.len(), columns.side),
            batch_records: self.plan().batch.records,
        };
        let store = self.store(&mut parts, "keys", instance.description().states.clone(), Layout::Keys)?;
        let (rejects, moments, watermark) = (self.rejects_of(&parts)?, self.moments(&parts), parts.state.watermark);
        Ok(Keyed::new(settings, instance, rejects, moments, store, watermark))
    }
}

/// Types of the key columns.
pub(super) fn key_kinds(node: &PlanNode, key: &[usize]) -> Vec<Kind> {
    let fields = node.input.as_ref().map(Schema::fields).unwrap_or_default();
    key.iter().map(|column| fields[*column].kind).collect()
}
