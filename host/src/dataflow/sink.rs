//! The last stage: picks the columns to write, encodes them, and hands them to a connector.
use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;

use super::{LatencyHistogram, Operator, Outputs, TaskError};
use crate::{
    checkpoint::CommitPermit,
    codec::Encoder,
    connector::{ConnectorError, SinkWriter},
    model::{Batch, Clock, Encoded, Schema, SnapshotRequest, SubtaskState},
};

/// A sink at work.
pub struct SinkStage {
    node: String,
    /// Columns written and their schema; `None` for all.
    writes: Option<(Vec<usize>, Schema)>,
    encoder: Box<dyn Encoder>,
    writer: Box<dyn SinkWriter>,
    encoded: Encoded,
    /// What was prepared and not committed yet, by checkpoint.
    prepared: VecDeque<(u64, Vec<Vec<u8>>)>,
    clock: Arc<dyn Clock>,
    latency: Arc<LatencyHistogram>,
}

impl SinkStage {
    /// `writes` are the columns to be written and their schema, `None` for all.
    pub fn new(
        node: &str,
        writes: Option<(Vec<usize>, Schema)>,
        encoder: Box<dyn Encoder>,
        writer: Box<dyn SinkWriter>,
        clock: Arc<dyn Clock>,
        latency: Arc<LatencyHistogram>,
    ) -> SinkStage {
        SinkStage {
            node: node.to_owned(),
            writes,
            encoder,
            writer,
            encoded: Encoded::default(),
            prepared: VecDeque::new(),
            clock,
            latency,
        }
    }

    fn failed(&self) -> impl Fn(ConnectorError) -> TaskError + use<> {
        let node = self.node.clone();
        move |error| TaskError::Connector { node: node.clone(), error }
    }
}

#[async_trait]
impl Operator for SinkStage {
    async fn batch(&mut self, mut batch: Batch, _outputs: &mut Outputs) -> Result<(), TaskError> {
        if let Some((columns, schema)) = &self.writes {
            let picked = columns.iter().map(|column| batch.columns.column(*column).clone()).collect();
            batch.columns = schema
                .record_batch(picked, batch.rows())
                .map_err(|what| TaskError::Bug { node: self.node.clone(), what })?;
        }
        self.encoder.encode(&batch.columns, &mut self.encoded);
        let failed = self.failed();
        self.writer.write(&batch, &self.encoded).await.map_err(failed)?;
        self.latency.record(self.clock.monotonic().saturating_sub(batch.arrived), batch.rows());
        Ok(())
    }

    async fn pause(&mut self) -> Result<(), TaskError> {
        let failed = self.failed();
        self.writer.flush().await.map_err(failed)
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let failed = self.failed();
        let committables = self.writer.prepare(request.checkpoint).await.map_err(failed)?;
        if !committables.is_empty() {
            self.prepared.push_back((request.checkpoint, committables));
        }
        // Also those of earlier checkpoints that are not known to be complete: this one may be the next that is.
        let committables = self.prepared.iter().flat_map(|(_, committables)| committables.clone()).collect();
        Ok(SubtaskState { committables, ..SubtaskState::default() })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        let failed = self.failed();
        while let Some((_, committables)) =
            self.prepared.pop_front_if(|(checkpoint, _)| *checkpoint <= permit.checkpoint())
        {
            self.writer.commit(&committables).await.map_err(&failed)?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), TaskError> {
        let failed = self.failed();
        let last = async {
            let committables = self.writer.prepare(0).await?;
            self.writer.commit(&committables).await?;
            self.writer.close().await
        };
        last.await.map_err(failed)
    }
}
