//! The stage of many rules: each row goes through all of them, one after the other, and what they emit goes out of one output. Guarantees that each rule
//! has its own state, shadow and counts, and that event time goes on once all have seen it. Must not know what a rule does.
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Barrier, Left, NewRule, NodeMetrics, Operator, Outputs, Stage, StageIdentity, TaskError, change::not_taken_over,
};
use crate::{
    checkpoint::CommitPermit,
    model::{Batch, EventTime, SnapshotRequest, SubtaskState},
};

/// Rules at work. Each is a stage whose outputs lead nowhere but while it is its turn.
pub struct Rules {
    rules: Vec<Stage>,
    watermark: EventTime,
}

impl Stage {
    /// A rule.
    pub fn rule(identity: StageIdentity, operator: Box<dyn Operator>, metrics: Arc<NodeMetrics>) -> Stage {
        Stage::new(identity, operator, Outputs::of_rule(metrics))
    }
}

impl Rules {
    /// These rules, in the order in which rows go through them; event time had come to `watermark`.
    pub fn new(rules: Vec<Stage>, watermark: EventTime) -> Rules {
        Rules { rules, watermark }
    }
}

#[async_trait]
impl Operator for Rules {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        // After an error nothing comes any more, so that outputs need not be given back.
        for rule in &mut self.rules {
            outputs.lend(&mut rule.outputs);
            rule.batch(batch.clone()).await?;
            outputs.lend(&mut rule.outputs);
        }
        Ok(())
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        self.watermark = watermark;
        for rule in &mut self.rules {
            outputs.lend(&mut rule.outputs);
            rule.watermark(watermark).await?;
            outputs.lend(&mut rule.outputs);
        }
        outputs.watermark(watermark).await
    }

    fn wake_at(&self) -> Option<i64> {
        self.rules.iter().filter_map(Stage::wake_at).min()
    }

    async fn wake(&mut self, now_ms: i64, outputs: &mut Outputs) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            outputs.lend(&mut rule.outputs);
            rule.wake_operator(now_ms).await?;
            outputs.lend(&mut rule.outputs);
        }
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            rule.operator.pause().await?;
        }
        Ok(())
    }

    async fn finish(&mut self, outputs: &mut Outputs) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            outputs.lend(&mut rule.outputs);
            rule.operator.finish(&mut rule.outputs).await?;
            outputs.lend(&mut rule.outputs);
        }
        Ok(())
    }

    async fn snapshot(&mut self, _request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        Ok(SubtaskState { watermark: self.watermark, ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            rule.operator.completed(permit).await?;
        }
        Ok(())
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            rule.operator.aborted(checkpoint).await?;
        }
        Ok(())
    }

    async fn leave(&mut self, barrier: Barrier, left: &mut Vec<Left>) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            rule.leave(barrier, left).await?;
        }
        Ok(())
    }

    async fn change(&mut self, barrier: Barrier, outputs: &mut Outputs) -> Result<(), TaskError> {
        let Some(change) = barrier.change else { return Ok(()) };
        for rule in &mut self.rules {
            outputs.lend(&mut rule.outputs);
            rule.change(change, barrier).await?;
            outputs.lend(&mut rule.outputs);
        }
        Ok(())
    }

    fn add_rule(&mut self, identity: StageIdentity, new: NewRule) -> Result<(), TaskError> {
        let state = SubtaskState { watermark: self.watermark, ..SubtaskState::default() };
        let opened = (new.open)(state, identity.start);
        let operator = opened.map_err(|error| not_taken_over(new.operator, error))?;
        self.rules.push(Stage::rule(identity, operator, new.metrics));
        Ok(())
    }

    fn remove_rule(&mut self, uid: &str) {
        self.rules.retain(|rule| &*rule.identity.uid != uid);
    }

    async fn close(&mut self) -> Result<(), TaskError> {
        for rule in &mut self.rules {
            rule.operator.close().await?;
        }
        Ok(())
    }
}
