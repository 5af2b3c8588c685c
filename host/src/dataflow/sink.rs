//! The last stage: has a plugin, if there is one, make of rows what is written, picks the columns to write, encodes them, and hands them to
//! a connector. What the connector prepares is committed once its checkpoint is complete. Must not know what plugins or connectors do.
use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;

use super::{LatencyHistogram, Operator, Outputs, Replacement, SinkPlugin, TaskError};
use crate::{
    checkpoint::CommitPermit,
    codec::Encoder,
    connector::{ConnectorError, SinkWriter},
    model::{Batch, Clock, Encoded, EventTime, Schema, SnapshotRequest, SubtaskState},
};

/// A sink at work.
pub struct SinkStage {
    node: String,
    plugin: Option<SinkPlugin>,
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
    /// `writes` are the columns to be written and their schema, `None` for all: of what the plugin puts out, if there is one.
    pub fn new(
        node: &str,
        plugin: Option<SinkPlugin>,
        writes: Option<(Vec<usize>, Schema)>,
        encoder: Box<dyn Encoder>,
        writer: Box<dyn SinkWriter>,
        clock: Arc<dyn Clock>,
        latency: Arc<LatencyHistogram>,
    ) -> SinkStage {
        SinkStage {
            node: node.to_owned(),
            plugin,
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

    /// Writes rows of the input, or what became of them.
    async fn written(&mut self, batch: Batch) -> Result<(), TaskError> {
        let (arrived, rows) = (batch.arrived, batch.rows());
        self.write(batch).await?;
        if rows > 0 {
            self.latency.record(self.clock.monotonic().saturating_sub(arrived), rows);
        }
        Ok(())
    }

    async fn write(&mut self, batch: Batch) -> Result<(), TaskError> {
        if batch.rows() == 0 {
            return Ok(());
        }
        match &self.writes {
            Some((columns, schema)) => {
                let picked = columns.iter().map(|column| batch.columns.column(*column).clone()).collect();
                let picked = schema
                    .record_batch(picked, batch.rows())
                    .map_err(|what| TaskError::Bug { node: self.node.clone(), what })?;
                self.encoder.encode(&picked, &mut self.encoded);
            }
            None => self.encoder.encode(&batch.columns, &mut self.encoded),
        }
        let failed = self.failed();
        self.writer.write(&batch, &self.encoded).await.map_err(failed)
    }
}

#[async_trait]
impl Operator for SinkStage {
    async fn batch(&mut self, batch: Batch, outputs: &mut Outputs) -> Result<(), TaskError> {
        match &mut self.plugin {
            None => self.written(batch).await,
            Some(plugin) => {
                for shaped in plugin.write(batch, outputs).await? {
                    self.written(shaped).await?;
                }
                Ok(())
            }
        }
    }

    async fn watermark(&mut self, watermark: EventTime, outputs: &mut Outputs) -> Result<(), TaskError> {
        if let Some(plugin) = &mut self.plugin {
            plugin.watermark = watermark;
        }
        outputs.watermark(watermark).await
    }

    async fn finish(&mut self, outputs: &mut Outputs) -> Result<(), TaskError> {
        match &mut self.plugin {
            Some(plugin) => match plugin.finish(outputs).await? {
                Some(last) => self.write(last).await,
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    async fn pause(&mut self) -> Result<(), TaskError> {
        let failed = self.failed();
        self.writer.flush().await.map_err(failed)
    }

    fn replace(&mut self, new: Replacement) -> Result<(), TaskError> {
        match &mut self.plugin {
            Some(plugin) => {
                plugin.replace(new);
                Ok(())
            }
            None => Err(TaskError::Bug { node: self.node.clone(), what: "it has no plugin to replace".to_owned() }),
        }
    }

    async fn snapshot(&mut self, request: &SnapshotRequest) -> Result<SubtaskState, TaskError> {
        let failed = self.failed();
        let committables = self.writer.prepare(request.checkpoint).await.map_err(failed)?;
        if !committables.is_empty() {
            self.prepared.push_back((request.checkpoint, committables));
        }
        // Also those of earlier checkpoints that are not known to be complete: this one may be the next that is.
        let committables = self.prepared.iter().flat_map(|(_, committables)| committables.clone()).collect();
        let kept = self.plugin.as_ref().map(SinkPlugin::snapshot).transpose()?.unwrap_or_default();
        Ok(SubtaskState { committables, ..kept })
    }

    async fn completed(&mut self, permit: &CommitPermit) -> Result<(), TaskError> {
        let failed = self.failed();
        while let Some((_, committables)) =
            self.prepared.pop_front_if(|(checkpoint, _)| *checkpoint <= permit.checkpoint())
        {
            self.writer.commit(&committables).await.map_err(&failed)?;
        }
        match &mut self.plugin {
            Some(plugin) => Ok(plugin.instance.checkpoint_completed(permit.checkpoint())?),
            None => Ok(()),
        }
    }

    async fn aborted(&mut self, checkpoint: u64) -> Result<(), TaskError> {
        match &mut self.plugin {
            Some(plugin) => Ok(plugin.instance.checkpoint_aborted(checkpoint)?),
            None => Ok(()),
        }
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
