//! Reads files for ever: lines added to them, and files added. Looks again at fixed times rather than being told, which works
//! on every file system. Guarantees that no complete line is left out of a file that only grows, that one cut off is read
//! from its beginning again, and that one replaced by another of its name is first read to its end. A compressed file is read
//! once. After a restart it is the same, but that one replaced meanwhile cannot be read to its end.
use std::{
    fs::Metadata,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    chunks::{Chunks, Compression, failed, is_changed},
    position::{FilePosition, Positions},
    source::Paths,
};
use crate::{
    connector::{
        BatchLimits, ConnectorError, ReadStatus, SourceReader,
        lines::{Lines, Taken},
    },
    model::{Clock, RawBatch, SplitPosition},
};

pub struct FollowReader {
    paths: Paths,
    poll: Duration,
    /// Which files are this part's: those whose name's hash modulo the parallelism is this. Unlike their place in the list of
    /// files, that does not change when there are more.
    subtask: usize,
    parallelism: usize,
    tails: Vec<Tail>,
    /// Where files were left in an earlier run, until they are looked for.
    restored: Positions,
    /// The one being read.
    at: usize,
    /// When to look for more, once all have been read.
    wake: Duration,
    clock: Arc<dyn Clock>,
}

struct Tail {
    name: String,
    path: PathBuf,
    chunks: Chunks,
    lines: Lines,
    /// What tells the open file from another of the same name.
    identity: (u64, u64),
    /// Its name is that of another file now, or of none; the open one is read to its end.
    replaced: bool,
    /// A compressed file that was read.
    finished: bool,
}

/// What is known of a file at its end.
enum Fate {
    /// There may be more later.
    Grows,
    /// Its name belongs to another file, or to none, which was seen only now: it may have grown before.
    Replaced,
    /// To be read from the beginning, if there is one of its name.
    Restarts,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Tail {
    fn open(name: &str, path: &Path, from: Option<&FilePosition>) -> Result<Tail, ConnectorError> {
        // The name may come to mean another file in between: then its identity differs, and it is opened again.
        let identity = identity(&std::fs::metadata(path).map_err(|e| failed(path, &e))?);
        let chunks = Chunks::open(path, from)?;
        let lines = Lines::after(&path.display().to_string(), from.map_or(0, |from| from.records));
        let finished = from.is_some_and(|from| from.done) && Compression::of(path) != Compression::None;
        Ok(Tail { name: name.into(), path: path.into(), chunks, lines, identity, replaced: false, finished })
    }

    /// The same, `None` if it is not there.
    fn found(name: &str, path: &Path, from: Option<&FilePosition>) -> Result<Option<Tail>, ConnectorError> {
        match Tail::open(name, path, from) {
            Err(_) if path.try_exists().is_ok_and(|is_there| !is_there) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn position(&self) -> SplitPosition {
        self.chunks.position(&self.lines, self.finished).split(&self.name)
    }

    async fn fate(&mut self) -> Result<Fate, ConnectorError> {
        if self.replaced {
            return Ok(Fate::Restarts);
        }
        match tokio::fs::metadata(&self.path).await {
            Ok(found) if identity(&found) != self.identity => Ok(Fate::Replaced),
            Ok(found) if found.len() < self.chunks.total() => Ok(Fate::Restarts),
            Ok(_) => Ok(Fate::Grows),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Fate::Replaced),
            // What cannot be looked at now is not gone: taken for new later, it would be read twice.
            Err(error) => Err(failed(&self.path, &error)),
        }
    }
}

/// The part that reads a file.
fn owner(name: &str, parallelism: usize) -> usize {
    (xxh3_64(name.as_bytes()) % parallelism as u64) as usize
}

impl FollowReader {
    /// Reads on from `restored`, which is all that an earlier run had read.
    pub fn new(
        paths: Paths,
        poll: Duration,
        (subtask, parallelism): (usize, usize),
        mut restored: Positions,
        clock: &Arc<dyn Clock>,
    ) -> FollowReader {
        restored.retain(|name, _| owner(name, parallelism) == subtask);
        FollowReader {
            paths,
            poll,
            subtask,
            parallelism,
            tails: Vec::new(),
            restored,
            at: 0,
            wake: Duration::ZERO,
            clock: clock.clone(),
        }
    }

    /// Adds files that are new.
    fn look(&mut self) -> Result<(), ConnectorError> {
        for (name, path) in self.paths.list()? {
            if owner(&name, self.parallelism) == self.subtask && !self.tails.iter().any(|tail| tail.path == path) {
                self.tails.extend(Tail::found(&name, &path, self.restored.get(&name))?);
                self.restored.remove(&name);
            }
        }
        for (file, position) in std::mem::take(&mut self.restored) {
            tracing::warn!(message = "a file read before is no more", file, lines = position.records);
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
        match tail.fate().await? {
            Fate::Grows => self.at += 1,
            Fate::Replaced => tail.replaced = true,
            Fate::Restarts => self.restart()?,
        }
        Ok(())
    }

    /// Reads the current file from its beginning.
    fn restart(&mut self) -> Result<(), ConnectorError> {
        let tail = &mut self.tails[self.at];
        let (file, bytes) = (tail.path.display().to_string(), tail.lines.partial_bytes());
        match Tail::found(&tail.name, &tail.path, None)? {
            Some(new) => {
                *tail = new;
                tracing::warn!(message = "file was cut off or replaced, reading it from its beginning", file, bytes);
            }
            // Moved away: should it come back, it is new.
            None => {
                self.tails.remove(self.at);
                tracing::warn!(message = "file is no more", file, bytes);
            }
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
                continue;
            }
            let filled = match tail.chunks.fill().await {
                // What it was in an earlier run.
                Err(error) if is_changed(&error) => {
                    self.restart()?;
                    continue;
                }
                filled => filled.map_err(|e| failed(&tail.path, &e))?,
            };
            if filled {
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

    fn positions(&self) -> Vec<SplitPosition> {
        let waiting = self.restored.iter().map(|(name, position)| position.split(name));
        self.tails.iter().map(Tail::position).chain(waiting).collect()
    }
}
