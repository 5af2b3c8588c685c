//! What it takes to make parts of a file sink visible, and doing so. Guarantees that doing it again does no harm, however far it
//! came before, and that no file of another content is taken for a part or overwritten.
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    path::Path,
};

use xxhash_rust::xxh3::Xxh3;

use super::part::sync_directory;
use crate::connector::{
    CONNECTOR_FAILED, ConnectorError,
    encoding::{Decoding, Encoding},
};

const VERSION: u8 = 1;

/// Bytes read at once to compute a checksum.
const CHUNK_BYTES: usize = 256 << 10;

/// A part that is durable under a hidden name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committable {
    /// Name of the hidden file, in the sink's directory.
    pub hidden: String,
    /// The name it gets.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// XXH3-64 of its content. `None` for a part that was still written to: only its first `length` bytes are meant, and should
    /// there be a file of its name, that is the part, which was completed later.
    pub checksum: Option<u64>,
}

impl Committable {
    /// Version 1: hidden name, name, length, 1 if there is a checksum and 0 if not, the checksum or 0.
    pub fn encode(&self) -> Vec<u8> {
        let encoding = Encoding::new(VERSION).text(&self.hidden).text(&self.name).u64(self.length);
        encoding.u64(u64::from(self.checksum.is_some())).u64(self.checksum.unwrap_or(0)).finish()
    }

    /// Reads it back; `directory` is that of the sink.
    pub fn decode(directory: &Path, bytes: &[u8]) -> Result<Committable, ConnectorError> {
        let place = directory.display().to_string();
        let mut decoding = Decoding::new(&place, bytes, VERSION)?;
        let (hidden, name) = (decoding.text()?.to_owned(), decoding.text()?.to_owned());
        if [&hidden, &name].into_iter().any(|name| name.is_empty() || name.contains('/')) {
            return Err(decoding.failed("it has a name that is none of a file"));
        }
        let (length, known, checksum) = (decoding.u64()?, decoding.u64()? != 0, decoding.u64()?);
        decoding.finish()?;
        Ok(Committable { hidden, name, length, checksum: known.then_some(checksum) })
    }

    /// Gives it its name too.
    fn link(&self, directory: &Path) -> Result<(), ConnectorError> {
        let (hidden, path) = (directory.join(&self.hidden), directory.join(&self.name));
        let failed = |error: io::Error| self.failed(directory, &format!("cannot be given its name: {error}"));
        if path.try_exists().map_err(failed)? {
            return self.is_there(directory);
        }
        match fs::metadata(&hidden) {
            Ok(found) if found.len() == self.length => {}
            Ok(found) if found.len() > self.length && self.checksum.is_none() => self.cut(&hidden).map_err(failed)?,
            Ok(found) => {
                let what =
                    format!("it has {} bytes instead of {}: something else has changed it", found.len(), self.length);
                return Err(self.failed(directory, &what));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let what = "neither of the two is there, though a checkpoint says that it was written: put it back under either \
                            name, or start from another checkpoint";
                return Err(self.failed(directory, what));
            }
            Err(error) => return Err(failed(error)),
        }
        // Unlike renaming, this overwrites nothing.
        match fs::hard_link(&hidden, &path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.is_there(directory),
            result => result.map_err(failed),
        }
    }

    /// Drops what was written after the checkpoint, and will be again.
    fn cut(&self, hidden: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(hidden)?;
        file.set_len(self.length)?;
        file.sync_all()
    }

    /// There is a file of its name: that is well if it is this part.
    fn is_there(&self, directory: &Path) -> Result<(), ConnectorError> {
        let Some(checksum) = self.checksum else { return Ok(()) };
        let path = directory.join(&self.name);
        let failed = |error: io::Error| self.failed(directory, &format!("cannot be read: {error}"));
        let same =
            path.metadata().map_err(failed)?.len() == self.length && checksum_of(&path).map_err(failed)? == checksum;
        if same {
            return Ok(());
        }
        let what = "a file of its name has other content: move that away, and start again";
        Err(self.failed(directory, what))
    }

    fn failed(&self, directory: &Path, what: &str) -> ConnectorError {
        let what = format!("the part {}, hidden as {}: {what}", self.name, self.hidden);
        ConnectorError { place: directory.display().to_string(), what, retry: false, code: CONNECTOR_FAILED }
    }
}

fn checksum_of(path: &Path) -> io::Result<u64> {
    let (mut file, mut chunk, mut checksum) = (File::open(path)?, vec![0; CHUNK_BYTES], Xxh3::new());
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(checksum.digest()),
            Ok(length) => checksum.update(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Makes parts visible that are not yet. Of a part that is there several times, since it was written to between checkpoints, the latest and longest
/// is meant.
pub fn commit(directory: &Path, committables: &[Committable]) -> Result<(), ConnectorError> {
    let Some(first) = committables.first() else { return Ok(()) };
    let mut longest: BTreeMap<&str, &Committable> = BTreeMap::new();
    for committable in committables {
        let size = |of: &Committable| (of.length, of.checksum.is_some());
        let known = longest.entry(&committable.name).or_insert(committable);
        if size(committable) > size(known) {
            *known = committable;
        }
    }
    longest.values().try_for_each(|committable| committable.link(directory))?;
    // The new names must be durable before the old ones are gone.
    let failed = |error: io::Error| first.failed(directory, &format!("cannot be made durable: {error}"));
    sync_directory(directory).map_err(failed)?;
    for committable in committables {
        match fs::remove_file(directory.join(&committable.hidden)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(committable.failed(directory, &format!("its hidden name cannot be removed: {error}")));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_part_that_was_written_to_between_checkpoints_all_is_kept_that_one_counts_on() {
        let part = |length, checksum| Committable { hidden: ".a".into(), name: "a".into(), length, checksum };
        let content = b"one two three";
        let checksum = {
            let mut checksum = Xxh3::new();
            checksum.update(content);
            checksum.digest()
        };
        for (later, kept) in [(part(7, None), &content[..7]), (part(13, Some(checksum)), &content[..])] {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(".a"), content).unwrap();
            commit(directory.path(), &[part(3, None), later]).unwrap();
            assert_eq!(fs::read(directory.path().join("a")).unwrap(), kept);
            assert!(!directory.path().join(".a").exists());
        }
    }
}
