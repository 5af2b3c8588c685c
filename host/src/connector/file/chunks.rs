//! A file's content, decompressed, in large chunks. Reading and decompressing are done on a thread where blocking is allowed,
//! one chunk ahead, so that they overlap with what is done to the chunk before and never hold up other tasks; a chunk is
//! large enough for the hand-over not to count.
use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read},
    path::Path,
};

use tokio::task::JoinHandle;

use crate::connector::ConnectorError;

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

type Input = Box<dyn Read + Send>;

/// An input, a buffer, and how much of it was filled.
type Filled = (Input, Vec<u8>, io::Result<usize>);

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
}

impl Chunks {
    pub fn open(path: &Path) -> Result<Chunks, ConnectorError> {
        let open = || -> io::Result<Input> {
            let file = File::open(path)?;
            Ok(match Compression::of(path) {
                Compression::None => Box::new(file),
                Compression::Gzip => {
                    Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, file)))
                }
                Compression::Zstandard => Box::new(zstd::Decoder::new(file)?),
            })
        };
        let input = open().map_err(|e| failed(path, &e))?;
        let next = Next::Idle(input, vec![0; CHUNK_BYTES]);
        Ok(Chunks { next, chunk: vec![0; CHUNK_BYTES], at: 0, end: 0, total: 0 })
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
        self.end = result?;
        self.total += self.end as u64;
        if self.end > 0 {
            self.start();
        }
        Ok(self.end > 0)
    }

    fn start(&mut self) {
        if let Next::Idle(mut input, mut buffer) = std::mem::replace(&mut self.next, Next::Lost) {
            self.next = Next::Reading(tokio::task::spawn_blocking(move || {
                let result = loop {
                    match input.read(&mut buffer) {
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        result => break result,
                    }
                };
                (input, buffer, result)
            }));
        }
    }
}

pub fn failed(path: &Path, error: &io::Error) -> ConnectorError {
    let what = match (error.kind(), Compression::of(path)) {
        (ErrorKind::UnexpectedEof, Compression::Gzip | Compression::Zstandard) => {
            "it is cut off: the compressed data end in the middle".into()
        }
        (ErrorKind::InvalidInput | ErrorKind::InvalidData, Compression::Gzip) => format!("it is not gzip: {error}"),
        (_, Compression::Zstandard) if error.raw_os_error().is_none() => format!("it is not Zstandard: {error}"),
        _ => format!("cannot read: {error}"),
    };
    ConnectorError { place: path.display().to_string(), what, retry: false }
}
