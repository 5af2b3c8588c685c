//! Sorted runs: entries in the order of key group and key, with checksums. `docs/formats/state-runs.md` describes every byte. Must
//! not know what entries mean.
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use bytes::Bytes;

use super::{
    error::StateError,
    schema::Header,
    wire::{Reader, put_bytes, put_number},
};
use crate::model::{Blob, key_hash};

const MAGIC: [u8; 8] = *b"WMRUN\0\0\x01";

/// Offset, length and checksum of the index, and [`MAGIC`].
const FOOTER_BYTES: u64 = 32;

/// The most bytes an index may have; each key group has some 30.
const INDEX_BYTES_MAX: u64 = 4 << 20;

/// The entries of one key group.
#[derive(Clone, Copy)]
struct Block {
    group: u16,
    offset: u64,
    length: u64,
    checksum: u64,
}

/// Writes a run. Entries come in order.
pub(super) struct RunWriter<W> {
    out: W,
    at: u64,
    blocks: Vec<Block>,
    group: u16,
    block: Vec<u8>,
    last: Vec<u8>,
}

impl<W: Write> RunWriter<W> {
    pub(super) fn new(mut out: W, header: &Header) -> io::Result<RunWriter<W>> {
        let mut head = MAGIC.to_vec();
        put_bytes(&header.encode(), &mut head);
        out.write_all(&head)?;
        let at = head.len() as u64;
        Ok(RunWriter { out, at, blocks: Vec::new(), group: 0, block: Vec::new(), last: Vec::new() })
    }

