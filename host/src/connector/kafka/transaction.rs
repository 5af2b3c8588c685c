//! Transactions that wait for a checkpoint: what they are called, how they are written down, and what is to be done about them after a
//! failure. Pure; must not know how brokers are asked.
use super::wire::{State, Transaction};
use crate::connector::{
    ConnectorError,
    encoding::{Decoding, Encoding},
};

const VERSION: u8 = 1;

/// The transactional ids of one sink. What stands between their parts occurs in no uid, so that no two sinks share an id, whatever they
/// are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// What all begin with: `<prefix>.<uid>.`.
    beginning: String,
}

impl Ids {
    /// Those of the node `uid`.
    pub fn new(prefix: &str, uid: &str) -> Ids {
        Ids { beginning: format!("{prefix}.{uid}.") }
    }

    /// The id of a producer of a subtask.
    pub fn id(&self, subtask: usize, slot: usize) -> String {
        format!("{}{subtask}.{slot}", self.beginning)
    }

    /// The id that no records are written with: each start makes it known anew, so that one which was taken for dead can see that there
    /// is a later one, before it takes an id away from that.
    pub fn start(&self) -> String {
        format!("{}start", self.beginning)
    }

    /// Whether it is one of them, of whatever subtask and slot.
    pub fn contains(&self, id: &str) -> bool {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        id.strip_prefix(&self.beginning)
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(subtask, slot)| is_number(subtask) && is_number(slot))
    }
}

/// A transaction that is open, with all its records at the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committable {
    /// Its transactional id.
    pub id: String,
    /// Its producer.
    pub producer_id: i64,
    /// Which of the producers of that number.
    pub epoch: i16,
    /// When it began, in ms since 1970 by the coordinator's clock.
    pub start_ms: i64,
    /// The checkpoint it was prepared for.
    pub checkpoint: u64,
}

impl Committable {
    /// Version 1: id, producer, epoch, start, checkpoint.
    pub fn encode(&self) -> Vec<u8> {
        let encoding = Encoding::new(VERSION).text(&self.id).u64(self.producer_id.cast_unsigned());
        let encoding = encoding.u64(i64::from(self.epoch).cast_unsigned()).u64(self.start_ms.cast_unsigned());
        encoding.u64(self.checkpoint).finish()
    }

    /// Reads it back; `place` is for the error.
    pub fn decode(place: &str, bytes: &[u8]) -> Result<Committable, ConnectorError> {
        let mut decoding = Decoding::new(place, bytes, VERSION)?;
        let (id, producer_id) = (decoding.text()?.to_owned(), decoding.u64()?.cast_signed());
        let (epoch, start_ms, checkpoint) =
            (decoding.u64()?.cast_signed(), decoding.u64()?.cast_signed(), decoding.u64()?);
        let epoch = i16::try_from(epoch).map_err(|_| decoding.failed("it has an epoch that is none"))?;
        decoding.finish()?;
        Ok(Committable { id, producer_id, epoch, start_ms, checkpoint })
    }
}

/// What is to be done about a transaction whose checkpoint is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Commit it.
    Commit,
    /// Nothing: it is committed.
    Done,
    /// Nothing can be done, and nothing be known: its id has expired at the brokers. It was committed, unless the job was away for as long.
    Expired,
    /// Nothing can be done: it was aborted.
    Lost,
}

