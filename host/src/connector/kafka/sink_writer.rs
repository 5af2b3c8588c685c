//! Writing to Kafka. Exactly once, the records between two checkpoints are a transaction, which is committed once the checkpoint at its
//! end is complete. Guarantees that what a checkpoint has is at the brokers, and open there, so that it can be committed even if
//! this process is gone. Must not know how jobs recover.
use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::ClientConfig;

use super::{
    error::Failure,
    sink_producer::Producer,
    sink_record::Columns,
    sink_settings::{OnLost, SinkSettings},
    transaction::{Committable, Decision, Ids},
    wire::{Cluster, State},
};
use crate::{
    connector::{ConnectorError, Delivery, SinkWriter},
    model::{Batch, Clock, Encoded},
};

/// Transactions of a subtask that may wait for their checkpoints. One does, and the next is begun; more do if checkpoints fail.
const SLOTS_MAX: usize = 16;

/// Starts that follow each other write with different ids: one that is only now making an id known, late, takes none away from the next.
const GENERATIONS: usize = 4;

/// A producer's number and epoch, which no other shares.
type Identity = (i64, i64);

/// A producer, and its latest transaction.
struct Slot {
    id: String,
    producer: Producer,
    /// Who it is to the coordinator, if it has transactions.
    identity: Option<Identity>,
    phase: Phase,
}

enum Phase {
    Free,
    /// Since then.
    Open(Duration),
    Prepared(Committable),
}

pub struct KafkaWriter {
    settings: Arc<SinkSettings>,
    config: ClientConfig,
    ids: Ids,
    /// How its start is known to the brokers.
    start: Option<(i64, i64)>,
    subtask: usize,
    clock: Arc<dyn Clock>,
    /// Once there were rows.
    columns: Option<Columns>,
    /// Without transactions there is one at most.
    slots: Vec<Option<Slot>>,
    /// Which slot records go to, if any do since the last barrier.
    current: Option<usize>,
    /// Once it was asked.
    cluster: Option<Cluster>,
    /// For keys.
    scratch: Vec<u8>,
}

impl KafkaWriter {
    /// Writes with `ids`, as long as there is no later start than this one.
    pub fn new(
        settings: Arc<SinkSettings>,
        config: ClientConfig,
        (ids, start): (Ids, Option<(i64, i64)>),
        subtask: usize,
        clock: Arc<dyn Clock>,
    ) -> KafkaWriter {
        let (columns, slots, current, cluster, scratch) = (None, Vec::new(), None, None, Vec::new());
        KafkaWriter { settings, config, ids, start, subtask, clock, columns, slots, current, cluster, scratch }
    }

    fn transactional(&self) -> bool {
        self.settings.delivery == Delivery::ExactlyOnce
    }

    /// The slot that records go to; begins a transaction if none is open.
    async fn slot(&mut self) -> Result<&mut Slot, ConnectorError> {
        let index = match self.current {
            Some(index) => index,
            None => {
                let index = self.begin().await?;
                self.current = Some(index);
                index
            }
        };
        // It is there, for it is the current one.
        self.slots[index].as_mut().ok_or_else(|| Failure::Delivery.at(self.settings.place(), "a producer is gone"))
    }

    async fn begin(&mut self) -> Result<usize, ConnectorError> {
        let is_free = |slot: &Option<Slot>| slot.as_ref().is_none_or(|slot| matches!(slot.phase, Phase::Free));
        let index = self.slots.iter().position(is_free).unwrap_or(self.slots.len());
        if index >= SLOTS_MAX {
            let what = format!(
                "{SLOTS_MAX} transactions wait for checkpoints that do not come to be complete: see why checkpoints fail"
            );
            return Err(Failure::Delivery.at(self.settings.place(), what));
        }
        let generation = self.start.map_or(0, |(_, epoch)| usize::try_from(epoch).unwrap_or(0) % GENERATIONS);
        let id = self.ids.id(self.subtask, index * GENERATIONS + generation);
        if index == self.slots.len() {
            self.slots.push(None);
        }
        let transactional = self.transactional();
        let mut slot = match self.slots[index].take() {
            Some(slot) => slot,
            None => {
                if transactional {
                    // While its coordinator still reads its log, we ask again soon; librdkafka waits for half a second or more.
                    self.cluster().await?.describe(&id).await?;
                }
                let used = transactional.then(|| id.clone());
                let producer = Producer::open(&self.settings.client(), &self.config, used).await?;
                // In this order: a start that is later than this check finds the id, and shuts it out.
                self.check_start().await?;
                // If another takes the id over before this is asked, no record will be delivered, and nothing prepared.
                let found = if transactional { self.cluster().await?.describe(&id).await? } else { None };
                let identity = found.map(|found| (found.producer_id, found.epoch));
                Slot { id, producer, identity, phase: Phase::Free }
            }
        };
        if transactional {
            slot.producer.begin().await?;
        }
        self.slots[index] = Some(Slot { phase: Phase::Open(self.clock.monotonic()), ..slot });
        Ok(index)
    }

