//! A file's content, decompressed, in large chunks. Reading and decompressing are done on a thread where blocking is allowed,
//! one chunk ahead, so that they overlap with what is done to the chunk before and never hold up other tasks; a chunk is
//! large enough for the hand-over not to count. Reading goes on where it was left off in an earlier run, provided that the file
//! is still the same.
use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::Path,
};

use tokio::task::JoinHandle;

use super::position::{FilePosition, HEAD_BYTES, head_hash};
use crate::connector::{CONNECTOR_FAILED, ConnectorError, lines::Lines};

const CHUNK_BYTES: usize = 256 << 10;

/// How a file is compressed, by the end of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstandard,
}

impl Compression {
    pub fn of(path: &Path) -> Compression {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Compression::Gzip,
            Some("zst" | "zstd") => Compression::Zstandard,
            _ => Compression::None,
        }
    }
}

/// The file is not the one that was read before.
#[derive(Debug, thiserror::Error)]
#[error("it is not the file that was read before: {0}")]
struct Changed(&'static str);

/// Whether an error says that the file is not the one that was read before.
pub fn is_changed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<Changed>())
}

/// A file's content.
enum Content {
    Plain(File),
    Decompressed(Box<dyn Read + Send>),
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Content::Plain(file) => file.read(buffer),
            Content::Decompressed(input) => input.read(buffer),
        }
    }
}

impl Content {
    /// Goes on after what was read before. Gives its first bytes.
    fn skip(&mut self, from: &FilePosition) -> io::Result<Vec<u8>> {
        let shorter = || io::Error::other(Changed("it is shorter than what was read of it"));
        let mut head = vec![0; from.head_bytes()];
        self.read_exact(&mut head).map_err(|e| if e.kind() == ErrorKind::UnexpectedEof { shorter() } else { e })?;
        if head_hash(&head) != from.head {
            return Err(io::Error::other(Changed("it begins differently")));
        }
        let rest = from.offset - head.len() as u64;
        let skipped = match self {
            Content::Plain(file) if file.metadata()?.len() < from.offset => return Err(shorter()),
            Content::Plain(file) => file.seek(SeekFrom::Start(from.offset)).map(|_| rest)?,
            Content::Decompressed(input) => io::copy(&mut input.take(rest), &mut io::sink())?,
        };
        if skipped < rest { Err(shorter()) } else { Ok(head) }
    }
}

/// What is read, and where from: nothing is skipped yet if there is a position.
struct Input {
    content: Content,
    from: Option<FilePosition>,
}

/// What a read found.
struct Found {
    /// Bytes of the buffer that were filled.
    bytes: usize,
    /// The file's first bytes, if some were skipped.
    head: Option<Vec<u8>>,
}

impl Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Found> {
        let head = self.from.take().map(|from| self.content.skip(&from)).transpose()?;
        loop {
            match self.content.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.map(|bytes| Found { bytes, head }),
            }
        }
    }
}

/// An input, a buffer, and what was read into it.
type Filled = (Input, Vec<u8>, io::Result<Found>);

/// Where reading is.
enum Next {
    Idle(Input, Vec<u8>),
    Reading(JoinHandle<Filled>),
    /// The thread failed.
    Lost,
}

pub struct Chunks {
    next: Next,
    /// The chunk in use, of which the part from `at` to `end` is not consumed.
    chunk: Vec<u8>,
    at: usize,
    end: usize,
    /// Bytes of the file consumed or about to be.
    total: u64,
    /// The file's first bytes, at most [`HEAD_BYTES`], as far as they were read.
    head: Vec<u8>,
    /// Where it was opened, until reading has got there.
    from: Option<FilePosition>,
}

