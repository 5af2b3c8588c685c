//! The file source stopped anywhere and restored: each record is read once, whatever the number of parts.
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use super::FileSource;
use crate::{
    connector::{
        BatchLimits, ConnectorError, ReadStatus, Source, SourceReader,
        testing::{clock, gzip, opening, read_some, records},
    },
    model::{RawBatch, SplitPosition},
};

const FEW: BatchLimits = BatchLimits { records: 3, bytes: 1 << 20 };

/// As after a restart: a source of its own.
fn source(directory: &Path, settings: &str) -> FileSource {
    let mut source: FileSource = serde_saphyr::from_str(settings).unwrap();
    source.resolve_paths(directory);
    source
}

fn open(
    directory: &Path,
    settings: &str,
    part: (usize, usize),
    restored: Option<&[SplitPosition]>,
) -> Box<dyn SourceReader> {
    source(directory, settings).open(&opening(part.0, part.1, &clock()), restored).unwrap()
}

/// Reads `batches` of few records, or to the end.
async fn read(reader: &mut dyn SourceReader, batches: usize) -> Vec<String> {
    let (mut raw, mut all) = (RawBatch::default(), Vec::new());
    for _ in 0..batches {
        raw.clear();
        if reader.read(&mut raw, FEW).await.unwrap() == ReadStatus::End {
            break;
        }
        all.extend(records(&raw));
    }
    all
}

fn lines(file: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{file} {i} {}", "x".repeat(i % 50))).collect()
}

#[tokio::test]
async fn each_record_is_read_once_however_often_it_is_interrupted() {
    for parts in [[1, 1, 1], [2, 3, 1], [4, 1, 2]] {
        for batches in [0, 1, 9, 20] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            // Shorter and longer than what files are known by, with and without an end of the last line.
            let plain = [lines("a", 4).join("\n"), lines("b", 60).join("\r\n") + "\r\n"];
            fs::write(path.join("a"), &plain[0]).unwrap();
            fs::write(path.join("b"), &plain[1]).unwrap();
            fs::write(path.join("c.gz"), gzip(lines("c", 60).join("\n").as_bytes())).unwrap();
            fs::write(path.join("d.zst"), zstd::encode_all(lines("d", 60).join("\n").as_bytes(), 1).unwrap()).unwrap();
            let (mut found, mut left) = (Vec::new(), None);
            for (turn, count) in parts.into_iter().enumerate() {
                let mut positions = Vec::new();
                for part in 0..count {
                    let mut reader = open(path, "{ path: \"*\" }", (part, count), left.as_deref());
                    let restored = reader.positions();
                    found.extend(read(&mut *reader, if turn == 2 { usize::MAX } else { batches }).await);
                    assert!(restored.iter().all(|old| reader.positions().iter().any(|new| new.split == old.split)));
                    positions.extend(reader.positions());
                }
                left = Some(positions);
                // It has only just come.
                fs::write(path.join("0new"), "new 0\nnew 1\n").unwrap();
            }
            found.sort();
            let mut expected = [lines("a", 4), lines("b", 60), lines("c", 60), lines("d", 60)].concat();
            expected.extend(["new 0".into(), "new 1".into()]);
            expected.sort();
            assert_eq!(found, expected, "{parts:?} parts, after {batches} batches");
            // All is read, whatever becomes of it.
            fs::remove_file(path.join("b")).unwrap();
            fs::write(path.join("a"), "other\n").unwrap();
            let mut reader = open(path, "{ path: \"*\" }", (0, 1), left.as_deref());
            assert!(read(&mut *reader, 1).await.is_empty());
            assert_eq!(reader.positions().len(), 5);
        }
    }
}

/// What comes of reading on after a file was changed.
async fn after(name: &str, content: &[u8], change: impl FnOnce(&Path)) -> Result<Vec<String>, ConnectorError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, content).unwrap();
    let settings = "{ path: \"*\" }";
    let mut reader = open(directory.path(), settings, (0, 1), None);
    read(&mut *reader, 9).await;
    let left = reader.positions();
    change(&file);
    let source = source(directory.path(), settings);
    read_some(&mut *source.open(&opening(0, 1, &clock()), Some(&left))?, usize::MAX).await
}

#[tokio::test]
async fn a_file_that_was_changed_is_an_error() {
    let text = lines("a", 100).join("\n").into_bytes();
    let other = lines("b", 100).join("\n").into_bytes();
    let compressed = [gzip(&text[..200]), gzip(&other), zstd::encode_all(&text[..200], 1).unwrap()];
    for (name, content, changed, part) in [
        ("a", &text, &text[..200], "shorter"),
        ("a", &text, &text[..0], "shorter"),
        ("a", &text, &other[..], "begins differently"),
        ("a.gz", &gzip(&text), &compressed[0][..], "shorter"),
        ("a.gz", &gzip(&text), &compressed[1][..], "begins differently"),
        ("a.zst", &zstd::encode_all(&text[..], 1).unwrap(), &compressed[2][..], "shorter"),
    ] {
        let error = after(name, content, |file| fs::write(file, changed).unwrap()).await.unwrap_err();
        assert!(error.place.ends_with(name) && error.what.contains(part), "{name}: {error}");
        assert!(!error.retry);
    }
    let error = after("a", &text, |file| fs::remove_file(file).unwrap()).await.unwrap_err();
    assert!(error.place == "a" && error.what.contains("27 of its lines"), "{error}");
}

#[tokio::test]
async fn files_that_are_followed_are_followed_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let append = |name: &str, text: &str| {
        let mut file = OpenOptions::new().append(true).create(true).open(path.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let settings = "{ path: \"*\", follow: true, poll: 1ms }";
    append("a", "a1\na2 beg");
    append("b", "b1\n");
    append("c", "c1\n");
    append("gone", "g1\n");
    fs::write(path.join("d.gz"), gzip(b"d1\nd2")).unwrap();
    let mut reader = open(path, settings, (0, 1), None);
    assert_eq!(read_some(&mut *reader, 6).await.unwrap(), ["a1", "b1", "c1", "d1", "d2", "g1"]);
    let left = reader.positions();
    assert_eq!(left.len(), 5);
    drop(reader);
    append("a", "ins\n");
    // Of equal length, but another; and one that was cut off.
    fs::write(path.join("b"), "B1\n").unwrap();
    fs::write(path.join("c"), "").unwrap();
    fs::remove_file(path.join("gone")).unwrap();
    append("e", "e1\n");
    let mut found = Vec::new();
    let mut parts: Vec<_> = (0..3).map(|part| open(path, settings, (part, 3), Some(&left))).collect();
    let before: usize = parts.iter().map(|part| part.positions().len()).sum();
    assert_eq!(before, left.len());
    while found.len() < 3 {
        for part in &mut parts {
            let mut raw = RawBatch::default();
            let mut reading = part.read(&mut raw, FEW);
            // It waits for ever if nothing comes.
            for _ in 0..100 {
                if let std::task::Poll::Ready(status) = futures::poll!(&mut reading) {
                    status.unwrap();
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(reading);
            found.extend(records(&raw));
        }
    }
    found.sort();
    assert_eq!(found, ["B1", "a2 begins", "e1"]);
    append("c", "c2\n");
    let left: Vec<SplitPosition> = parts.iter().flat_map(|part| part.positions()).collect();
    assert!(left.iter().all(|split| split.split != "gone"));
    drop(parts);
    let mut reader = open(path, settings, (0, 1), Some(&left));
    assert_eq!(read_some(&mut *reader, 1).await.unwrap(), ["c2"]);
}