impl Committable {
    /// What is to be done, from what the coordinator knows of its id.
    ///
    /// A sink begins another transaction with an id, or has the id known anew, only after the one before was committed, or found to be
    /// lost. So whatever began at another time began later, and says that this one is settled.
    pub fn decide(&self, found: Option<&Transaction>) -> Decision {
        let Some(found) = found else { return Decision::Expired };
        let same_producer = (found.producer_id, found.epoch) == (self.producer_id, i64::from(self.epoch));
        let same = found.start_ms == self.start_ms && found.producer_id == self.producer_id;
        match found.state {
            State::Ongoing if same && same_producer => Decision::Commit,
            State::PrepareCommit | State::CompleteCommit if same => Decision::Done,
            // Aborting shuts the producer out, by a later epoch.
            State::Ongoing | State::PrepareAbort | State::CompleteAbort | State::PrepareEpochFence if same => {
                Decision::Lost
            }
            _ => Decision::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTABLE: (i64, i16, i64) = (7, 3, 1000);

    fn committable() -> Committable {
        let (producer_id, epoch, start_ms) = COMMITTABLE;
        Committable { id: "job.out.0.1".into(), producer_id, epoch, start_ms, checkpoint: 12 }
    }

    #[test]
    fn committables_are_read_as_they_were_written() {
        let committable = Committable { start_ms: i64::MAX - 1, ..committable() };
        let bytes = committable.encode();
        assert_eq!(Committable::decode("t", &bytes).unwrap(), committable);
        assert!(Committable::decode("t", &bytes[..bytes.len() - 1]).is_err());
        let of_large_epoch = Encoding::new(1).text("a").u64(7).u64(1 << 15).u64(1).u64(1).finish();
        assert!(Committable::decode("t", &of_large_epoch).unwrap_err().what.contains("epoch"));
    }

    #[test]
    fn ids_of_other_sinks_are_others() {
        let ids = Ids::new("job", "a");
        assert!(ids.contains(&ids.id(0, 0)) && ids.contains(&ids.id(32_767, 15)) && !ids.contains(&ids.start()));
        // A sink `a-1` or `a1`, a job `job.a` or `jo`, and what is nobody's.
        let others =
            ["job.a-1.0.0", "job.a1.0.0", "job.a.b.0.0", "job.a.0", "job.a.0.", "job.a.0.x", "job.a.0.0.0", "jo.a.0.0"];
        for other in others {
            assert!(!ids.contains(other), "{other}");
        }
        assert_ne!(Ids::new("a", "b-c").id(0, 0), Ids::new("a-b", "c").id(0, 0));
    }

    #[test]
    fn only_what_is_open_is_committed_and_only_what_was_aborted_is_lost() {
        use State as S;
        let (p, e, s) = (7, 3, 1000);
        for (state, producer_id, epoch, start_ms, decision) in [
            (S::Ongoing, p, e, s, Decision::Commit),
            (S::PrepareCommit, p, e, s, Decision::Done),
            (S::CompleteCommit, p, e, s, Decision::Done),
            // The broker's timeout, with the epoch it shuts the producer out with, or not yet.
            (S::PrepareEpochFence, p, e + 1, s, Decision::Lost),
            (S::PrepareAbort, p, e + 1, s, Decision::Lost),
            (S::CompleteAbort, p, e + 1, s, Decision::Lost),
            (S::CompleteAbort, p, e, s, Decision::Lost),
            (S::Ongoing, p, e + 1, s, Decision::Lost),
            // A later transaction of the same producer, whatever has become of it.
            (S::Ongoing, p, e, s + 1, Decision::Done),
            (S::PrepareCommit, p, e, s + 1, Decision::Done),
            (S::CompleteAbort, p, e + 1, s + 1, Decision::Done),
            // A later start has found it to be committed, and shut the producer out; or has gone on since; or epochs have run out.
            (S::Empty, p, e + 1, -1, Decision::Done),
            (S::Ongoing, p, e + 2, s + 9, Decision::Done),
            (S::Empty, p + 1, 0, -1, Decision::Done),
            (S::CompleteAbort, p + 1, 0, s + 9, Decision::Done),
        ] {
            let found =
                Transaction { state, producer_id, epoch: epoch.into(), start_ms, partitions: Default::default() };
            assert_eq!(committable().decide(Some(&found)), decision, "{found:?}");
        }
        assert_eq!(committable().decide(None), Decision::Expired);
    }
}
