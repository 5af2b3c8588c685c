//! Builds the tasks of a plan: queues between them, and in each subtask the chain of stages from its head on.
use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    Placement,
    prepare::{Prepared, configuration, limits},
};
use crate::{
    codec::Format,
    connector::{BatchLimits, Opening},
    dataflow::{
        AggregatePlugin, Environment, LatencyHistogram, Moments, NodeMetrics, Operator, OperatorTask, Outputs,
        Receiver, Rejects, Route, Sender, SinkStage, SourceSettings, SourceTask, Stage, StateHome, Target, TaskError,
        Transform, WindowWork, WindowedSettings, windowed,
    },
    job::{EdgeId, Exchange, JobSpec, NodeId, Plan, PlanEdge, PlanNode, Role, StepSpec, TaskPlan},
    model::{Schema, SubtaskState, subtask_of},
    plugin,
    state::StateBackend,
    window::{Assigner, Lateness, Sliding, Trigger},
};

/// A subtask, ready to be run.
pub(super) struct Wired {
    /// For logs: the head's name and the subtask's number.
    pub(super) name: String,
    pub(super) future: Pin<Box<dyn Future<Output = Result<(), TaskError>> + Send>>,
}

/// The tasks of a job, wired to each other but not running.
pub(super) struct Wiring<'a> {
    prepared: &'a Prepared,
    environment: &'a Environment,
    stop: CancellationToken,
    senders: HashMap<(EdgeId, u32), Vec<Box<dyn Sender>>>,
    receivers: HashMap<(EdgeId, u32), Vec<Box<dyn Receiver>>>,
    /// Per node and subtask.
    pub(super) metrics: Vec<Vec<Arc<NodeMetrics>>>,
    pub(super) latency: Arc<LatencyHistogram>,
}

fn bug(node: &str, what: impl ToString) -> TaskError {
    TaskError::Bug { node: node.to_owned(), what: what.to_string() }
}

