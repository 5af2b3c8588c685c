//! Stages, and how what they emit gets on. A stage is an operator and where its outputs lead: to stages chained behind it, called
//! directly, or over an exchange to other tasks, waiting where those are slow.
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Barrier, CanaryChange, Changes, Last, Left, Message, Moments, NewRule, NodeMetrics, Place, Replacement, Route,
    Target, TaskError,
    shadow::{Input, Shadow},
};
use crate::{
    checkpoint::CommitPermit,
    model::{Batch, EventTime, RULE_SEPARATOR, SnapshotRequest, SubtaskState},
};

/// A step of a task. All calls come from one task, one after the other.
#[async_trait]
pub trait Operator: Send {
    /// Rows.
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError>;

    /// Rows of the second input, of operators that have one.
    async fn second(&mut self, _batch: Batch, _outputs: &mut Outputs) -> Result<(), TaskError> {
        Err(bug("an operator with one input has got rows of a second"))
    }

    /// Event time has come this far.
    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        outputs.watermark(watermark).await
    }

    /// The processing time, in ms, at which it wants to be woken.
    fn wake_at(&self) -> Option<i64> {
        None
    }

    /// Processing time has come this far.
    async fn wake(&mut self, _now_ms: i64, _outputs: &mut Outputs) -> Result<(), TaskError> {
        Ok(())
    }

    /// Nothing comes for now: what is held back for the sake of speed goes out.
    async fn pause(&mut self) -> Result<(), TaskError> {
        Ok(())
    }

    /// The input has ended: what is held back goes out. Barriers may still come.
    async fn finish(&mut self, _outputs: &mut Outputs) -> Result<(), TaskError> {
        Ok(())
    }

    /// A barrier: what it takes to go on from here.
    async fn snapshot(&mut self, _request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        Ok(SubtaskState::default())
    }

    /// What another needs to be opened in its place, or beside it, by a snapshot of all of it. Nothing is prepared to be committed.
    async fn copy_state(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        self.snapshot(request).await
    }

    /// A checkpoint is complete.
    async fn completed(&mut self, _permit: &CommitPermit) -> Result<(), TaskError> {
        Ok(())
    }

    /// A checkpoint was given up.
    async fn aborted(&mut self, _checkpoint: u64) -> Result<(), TaskError> {
        Ok(())
    }

    /// A barrier: what the stages it is made of leave, beside its own.
    async fn leave(&mut self, _barrier: Barrier, _left: &mut Vec<Left>) -> Result<(), TaskError> {
        Ok(())
    }

    /// The barrier of a change: the stages it is made of take what there is for them, which may have them emit rows.
    async fn change(&mut self, _barrier: Barrier, _outputs: &mut Outputs) -> Result<(), TaskError> {
        Ok(())
    }

    /// From now on rows go through this rule too; its identity is that of its stage.
    fn add_rule(&mut self, _identity: StageIdentity, _new: NewRule) -> Result<(), TaskError> {
        Err(bug("an operator without rules has got one"))
    }

    /// From now on there is no rule of this uid. What it keeps is gone.
    fn remove_rule(&mut self, _uid: &str) {}

    /// From now on another plugin works in place of that of its kind, with the state there is.
    fn replace(&mut self, _new: Replacement) -> Result<(), TaskError> {
        Err(bug("an operator without plugins has got one"))
    }

    /// From now on another version has another share of the keys, with the state there is.
    fn canary(&mut self, _change: CanaryChange) -> Result<(), TaskError> {
        Err(bug("an operator that has no canaries has got one"))
    }

    /// Where its calls have their moments from.
    fn moments(&mut self) -> Option<&mut Moments> {
        None
    }

    /// Nothing comes any more, and everything that was prepared is committed.
    async fn close(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
}

/// Who a stage is.
#[derive(Clone)]
pub struct StageIdentity {
    /// Of the node.
    pub uid: Arc<str>,
    /// Which of its subtasks.
    pub subtask: u32,
    /// Which start of the job this is.
    pub start: u64,
    /// What may take the place of its plugins.
    pub changes: Arc<Changes>,
}

