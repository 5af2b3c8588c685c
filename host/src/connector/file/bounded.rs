//! Reads files one after the other, each from where it was left to its end.
use std::{collections::VecDeque, path::PathBuf};

use async_trait::async_trait;

use super::{
    chunks::{Chunks, failed},
    position::FilePosition,
};
use crate::{
    connector::{
        BatchLimits, ConnectorError, ReadStatus, SourceReader,
        lines::{Lines, Taken},
    },
    model::{RawBatch, SplitPosition},
};

/// A file to be read.
#[derive(Clone, Debug)]
pub struct Pending {
    pub name: String,
    pub path: PathBuf,
    /// Where it was left, if it was begun.
    pub from: Option<FilePosition>,
}

/// A file being read.
struct Open {
    file: Pending,
    chunks: Chunks,
    lines: Lines,
}

impl Open {
    fn position(&self, done: bool) -> FilePosition {
        self.chunks.position(&self.lines, done)
    }
}

pub struct BoundedReader {
    /// Files not opened.
    queue: VecDeque<Pending>,
    open: Option<Open>,
    /// Positions of files read to their end.
    done: Vec<SplitPosition>,
}

impl BoundedReader {
    /// Reads `files`, and knows of those that are `done` already.
    pub fn new(files: VecDeque<Pending>, done: Vec<SplitPosition>) -> BoundedReader {
        BoundedReader { queue: files, open: None, done }
    }
}

#[async_trait]
impl SourceReader for BoundedReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        loop {
            let Some(open) = &mut self.open else {
                if !into.is_empty() {
                    return Ok(ReadStatus::More);
                }
                let Some(file) = self.queue.front() else {
                    return Ok(ReadStatus::End);
                };
                let chunks = Chunks::open(&file.path, file.from.as_ref())?;
                let records = file.from.as_ref().map_or(0, |from| from.records);
                let lines = Lines::after(&file.path.display().to_string(), records);
                self.open = self.queue.pop_front().map(|file| Open { file, chunks, lines });
                continue;
            };
            if open.chunks.fill().await.map_err(|e| failed(&open.file.path, &e))? {
                if let Taken::Until(taken) = open.lines.take(open.chunks.rest(), into, limits)? {
                    open.chunks.consume(taken);
                    return Ok(ReadStatus::More);
                }
                open.chunks.consume_all();
            } else if open.lines.finish(into, limits)? {
                self.done.push(open.position(true).split(&open.file.name));
                self.open = None;
            } else {
                return Ok(ReadStatus::More);
            }
        }
    }

    fn positions(&self) -> Vec<SplitPosition> {
        let begun = self.queue.iter().filter_map(|file| file.from.as_ref().map(|from| from.split(&file.name)));
        let open = self.open.as_ref().map(|open| open.position(false).split(&open.file.name));
        self.done.iter().cloned().chain(open).chain(begun).collect()
    }
}