impl Chunks {
    /// Opens a file; with `from`, what was read of it before is left out, once it is read.
    pub fn open(path: &Path, from: Option<&FilePosition>) -> Result<Chunks, ConnectorError> {
        let open = || -> io::Result<Content> {
            let file = File::open(path)?;
            Ok(match Compression::of(path) {
                Compression::None => Content::Plain(file),
                Compression::Gzip => {
                    let file = BufReader::with_capacity(CHUNK_BYTES, file);
                    Content::Decompressed(Box::new(flate2::bufread::MultiGzDecoder::new(file)))
                }
                Compression::Zstandard => Content::Decompressed(Box::new(zstd::Decoder::new(file)?)),
            })
        };
        let content = open().map_err(|e| failed(path, &e))?;
        let input = Input { content, from: from.cloned() };
        let next = Next::Idle(input, vec![0; CHUNK_BYTES]);
        let total = from.map_or(0, |from| from.offset);
        let (chunk, head) = (vec![0; CHUNK_BYTES], Vec::new());
        Ok(Chunks { next, chunk, at: 0, end: 0, total, head, from: from.cloned() })
    }

    /// How far the file was read, `lines` being what its bytes are given to.
    pub fn position(&self, lines: &Lines, done: bool) -> FilePosition {
        if let Some(from) = &self.from {
            return FilePosition { done, ..from.clone() };
        }
        let offset = self.total - self.rest().len() as u64 - lines.partial_bytes() as u64;
        let head = &self.head[..offset.min(self.head.len() as u64) as usize];
        FilePosition { offset, records: lines.records(), head: head_hash(head), done }
    }

    /// Bytes read so far, decompressed.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What is not consumed yet.
    pub fn rest(&self) -> &[u8] {
        &self.chunk[self.at..self.end]
    }

    pub fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }

    pub fn consume_all(&mut self) {
        self.at = self.end;
    }

    /// Makes sure that there is something to consume; false at the end of the file, where it may be asked again for what was
    /// added. Dropping the future loses nothing.
    pub async fn fill(&mut self) -> io::Result<bool> {
        if self.at < self.end {
            return Ok(true);
        }
        if let Next::Idle(..) = self.next {
            self.start();
        }
        let Next::Reading(reading) = &mut self.next else {
            return Err(io::Error::other("the thread reading it failed"));
        };
        let finished = reading.await;
        self.next = Next::Lost;
        let (input, mut buffer, result) = finished?;
        std::mem::swap(&mut buffer, &mut self.chunk);
        self.next = Next::Idle(input, buffer);
        (self.at, self.end) = (0, 0);
        let found = result?;
        if let Some(head) = found.head {
            self.head = head;
        }
        self.from = None;
        self.end = found.bytes;
        self.total += self.end as u64;
        let missing = HEAD_BYTES.saturating_sub(self.head.len()).min(self.end);
        self.head.extend_from_slice(&self.chunk[..missing]);
        if self.end > 0 {
            self.start();
        }
        Ok(self.end > 0)
    }

    fn start(&mut self) {
        if let Next::Idle(mut input, mut buffer) = std::mem::replace(&mut self.next, Next::Lost) {
            self.next = Next::Reading(tokio::task::spawn_blocking(move || {
                let result = input.read(&mut buffer);
                (input, buffer, result)
            }));
        }
    }
}

pub fn failed(path: &Path, error: &io::Error) -> ConnectorError {
    let what = match (error.kind(), Compression::of(path)) {
        _ if is_changed(error) => format!("{error}: put that back, or start from another checkpoint"),
        (ErrorKind::UnexpectedEof, Compression::Gzip | Compression::Zstandard) => {
            "it is cut off: the compressed data end in the middle".into()
        }
        (ErrorKind::InvalidInput | ErrorKind::InvalidData, Compression::Gzip) => format!("it is not gzip: {error}"),
        (_, Compression::Zstandard) if error.raw_os_error().is_none() => format!("it is not Zstandard: {error}"),
        _ => format!("cannot read: {error}"),
    };
    ConnectorError { place: path.display().to_string(), what, retry: false, code: CONNECTOR_FAILED }
}