impl StageIdentity {
    pub(super) fn request(&self, barrier: Barrier) -> SnapshotRequest {
        let (uid, subtask, start, checkpoint) = (&self.uid, self.subtask, self.start, barrier.checkpoint);
        // The `:` of a rule is none of the characters that names of parts have.
        let prefix = format!("state/{}/{subtask}/{checkpoint}-{start}", uid.replace(RULE_SEPARATOR, "/"));
        SnapshotRequest { kept: barrier.kept, ..SnapshotRequest::new(checkpoint, barrier.kind, prefix) }
    }
}

/// An operator and what is behind it.
pub struct Stage {
    pub(super) identity: StageIdentity,
    pub(super) operator: Box<dyn Operator>,
    pub(super) outputs: Outputs,
    /// Another version that is tried beside it.
    pub(super) shadow: Option<Box<Shadow>>,
}

impl Stage {
    /// Puts an operator before its outputs.
    pub fn new(identity: StageIdentity, operator: Box<dyn Operator>, outputs: Outputs) -> Stage {
        Stage { identity, operator, outputs, shadow: None }
    }

    pub(super) async fn batch(&mut self, batch: Batch) -> Result<(), TaskError> {
        self.outputs.metrics.add(&self.outputs.metrics.records_in, batch.rows());
        let input = self.shadow.is_some().then(|| Input::Batch(batch.clone()));
        self.operator.batch(batch, &mut self.outputs).await?;
        self.follow(input).await;
        Ok(())
    }

    /// Has the shadow do the same, if there is one.
    async fn follow(&mut self, input: Option<Input>) {
        if let (Some(shadow), Some(input)) = (&mut self.shadow, input) {
            let moments = self.operator.moments().map(Moments::noted).unwrap_or_default();
            Box::pin(shadow.follow(input, moments, self.outputs.kept())).await;
        }
    }

    pub(super) async fn second(&mut self, batch: Batch) -> Result<(), TaskError> {
        self.outputs.metrics.add(&self.outputs.metrics.records_in, batch.rows());
        let input = self.shadow.is_some().then(|| Input::Second(batch.clone()));
        self.operator.second(batch, &mut self.outputs).await?;
        self.follow(input).await;
        Ok(())
    }

    pub(super) async fn watermark(&mut self, watermark: EventTime) -> Result<(), TaskError> {
        self.outputs.metrics.set_watermark(watermark);
        self.operator.watermark(watermark, &mut self.outputs).await?;
        self.follow(Some(Input::Watermark(watermark))).await;
        Ok(())
    }

    pub(super) async fn idle(&mut self) -> Result<(), TaskError> {
        self.outputs.idle().await
    }

    pub(super) fn wake_at(&self) -> Option<i64> {
        let shadow = self.shadow.as_ref().and_then(|shadow| shadow.wake_at());
        self.operator.wake_at().into_iter().chain(shadow).chain(self.outputs.wake_at()).min()
    }

    pub(super) async fn wake(&mut self, now_ms: i64) -> Result<(), TaskError> {
        self.wake_operator(now_ms).await?;
        self.outputs.wake(now_ms).await
    }

    /// Wakes it, and not what is behind it.
    pub(super) async fn wake_operator(&mut self, now_ms: i64) -> Result<(), TaskError> {
        if self.operator.wake_at().is_some_and(|at| at <= now_ms) {
            self.operator.wake(now_ms, &mut self.outputs).await?;
        }
        self.follow(Some(Input::Wake(now_ms))).await;
        Ok(())
    }

    pub(super) async fn pause(&mut self) -> Result<(), TaskError> {
        self.operator.pause().await?;
        self.outputs.pause().await
    }

    /// Passes a barrier on, then notes what is left here and in the stages chained behind; or takes what the barrier's change has for
    /// it.
    pub(super) async fn barrier(&mut self, barrier: Barrier, left: &mut Vec<Left>) -> Result<(), TaskError> {
        if let Some(change) = barrier.change {
            self.outputs.barrier(barrier, left).await?;
            return self.change(change, barrier).await;
        }
        if barrier.last == Last::Drain {
            self.operator.finish(&mut self.outputs).await?;
        }
        self.outputs.barrier(barrier, left).await?;
        self.leave(barrier, left).await
    }

