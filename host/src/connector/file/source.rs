//! Lines of files: which files, and which part reads which.
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de};

use super::{
    bounded::{BoundedReader, Pending},
    follow::FollowReader,
    position::{self, Positions},
};
use crate::{
    connector::{CONNECTOR_FAILED, ConnectorError, Opening, Source, SourceReader, settings::positive_duration},
    model::SplitPosition,
};

/// `file: { path: "data/*.jsonl" }` reads files once, sorted by name, file `i` by part `i` modulo the parallelism; with
/// `follow: true` also what is added later. Names ending in `.gz`, `.zst` and `.zstd` are decompressed. Restored, files that were
/// read to their end are left out, and those begun are read on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// One or several patterns, with `*`, `?`, `[...]` and `**`.
    path: Paths,
    /// Whether to go on with lines and files added later. Default false.
    #[serde(default)]
    follow: bool,
    /// How often to look for what was added. Default 200 ms.
    #[serde(default = "poll", deserialize_with = "poll_of")]
    poll: Duration,
    /// The files at a start of the job, so that all parts share out the same list.
    #[serde(skip)]
    files: Mutex<Option<(u64, Vec<Listed>)>>,
}

fn poll() -> Duration {
    Duration::from_millis(200)
}

fn poll_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    positive_duration(deserializer).map_err(|e| de::Error::custom(format!("`poll`: {e}")))
}

/// A file's name in checkpoints, and its path.
pub type Listed = (String, PathBuf);

/// Patterns of file names.
#[derive(Clone, Debug)]
pub struct Paths {
    patterns: Vec<String>,
    /// What names of files are relative to.
    base: PathBuf,
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Paths, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "`path` must be a pattern or a list of patterns")]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        let patterns = match OneOrMore::deserialize(deserializer)? {
            OneOrMore::One(pattern) => vec![pattern],
            OneOrMore::More(patterns) => patterns,
        };
        for pattern in &patterns {
            glob::Pattern::new(pattern).map_err(|e| de::Error::custom(format!("`path` {pattern:?}: {e}")))?;
        }
        Ok(Paths { patterns, base: PathBuf::new() })
    }
}

/// What is hidden is none of it unless asked for: sinks hide what they are not done with.
const AS_IN_A_SHELL: glob::MatchOptions =
    glob::MatchOptions { require_literal_leading_dot: true, case_sensitive: true, require_literal_separator: false };

impl Paths {
    /// The files there are now, sorted by path, with their names in checkpoints.
    pub fn list(&self) -> Result<Vec<Listed>, ConnectorError> {
        let failed = |place: &str, what: String| ConnectorError {
            place: place.into(),
            what,
            retry: false,
            code: CONNECTOR_FAILED,
        };
        let mut files = Vec::new();
        for pattern in &self.patterns {
            for path in glob::glob_with(pattern, AS_IN_A_SHELL).map_err(|e| failed(pattern, e.to_string()))? {
                let path = path.map_err(|e| failed(pattern, format!("cannot be listed: {e}")))?;
                if !path.is_dir() {
                    files.push(path);
                }
            }
        }
        files.sort();
        files.dedup();
        Ok(files.into_iter().map(|path| (position::name(&self.base, &path), path)).collect())
    }
}

impl Source for FileSource {
    fn parallelism_max(&self) -> Option<usize> {
        None
    }

    fn can_replay(&self) -> bool {
        true
    }

    fn resolve_paths(&mut self, base: &Path) {
        // The base is a name, not a pattern.
        let escaped = PathBuf::from(glob::Pattern::escape(&base.to_string_lossy()));
        for pattern in &mut self.path.patterns {
            *pattern = escaped.join(&*pattern).to_string_lossy().into_owned();
        }
        self.path.base = base.to_owned();
    }

    fn open(
        &self,
        opening: &Opening,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let &Opening { subtask, parallelism, start, ref clock, .. } = opening;
        let restored = position::decode(restored)?;
        if self.follow {
            let (paths, part) = (self.path.clone(), (subtask, parallelism));
            return Ok(Box::new(FollowReader::new(paths, self.poll, part, restored, clock)));
        }
        // A list is whole or absent, whoever panicked.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match &*files {
            Some((listed_at, files)) if *listed_at == start => files.clone(),
            _ => files.insert((start, self.path.list()?)).1.clone(),
        };
        if files.is_empty() && restored.is_empty() {
            return Err(ConnectorError {
                place: self.path.patterns.join(", "),
                what: "no such file: check `path`, which is relative to the job file".into(),
                retry: false,
                code: CONNECTOR_FAILED,
            });
        }
        let (pending, done) = divide(files, restored)?;
        let pending = pending.into_iter().skip(subtask).step_by(parallelism).collect();
        let done = done.iter().skip(subtask).step_by(parallelism).map(|(name, at)| at.split(name)).collect();
        Ok(Box::new(BoundedReader::new(pending, done)))
    }
}

