//! The last stage: picks the columns to write, encodes them, and hands them to a connector.
use std::sync::Arc;

use async_trait::async_trait;

use super::{LatencyHistogram, Operator, Outputs, TaskError};
use crate::{
    codec::Encoder,
    connector::{ConnectorError, SinkWriter},
    model::{Batch, Clock, Encoded, Schema},
};

/// A sink at work.
pub struct SinkStage {
    node: String,
    /// Columns written and their schema; `None` for all.
    writes: Option<(Vec<usize>, Schema)>,
    encoder: Box<dyn Encoder>,
    writer: Box<dyn SinkWriter>,
    encoded: Encoded,
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
        SinkStage { node: node.to_owned(), writes, encoder, writer, encoded: Encoded::default(), clock, latency }
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

    async fn end(&mut self, _outputs: &mut Outputs) -> Result<(), TaskError> {
        let failed = self.failed();
        let last = async {
            let committables = self.writer.prepare(0).await?;
            self.writer.commit(&committables).await?;
            self.writer.close().await
        };
        last.await.map_err(failed)
    }
}
