//! Lines from standard input. It is read on a thread of its own, which nothing waits for: a read of a terminal cannot be
//! interrupted, and must not keep the process from ending.
use std::io::Read;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    BatchLimits, CONNECTOR_FAILED, ConnectorError, Opening, ReadStatus, Source, SourceReader,
    lines::{Lines, Nothing, Taken},
};
use crate::model::{RawBatch, SplitPosition};

const CHUNK_BYTES: usize = 64 << 10;

/// Chunks read ahead.
const CHUNKS_MAX: usize = 4;

const PLACE: &str = "stdin";

/// `stdin: {}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdinSource {}

impl Source for StdinSource {
    fn parallelism_max(&self) -> Option<usize> {
        Some(1)
    }

    fn can_replay(&self) -> bool {
        false
    }

    fn open(
        &self,
        opening: &Opening,
        _restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let &Opening { subtask, .. } = opening;
        if subtask > 0 {
            return Ok(Box::new(Nothing));
        }
        Ok(Box::new(StreamReader::new(std::io::stdin()).map_err(failed)?))
    }
}

fn failed(error: std::io::Error) -> ConnectorError {
    ConnectorError { place: PLACE.into(), what: format!("cannot read: {error}"), retry: false, code: CONNECTOR_FAILED }
}

struct StreamReader {
    chunks: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    /// The chunk being taken apart, from a byte on.
    chunk: Vec<u8>,
    at: usize,
    lines: Lines,
}

impl StreamReader {
    fn new(mut input: impl Read + Send + 'static) -> std::io::Result<StreamReader> {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let found = match input.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(length) => {
                        chunk.truncate(length);
                        Ok(chunk)
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = found.is_err();
                if sender.blocking_send(found).is_err() || failed {
                    return;
                }
            }
        })?;
        Ok(StreamReader { chunks, chunk: Vec::new(), at: 0, lines: Lines::new(PLACE) })
    }
}

#[async_trait]
impl SourceReader for StreamReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        loop {
            if self.at < self.chunk.len() {
                if let Taken::Until(taken) = self.lines.take(&self.chunk[self.at..], into, limits)? {
                    self.at += taken;
                    return Ok(ReadStatus::More);
                }
                self.at = self.chunk.len();
            }
            let next = match self.chunks.try_recv() {
                Ok(chunk) => Some(chunk),
                Err(mpsc::error::TryRecvError::Empty) if !into.is_empty() => return Ok(ReadStatus::More),
                Err(_) => self.chunks.recv().await,
            };
            match next {
                Some(chunk) => {
                    self.chunk = chunk.map_err(failed)?;
                    self.at = 0;
                }
                None if self.lines.partial_bytes() > 0 => {
                    self.lines.finish(into, limits)?;
                    return Ok(ReadStatus::More);
                }
                None => return Ok(ReadStatus::End),
            }
        }
    }

    fn positions(&self) -> Vec<SplitPosition> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::read_some;

    #[tokio::test]
    async fn lines_are_read_to_the_end() {
        let text = (0..50_000).map(|i| format!("line {i}\n")).collect::<String>() + "last";
        let mut reader = StreamReader::new(std::io::Cursor::new(text.clone().into_bytes())).unwrap();
        let found = read_some(&mut reader, usize::MAX).await.unwrap();
        assert_eq!(found, text.lines().collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_there_is_handed_out_before_more_is_waited_for() {
        let (input, mut output) = std::io::pipe().unwrap();
        let mut reader = StreamReader::new(input).unwrap();
        for i in 0..3 {
            std::io::Write::write_all(&mut output, format!("{i}\n").as_bytes()).unwrap();
            assert_eq!(read_some(&mut reader, 1).await.unwrap(), [i.to_string()]);
        }
        drop(output);
        assert!(read_some(&mut reader, 1).await.unwrap().is_empty());
    }
}
