//! Reads files for ever: lines added to them, and files added. Looks again at fixed times rather than being told, which works
//! on every file system. Guarantees that no complete line is left out of a file that only grows, that one cut off is read
//! from its beginning again, and that one replaced by another of its name is first read to its end. A compressed file is read
//! once.
use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    chunks::{Chunks, Compression, failed},
    source::Paths,
};
use crate::{
    connector::{
        BatchLimits, ConnectorError, ReadStatus, SourceReader,
        lines::{Lines, Taken},
    },
    model::{Clock, RawBatch},
};

pub struct FollowReader {
    paths: Paths,
    poll: Duration,
    /// Which files are this part's: those whose name's hash modulo the parallelism is this. Unlike their place in the list of
    /// files, that does not change when there are more.
    subtask: usize,
    parallelism: usize,
    tails: Vec<Tail>,
    /// The one being read.
    at: usize,
    /// When to look for more, once all have been read.
    wake: Duration,
    clock: Arc<dyn Clock>,
}

struct Tail {
    path: PathBuf,
    chunks: Chunks,
    lines: Lines,
    /// What tells the open file from another of the same name.
    identity: (u64, u64),
    /// Another file has its name now; the open one is read to its end.
    replaced: bool,
    /// A compressed file that was read.
    finished: bool,
}

/// What is known of a file at its end.
enum Fate {
    /// There may be more later.
    Grows,
    /// Its name belongs to another file, which was seen only now.
    Replaced,
    /// To be read from the beginning.
    Restarts,
    /// It is no more.
    Gone,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Tail {
    fn open(path: &Path) -> Result<Tail, ConnectorError> {
        // The name may come to mean another file in between: then its identity differs, and it is opened again.
        let identity = identity(&std::fs::metadata(path).map_err(|e| failed(path, &e))?);
        let (chunks, lines) = (Chunks::open(path)?, Lines::new(&path.display().to_string()));
        Ok(Tail { path: path.into(), chunks, lines, identity, replaced: false, finished: false })
    }

    async fn fate(&mut self) -> Fate {
        if self.replaced {
            return Fate::Restarts;
        }
        match tokio::fs::metadata(&self.path).await {
            Ok(found) if identity(&found) != self.identity => Fate::Replaced,
            Ok(found) if found.len() < self.chunks.total() => Fate::Restarts,
            Ok(_) => Fate::Grows,
            Err(_) => Fate::Gone,
        }
    }
}

impl FollowReader {
    pub fn new(paths: Paths, poll: Duration, part: (usize, usize), clock: &Arc<dyn Clock>) -> FollowReader {
        let (subtask, parallelism) = part;
        FollowReader {
            paths,
            poll,
            subtask,
            parallelism,
            tails: Vec::new(),
            at: 0,
            wake: Duration::ZERO,
            clock: clock.clone(),
        }
    }

    /// Adds files that are new.
    fn look(&mut self) -> Result<(), ConnectorError> {
        for path in self.paths.list()? {
            let owner = xxh3_64(path.as_os_str().as_encoded_bytes()) % self.parallelism as u64;
            if owner == self.subtask as u64 && !self.tails.iter().any(|tail| tail.path == path) {
                self.tails.push(Tail::open(&path)?);
            }
        }
        self.at = 0;
        Ok(())
    }

    /// The current file has no more for now.
    async fn at_end(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<(), ConnectorError> {
        let tail = &mut self.tails[self.at];
        if Compression::of(&tail.path) != Compression::None {
            tail.finished = tail.lines.finish(into, limits)?;
            self.at += usize::from(tail.finished);
            return Ok(());
        }
        match tail.fate().await {
            Fate::Grows => self.at += 1,
            Fate::Replaced => tail.replaced = true,
            Fate::Restarts => {
                let (file, bytes) = (tail.path.display(), tail.lines.partial_bytes());
                tracing::warn!(message = "file was cut off or replaced, reading it from its beginning", %file, bytes);
                match Tail::open(&tail.path) {
                    Ok(new) => *tail = new,
                    // Moved away again: should it come back, it is new.
                    Err(_) => drop(self.tails.remove(self.at)),
                }
            }
            Fate::Gone => drop(self.tails.remove(self.at)),
        }
        Ok(())
    }
}

#[async_trait]
impl SourceReader for FollowReader {
    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        loop {
            let Some(tail) = self.tails.get_mut(self.at) else {
                if !into.is_empty() {
                    return Ok(ReadStatus::More);
                }
                self.clock.sleep_until(self.wake).await;
                self.wake = self.clock.monotonic() + self.poll;
                self.look()?;
                continue;
            };
            if tail.finished {
                self.at += 1;
            } else if tail.chunks.fill().await.map_err(|e| failed(&tail.path, &e))? {
                if let Taken::Until(taken) = tail.lines.take(tail.chunks.rest(), into, limits)? {
                    tail.chunks.consume(taken);
                    return Ok(ReadStatus::More);
                }
                tail.chunks.consume_all();
            } else {
                self.at_end(into, limits).await?;
                if !into.is_empty() {
                    return Ok(ReadStatus::More);
                }
            }
        }
    }
}