    /// Fails if there is a later start, which writes what this one would.
    async fn check_start(&mut self) -> Result<(), ConnectorError> {
        let Some(start) = self.start.filter(|_| self.transactional()) else { return Ok(()) };
        let id = self.ids.start();
        match self.cluster().await?.describe(&id).await? {
            Some(found) if (found.producer_id, found.epoch) != start => {
                Err(Failure::Fenced
                    .at(id, "another run of this job has taken over: it has started later than this one"))
            }
            _ => Ok(()),
        }
    }

    async fn send(&mut self, rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        let columns = match self.columns.take() {
            Some(columns) => columns,
            None => Columns::new(&self.settings, &rows.columns)?,
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let must_arrive = self.settings.delivery != Delivery::AtMostOnce;
        let slot = self.slot().await?;
        if must_arrive {
            slot.producer.check()?;
        }
        let records = columns.records(rows, encoded);
        for row in 0..rows.rows() {
            let record = records.record(row, &mut scratch)?;
            slot.producer.send(record).await?;
        }
        (self.columns, self.scratch) = (Some(columns), scratch);
        Ok(())
    }

    /// What has failed, as it is to be told of: that a producer is shut out may be because its transaction was open for too long.
    fn judged(&self, error: ConnectorError) -> ConnectorError {
        let began = self.current.and_then(|slot| self.slots[slot].as_ref()).and_then(|slot| match slot.phase {
            Phase::Open(began) => Some(began),
            _ => None,
        });
        // Brokers count from later on.
        let old = began.is_some_and(|began| self.clock.monotonic() >= began + self.settings.transaction_timeout);
        if !old || !Failure::Fenced.is(&error) {
            return error;
        }
        let timeout = humantime::format_duration(self.settings.transaction_timeout);
        let what = format!(
            "the brokers have aborted a transaction that was open for more than {timeout}; its records are written again. \
             Take checkpoints more often, or set a longer `transaction_timeout`"
        );
        Failure::Delivery.at(self.settings.place(), what)
    }

    async fn cluster(&mut self) -> Result<&mut Cluster, ConnectorError> {
        let cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => Cluster::connect(&self.settings.client(), &self.clock).await?,
        };
        Ok(self.cluster.insert(cluster))
    }

    /// Makes sure that the transaction is open at the brokers and this producer's own, and says how to commit it.
    async fn prepared(
        &mut self,
        index: usize,
        (id, identity): (&str, Option<Identity>),
        checkpoint: u64,
    ) -> Result<Committable, ConnectorError> {
        let found = self.cluster().await?.describe(id).await?;
        match found {
            Some(found) if found.state == State::Ongoing && identity == Some((found.producer_id, found.epoch)) => {
                let slot = self.slots[index].as_ref();
                if let Some((topic, partition)) = slot.and_then(|slot| slot.producer.stray(&found.partitions)) {
                    let what = format!(
                        "records of `{id}` are in partition {partition}, which the coordinator does not count as part of their transaction"
                    );
                    return Err(Failure::Delivery.at(topic, what));
                }
                let epoch = i16::try_from(found.epoch).unwrap_or(i16::MAX);
                let (producer_id, start_ms) = (found.producer_id, found.start_ms);
                Ok(Committable { id: id.to_owned(), producer_id, epoch, start_ms, checkpoint })
            }
            other => {
                let what =
                    format!("another run of this job has taken over: `{id}` is not open for us any more ({other:?})");
                Err(self.judged(Failure::Fenced.at(self.settings.place(), what)))
            }
        }
    }

