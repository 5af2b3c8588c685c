//! Records to files in a directory, `part-<subtask>-<n>.<extension>`. A part is written under the name of a hidden file, and
//! gets its own only once it is complete and on disk, so that whoever reads the directory never sees half a part; existing
//! parts are never touched.
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de};

use crate::{
    connector::{
        ConnectorError, Opening, Sink, SinkWriter,
        settings::{size, some_positive_duration},
    },
    model::{Batch, Clock, Encoded},
};

/// Bytes collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// What the name of a part begins and ends with until it is complete.
const HIDDEN: &str = ".";
const IN_PROGRESS: &str = ".inprogress";

/// `file: { path: out/, roll: { size: 128MiB, every: 15min }, prefix: part, extension: jsonl }`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// The directory; made if there is none.
    path: PathBuf,
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

impl Sink for FileSink {
    fn resolve_paths(&mut self, base: &Path) {
        self.path = base.join(&self.path);
    }

    fn open(&self, opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        let &Opening { subtask, ref clock, .. } = opening;
        let next = self.next_part(subtask).map_err(|e| failed(&self.path, &e))?;
        let settings = Arc::new(self.clone());
        let (part, buffer) = (None, Vec::with_capacity(BUFFER_BYTES));
        Ok(Box::new(FileWriter { settings, subtask, next, part, buffer, clock: clock.clone() }))
    }
}

fn failed(path: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError { place: path.display().to_string(), what: format!("cannot write: {error}"), retry: false }
}

impl FileSink {
    /// The number after the highest there is, also of parts left in progress, which are warned about.
    fn next_part(&self, subtask: usize) -> io::Result<u64> {
        fs::create_dir_all(&self.path)?;
        let (prefix, suffix) = (format!("{}-{subtask}-", self.prefix), format!(".{}", self.extension));
        let mut next = 0;
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let hidden = name.strip_prefix(HIDDEN).and_then(|name| name.strip_suffix(IN_PROGRESS));
            let number = hidden.unwrap_or(name).strip_prefix(&prefix).and_then(|name| name.strip_suffix(&suffix));
            let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) else { continue };
            next = next.max(number.saturating_add(1));
            if hidden.is_some() {
                let file = self.path.join(name);
                let file = file.display();
                tracing::warn!(message = "an earlier run was stopped before this part was complete; it is left as it is", %file);
            }
        }
        Ok(next)
    }
}

/// A part in progress.
struct Part {
    file: File,
    hidden: PathBuf,
    path: PathBuf,
    bytes: u64,
    begun: Duration,
}

impl Part {
    fn create(settings: &FileSink, subtask: usize, number: u64, begun: Duration) -> io::Result<Part> {
        let name = format!("{}-{subtask}-{number}.{}", settings.prefix, settings.extension);
        let hidden = settings.path.join(format!("{HIDDEN}{name}{IN_PROGRESS}"));
        let file = OpenOptions::new().write(true).create_new(true).open(&hidden)?;
        Ok(Part { file, hidden, path: settings.path.join(name), bytes: 0, begun })
    }

    /// Gives it its name, once it is on disk.
    fn complete(self) -> io::Result<()> {
        self.file.sync_all()?;
        // Unlike renaming, this fails if there is such a part.
        fs::hard_link(&self.hidden, &self.path)?;
        fs::remove_file(&self.hidden)?;
        // The directory too: only then the name is on disk.
        self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    }
}

struct FileWriter {
    settings: Arc<FileSink>,
    subtask: usize,
    /// Number of the next part.
    next: u64,
    part: Option<Part>,
    /// What is to be written to the part.
    buffer: Vec<u8>,
    clock: Arc<dyn Clock>,
}

impl FileWriter {
    /// Writes what was collected and, with `complete`, ends the part; on a thread where blocking is allowed.
    async fn store(&mut self, complete: bool) -> Result<(), ConnectorError> {
        let (settings, subtask, number, now) = (self.settings.clone(), self.subtask, self.next, self.clock.monotonic());
        let (part, buffer) = (self.part.take(), std::mem::take(&mut self.buffer));
        if part.is_none() {
            if buffer.is_empty() {
                return Ok(());
            }
            self.next += 1;
        }
        let job = tokio::task::spawn_blocking(move || {
            let mut part = match part {
                Some(part) => part,
                None => Part::create(&settings, subtask, number, now)?,
            };
            part.file.write_all(&buffer)?;
            part.bytes += buffer.len() as u64;
            let part = if complete { part.complete().map(|()| None)? } else { Some(part) };
            Ok((part, buffer))
        });
        let stored: io::Result<_> = job.await.unwrap_or_else(|e| Err(e.into()));
        (self.part, self.buffer) = stored.map_err(|e| failed(&self.settings.path, &e))?;
        self.buffer.clear();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.bytes) + self.buffer.len() as u64
    }

    fn is_complete(&self) -> bool {
        let old =
            |part: &Part| self.settings.roll.every.is_some_and(|every| self.clock.monotonic() >= part.begun + every);
        self.bytes() >= self.settings.roll.size || self.part.as_ref().is_some_and(old)
    }
}

