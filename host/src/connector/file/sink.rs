//! Records to files in a directory, in parts. A part is written under a hidden name, and gets its own only once it is complete and
//! on disk, so that whoever reads the directory never sees half a part; existing files are never touched. Exactly once, that is when
//! the checkpoint that has it is complete; at least once, when the part is.
use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de};

use super::{
    committable::{Committable, commit},
    part::{Names, Part, PartId, sync_directory},
};
use crate::{
    connector::{
        CONNECTOR_FAILED, ConnectorError, Delivery, Opening, Recovery, Sink, SinkWriter,
        settings::{size, some_positive_duration},
    },
    model::{Batch, Clock, Encoded},
};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// `file: { path: out/, delivery: exactly_once, roll: { size: 128MiB, every: 15min }, prefix: part, extension: jsonl }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// The directory; made if there is none.
    path: PathBuf,
    /// When parts become visible, and what that means after a failure. Default exactly once.
    #[serde(default = "delivery", deserialize_with = "delivered")]
    delivery: Delivery,
    /// When a part is complete, other than at the end.
    #[serde(default)]
    roll: Roll,
    /// What names of parts begin with. Default `part`.
    #[serde(default = "prefix", deserialize_with = "name")]
    prefix: String,
    /// What they end with. Default `jsonl`.
    #[serde(default = "extension", deserialize_with = "name")]
    extension: String,
}

/// A part is complete once it has so many bytes, or was begun so long ago; both are looked at after each batch written and at
/// each flush.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Roll {
    /// Default 128 MiB.
    #[serde(deserialize_with = "size_of")]
    size: u64,
    /// Default: never.
    #[serde(deserialize_with = "some_positive_duration")]
    every: Option<Duration>,
}

impl Default for Roll {
    fn default() -> Roll {
        Roll { size: 128 << 20, every: None }
    }
}

fn size_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    size(deserializer).map_err(|e| de::Error::custom(format!("`roll.size`: {e}")))
}

fn delivered<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Delivery, D::Error> {
    match Delivery::deserialize(deserializer)? {
        Delivery::AtMostOnce => Err(de::Error::custom("`delivery` of files is `exactly_once` or `at_least_once`")),
        other => Ok(other),
    }
}

fn delivery() -> Delivery {
    Delivery::ExactlyOnce
}

fn prefix() -> String {
    "part".into()
}

fn extension() -> String {
    "jsonl".into()
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        let message = format!(
            "`prefix` and `extension` are parts of a file's name, without `/` or a dot at the start, not {name:?}"
        );
        return Err(de::Error::custom(message));
    }
    Ok(name)
}

#[async_trait]
impl Sink for FileSink {
    fn resolve_paths(&mut self, base: &Path) {
        self.path = base.join(&self.path);
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    async fn recover(&self, recovery: &Recovery, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        let committables = self.decode(committables)?;
        let (sink, uid, start) = (self.clone(), recovery.uid.clone(), recovery.start);
        blocking(&self.path, move || {
            commit(&sink.path, &committables)?;
            sink.remove_begun(&uid, start).map_err(|e| failed(&sink.path, &e))
        })
        .await
    }

    fn open(&self, opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        let &Opening { ref uid, subtask, start, ref clock, .. } = opening;
        let next = self.next_part(subtask, start).map_err(|e| failed(&self.path, &e))?;
        Ok(Box::new(FileWriter {
            settings: Arc::new(self.clone()),
            uid: uid.clone(),
            next,
            part: None,
            ready: Vec::new(),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            clock: clock.clone(),
        }))
    }
}

fn failed(path: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError {
        place: path.display().to_string(),
        what: format!("cannot write: {error}"),
        retry: false,
        code: CONNECTOR_FAILED,
    }
}

/// Does something on a thread where blocking is allowed.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, ConnectorError> + Send + 'static,
) -> Result<T, ConnectorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(failed(path, &e.into())))
}

