//! Partitions as splits of a source: which part of it reads which, and how positions are written down. Pure.
use std::fmt;

use crate::{
    connector::{
        ConnectorError,
        encoding::{Decoding, Encoding},
    },
    model::{SplitPosition, key_hash},
};

const POSITION_VERSION: u8 = 1;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub topic: String,
    pub number: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

impl Partition {
    /// Whether this part of so many reads it. Depends on nothing else, so that parts agree without talking to each other; the
    /// partitions of a topic are spread evenly.
    pub fn is_read_by(&self, subtask: usize, parallelism: usize) -> bool {
        let first = key_hash(self.topic.as_bytes()) % parallelism as u64;
        (first as usize + self.number as usize) % parallelism == subtask
    }
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The offset of the next record.
    pub next: i64,
    /// The offset before which reading ends, if it does.
    pub until: Option<i64>,
}

/// As a checkpoint keeps it.
pub fn write(partition: &Partition, reached: Reached) -> SplitPosition {
    let until = reached.until.map_or(u64::MAX, |until| until as u64);
    let position = Encoding::new(POSITION_VERSION).u64(reached.next as u64).u64(until).finish();
    SplitPosition { split: partition.to_string(), position }
}

/// What a checkpoint kept.
pub fn read(split: &SplitPosition) -> Result<(Partition, Reached), ConnectorError> {
    let mut decoding = Decoding::new(&split.split, &split.position, POSITION_VERSION)?;
    let offset = |offset: u64| i64::try_from(offset).ok();
    let (next, until) = (offset(decoding.u64()?), offset(decoding.u64()?));
    let partition = split.split.rsplit_once('/').and_then(|(topic, number)| {
        Some(Partition { topic: topic.to_owned(), number: number.parse().ok().filter(|number| *number >= 0)? })
    });
    let (Some(partition), Some(next)) = (partition, next) else {
        return Err(decoding.failed("it speaks of no partition, or of no offset"));
    };
    decoding.finish()?;
    Ok((partition, Reached { next, until }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, number: i32) -> Partition {
        Partition { topic: topic.to_owned(), number }
    }

    #[test]
    fn every_partition_has_one_reader_and_a_topic_s_are_spread_evenly() {
        for parallelism in 1..7 {
            for topic in ["a", "orders", "orders-2"] {
                let mut shares = vec![0; parallelism];
                for number in 0..12 {
                    let partition = partition(topic, number);
                    let readers: Vec<_> =
                        (0..parallelism).filter(|part| partition.is_read_by(*part, parallelism)).collect();
                    assert_eq!(readers.len(), 1);
                    shares[readers[0]] += 1;
                }
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
            }
        }
        // Checkpoints do not speak of it, but two versions of this program may run the parts of one job after each other.
        assert!(partition("orders", 0).is_read_by(key_hash(b"orders") as usize % 5, 5));
    }

    #[test]
    fn positions_are_read_as_they_were_written() {
        let at = partition("a/b", 3);
        for reached in [Reached { next: 7, until: None }, Reached { next: 0, until: Some(9) }] {
            assert_eq!(read(&write(&at, reached)).unwrap(), (at.clone(), reached));
        }
        let whole = write(&at, Reached { next: 7, until: None });
        for split in ["a", "a/-1", "a/b"] {
            assert!(read(&SplitPosition { split: split.to_owned(), ..whole.clone() }).is_err(), "{split}");
        }
        let cut = SplitPosition { position: whole.position[..9].to_vec(), ..whole };
        assert!(read(&cut).unwrap_err().what.contains("cut off"));
    }
}
