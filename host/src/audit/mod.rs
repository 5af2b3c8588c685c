//! Who has changed what, and when: an append-only file of JSON lines, each of which carries the hash of the one before. Guarantees that an
//! entry is durable once it was appended, and that changing, removing or inserting one is found. What is cut off at the end as a whole is
//! not: keep the latest hash elsewhere for that. Must not know what the actions are.
mod begun;
mod entry;
mod error;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

pub use begun::Begun;
pub use entry::{Entry, Event};
pub use error::AuditError;

use crate::model::Clock;
use begun::Beginning;
use entry::NO_HASH;

/// Bytes of a line.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Every so many entries their place in the file is remembered, so that reading begins near what is asked for.
const INDEX_EVERY: u64 = 256;

/// The log. Appending and reading wait for the disk.
pub struct AuditLog {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    tail: Mutex<Tail>,
    /// Of changes of which nothing is noted yet.
    folder: PathBuf,
    /// How many were begun.
    begun: AtomicU64,
    left: Vec<Left>,
}

/// What was begun by an earlier process, which ended before it was noted what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Who has asked for it.
    pub who: String,
    /// The memo it was begun with.
    pub memo: String,
}

/// Where the log ends.
struct Tail {
    file: File,
    /// Bytes of whole entries.
    bytes: u64,
    /// The next entry's number.
    next: u64,
    hash: String,
    /// Places of the entries 0, [`INDEX_EVERY`], and so on.
    places: Vec<u64>,
    /// Set once an entry could neither be written nor taken back.
    broken: bool,
}