impl FileSink {
    fn names(&self) -> Names {
        Names { prefix: self.prefix.clone(), extension: self.extension.clone() }
    }

    fn decode(&self, committables: &[Vec<u8>]) -> Result<Vec<Committable>, ConnectorError> {
        committables.iter().map(|bytes| Committable::decode(&self.path, bytes)).collect()
    }

    /// Parts there are: the name of the file, which part, and the uid if it is in progress.
    fn parts(&self) -> io::Result<Vec<(String, PartId, Option<String>)>> {
        let (names, mut parts) = (self.names(), Vec::new());
        for entry in fs::read_dir(&self.path)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            if let Some((id, uid)) = names.parse(&name) {
                let uid = uid.map(str::to_owned);
                parts.push((name, id, uid));
            }
        }
        Ok(parts)
    }

    /// Makes the directory, and gives the first part that there is not: starts are numbered by checkpoints, and without them, or
    /// going back to an old one, a number may come again.
    fn next_part(&self, subtask: usize, start: u64) -> io::Result<PartId> {
        // The names of directories that were made must be durable too.
        let made: Vec<&Path> = self.path.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(&self.path)?;
        for parent in made.iter().filter_map(|path| path.parent()).filter(|path| path.exists()) {
            sync_directory(parent)?;
        }
        let mut next = PartId { subtask, start, number: 0 };
        for (name, id, uid) in self.parts()? {
            if (id.subtask, id.start) != (subtask, start) {
                continue;
            }
            next.number = next.number.max(id.number.saturating_add(1));
            if uid.is_some() {
                let file = self.path.join(name);
                let file = file.display();
                tracing::warn!(message = "an earlier run was stopped before this part was complete; it is left as it is", %file);
            }
        }
        Ok(next)
    }

    /// Removes what earlier starts of a sink have begun.
    fn remove_begun(&self, uid: &str, start: u64) -> io::Result<()> {
        let parts = match self.parts() {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            parts => parts?,
        };
        for (name, id, of) in parts {
            if of.as_deref() == Some(uid) && id.start < start {
                fs::remove_file(self.path.join(name))?;
            }
        }
        Ok(())
    }
}

/// What becomes of a part once what was collected is written to it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    /// What there is of it is made durable.
    Sync,
    Complete,
}

struct FileWriter {
    settings: Arc<FileSink>,
    uid: String,
    /// The next part.
    next: PartId,
    part: Option<Part>,
    /// Parts that are complete and not prepared yet.
    ready: Vec<Committable>,
    /// What is to be written to the part.
    buffer: Vec<u8>,
    clock: Arc<dyn Clock>,
}

impl FileWriter {
    /// Writes what was collected, on a thread where blocking is allowed. A part that is complete is visible, or ready if it has to
    /// wait for a checkpoint. Gives what a part that goes on has become with [`Then::Sync`].
    async fn store(&mut self, then: Then) -> Result<Option<Committable>, ConnectorError> {
        let (settings, uid, id, now) = (self.settings.clone(), self.uid.clone(), self.next, self.clock.monotonic());
        let (part, buffer) = (self.part.take(), std::mem::take(&mut self.buffer));
        if part.is_none() {
            if buffer.is_empty() {
                return Ok(None);
            }
            self.next.number += 1;
        }
        let (part, buffer, committable) = blocking(&self.settings.path, move || {
            let write = || -> io::Result<_> {
                let mut part = match part {
                    Some(part) => part,
                    None => Part::create(&settings.path, settings.names().complete(id), &uid, now)?,
                };
                part.write(&buffer)?;
                Ok(match then {
                    Then::GoOn => (Some(part), None),
                    Then::Sync => {
                        let committable = part.begun_until_here()?;
                        sync_directory(&settings.path)?;
                        (Some(part), Some(committable))
                    }
                    Then::Complete => (None, Some(part.finish(&settings.path)?)),
                })
            };
            let (part, committable) = write().map_err(|e| failed(&settings.path, &e))?;
            if then == Then::Complete && settings.delivery == Delivery::AtLeastOnce {
                commit(&settings.path, committable.as_slice())?;
            }
            Ok((part, buffer, committable))
        })
        .await?;
        (self.part, self.buffer) = (part, buffer);
        self.buffer.clear();
        if then == Then::Complete && self.settings.delivery == Delivery::ExactlyOnce {
            self.ready.extend(committable);
            return Ok(None);
        }
        Ok(committable)
    }

