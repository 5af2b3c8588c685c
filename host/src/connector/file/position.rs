//! How far a file was read, as checkpoints keep it, and how a file is known again.
use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    connector::{
        ConnectorError,
        encoding::{Decoding, Encoding},
    },
    model::SplitPosition,
};

const VERSION: u8 = 1;

/// Bytes of a file's beginning that it is known by.
pub const HEAD_BYTES: usize = 1024;

/// How far a file was read. Offsets are in its content, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePosition {
    /// Where the record after the last one handed out begins.
    pub offset: u64,
    /// Records handed out.
    pub records: u64,
    /// XXH3-64 of the first [`HEAD_BYTES`] of its content, or of those before the offset if that is less.
    pub head: u64,
    /// Whether its end was reached, and it is not expected to grow.
    pub done: bool,
}

impl FilePosition {
    /// Bytes that `head` is of.
    pub fn head_bytes(&self) -> usize {
        self.offset.min(HEAD_BYTES as u64) as usize
    }

    /// Version 1: offset, records, head, 1 if done and 0 if not.
    fn encode(&self) -> Vec<u8> {
        let encoding = Encoding::new(VERSION).u64(self.offset).u64(self.records).u64(self.head);
        encoding.u64(u64::from(self.done)).finish()
    }

    fn decode(split: &SplitPosition) -> Result<FilePosition, ConnectorError> {
        let mut decoding = Decoding::new(&split.split, &split.position, VERSION)?;
        let (offset, records, head) = (decoding.u64()?, decoding.u64()?, decoding.u64()?);
        let done = decoding.u64()? != 0;
        decoding.finish()?;
        Ok(FilePosition { offset, records, head, done })
    }

    /// As the position of the file called `name`.
    pub fn split(&self, name: &str) -> SplitPosition {
        SplitPosition { split: name.to_owned(), position: self.encode() }
    }
}

/// The hash a file is known by, from as much of its beginning as there is.
pub fn head_hash(head: &[u8]) -> u64 {
    xxh3_64(&head[..head.len().min(HEAD_BYTES)])
}

/// Positions by the names of files.
pub type Positions = BTreeMap<String, FilePosition>;

/// Reads what a checkpoint has.
pub fn decode(restored: Option<&[SplitPosition]>) -> Result<Positions, ConnectorError> {
    let restored = restored.unwrap_or_default().iter();
    restored.map(|split| Ok((split.split.clone(), FilePosition::decode(split)?))).collect()
}

/// What a file is called in checkpoints: its path relative to the folder of the job file if it is below that, so that neither
/// the folder nor the directory the program was started in matters; else as it is listed.
pub fn name(base: &Path, path: &Path) -> String {
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let (base, path) = (plain(base), plain(path));
    path.strip_prefix(&base).unwrap_or(&path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_depend_on_where_the_job_is() {
        let name = |base: &str, path: &str| name(Path::new(base), Path::new(path));
        for (base, path) in [("", "in/a"), (".", "./in/a"), (".", "in/a"), ("/jobs", "/jobs/in/a"), ("./x", "x/./in/a")]
        {
            assert_eq!(name(base, path), "in/a");
        }
        assert_eq!(name("/jobs", "/data/a"), "/data/a");
    }

    #[test]
    fn positions_are_read_as_they_were_written() {
        let position = FilePosition { offset: 1 << 40, records: 77, head: 3, done: true };
        let split = position.split("a");
        assert_eq!(decode(Some(std::slice::from_ref(&split))).unwrap(), Positions::from([("a".into(), position)]));
        assert!(
            decode(Some(&[SplitPosition { split: "a".into(), position: vec![9] }])).unwrap_err().what.contains('9')
        );
    }
}