    async fn commit_one(&mut self, committable: &Committable) -> Result<(), ConnectorError> {
        let mine = |slot: &Option<Slot>| matches!(slot, Some(Slot { phase: Phase::Prepared(prepared), .. }) if prepared == committable);
        let Some(index) = self.slots.iter().position(mine) else {
            let what = format!("there is no transaction `{}` to commit", committable.id);
            return Err(Failure::Delivery.at(self.settings.place(), what));
        };
        let Some(slot) = &mut self.slots[index] else { return Ok(()) };
        match slot.producer.commit(&*self.clock).await {
            Ok(()) => {
                tracing::debug!(
                    id = committable.id,
                    "committed a transaction of checkpoint {}",
                    committable.checkpoint
                );
                slot.phase = Phase::Free;
                Ok(())
            }
            // By whom? Perhaps it is committed.
            Err(error) if Failure::Fenced.is(&error) => {
                let found = self.cluster().await?.describe(&committable.id).await?;
                if committable.decide(found.as_ref()) != Decision::Lost {
                    return Err(error);
                }
                lost(&self.settings, committable)?;
                // This producer is of no use any more.
                self.slots[index] = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// What a transaction that was aborted means to the job.
pub fn lost(settings: &SinkSettings, committable: &Committable) -> Result<(), ConnectorError> {
    let Committable { id, checkpoint, .. } = committable;
    let what = format!(
        "the brokers have aborted the transaction `{id}` before it could be committed, though checkpoint {checkpoint} counts on it: \
         its records are lost. It was open for more than `transaction_timeout`, or another program has used its id. To have these \
         records written, start from an earlier checkpoint; to go on without them, set `on_lost_transaction: ignore`"
    );
    let error = Failure::Lost.at(settings.place(), what);
    match settings.on_lost_transaction {
        OnLost::Fail => Err(error),
        OnLost::Ignore => {
            tracing::error!("going on without records: {error}");
            Ok(())
        }
    }
}

#[async_trait]
impl SinkWriter for KafkaWriter {
    async fn write(&mut self, rows: &Batch, encoded: &Encoded) -> Result<(), ConnectorError> {
        let written = self.send(rows, encoded).await;
        match written {
            Err(error) if self.settings.delivery == Delivery::AtMostOnce && Failure::Delivery.is(&error) => {
                tracing::warn!("records may be lost: {error}");
                Ok(())
            }
            written => written.map_err(|error| self.judged(error)),
        }
    }

    /// Records are on their way by themselves.
    async fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    async fn prepare(&mut self, checkpoint: u64) -> Result<Vec<Vec<u8>>, ConnectorError> {
        let Some(index) = self.current else { return Ok(Vec::new()) };
        let Some(slot) = &mut self.slots[index] else { return Ok(Vec::new()) };
        match self.settings.delivery {
            Delivery::AtMostOnce => {
                if let Some((records, why)) = slot.producer.lost() {
                    tracing::warn!(records, "records are lost: {why}");
                }
                Ok(Vec::new())
            }
            Delivery::AtLeastOnce => slot.producer.flush().await.map(|()| Vec::new()),
            Delivery::ExactlyOnce => {
                let (flushed, id, identity) = (slot.producer.flush().await, slot.id.clone(), slot.identity);
                flushed.map_err(|error| self.judged(error))?;
                let committable = self.prepared(index, (&id, identity), checkpoint).await?;
                tracing::debug!(?committable, "prepared");
                let bytes = committable.encode();
                if let Some(slot) = &mut self.slots[index] {
                    slot.phase = Phase::Prepared(committable);
                }
                self.current = None;
                Ok(vec![bytes])
            }
        }
    }

    async fn commit(&mut self, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        for bytes in committables {
            let committable = Committable::decode(&self.settings.place(), bytes)?;
            self.commit_one(&committable).await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), ConnectorError> {
        let Some(Some(slot)) = self.current.map(|index| &mut self.slots[index]) else { return Ok(()) };
        match self.settings.delivery {
            Delivery::ExactlyOnce => {
                let what = "it is closed with records that no checkpoint has: readers will not see them";
                Err(Failure::Delivery.at(self.settings.place(), what))
            }
            Delivery::AtLeastOnce => slot.producer.flush().await,
            // There is nothing to wait for but that they are sent.
            Delivery::AtMostOnce => {
                if let Err(error) = slot.producer.flush().await {
                    tracing::warn!("records are lost: {error}");
                }
                Ok(())
            }
        }
    }
}