    fn bytes(&self) -> u64 {
        self.part.as_ref().map_or(0, Part::bytes) + self.buffer.len() as u64
    }

    fn is_complete(&self) -> bool {
        let old =
            |part: &Part| self.settings.roll.every.is_some_and(|every| self.clock.monotonic() >= part.begun() + every);
        self.bytes() >= self.settings.roll.size || self.part.as_ref().is_some_and(old)
    }
}

#[async_trait]
impl SinkWriter for FileWriter {
    async fn write(&mut self, _rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        let first = self.bytes() == 0;
        self.buffer.extend_from_slice(&encoded.data);
        if self.is_complete() {
            self.store(Then::Complete).await?;
        } else if first || self.buffer.len() >= BUFFER_BYTES {
            // A part is begun with its first record, which its age counts from.
            self.store(Then::GoOn).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        let then = if self.is_complete() { Then::Complete } else { Then::GoOn };
        self.store(then).await.map(drop)
    }

    async fn prepare(&mut self, _checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        if self.settings.delivery == Delivery::AtLeastOnce {
            // Nothing is left to be done unless there is a failure, which would leave the part hidden.
            let begun = self.store(Then::Sync).await?;
            return Ok(begun.iter().map(Committable::encode).collect());
        }
        self.store(Then::Complete).await?;
        if !self.ready.is_empty() {
            let path = self.settings.path.clone();
            blocking(&self.settings.path, move || sync_directory(&path).map_err(|e| failed(&path, &e))).await?;
        }
        Ok(self.ready.drain(..).map(|part| part.encode()).collect())
    }

    async fn commit(&mut self, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        if self.settings.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        let (committables, path) = (self.settings.decode(committables)?, self.settings.path.clone());
        blocking(&self.settings.path, move || commit(&path, &committables)).await
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        if self.settings.delivery == Delivery::AtLeastOnce {
            return self.store(Then::Complete).await.map(drop);
        }
        if self.bytes() == 0 && self.ready.is_empty() {
            return Ok(());
        }
        let what = "it is closed with records that no checkpoint has: they stay hidden".into();
        Err(ConnectorError {
            place: self.settings.path.display().to_string(),
            what,
            retry: false,
            code: CONNECTOR_FAILED,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{ManualClock, batch, clock, names, opening};

    fn sink(directory: &Path, settings: &str) -> FileSink {
        let mut sink: FileSink = serde_saphyr::from_str(settings).unwrap();
        sink.resolve_paths(directory);
        sink
    }

    #[tokio::test]
    async fn parts_get_their_names_when_they_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("made/out");
        let sink = sink(directory.path(), "{ path: made/out/, delivery: at_least_once, roll: { size: 20B } }");
        let mut writer = sink.open(&opening(3, 4, &clock())).unwrap();
        let (rows, encoded) = batch(&["123456789"]);
        assert!(names(&out).is_empty());
        writer.write(&rows, &encoded).await.unwrap();
        assert_eq!(names(&out), [".part-3-1-0.jsonl.node.inprogress"]);
        writer.write(&rows, &encoded).await.unwrap();
        writer.write(&rows, &encoded).await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(names(&out), [".part-3-1-1.jsonl.node.inprogress", "part-3-1-0.jsonl"]);
        writer.close().await.unwrap();
        assert_eq!(names(&out), ["part-3-1-0.jsonl", "part-3-1-1.jsonl"]);
        assert_eq!(fs::read_to_string(out.join("part-3-1-0.jsonl")).unwrap(), "123456789\n123456789\n");
        assert_eq!(fs::read_to_string(out.join("part-3-1-1.jsonl")).unwrap(), "123456789\n");
        // A part without records is none.
        sink.open(&opening(3, 4, &clock())).unwrap().close().await.unwrap();
        assert_eq!(names(&out).len(), 2);
    }

    #[tokio::test]
    async fn exactly_once_they_wait_for_their_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let sink = sink(directory.path(), "{ path: ., roll: { size: 20B } }");
        assert_eq!(sink.delivery(), Delivery::ExactlyOnce);
        let mut writer = sink.open(&opening(0, 1, &clock())).unwrap();
        let (rows, encoded) = batch(&["123456789"]);
        for _ in 0..3 {
            writer.write(&rows, &encoded).await.unwrap();
        }
        let committables = writer.prepare(1).await.unwrap();
        writer.write(&rows, &encoded).await.unwrap();
        assert!(names(directory.path()).iter().all(|name| name.starts_with('.')));
        writer.commit(&committables).await.unwrap();
        let visible = ["part-0-1-0.jsonl", "part-0-1-1.jsonl"];
        assert_eq!(names(directory.path()), [&[".part-0-1-2.jsonl.node.inprogress"][..], &visible].concat());
        // What no checkpoint has cannot be given up unnoticed.
        assert!(writer.close().await.unwrap_err().what.contains("no checkpoint"));
        let committables = writer.prepare(2).await.unwrap();
        writer.commit(&committables).await.unwrap();
        writer.close().await.unwrap();
        assert_eq!(names(directory.path()), [&visible[..], &["part-0-1-2.jsonl"]].concat());
        assert!(writer.prepare(3).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_there_already_is_left_alone() {
        for delivery in ["exactly_once", "at_least_once"] {
            let directory = tempfile::tempdir().unwrap();
            let file = |name: &str| directory.path().join(name);
            fs::write(file("p-0-1-7.csv"), "old").unwrap();
            fs::write(file(".p-0-1-9.csv.node.inprogress"), "left").unwrap();
            fs::write(file("p-1-1-20.csv"), "another's").unwrap();
            fs::write(file("p-0-2-20.csv"), "another start's").unwrap();
            let settings = format!("{{ path: ., prefix: p, extension: csv, delivery: {delivery} }}");
            let sink = sink(directory.path(), &settings);
            let mut writer = sink.open(&opening(0, 1, &clock())).unwrap();
            let (rows, encoded) = batch(&["new"]);
            writer.write(&rows, &encoded).await.unwrap();
            // Someone else takes the name meanwhile.
            fs::write(file("p-0-1-10.csv"), "precious").unwrap();
            let end = async {
                writer.prepare(1).await?;
                writer.close().await
            };
            assert!(end.await.unwrap_err().what.contains("p-0-1-10.csv"));
            assert_eq!(fs::read_to_string(file("p-0-1-10.csv")).unwrap(), "precious");
            assert_eq!(fs::read_to_string(file(".p-0-1-9.csv.node.inprogress")).unwrap(), "left");
            assert_eq!(fs::read_to_string(file(".p-0-1-10.csv.node.inprogress")).unwrap(), "new\n");
        }
    }

    #[tokio::test]
    async fn old_parts_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let manual = ManualClock::new();
        let shared: Arc<dyn Clock> = manual.clone();
        let sink = sink(directory.path(), "{ path: ., delivery: at_least_once, roll: { every: 15min } }");
        let mut writer = sink.open(&opening(0, 1, &shared)).unwrap();
        let (rows, encoded) = batch(&["a"]);
        writer.write(&rows, &encoded).await.unwrap();
        manual.advance(Duration::from_secs(899));
        writer.flush().await.unwrap();
        assert_eq!(names(directory.path()), [".part-0-1-0.jsonl.node.inprogress"]);
        manual.advance(Duration::from_secs(1));
        writer.flush().await.unwrap();
        assert_eq!(names(directory.path()), ["part-0-1-0.jsonl"]);
    }
}