    /// Takes what a change has for it.
    pub(super) async fn change(&mut self, change: u64, barrier: Barrier) -> Result<(), TaskError> {
        self.operator.change(barrier, &mut self.outputs).await?;
        let StageIdentity { uid, subtask, changes, .. } = &self.identity;
        let place = Place { uid: uid.to_string(), edge: None, subtask: *subtask };
        match changes.take(change, &place) {
            Some(offer) => self.accept(offer, barrier).await,
            None => Ok(()),
        }
    }

    /// Notes what is left here at a barrier.
    pub(super) async fn leave(&mut self, barrier: Barrier, left: &mut Vec<Left>) -> Result<(), TaskError> {
        self.operator.leave(barrier, left).await?;
        let state = self.operator.snapshot(&self.identity.request(barrier)).await?;
        left.push(Left { uid: self.identity.uid.clone(), subtask: self.identity.subtask, state });
        Ok(())
    }

    /// Keeps what is emitted, and the moments of calls, if there is a shadow to compare it with.
    pub(super) fn keep_outputs(&mut self) {
        let has_shadow = self.shadow.is_some();
        self.outputs.keep(has_shadow);
        if let Some(moments) = self.operator.moments() {
            moments.note(has_shadow);
        }
    }

    pub(super) async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        self.operator.completed(permit).await?;
        self.outputs.completed(permit).await
    }

    pub(super) async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        self.operator.aborted(checkpoint).await?;
        self.outputs.aborted(checkpoint).await
    }

    /// Tells other tasks that nothing comes any more.
    pub(super) async fn end(&mut self) -> Result<(), TaskError> {
        self.outputs.end().await
    }

    pub(super) async fn close(&mut self) -> Result<(), TaskError> {
        self.operator.close().await?;
        self.outputs.close().await
    }
}

/// The outputs of a stage: for each, where it leads; an output nobody reads leads nowhere.
pub struct Outputs {
    ports: Vec<Vec<Target>>,
    metrics: Arc<NodeMetrics>,
    /// What was emitted, where somebody compares it.
    kept: Option<Vec<(usize, Batch)>>,
    /// Whether nobody but a comparison reads any of it.
    compared_only: bool,
    /// Whether somebody else tells readers how far event time has come.
    of_rule: bool,
}

impl Outputs {
    /// Port 0 is the main output.
    pub fn new(ports: Vec<Vec<Target>>, metrics: Arc<NodeMetrics>) -> Outputs {
        Outputs { ports, metrics, kept: None, compared_only: false, of_rule: false }
    }

    /// Of a rule, to which its operator [lends](Outputs::lend) where they lead.
    pub(super) fn of_rule(metrics: Arc<NodeMetrics>) -> Outputs {
        Outputs { of_rule: true, ..Outputs::new(Vec::new(), metrics) }
    }

    /// Has the others lead where these do, which lead nowhere until it is done again.
    pub(super) fn lend(&mut self, others: &mut Outputs) {
        std::mem::swap(&mut self.ports, &mut others.ports);
    }

    /// Of a shadow: so many ports, all of them kept, leading nowhere.
    pub(super) fn of_shadow(ports: usize) -> Outputs {
        let nowhere = (0..ports).map(|_| Vec::new()).collect();
        Outputs { kept: Some(Vec::new()), compared_only: true, ..Outputs::new(nowhere, Arc::default()) }
    }

    /// Whether what is emitted from now on is kept as well.
    fn keep(&mut self, keep: bool) {
        self.kept = keep.then(Vec::new);
    }

    /// What was emitted since it was last asked for.
    pub(super) fn kept(&mut self) -> Vec<(usize, Batch)> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What the stage counts.
    pub fn metrics(&self) -> &NodeMetrics {
        &self.metrics
    }

