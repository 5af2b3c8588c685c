//! A part of a file sink: how it is called, and the hidden file it is written to. Guarantees that no existing file is written to.
use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::Path,
    time::Duration,
};

use xxhash_rust::xxh3::Xxh3;

use super::committable::Committable;

/// What the name of a part begins and ends with until it is complete.
const HIDDEN: &str = ".";
const IN_PROGRESS: &str = ".inprogress";

/// What identifies a part among those of a prefix and an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartId {
    /// The part of the sink that writes it.
    pub subtask: usize,
    /// The start of the job it was begun after.
    pub start: u64,
    /// Number among these, from 0.
    pub number: u64,
}

/// How the parts of a sink are called: `<prefix>-<subtask>-<start>-<number>.<extension>`, and until they are complete
/// `.<that>.<uid>.inprogress`.
#[derive(Clone, Debug)]
pub struct Names {
    /// What names begin with.
    pub prefix: String,
    /// What they end with.
    pub extension: String,
}

impl Names {
    /// The name of a part that is complete.
    pub fn complete(&self, id: PartId) -> String {
        format!("{}-{}-{}-{}.{}", self.prefix, id.subtask, id.start, id.number, self.extension)
    }

    /// What a file is, by its name, if it is a part; with the uid of the sink if it is not complete.
    pub fn parse<'a>(&self, name: &'a str) -> Option<(PartId, Option<&'a str>)> {
        let hidden = name.strip_prefix(HIDDEN).and_then(|name| name.strip_suffix(IN_PROGRESS));
        let (name, uid) = match hidden {
            // A uid has no dot.
            Some(rest) => rest.rsplit_once('.').map(|(name, uid)| (name, Some(uid)))?,
            None => (name, None),
        };
        let numbers = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let mut numbers = numbers.strip_suffix(&self.extension)?.strip_suffix('.')?.split('-');
        let mut next = || numbers.next()?.parse::<u64>().ok();
        let (subtask, start, number) = (next()?, next()?, next()?);
        let id = PartId { subtask: usize::try_from(subtask).ok()?, start, number };
        numbers.next().is_none().then_some((id, uid))
    }
}

/// A part being written.
pub struct Part {
    file: File,
    hidden: String,
    name: String,
    bytes: u64,
    checksum: Xxh3,
    begun: Duration,
}

impl Part {
    /// Begins a part that will be called `name`, of the sink `uid`.
    pub fn create(directory: &Path, name: String, uid: &str, begun: Duration) -> io::Result<Part> {
        let hidden = format!("{HIDDEN}{name}.{uid}{IN_PROGRESS}");
        let file = OpenOptions::new().write(true).create_new(true).open(directory.join(&hidden))?;
        Ok(Part { file, hidden, name, bytes: 0, checksum: Xxh3::new(), begun })
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it was begun, by the clock's monotonic reading.
    pub fn begun(&self) -> Duration {
        self.begun
    }

    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)?;
        self.checksum.update(data);
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Makes what was written durable, and says what it takes to make that visible. The part may be written on.
    pub fn begun_until_here(&self) -> io::Result<Committable> {
        self.file.sync_all()?;
        Ok(Committable { hidden: self.hidden.clone(), name: self.name.clone(), length: self.bytes, checksum: None })
    }

    /// Ends it, durable but hidden. Fails if its name is taken: better now than when it is too late to go back.
    pub fn finish(self, directory: &Path) -> io::Result<Committable> {
        if directory.join(&self.name).try_exists()? {
            let what = format!("there is another {}: does something else write parts of this prefix here?", self.name);
            return Err(io::Error::new(ErrorKind::AlreadyExists, what));
        }
        self.file.sync_all()?;
        let checksum = Some(self.checksum.digest());
        Ok(Committable { hidden: self.hidden, name: self.name, length: self.bytes, checksum })
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let names = Names { prefix: "part-0".into(), extension: "csv.x".into() };
        let id = PartId { subtask: 3, start: 17, number: 4 };
        assert_eq!(names.complete(id), "part-0-3-17-4.csv.x");
        assert_eq!(names.parse("part-0-3-17-4.csv.x"), Some((id, None)));
        assert_eq!(names.parse(".part-0-3-17-4.csv.x.out-1.inprogress"), Some((id, Some("out-1"))));
        for other in [
            "part-0-3-17.csv.x",
            "part-0-1-3-17-4.csv.x",
            "part-0-3-17-4.csv",
            "part-0-3-17-x.csv.x",
            "part-3-17-4.csv.x",
            ".part-0-3-17-4.csv.x.inprogress",
            "part-0-3-17-4.csv.x.out.inprogress",
        ] {
            assert_eq!(names.parse(other), None, "{other}");
        }
    }
}