impl AuditLog {
    /// Opens a log, or begins one, and verifies it. A last line that was not written whole is cut off, which is itself an entry; so is what an
    /// earlier process has [begun](AuditLog::begin), and ended before it was noted what came of it. Only one process may have it open.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<AuditLog, AuditError> {
        let io = AuditError::io(path);
        let begins = !path.exists();
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(&io)?;
        let begun = path.with_extension("begun");
        fs::create_dir_all(&begun).map_err(AuditError::io(&begun))?;
        if begins && let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(&io)?;
        }
        let read = scan(&mut file, path)?;
        let torn = file.metadata().map_err(&io)?.len() - read.bytes;
        if torn > 0 {
            tracing::warn!(path = %path.display(), bytes = torn, "the last entry of the audit log was not written whole; it is cut off");
            file.set_len(read.bytes).and_then(|()| file.sync_all()).map_err(&io)?;
        }
        let Scan { bytes, next, hash, places } = read;
        let tail = Mutex::new(Tail { file, bytes, next, hash, places, broken: false });
        let (path, folder, begun, left) = (path.to_owned(), begun, AtomicU64::new(0), Vec::new());
        let mut log = AuditLog { path, clock, tail, folder, begun, left };
        if torn > 0 {
            log.append(Event {
                who: "server".into(),
                action: "audit.repair".into(),
                subject: "audit log".into(),
                outcome: format!("{torn} bytes of an entry that was not written whole are cut off"),
                ..Event::default()
            })?;
        }
        for (left, beginning) in Begun::left(&log.folder).map_err(AuditError::io(&log.folder))? {
            if let Some(Beginning { who, what, time_ms, memo }) = beginning {
                log.left.extend(memo.map(|memo| Left { who: who.clone(), memo }));
                let outcome = format!("asked for at {time_ms}; the server ended before it was noted what came of it");
                log.append(Event { who, action: "request".into(), subject: what, outcome, ..Event::default() })?;
            }
            // Only now: what cannot be noted this time is the next time.
            fs::remove_file(&left).map_err(AuditError::io(&left))?;
        }
        Ok(log)
    }

    /// Notes that something is about to be done, durably: if the process ends before what this gives is dropped, opening the log the next time
    /// adds an entry that says so.
    /// What has a memo is among what is [left](AuditLog::left) then.
    pub fn begin(&self, who: &str, what: &str, memo: Option<String>) -> Result<Begun, AuditError> {
        let number = self.begun.fetch_add(1, Relaxed);
        let beginning = Beginning { who: who.to_owned(), what: what.to_owned(), time_ms: self.clock.now_ms(), memo };
        Begun::new(&self.folder, number, &beginning).map_err(AuditError::io(&self.folder))
    }

    /// What earlier processes had begun with a memo when they ended.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// Adds an entry, and returns once it is durable.
    pub fn append(&self, event: Event) -> Result<Entry, AuditError> {
        let mut tail = self.tail();
        let io = AuditError::io(&self.path);
        if tail.broken {
            return Err(AuditError::Broken { path: self.path.clone() });
        }
        let entry = Entry::new(tail.next, self.clock.now_ms(), event, tail.hash.clone());
        let line = entry.line();
        let at = tail.bytes;
        let mut write = || {
            tail.file.seek(SeekFrom::Start(at))?;
            tail.file.write_all(line.as_bytes())?;
            tail.file.sync_data()
        };
        if let Err(error) = write() {
            // What is half there must not be taken for an entry, nor stand before one.
            tail.broken = tail.file.set_len(at).and_then(|()| tail.file.sync_all()).is_err();
            return Err(io(error));
        }
        if tail.next.is_multiple_of(INDEX_EVERY) {
            tail.places.push(at);
        }
        tail.bytes += line.len() as u64;
        tail.next += 1;
        tail.hash.clone_from(&entry.hash);
        Ok(entry)
    }

    /// Up to `limit` entries from this number on.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<Entry>, AuditError> {
        let io = AuditError::io(&self.path);
        let (place, first, end) = {
            let tail = self.tail();
            if from >= tail.next {
                return Ok(Vec::new());
            }
            let index = from / INDEX_EVERY;
            let place = usize::try_from(index).ok().and_then(|index| tail.places.get(index)).copied();
            (place.unwrap_or_default(), index * INDEX_EVERY, tail.bytes)
        };
        let mut file = File::open(&self.path).map_err(&io)?;
        file.seek(SeekFrom::Start(place)).map_err(&io)?;
        let mut lines = BufReader::new(file.take(end - place));
        let mut entries = Vec::new();
        let mut number = first;
        while entries.len() < limit {
            let Some(line) = next_line(&mut lines).map_err(&io)? else { break };
            if number >= from {
                entries.push(Entry::parse(&line).map_err(|what| self.damaged(number, what))?);
            }
            number += 1;
        }
        Ok(entries)
    }

    /// Reads all of it again and checks every hash; how many entries there are.
    pub fn verify(&self) -> Result<u64, AuditError> {
        let end = self.tail().bytes;
        let file = File::open(&self.path).map_err(AuditError::io(&self.path))?;
        let scan = scan(&mut file.take(end), &self.path)?;
        let tail = self.tail();
        if scan.bytes != end || (tail.bytes == end && scan.hash != tail.hash) {
            return Err(self.damaged(scan.next, "it does not end where it did".into()));
        }
        Ok(scan.next)
    }

    fn damaged(&self, entry: u64, what: String) -> AuditError {
        AuditError::Chain { path: self.path.clone(), entry, what }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        // A panic between two changes of it leaves bytes that the next entry overwrites.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What reading all of a log gives.
struct Scan {
    bytes: u64,
    next: u64,
    hash: String,
    places: Vec<u64>,
}

/// Reads whole lines and checks that each follows from the one before.
fn scan(file: &mut impl Read, path: &Path) -> Result<Scan, AuditError> {
    let mut lines = BufReader::new(file);
    let mut scan = Scan { bytes: 0, next: 0, hash: NO_HASH.into(), places: Vec::new() };
    while let Some(line) = next_line(&mut lines).map_err(AuditError::io(path))? {
        let damaged = |what| AuditError::Chain { path: path.to_owned(), entry: scan.next, what };
        let entry = Entry::parse(&line).map_err(damaged)?;
        entry.follows(scan.next, &scan.hash).map_err(damaged)?;
        if scan.next.is_multiple_of(INDEX_EVERY) {
            scan.places.push(scan.bytes);
        }
        scan.bytes += line.len() as u64;
        scan.next += 1;
        scan.hash = entry.hash;
    }
    Ok(scan)
}

/// The next line with its end; none if there is no whole one.
fn next_line(lines: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    // One that is too long is no entry, which its reader says.
    let whole = line.ends_with(b"\n") || line.len() as u64 == LINE_BYTES_MAX;
    Ok(whole.then_some(line))
}