    /// Whether anybody reads an output.
    pub fn is_read(&self, port: usize) -> bool {
        self.compared_only || self.ports.get(port).is_some_and(|targets| !targets.is_empty())
    }

    /// Sends rows out, waiting until every reader has taken them. No rows are not sent.
    pub async fn emit(&mut self, port: usize, batch: Batch) -> Result<(), TaskError> {
        if batch.rows() == 0 {
            return Ok(());
        }
        self.metrics.add(&self.metrics.records_out, batch.rows());
        if let Some(kept) = &mut self.kept {
            kept.push((port, batch.clone()));
        }
        let Some((last, others)) = self.ports[port].split_last_mut() else { return Ok(()) };
        for target in others {
            target.batch(batch.clone()).await?;
        }
        last.batch(batch).await
    }

    /// Tells all readers how far event time has come.
    pub async fn watermark(&mut self, watermark: EventTime) -> Result<(), TaskError> {
        self.metrics.set_watermark(watermark);
        if self.of_rule {
            return Ok(());
        }
        for target in self.ports.iter_mut().flatten() {
            match &mut target.route {
                Route::Chained(stage) => Box::pin(stage.watermark(watermark)).await?,
                route => route.broadcast(Message::Watermark(watermark)).await?,
            }
        }
        Ok(())
    }

    /// Tells all readers that nothing holds back event time here for now.
    pub async fn idle(&mut self) -> Result<(), TaskError> {
        for target in self.ports.iter_mut().flatten() {
            match &mut target.route {
                Route::Chained(stage) => Box::pin(stage.idle()).await?,
                route => route.broadcast(Message::Idle).await?,
            }
        }
        Ok(())
    }

    pub(super) fn wake_at(&self) -> Option<i64> {
        self.chained_ref().filter_map(Stage::wake_at).min()
    }

    pub(super) async fn wake(&mut self, now_ms: i64) -> Result<(), TaskError> {
        for stage in self.chained() {
            Box::pin(stage.wake(now_ms)).await?;
        }
        Ok(())
    }

    pub(super) async fn pause(&mut self) -> Result<(), TaskError> {
        for stage in self.chained() {
            Box::pin(stage.pause()).await?;
        }
        Ok(())
    }

    pub(super) async fn barrier(&mut self, barrier: Barrier, left: &mut Vec<Left>) -> Result<(), TaskError> {
        for target in self.ports.iter_mut().flatten() {
            match &mut target.route {
                Route::Chained(stage) => Box::pin(stage.barrier(barrier, left)).await?,
                route => {
                    if let (Some(change), Route::Combined(combiner, _)) = (barrier.change, &mut *route) {
                        combiner.change(change)?;
                    }
                    route.broadcast(Message::Barrier(barrier)).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        for stage in self.chained() {
            Box::pin(stage.completed(permit)).await?;
        }
        Ok(())
    }

    pub(super) async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        for stage in self.chained() {
            Box::pin(stage.aborted(checkpoint)).await?;
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), TaskError> {
        for stage in self.chained() {
            Box::pin(stage.close()).await?;
        }
        Ok(())
    }

    /// Tells all readers in other tasks that nothing comes any more.
    pub(super) async fn end(&mut self) -> Result<(), TaskError> {
        for target in self.ports.iter_mut().flatten() {
            match &mut target.route {
                Route::Chained(stage) => Box::pin(stage.end()).await?,
                route => route.broadcast(Message::End).await?,
            }
        }
        Ok(())
    }

    fn chained(&mut self) -> impl Iterator<Item = &mut Stage> {
        self.ports.iter_mut().flatten().filter_map(|target| match &mut target.route {
            Route::Chained(stage) => Some(&mut **stage),
            _ => None,
        })
    }

    fn chained_ref(&self) -> impl Iterator<Item = &Stage> {
        self.ports.iter().flatten().filter_map(|target| match &target.route {
            Route::Chained(stage) => Some(&**stage),
            _ => None,
        })
    }
}

pub(super) fn bug(what: impl ToString) -> TaskError {
    TaskError::Bug { node: "exchange".into(), what: what.to_string() }
}