    /// Adds an entry; without a value it says that there is none.
    pub(super) fn entry(&mut self, group: u16, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        if group != self.group {
            self.end_block()?;
            self.group = group;
        }
        let shared = key.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        put_number(shared as u64, &mut self.block);
        put_number((key.len() - shared) as u64, &mut self.block);
        put_number(value.map_or(0, |value| value.len() as u64 + 1), &mut self.block);
        self.block.extend_from_slice(&key[shared..]);
        self.block.extend_from_slice(value.unwrap_or_default());
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            let (offset, length, checksum) = (self.at, self.block.len() as u64, key_hash(&self.block));
            self.blocks.push(Block { group: self.group, offset, length, checksum });
            self.out.write_all(&self.block)?;
            self.at += length;
            self.block.clear();
        }
        self.last.clear();
        Ok(())
    }

    /// Writes the index.
    pub(super) fn finish(mut self, header: &Header) -> io::Result<W> {
        self.end_block()?;
        let mut index = Vec::new();
        // Once more, below a checksum.
        put_bytes(&header.encode(), &mut index);
        put_number(self.blocks.len() as u64, &mut index);
        for block in &self.blocks {
            index.extend_from_slice(&block.group.to_le_bytes());
            index.extend_from_slice(&block.offset.to_le_bytes());
            index.extend_from_slice(&block.length.to_le_bytes());
            index.extend_from_slice(&block.checksum.to_le_bytes());
        }
        let checksum = key_hash(&index);
        let (offset, length) = (self.at, index.len() as u64);
        for number in [offset, length, checksum] {
            index.extend_from_slice(&number.to_le_bytes());
        }
        index.extend_from_slice(&MAGIC);
        self.out.write_all(&index)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

enum Source {
    Bytes(Bytes),
    File(File),
}

/// Reads a run. What is not as it was written is [`StateError::Damaged`].
pub(super) struct RunReader {
    pub(super) part: String,
    source: Source,
    pub(super) header: Header,
    blocks: Vec<Block>,
}

impl RunReader {
    pub(super) fn open(part: &str, content: &Blob) -> Result<RunReader, StateError> {
        let (source, length) = match content {
            Blob::Bytes(bytes) => (Source::Bytes(bytes.clone()), bytes.len() as u64),
            Blob::File(path) => {
                let file = File::open(path).map_err(StateError::file(path))?;
                let length = file.metadata().map_err(StateError::file(path))?.len();
                (Source::File(file), length)
            }
        };
        let damaged = |what: &str| StateError::damaged(part, what);
        let end = length.checked_sub(FOOTER_BYTES).ok_or_else(|| damaged("it is too short"))?;
        let footer = read(part, &source, end, FOOTER_BYTES)?;
        let mut reader = Reader(&footer);
        let mut number = || reader.array().map(u64::from_le_bytes).unwrap_or_default();
        let (offset, size, checksum) = (number(), number(), number());
        if reader.0 != MAGIC || size > INDEX_BYTES_MAX || offset.checked_add(size) != Some(end) {
            return Err(damaged("it does not end as a run does"));
        }
        let index = read(part, &source, offset, size)?;
        if key_hash(&index) != checksum {
            return Err(damaged("the checksum of its index is wrong"));
        }
        let mut reader = Reader(&index);
        let header = reader.bytes().ok_or_else(|| damaged("it has no header"))?;
        let header = Header::decode(header).map_err(damaged)?;
        let blocks = blocks(&mut reader).ok_or_else(|| damaged("its index is not one"))?;
        Ok(RunReader { part: part.to_owned(), source, header, blocks })
    }

    /// The entries of a key group, if the run has any.
    pub(super) fn group(&self, group: u16) -> Result<Option<Entries>, StateError> {
        let Ok(at) = self.blocks.binary_search_by_key(&group, |block| block.group) else { return Ok(None) };
        let block = self.blocks[at];
        let data = read(&self.part, &self.source, block.offset, block.length)?;
        if key_hash(&data) != block.checksum {
            return Err(StateError::damaged(&self.part, format!("the checksum of key group {group} is wrong")));
        }
        Ok(Some(Entries { part: self.part.clone(), data, at: 0, key: Vec::new(), value: None }))
    }
}

fn blocks(reader: &mut Reader<'_>) -> Option<Vec<Block>> {
    let blocks = (0..reader.number()?)
        .map(|_| {
            Some(Block {
                group: u16::from_le_bytes(reader.array()?),
                offset: u64::from_le_bytes(reader.array()?),
                length: u64::from_le_bytes(reader.array()?),
                checksum: u64::from_le_bytes(reader.array()?),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    reader.is_empty().then_some(blocks)
}

fn read(part: &str, source: &Source, offset: u64, length: u64) -> Result<Bytes, StateError> {
    let cut = || StateError::damaged(part, "it is cut off");
    match source {
        Source::Bytes(bytes) => {
            let end = offset.checked_add(length).filter(|end| *end <= bytes.len() as u64).ok_or_else(cut)?;
            Ok(bytes.slice(offset as usize..end as usize))
        }
        Source::File(file) => {
            let mut data = vec![0; usize::try_from(length).map_err(|_| cut())?];
            file.read_exact_at(&mut data, offset).map_err(|error| StateError::damaged(part, error.to_string()))?;
            Ok(data.into())
        }
    }
}

/// Entries of one key group, one at a time.
pub(super) struct Entries {
    part: String,
    data: Bytes,
    at: usize,
    key: Vec<u8>,
    value: Option<(usize, usize)>,
}

impl Entries {
    /// Goes on; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, StateError> {
        if self.at == self.data.len() {
            return Ok(false);
        }
        self.step().ok_or_else(|| self.damaged())?;
        Ok(true)
    }

    fn step(&mut self) -> Option<()> {
        let mut reader = Reader(&self.data[self.at..]);
        let shared = usize::try_from(reader.number()?).ok().filter(|shared| *shared <= self.key.len())?;
        let rest = usize::try_from(reader.number()?).ok()?;
        let value = usize::try_from(reader.number()?).ok()?;
        let rest = reader.take(rest)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        let start = self.data.len() - reader.0.len();
        let length = value.saturating_sub(1);
        reader.take(length)?;
        self.value = (value > 0).then_some((start, start + length));
        self.at = start + length;
        Some(())
    }

    /// For an entry that is none.
    pub(super) fn damaged(&self) -> StateError {
        StateError::damaged(&self.part, "an entry is none")
    }

    /// The key, without its key group.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value; `None` says that there is none.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.map(|(start, end)| &self.data[start..end])
    }
}
