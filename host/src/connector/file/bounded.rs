//! Reads files one after the other, each from beginning to end.
use std::{collections::VecDeque, path::PathBuf};

use async_trait::async_trait;

use super::chunks::{Chunks, failed};
use crate::{
    connector::{
        BatchLimits, ConnectorError, ReadStatus, SourceReader,
        lines::{Lines, Taken},
    },
    model::RawBatch,
};

pub struct BoundedReader {
    /// Files not begun.
    queue: VecDeque<PathBuf>,
    open: Option<(PathBuf, Chunks, Lines)>,
}

impl BoundedReader {
    pub fn new(files: VecDeque<PathBuf>) -> BoundedReader {
        BoundedReader { queue: files, open: None }
    }
}

#[async_trait]
impl SourceReader for BoundedReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        loop {
            let Some((path, chunks, lines)) = &mut self.open else {
                if !into.is_empty() {
                    return Ok(ReadStatus::More);
                }
                let Some(path) = self.queue.pop_front() else {
                    return Ok(ReadStatus::End);
                };
                let (chunks, lines) = (Chunks::open(&path)?, Lines::new(&path.display().to_string()));
                self.open = Some((path, chunks, lines));
                continue;
            };
            if chunks.fill().await.map_err(|e| failed(path, &e))? {
                if let Taken::Until(taken) = lines.take(chunks.rest(), into, limits)? {
                    chunks.consume(taken);
                    return Ok(ReadStatus::More);
                }
                chunks.consume_all();
            } else if lines.finish(into, limits)? {
                self.open = None;
            } else {
                return Ok(ReadStatus::More);
            }
        }
    }
}