#[async_trait]
impl SinkWriter for FileWriter {
    async fn write(&mut self, _rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        let first = self.bytes() == 0;
        self.buffer.extend_from_slice(&encoded.data);
        if self.is_complete() {
            return self.store(true).await;
        }
        // A part is begun with its first record, which its age counts from.
        if first || self.buffer.len() >= BUFFER_BYTES {
            return self.store(false).await;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        let complete = self.is_complete();
        self.store(complete).await
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        self.store(true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{ManualClock, batch, clock, opening};

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = entries.collect::<Vec<_>>();
        names.sort();
        names
    }

    fn sink(directory: &Path, settings: &str) -> FileSink {
        let mut sink: FileSink = serde_saphyr::from_str(settings).unwrap();
        sink.resolve_paths(directory);
        sink
    }

    #[tokio::test]
    async fn parts_get_their_names_when_they_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let sink = sink(directory.path(), "{ path: out/, roll: { size: 20B } }");
        let mut writer = sink.open(&opening(3, 4, &clock())).unwrap();
        let (rows, encoded) = batch(&["123456789"]);
        assert!(names(&out).is_empty());
        writer.write(&rows, &encoded).await.unwrap();
        assert_eq!(names(&out), [".part-3-0.jsonl.inprogress"]);
        writer.write(&rows, &encoded).await.unwrap();
        writer.write(&rows, &encoded).await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(names(&out), [".part-3-1.jsonl.inprogress", "part-3-0.jsonl"]);
        writer.close().await.unwrap();
        assert_eq!(names(&out), ["part-3-0.jsonl", "part-3-1.jsonl"]);
        assert_eq!(fs::read_to_string(out.join("part-3-0.jsonl")).unwrap(), "123456789\n123456789\n");
        assert_eq!(fs::read_to_string(out.join("part-3-1.jsonl")).unwrap(), "123456789\n");
        // A part without records is none.
        sink.open(&opening(3, 4, &clock())).unwrap().close().await.unwrap();
        assert_eq!(names(&out).len(), 2);
    }

    #[tokio::test]
    async fn what_is_there_already_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::write(file("p-0-7.csv"), "old").unwrap();
        fs::write(file(".p-0-9.csv.inprogress"), "left").unwrap();
        fs::write(file("p-1-20.csv"), "another's").unwrap();
        let sink = sink(directory.path(), "{ path: ., prefix: p, extension: csv }");
        let mut writer = sink.open(&opening(0, 1, &clock())).unwrap();
        let (rows, encoded) = batch(&["new"]);
        writer.write(&rows, &encoded).await.unwrap();
        // Someone else takes the name meanwhile.
        fs::write(file("p-0-10.csv"), "precious").unwrap();
        assert!(writer.close().await.is_err());
        assert_eq!(fs::read_to_string(file("p-0-10.csv")).unwrap(), "precious");
        assert_eq!(fs::read_to_string(file(".p-0-9.csv.inprogress")).unwrap(), "left");
        assert_eq!(fs::read_to_string(file(".p-0-10.csv.inprogress")).unwrap(), "new\n");
    }

    #[tokio::test]
    async fn old_parts_are_complete() {
        let directory = tempfile::tempdir().unwrap();
        let manual = ManualClock::new();
        let shared: Arc<dyn Clock> = manual.clone();
        let sink = sink(directory.path(), "{ path: ., roll: { every: 15min } }");
        let mut writer = sink.open(&opening(0, 1, &shared)).unwrap();
        let (rows, encoded) = batch(&["a"]);
        writer.write(&rows, &encoded).await.unwrap();
        manual.advance(Duration::from_secs(899));
        writer.flush().await.unwrap();
        assert_eq!(names(directory.path()), [".part-0-0.jsonl.inprogress"]);
        manual.advance(Duration::from_secs(1));
        writer.flush().await.unwrap();
        assert_eq!(names(directory.path()), ["part-0-0.jsonl"]);
    }
}
