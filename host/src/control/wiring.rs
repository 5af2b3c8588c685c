//! Builds the tasks of a plan: queues between them, and in each subtask the chain of stages from its head on.
use std::{collections::HashMap, sync::Arc};

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Placement, prepare::Prepared, restore::Restored, run::Shared};
use crate::{
    codec::{Format, NoSchemas, SchemaSource},
    connector::{BatchLimits, Opening},
    dataflow::{
        CONTROLS_MAX, Control, DriftGroup, Environment, Link, NodeMetrics, Operator, OperatorTask, Outputs, Receiver,
        Rejects, Report, Route, Sender, SourceSettings, SourceTask, Stage, StageIdentity, Target, TaskError, TaskInput,
    },
    job::{EdgeId, Exchange, InputSide, JobSpec, NodeId, OnError, Plan, PlanEdge, PlanNode, Role, TaskPlan},
    model::{NO_WATERMARK, Schema},
    schema_registry::SchemaRegistry,
    state::{StateBackend, StateError},
};

/// A subtask, ready to be run.
pub(super) struct Wired {
    /// For logs: the head's name and the subtask's number.
    pub(super) name: String,
    pub(super) future: BoxFuture<'static, Result<(), TaskError>>,
    /// To tell it something.
    pub(super) controls: mpsc::Sender<Control>,
    pub(super) is_source: bool,
}

/// The tasks of a job, wired to each other but not running.
pub(super) struct Wiring<'a> {
    pub(super) shared: &'a Shared,
    /// With the plugins in force.
    prepared: &'a Prepared,
    pub(super) environment: &'a Environment,
    pub(super) backend: &'a StateBackend,
    /// Whether state nobody declares any more may be left behind.
    drop_vanished: bool,
    /// Whether what its guests measure is not the job's.
    pub(super) is_shadow: bool,
    pub(super) restored: &'a mut Restored,
    reports: mpsc::Sender<Report>,
    drifts: HashMap<NodeId, Arc<DriftGroup>>,
    senders: HashMap<(EdgeId, u32), Vec<Box<dyn Sender>>>,
    receivers: HashMap<(EdgeId, u32), Vec<Box<dyn Receiver>>>,
}

pub(super) fn bug(node: &str, what: impl ToString) -> TaskError {
    TaskError::Bug { node: node.to_owned(), what: what.to_string() }
}

