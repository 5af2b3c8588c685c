//! Builds the stages that run plugins, with the state they had.
use super::{
    prepare::limits,
    wiring::{Wiring, bug},
};
use crate::{
    dataflow::{
        Broadcast, Failures, Guests, Keyed, KeyedInput, KeyedSettings, Moments, Operator, Rejects, Rules, Stage,
        TaskError, Transform,
    },
    job::{FailureSpec, OperatorSpec, PlanNode, PluginColumns, Role, StepSpec},
    model::{Field, Kind, OperatorKind, Schema, StateDescription, StateKind, SubtaskState, groups_of},
    plugin::Instance,
    state::{BroadcastMaps, KeyedStore, Layout, Migrator, StoreSettings, TaskSettings},
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
        self.open_operator(node, subtask).map_err(|error| self.not_taken_over(node, error))
    }

    fn open_operator(&mut self, node: &PlanNode, subtask: u32) -> Result<Box<dyn Operator>, TaskError> {
        let spec = self.spec().operator(&node.name).ok_or_else(|| bug(&node.name, "the job has no such operator"))?;
        let state = self.restored.take(&node.uid, subtask).unwrap_or_default();
        let parts = Parts { node, spec, subtask, state };
        let mut operator: Box<dyn Operator> = match &spec.step {
            StepSpec::Transform(_) => Box::new(self.transform(&parts)?),
            StepSpec::KeyedProcess(_) => Box::new(self.keyed(parts, OperatorKind::KeyedProcess)?),
            StepSpec::ConnectedProcess(_) => Box::new(self.keyed(parts, OperatorKind::ConnectedProcess)?),
            StepSpec::Aggregate(_) | StepSpec::ProcessWindow(_) | StepSpec::AggregateProcess { .. } => {
                self.windowed(parts)?
            }
            StepSpec::BroadcastProcess(_) => {
                Box::new(Broadcast::new(self.keyed(parts, OperatorKind::BroadcastProcess)?, subtask))
            }
            StepSpec::WindowJoin | StepSpec::IntervalJoin(_) => self.join(parts)?,
            StepSpec::Rules(_) => Box::new(self.rules(&parts)?),
        };
        if let Some(begin) = self.canary(node, subtask)? {
            operator.canary(begin)?;
        }
        Ok(operator)
    }

    /// The stage of many rules, each with the state it had.
    fn rules(&mut self, parts: &Parts<'_>) -> Result<Rules, TaskError> {
        let (node, subtask, watermark) = (parts.node, parts.subtask, parts.state.watermark);
        let mut rules = Vec::new();
        for name in node.rules() {
            let rule = node.rule(name).ok_or_else(|| bug(&node.name, "it has no such rule"))?;
            // One that was added since then begins where its operator is.
            self.restored.begin(&rule.uid, subtask, watermark);
            let operator = self.operator(&rule, subtask)?;
            let metrics = self.shared.counts_of(&rule, subtask);
            rules.push(Stage::rule(self.identity(&rule, subtask), operator, metrics));
        }
        Ok(Rules::new(rules, watermark))
    }

    pub(super) fn instance(&self, parts: &Parts<'_>, kind: OperatorKind) -> Result<Instance, TaskError> {
        self.instantiate((parts.node, parts.subtask), kind)
    }

    /// A plugin for a subtask of an operator or sink.
    pub(super) fn instantiate(
        &self,
        (node, subtask): (&PlanNode, u32),
        kind: OperatorKind,
    ) -> Result<Instance, TaskError> {
        let operator = node.name.clone();
        let placement = self.prepared().placement(node, subtask, &self.environment.clock);
        let bound = &self.prepared().plugins[&(operator.clone(), kind)];
        let mut instance = bound
            .instantiate(kind, placement, limits(&self.prepared().limits(&operator)))
            .map_err(|error| TaskError::Load { operator, error })?;
        if !self.is_shadow {
            instance.count_in(&self.shared.counts_of(node, subtask).measures);
        }
        Ok(instance)
    }

    pub(super) fn rejects_of(&self, parts: &Parts<'_>) -> Result<Rejects, TaskError> {
        let input = parts.node.input.as_ref().ok_or_else(|| bug(&parts.node.name, "it has no input"))?;
        self.rejects((parts.node, parts.subtask), parts.spec.on_error, input)
    }

    /// Rejects of the input, and what becomes of failed calls.
    pub(super) fn lost(&self, parts: &Parts<'_>) -> Result<(Rejects, Failures), TaskError> {
        Ok((self.rejects_of(parts)?, self.failures((parts.node, parts.subtask), parts.spec.on_failure)?))
    }

    /// What becomes of failed calls.
    pub(super) fn failures(
        &self,
        (node, subtask): (&PlanNode, u32),
        on_failure: FailureSpec,
    ) -> Result<Failures, TaskError> {
        let key = match (&node.role, &node.input) {
            (Role::Operator { key, .. }, Some(input)) => {
                let fields: Vec<Field> = key.iter().map(|column| input.fields()[*column].clone()).collect();
                Schema::new(fields).ok()
            }
            _ => None,
        };
        let clock = self.environment.clock.clone();
        Failures::new(on_failure, (&node.name, subtask), key, clock).map_err(|what| bug(&node.name, what))
    }

    /// What state by subtask is opened with.
    pub(super) fn task_settings(&self, node: &PlanNode, states: &[StateDescription]) -> TaskSettings {
        TaskSettings { name: node.name.clone(), states: states.to_vec(), drop_vanished: self.drop_vanished(node) }
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
        migrator: &mut dyn Migrator,
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
            drop_vanished: self.drop_vanished(node),
        };
        let (mine, others) = std::mem::take(&mut parts.state.stores).into_iter().partition(|store| store.store == name);
        parts.state.stores = others;
        Ok(KeyedStore::open_migrating(self.backend, settings, mine, migrator)?)
    }

    fn transform(&self, parts: &Parts<'_>) -> Result<Transform, TaskError> {
        let instance = self.instance(parts, OperatorKind::Transform)?;
        let columns = parts.columns(OperatorKind::Transform)?;
        let schemas = parts.schemas(instance.description().side_outputs.len(), columns.side);
        let (reads, watermark) = (columns.reads.clone(), parts.state.watermark);
        Ok(Transform::new(instance, reads, schemas, self.lost(parts)?, self.moments(parts), watermark))
    }

    fn keyed(&self, mut parts: Parts<'_>, kind: OperatorKind) -> Result<Keyed, TaskError> {
        let mut instance = self.instance(&parts, kind)?;
        let node = parts.node;
        let columns = parts.columns(kind)?.clone();
        let Role::Operator { key, second_key, .. } = &node.role else {
            return Err(bug(&node.name, "it is no operator"));
        };
        let mut inputs = vec![KeyedInput { key: key.clone(), reads: columns.reads.clone() }];
        let (rejects, failures) = self.lost(&parts)?;
        let mut rejects = vec![rejects];
        if let Some(second) = &node.second {
            inputs.push(KeyedInput { key: second_key.clone(), reads: columns.second_reads.clone() });
            rejects.push(self.rejects((node, parts.subtask), parts.spec.on_error, second)?);
        }
        let settings = KeyedSettings {
            node: node.name.clone(),
            inputs,
            key_kinds: key_kinds(node, key),
            key_wanted: columns.keys.clone(),
            schemas: parts.schemas(instance.description().side_outputs.len(), columns.side),
            batch_records: self.plan().batch.records,
        };
        let states = instance.description().states.clone();
        let mut guests = Guests::new(&settings.key_kinds).with(0, Some(&mut instance));
        let task = self.task_settings(node, &states);
        let broadcast = BroadcastMaps::open_migrating(task, &parts.state.operator_states, &mut guests)?;
        // They come last, so that the places of the others stay theirs.
        let by_key = states.into_iter().filter(|state| state.kind != StateKind::Broadcast).collect();
        let store = self.store(&mut parts, "keys", by_key, Layout::Keys, &mut guests)?;
        let (moments, watermark) = (self.moments(&parts), parts.state.watermark);
        Ok(Keyed::new(settings, instance, (rejects, failures), moments, store, broadcast, watermark))
    }
}

/// Types of the key columns.
pub(super) fn key_kinds(node: &PlanNode, key: &[usize]) -> Vec<Kind> {
    let fields = node.input.as_ref().map(Schema::fields).unwrap_or_default();
    key.iter().map(|column| fields[*column].kind).collect()
}