/// Which files are to be read, and where they were left; and which were read to their end, whatever has become of those since.
fn divide(files: Vec<Listed>, restored: Positions) -> Result<(Vec<Pending>, Positions), ConnectorError> {
    let (done, mut begun): (Positions, Positions) = restored.into_iter().partition(|(_, position)| position.done);
    let left = files.into_iter().filter(|(name, _)| !done.contains_key(name));
    let pending = left.map(|(name, path)| Pending { from: begun.remove(&name), name, path }).collect();
    match begun.pop_first() {
        None => Ok((pending, done)),
        Some((name, at)) => Err(ConnectorError {
            place: name,
            what: format!("it is no more, though only {} of its lines were read: put it back", at.records),
            retry: false,
            code: CONNECTOR_FAILED,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
    };

    use super::*;
    use crate::{
        connector::{
            BatchLimits, ReadStatus,
            testing::{LIMITS, clock, gzip, opening, read_some, records},
        },
        model::RawBatch,
    };

    fn source(directory: &Path, settings: &str) -> FileSource {
        let mut source: FileSource = serde_saphyr::from_str(settings).unwrap();
        source.resolve_paths(directory);
        source
    }

    async fn all(source: &FileSource, part: usize, of: usize) -> Result<Vec<String>, ConnectorError> {
        read_some(&mut *source.open(&opening(part, of, &clock()), None)?, usize::MAX).await
    }

    #[tokio::test]
    async fn files_are_shared_out_in_order_and_decompressed() {
        let directory = tempfile::Builder::new().prefix("odd [name]").tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("a.txt"), "a1\r\na2").unwrap();
        fs::write(path.join("b.txt.gz"), [gzip(b"b1\nb2"), gzip(b"x\n\n")].concat()).unwrap();
        fs::write(path.join("c.txt.zst"), zstd::encode_all(&b"c1\nc2\n"[..], 1).unwrap()).unwrap();
        fs::write(path.join("d.txt"), "").unwrap();
        fs::write(path.join("other"), "other\n").unwrap();
        fs::create_dir(path.join("e.txt")).unwrap();
        let some = source(path, "{ path: [\"*.txt*\", \"a.*\"] }");
        assert_eq!(all(&some, 0, 1).await.unwrap(), ["a1", "a2", "b1", "b2x", "", "c1", "c2"]);
        assert_eq!(all(&some, 0, 2).await.unwrap(), ["a1", "a2", "c1", "c2"]);
        assert_eq!(all(&some, 1, 2).await.unwrap(), ["b1", "b2x", ""]);
        assert!(all(&some, 5, 6).await.unwrap().is_empty());
        let mut reader = some.open(&opening(0, 1, &clock()), None).unwrap();
        let mut raw = RawBatch::default();
        reader.read(&mut raw, LIMITS).await.unwrap();
        assert_eq!(records(&raw), ["a1", "a2"]);
        assert_eq!(reader.read(&mut raw, LIMITS).await.unwrap(), ReadStatus::More);
        assert_eq!(raw.len(), 2);
        raw.clear();
        reader.read(&mut raw, BatchLimits { records: 1, bytes: 9 }).await.unwrap();
        raw.clear();
        reader.read(&mut raw, LIMITS).await.unwrap();
        assert!(raw.position.place.ends_with("b.txt.gz") && raw.position.record == 2);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let text = (0..100_000).map(|i| format!("line {i}\n")).collect::<String>();
        let (gz, zst) = (gzip(text.as_bytes()), zstd::encode_all(text.as_bytes(), 1).unwrap());
        fs::write(path.join("cut.gz"), &gz[..gz.len() / 2]).unwrap();
        fs::write(path.join("cut.zst"), &zst[..zst.len() / 2]).unwrap();
        fs::write(path.join("plain.gz"), &text).unwrap();
        fs::write(path.join("plain.zst"), &text).unwrap();
        for (name, part) in
            [("cut.gz", "cut off"), ("cut.zst", "cut off"), ("plain.gz", "not gzip"), ("plain.zst", "not Zstandard")]
        {
            let error = all(&source(path, &format!("{{ path: {name} }}")), 0, 1).await.unwrap_err();
            assert!(error.what.contains(part) && error.place.ends_with(name), "{error}");
        }
        assert!(all(&source(path, "{ path: none* }"), 0, 1).await.unwrap_err().what.contains("no such file"));
    }

    #[tokio::test]
    async fn reads_given_up_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let lines = (0..200_000).map(|i| i.to_string()).collect::<Vec<_>>();
        fs::write(directory.path().join("a"), lines.join("\n")).unwrap();
        let mut reader = source(directory.path(), "{ path: a }").open(&opening(0, 1, &clock()), None).unwrap();
        let (mut raw, mut found) = (RawBatch::default(), Vec::new());
        loop {
            raw.clear();
            let status = tokio::select! {
                biased;
                status = reader.read(&mut raw, LIMITS) => Some(status.unwrap()),
                () = tokio::task::yield_now() => None,
            };
            found.extend(records(&raw));
            if status == Some(ReadStatus::End) {
                break;
            }
        }
        assert_eq!(found, lines);
    }

    #[tokio::test]
    async fn files_that_grow_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let append = |name: &str, text: &str| {
            let mut file = OpenOptions::new().append(true).create(true).open(path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let source = source(directory.path(), "{ path: \"*\", follow: true, poll: 1ms }");
        let mut reader = source.open(&opening(0, 1, &clock()), None).unwrap();
        assert!(futures::poll!(reader.read(&mut RawBatch::default(), LIMITS)).is_pending());
        append("a", "a1\na2 beg");
        assert_eq!(read_some(&mut *reader, 1).await.unwrap(), ["a1"]);
        append("a", "ins\r\n");
        assert_eq!(read_some(&mut *reader, 1).await.unwrap(), ["a2 begins"]);
        append("b", "b1\n");
        assert_eq!(read_some(&mut *reader, 1).await.unwrap(), ["b1"]);
        fs::write(path("c.gz"), gzip(b"c1\nc2")).unwrap();
        assert_eq!(read_some(&mut *reader, 2).await.unwrap(), ["c1", "c2"]);
        // Cut off, and begun again with less than there was.
        fs::write(path("a"), "a3\n").unwrap();
        assert_eq!(read_some(&mut *reader, 1).await.unwrap(), ["a3"]);
        // Replaced by another, while the last line of the old one was not read yet.
        append("b", "b2\n");
        fs::rename(path("b"), directory.path().join(".b.old")).unwrap();
        append("b", "b3, new\n");
        assert_eq!(read_some(&mut *reader, 2).await.unwrap(), ["b2", "b3, new"]);
        fs::remove_file(path("b")).unwrap();
        append("a", "a4\n");
        assert_eq!(read_some(&mut *reader, 1).await.unwrap(), ["a4"]);
        // Moved away, with none in its place, while the last line was not read yet.
        append("a", "a5\n");
        fs::rename(path("a"), directory.path().join(".a.old")).unwrap();
        append("d", "d1\n");
        assert_eq!(read_some(&mut *reader, 2).await.unwrap(), ["a5", "d1"]);
    }

    #[tokio::test]
    async fn each_file_followed_is_read_by_one_part() {
        let directory = tempfile::tempdir().unwrap();
        for i in 0..20 {
            fs::write(directory.path().join(format!("f{i}")), format!("{i}\n")).unwrap();
        }
        let source = source(directory.path(), "{ path: \"f*\", follow: true, poll: 1ms }");
        let mut parts = [0, 1].map(|part| source.open(&opening(part, 2, &clock()), None).unwrap());
        let [first, second] = &mut parts;
        let mut found = Vec::new();
        while found.len() < 20 {
            let (mut a, mut b) = (RawBatch::default(), RawBatch::default());
            tokio::select! {
                status = first.read(&mut a, LIMITS) => drop(status.unwrap()),
                status = second.read(&mut b, LIMITS) => drop(status.unwrap()),
            }
            found.extend([records(&a), records(&b)].concat());
        }
        found.sort_by_key(|record| record.parse::<u32>().unwrap());
        assert_eq!(found, (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}
