//! Records to standard output, a batch in one piece, so that the lines of several tasks do not mix.
use std::io::{ErrorKind, Write};

use async_trait::async_trait;
use serde::Deserialize;

use super::{CONNECTOR_FAILED, ConnectorError, Delivery, Opening, Recovery, Sink, SinkWriter};
use crate::model::{Batch, Encoded};

/// `print: {}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrintSink {}

#[async_trait]
impl Sink for PrintSink {
    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    async fn recover(&self, _recovery: &Recovery, _committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn open(&self, _opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        Ok(Box::new(PrintWriter { output: std::io::stdout, buffer: Vec::new() }))
    }
}

/// Writes to what `output` gives, on a thread where blocking is allowed: the reader of a pipe may be slow.
struct PrintWriter<F> {
    output: F,
    buffer: Vec<u8>,
}

impl<F, W: Write> PrintWriter<F>
where
    F: Fn() -> W + Copy + Send + 'static,
{
    async fn blocking(
        &mut self,
        work: impl FnOnce(&mut W, &[u8]) -> std::io::Result<()> + Send + 'static,
    ) -> Result<(), ConnectorError> {
        let (output, buffer) = (self.output, std::mem::take(&mut self.buffer));
        let job = tokio::task::spawn_blocking(move || (work(&mut output(), &buffer), buffer));
        let (result, buffer) = job.await.map_err(|e| failed(&e.into()))?;
        self.buffer = buffer;
        result.map_err(|e| failed(&e))
    }
}

fn failed(error: &std::io::Error) -> ConnectorError {
    let what = match error.kind() {
        ErrorKind::BrokenPipe => "whoever read standard output has stopped reading".into(),
        _ => format!("cannot write: {error}"),
    };
    ConnectorError { place: "stdout".into(), what, retry: false, code: CONNECTOR_FAILED }
}

#[async_trait]
impl<F, W: Write + 'static> SinkWriter for PrintWriter<F>
where
    F: Fn() -> W + Copy + Send + 'static,
{
    async fn write(&mut self, _rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&encoded.data);
        // Standard output is locked for the whole of one `write_all`.
        self.blocking(|output, data| output.write_all(data)).await
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        self.blocking(|output, _| output.flush()).await
    }

    async fn prepare(&mut self, _checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        self.flush().await?;
        Ok(Vec::new())
    }

    async fn commit(&mut self, _committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        self.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::connector::testing::batch;

    #[tokio::test]
    async fn batches_are_written_and_a_reader_that_is_gone_is_said() {
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let pipe: &'static std::io::PipeWriter = Box::leak(Box::new(pipe));
        let mut writer = PrintWriter { output: move || pipe, buffer: Vec::new() };
        let (rows, encoded) = batch(&["one", "two"]);
        writer.write(&rows, &encoded).await.unwrap();
        writer.flush().await.unwrap();
        let mut found = [0; 8];
        reader.read_exact(&mut found).unwrap();
        assert_eq!(&found, b"one\ntwo\n");
        drop(reader);
        let error = writer.write(&rows, &encoded).await.unwrap_err();
        assert!(error.what.contains("stopped reading") && !error.retry);
    }
}