impl<'a> Wiring<'a> {
    pub(super) fn new(
        (shared, prepared): (&'a Shared, &'a Prepared),
        environment: &'a Environment,
        backend: &'a StateBackend,
        drop_vanished: bool,
        restored: &'a mut Restored,
        reports: mpsc::Sender<Report>,
    ) -> Wiring<'a> {
        let (senders, receivers, drifts) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut wiring = Wiring {
            shared,
            prepared,
            environment,
            backend,
            drop_vanished,
            is_shadow: false,
            restored,
            reports,
            drifts,
            senders,
            receivers,
        };
        for edge in prepared.plan.edges.iter().filter(|edge| !edge.chained) {
            wiring.connect(edge);
        }
        wiring
    }

    /// Whether state that an operator or sink does not declare any more may be left behind.
    pub(super) fn drop_vanished(&self, node: &PlanNode) -> bool {
        self.drop_vanished || self.restored.changed.contains(&node.uid)
    }

    /// That its state does not fit is a version's fault that has come into force since it was saved.
    pub(super) fn not_taken_over(&self, node: &PlanNode, error: TaskError) -> TaskError {
        use StateError::{Incompatible, Migration, TooLarge, Vanished, Version};
        match error {
            TaskError::State(
                Incompatible { .. } | Version { .. } | Migration { .. } | Vanished { .. } | TooLarge { .. },
            ) if self.restored.changed.contains(&node.uid) => {
                TaskError::TakeOver { operator: node.name.clone(), error: Box::new(error) }
            }
            error => error,
        }
    }

    pub(super) fn prepared(&self) -> &'a Prepared {
        self.prepared
    }

    pub(super) fn plan(&self) -> &'a Plan {
        &self.prepared().plan
    }

    pub(super) fn spec(&self) -> &'a JobSpec {
        &self.prepared().spec
    }

    fn connect(&mut self, edge: &PlanEdge) {
        let (from, to) = (self.plan().node(edge.from), self.plan().node(edge.to));
        for sender in 0..from.parallelism {
            for receiver in 0..to.parallelism {
                if edge.exchange == Exchange::Forward && sender != receiver {
                    continue;
                }
                let name = format!("{}.{}.{}-{}.{}.{}", from.uid, edge.output, sender, to.uid, edge.input, receiver);
                let (tx, rx) = self.environment.exchanges.connect(&name);
                self.senders.entry((edge.id, sender)).or_default().push(tx);
                self.receivers.entry((edge.id, receiver)).or_default().push(rx);
            }
        }
    }

    /// Builds all subtasks that run here.
    pub(super) fn tasks(&mut self, placement: &dyn Placement) -> Result<Vec<Wired>, TaskError> {
        let mut tasks = Vec::new();
        for task in &self.plan().tasks {
            for subtask in (0..task.parallelism).filter(|subtask| placement.runs_here(task, *subtask)) {
                tasks.push(self.task(task, subtask, tasks.len())?);
            }
        }
        Ok(tasks)
    }

    fn task(&mut self, task: &TaskPlan, subtask: u32, index: usize) -> Result<Wired, TaskError> {
        let head = self.plan().node(task.head);
        let name = format!("{}[{subtask}]", head.name);
        let (controls, told) = mpsc::channel(CONTROLS_MAX);
        let link = Link { task: index, controls: told, reports: self.reports.clone() };
        if let Role::Source { time, .. } = &head.role {
            let source = self.source(head, *time, subtask, link)?;
            return Ok(Wired { name, future: Box::pin(source.run()), controls, is_source: true });
        }
        let mut inputs = Vec::new();
        for edge in &task.incoming {
            let second = self.plan().edge(*edge).side == InputSide::Second;
            let receivers = self.receivers.remove(&(*edge, subtask)).into_iter().flatten();
            inputs.extend(receivers.map(|receiver| TaskInput { receiver, second }));
        }
        let watermark = self.restored.watermark(&head.uid, subtask);
        let stage = self.stage(head, subtask)?;
        let task = OperatorTask::new(inputs, stage, link, watermark, self.environment.clock.clone());
        Ok(Wired { name, future: Box::pin(task.run()), controls, is_source: false })
    }

    pub(super) fn identity(&self, node: &PlanNode, subtask: u32) -> StageIdentity {
        let changes = self.shared.changes.clone();
        StageIdentity { uid: node.uid.as_str().into(), subtask, start: self.restored.start, changes }
    }

    fn source(
        &mut self,
        node: &PlanNode,
        time: Option<usize>,
        subtask: u32,
        link: Link,
    ) -> Result<SourceTask, TaskError> {
        let spec = &self.spec().sources[&node.name];
        let batch = self.plan().batch;
        let schema = &node.outputs[0].schema;
        let metadata: Vec<usize> = spec.metadata.iter().map(|(_, index)| *index).collect();
        let settings = SourceSettings {
            node: node.name.clone(),
            schema: schema.clone(),
            metadata: metadata.iter().map(|index| spec.connector.metadata()[*index].kind).collect(),
            time,
            out_of_orderness: spec.time.out_of_orderness,
            idle: spec.time.idle,
            drift: spec.time.drift.map(|max| (max, self.drift_group(node))),
            limits: BatchLimits { records: batch.records, bytes: batch.bytes },
            flush: batch.flush,
        };
        let decoded = schema.fields().len() - metadata.len();
        let decoded = Schema::new(&schema.fields()[..decoded]).map_err(|error| bug(&node.name, error.to_string()))?;
        let restored = self.restored.take(&node.uid, subtask);
        let splits = restored.as_ref().map(|state| &state.splits[..]);
        let reader = spec
            .connector
            .open(&Opening { metadata, ..self.opening(node, subtask) }, splits)
            .map_err(|error| TaskError::Connector { node: node.name.clone(), error })?;
        let clock = self.environment.clock.clone();
        let schemas: Arc<dyn SchemaSource> = match spec.format.registry() {
            Some(settings) => Arc::new(SchemaRegistry::new(settings, clock.clone())),
            None => NoSchemas::shared(),
        };
        let decoder = spec.format.decoder(&decoded, &schemas).map_err(|what| bug(&node.name, what))?;
        let rejects = self.rejects((node, subtask), spec.on_error, schema)?;
        let outputs = self.outputs(node, subtask)?;
        let identity = self.identity(node, subtask);
        let watermark = restored.map_or(NO_WATERMARK, |state| state.watermark);
        Ok(SourceTask::new(settings, reader, decoder, rejects, outputs, identity, link, watermark, clock))
    }

    /// What the subtasks of a source share.
    fn drift_group(&mut self, node: &PlanNode) -> Arc<DriftGroup> {
        self.drifts.entry(node.id).or_insert_with(|| DriftGroup::new(node.parallelism as usize)).clone()
    }

    pub(super) fn opening(&self, node: &PlanNode, subtask: u32) -> Opening {
        Opening {
            job: self.spec().name.as_str().into(),
            uid: node.uid.clone(),
            subtask: subtask as usize,
            parallelism: node.parallelism as usize,
            start: self.restored.start,
            metadata: Vec::new(),
            clock: self.environment.clock.clone(),
        }
    }

    pub(super) fn rejects(
        &self,
        (node, subtask): (&PlanNode, u32),
        on_error: OnError,
        rows: &Schema,
    ) -> Result<Rejects, TaskError> {
        let encoder = Format::Json.encoder(rows).map_err(|what| bug(&node.name, what))?;
        let port = node.rejected_output().ok_or_else(|| bug(&node.name, "it has no output of rejects"))?;
        Ok(Rejects::new(&node.name, port, on_error, encoder).of_subtask(subtask))
    }

    fn stage(&mut self, node: &PlanNode, subtask: u32) -> Result<Stage, TaskError> {
        let operator: Box<dyn Operator> = match &node.role {
            Role::Operator { .. } => self.operator(node, subtask)?,
            Role::Sink { .. } => Box::new(self.sink(node, subtask).map_err(|error| self.not_taken_over(node, error))?),
            Role::Source { .. } => return Err(bug(&node.name, "a source reads nobody")),
        };
        Ok(Stage::new(self.identity(node, subtask), operator, self.outputs(node, subtask)?))
    }

    /// The ways out of a node, with everything chained behind it.
    fn outputs(&mut self, node: &PlanNode, subtask: u32) -> Result<Outputs, TaskError> {
        let mut ports: Vec<Vec<Target>> = node.outputs.iter().map(|_| Vec::new()).collect();
        for edge in self.plan().edges.iter().filter(|edge| edge.from == node.id) {
            ports[edge.output].push(self.target(edge, subtask)?);
        }
        Ok(Outputs::new(ports, self.metrics(node.id, subtask)))
    }

    pub(super) fn metrics(&self, node: NodeId, subtask: u32) -> Arc<NodeMetrics> {
        self.shared.metrics[node.0][subtask as usize].clone()
    }

    fn target(&mut self, edge: &PlanEdge, subtask: u32) -> Result<Target, TaskError> {
        let to = self.plan().node(edge.to);
        let adapt = edge.adapt.clone().zip(to.input_of(edge.side).cloned());
        if edge.chained {
            return Ok(Target { adapt, route: Route::Chained(Box::new(self.stage(to, subtask)?)) });
        }
        let mut senders = self.senders.remove(&(edge.id, subtask)).unwrap_or_default();
        let route = match &edge.exchange {
            Exchange::Forward => Route::Forward(senders.pop().ok_or_else(|| bug(&to.name, "it has no queue"))?),
            Exchange::Rebalance => Route::Rebalance(senders, subtask as usize),
            Exchange::Hash { key } => {
                Route::Hash { senders, key: key.clone(), max_parallelism: self.plan().max_parallelism }
            }
            Exchange::Broadcast => Route::Broadcast(senders),
        };
        let route = match edge.combined {
            true => Route::Combined(Box::new(self.combiner(edge, subtask)?), Box::new(route)),
            false => route,
        };
        Ok(Target { adapt, route })
    }
}