impl<'a> Wiring<'a> {
    pub(super) fn new(prepared: &'a Prepared, environment: &'a Environment, stop: CancellationToken) -> Wiring<'a> {
        let plan = &prepared.plan;
        let metrics = |node: &PlanNode| (0..node.parallelism).map(|_| Arc::default()).collect();
        let mut wiring = Wiring {
            prepared,
            environment,
            stop,
            senders: HashMap::new(),
            receivers: HashMap::new(),
            metrics: plan.nodes.iter().map(metrics).collect(),
            latency: Arc::default(),
        };
        for edge in plan.edges.iter().filter(|edge| !edge.chained) {
            wiring.connect(edge);
        }
        wiring
    }

    fn plan(&self) -> &'a Plan {
        &self.prepared.plan
    }

    fn spec(&self) -> &'a JobSpec {
        &self.prepared.spec
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
                tasks.push(self.task(task, subtask)?);
            }
        }
        Ok(tasks)
    }

    fn task(&mut self, task: &TaskPlan, subtask: u32) -> Result<Wired, TaskError> {
        let head = self.plan().node(task.head);
        let name = format!("{}[{subtask}]", head.name);
        if let Role::Source { time, .. } = &head.role {
            let source = self.source(head, *time, subtask)?;
            let stop = self.stop.clone();
            return Ok(Wired { name, future: Box::pin(source.run(stop)) });
        }
        let inputs =
            task.incoming.iter().filter_map(|edge| self.receivers.remove(&(*edge, subtask))).flatten().collect();
        let stage = self.stage(head, subtask)?;
        let task = OperatorTask::new(inputs, stage, self.environment.clock.clone());
        Ok(Wired { name, future: Box::pin(task.run()) })
    }

    fn source(&mut self, node: &PlanNode, time: Option<usize>, subtask: u32) -> Result<SourceTask, TaskError> {
        let spec = &self.spec().sources[&node.name];
        let batch = self.plan().batch;
        let settings = SourceSettings {
            node: node.name.clone(),
            time,
            out_of_orderness: spec.time.out_of_orderness,
            idle: spec.time.idle,
            limits: BatchLimits { records: batch.records, bytes: batch.bytes },
            flush: batch.flush,
        };
        let schema = &node.outputs[0].schema;
        let reader = spec
            .connector
            .open(&self.opening(node, subtask), None)
            .map_err(|error| TaskError::Connector { node: node.name.clone(), error })?;
        let decoder = spec.format.decoder(schema).map_err(|what| bug(&node.name, what))?;
        let rejects = self.rejects(node, spec.on_error, schema)?;
        let outputs = self.outputs(node, subtask)?;
        Ok(SourceTask::new(settings, reader, decoder, rejects, outputs, self.environment.clock.clone()))
    }

    fn opening(&self, node: &PlanNode, subtask: u32) -> Opening {
        Opening {
            uid: node.uid.clone(),
            subtask: subtask as usize,
            parallelism: node.parallelism as usize,
            start: 0,
            clock: self.environment.clock.clone(),
        }
    }

    fn rejects(&self, node: &PlanNode, on_error: crate::job::OnError, rows: &Schema) -> Result<Rejects, TaskError> {
        let encoder = Format::Json.encoder(rows).map_err(|what| bug(&node.name, what))?;
        let port = node.rejected_output().ok_or_else(|| bug(&node.name, "it has no output of rejects"))?;
        Ok(Rejects::new(&node.name, port, on_error, encoder))
    }

    fn stage(&mut self, node: &PlanNode, subtask: u32) -> Result<Stage, TaskError> {
        let operator: Box<dyn Operator> = match &node.role {
            Role::Operator { reads, key, .. } => self.operator(node, reads, key, subtask)?,
            Role::Sink { writes, written, .. } => Box::new(self.sink(node, writes, written, subtask)?),
            Role::Source { .. } => return Err(bug(&node.name, "a source reads nobody")),
        };
        Ok(Stage::new(operator, self.outputs(node, subtask)?))
    }

    fn operator(
        &self,
        node: &PlanNode,
        reads: &[usize],
        key: &[usize],
        subtask: u32,
    ) -> Result<Box<dyn Operator>, TaskError> {
        let spec = &self.spec().operators[&node.name];
        let placement = plugin::Placement { operator: node.name.clone(), subtask, parallelism: node.parallelism };
        let instance = self.prepared.plugins[&node.name]
            .instantiate(spec.step.kind(), &configuration(spec), placement, limits(spec))
            .map_err(|error| TaskError::Load { operator: node.name.clone(), error })?;
        let input = node.input.as_ref().ok_or_else(|| bug(&node.name, "it has no input"))?;
        let rejects = self.rejects(node, spec.on_error, input)?;
        let moments = Moments::new(self.environment, &node.uid, subtask);
        Ok(match (&spec.step, spec.window) {
            (StepSpec::Transform(_), _) => {
                let declared = 1 + instance.description().side_outputs.len();
                let schemas = node.outputs[..declared].iter().map(|port| port.schema.clone()).collect();
                Box::new(Transform::new(instance, reads.to_vec(), schemas, rejects, moments))
            }
            (StepSpec::Aggregate(_), Some(window)) => {
                let settings = WindowedSettings {
                    node: node.name.clone(),
                    key: key.to_vec(),
                    key_kinds: key.iter().map(|column| input.fields()[*column].kind).collect(),
                    assigner: Assigner::Sliding(Sliding::tumbling(window.tumbling, window.offset)),
                    time: window.time,
                    lateness: Lateness::default(),
                    trigger: Trigger::at_end(window.time),
                    late: node.late_output(),
                    window_columns: true,
                    schema: node.outputs[0].schema.clone(),
                    batch_records: self.plan().batch.records,
                };
                let max_parallelism = self.plan().max_parallelism;
                let owned = |group: &u32| subtask_of(*group, node.parallelism, max_parallelism) == subtask;
                let groups: Vec<u32> = (0..max_parallelism).filter(owned).collect();
                let home = StateHome {
                    backend: StateBackend::memory(),
                    uid: node.uid.clone(),
                    subtask,
                    start: 0,
                    groups: groups.first().map_or(0..0, |first| *first..first + groups.len() as u32),
                    max_parallelism,
                    drop_vanished: false,
                };
                let work = WindowWork::Aggregate(AggregatePlugin { instance, reads: reads.to_vec() });
                windowed(settings, work, None, rejects, moments, &home, SubtaskState::default())?
            }
            (StepSpec::Aggregate(_), None) => return Err(bug(&node.name, "an aggregate without a window")),
        })
    }

    fn sink(&self, node: &PlanNode, writes: &[usize], written: &Schema, subtask: u32) -> Result<SinkStage, TaskError> {
        let spec = &self.spec().sinks[&node.name];
        let writer = spec
            .connector
            .open(&self.opening(node, subtask))
            .map_err(|error| TaskError::Connector { node: node.name.clone(), error })?;
        let encoder = spec.format.encoder(written).map_err(|what| bug(&node.name, what))?;
        let all = node.input.as_ref().is_some_and(|input| input == written);
        let writes = (!all).then(|| (writes.to_vec(), written.clone()));
        let clock = self.environment.clock.clone();
        Ok(SinkStage::new(&node.name, writes, encoder, writer, clock, self.latency.clone()))
    }

    /// The ways out of a node, with everything chained behind it.
    fn outputs(&mut self, node: &PlanNode, subtask: u32) -> Result<Outputs, TaskError> {
        let mut ports: Vec<Vec<Target>> = node.outputs.iter().map(|_| Vec::new()).collect();
        for edge in self.plan().edges.iter().filter(|edge| edge.from == node.id) {
            ports[edge.output].push(self.target(edge, subtask)?);
        }
        Ok(Outputs::new(ports, self.metrics(node.id, subtask)))
    }

    fn metrics(&self, node: NodeId, subtask: u32) -> Arc<NodeMetrics> {
        self.metrics[node.0][subtask as usize].clone()
    }

    fn target(&mut self, edge: &PlanEdge, subtask: u32) -> Result<Target, TaskError> {
        let to = self.plan().node(edge.to);
        let adapt = edge.adapt.clone().zip(to.input.clone());
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
        };
        Ok(Target { adapt, route })
    }
}
