//! A part of a source: reads the partitions that are its own, and looks for new ones. Guarantees that the records of a partition come
//! in order, each once; that a batch is of one partition; and that nothing here blocks a thread of the runtime.
use std::{collections::BTreeMap, ffi::CString, sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    bindings::{rd_kafka_get_watermark_offsets, rd_kafka_resp_err_t},
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    message::{BorrowedMessage, OwnedMessage},
};
use tokio::{
    sync::Notify,
    task::{JoinError, JoinHandle, spawn_blocking},
};

use super::{
    discovery::{self, failed},
    error::Failure,
    partitions::{self, Partition, Reached},
    record::{Known, Records},
    source_context::SourceContext,
    source_settings::{Isolation, SourceSettings, Start},
};
use crate::{
    connector::{BatchLimits, ConnectorError, Opening, ReadStatus, SourceReader},
    model::{Clock, Position, RawBatch, SplitPosition},
};

/// What a consumer keeps ready beyond what it was asked for.
const QUEUED_KBYTES: &str = "32768";

/// Events in a row that are none of ours: one for each time that a group was told of positions, and for statistics.
const EVENTS_MAX: usize = 3;

type KafkaConsumer = BaseConsumer<SourceContext>;
type Found = BTreeMap<Partition, Reached>;

/// A partition that is read.
struct Split {
    partition: Partition,
    /// For messages, and where its records come from.
    place: Arc<str>,
    consumer: usize,
    reached: Reached,
    done: bool,
}

/// A part of a source.
pub struct KafkaReader {
    settings: Arc<SourceSettings>,
    subtask: usize,
    parallelism: usize,
    /// What a checkpoint says.
    known: Found,
    /// Whether the job has run before: partitions it does not know have come since.
    restored: bool,
    /// One; for bounded reading one a topic, for whose end is told by the number of a partition only.
    consumers: Vec<Arc<KafkaConsumer>>,
    splits: Vec<Split>,
    /// The split of the latest record: the next is mostly of the same.
    latest: usize,
    /// A record that did not continue the batch.
    pending: Option<(usize, OwnedMessage)>,
    records: Records,
    /// Told when there is something to be had of a consumer.
    ready: Arc<Notify>,
    discovery: Option<JoinHandle<Result<Found, ConnectorError>>>,
    discover_at: Duration,
    clock: Arc<dyn Clock>,
}

impl KafkaReader {
    /// Asks nobody yet. Fails with C0406 for client settings that cannot be.
    pub fn new(
        settings: SourceSettings,
        opening: &Opening,
        known: Found,
        restored: bool,
    ) -> Result<KafkaReader, ConnectorError> {
        let group = settings.group.clone().unwrap_or_else(|| format!("{}-{}", opening.job, opening.uid));
        let reader = KafkaReader {
            subtask: opening.subtask,
            parallelism: opening.parallelism,
            known,
            restored,
            consumers: Vec::new(),
            splits: Vec::new(),
            latest: 0,
            pending: None,
            records: Records::new(
                opening.metadata.iter().map(|index| Known::ALL[*index]).collect(),
                settings.tombstones.clone(),
            ),
            ready: Arc::default(),
            discovery: None,
            discover_at: Duration::ZERO,
            clock: opening.clock.clone(),
            settings: Arc::new(settings),
        };
        let first = reader.consumer(&group)?;
        Ok(KafkaReader { consumers: vec![first], ..reader })
    }

    fn consumer(&self, group: &str) -> Result<Arc<KafkaConsumer>, ConnectorError> {
        let settings = &self.settings;
        let isolation = match settings.isolation {
            Isolation::ReadCommitted => "read_committed",
            Isolation::ReadUncommitted => "read_uncommitted",
        };
        // The latter two: with their defaults a source that was ahead of its readers stands still for a second.
        let defaults = [
            ("queued.max.messages.kbytes", QUEUED_KBYTES),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.error.backoff.ms", "100"),
        ];
        let fixed = [
            ("group.id", group),
            ("isolation.level", isolation),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", if settings.until.is_some() { "true" } else { "false" }),
            ("allow.auto.create.topics", "false"),
        ];
        let config =
            settings.client.config(&defaults, &fixed, &["group.instance.id", "partition.assignment.strategy"])?;
        let context = SourceContext { group: group.to_owned() };
        let mut consumer: KafkaConsumer =
            config.create_with_context(context).map_err(|error| settings.client.refused(&error))?;
        let ready = self.ready.clone();
        consumer.set_nonempty_callback(move || ready.notify_one());
        Ok(Arc::new(consumer))
    }

    /// Asks which partitions are this part's, and where to begin with those that are not read yet.
    fn look(&self, known: Found, start: Start) -> JoinHandle<Result<Found, ConnectorError>> {
        let (settings, consumer) = (self.settings.clone(), self.consumers[0].clone());
        let (subtask, parallelism) = (self.subtask, self.parallelism);
        spawn_blocking(move || {
            discovery::partitions(&consumer, &settings.topics).and_then(|partitions| {
                let mine = |partition: &Partition| partition.is_read_by(subtask, parallelism);
                let partitions: Vec<Partition> = partitions.into_iter().filter(mine).collect();
                if let Some(gone) = known.keys().find(|partition| !partitions.contains(partition)) {
                    let what = "it was read before, and is not there any more: put it back, or read other topics";
                    return Err(Failure::Missing.at(gone.to_string(), what));
                }
                discovery::reached(&consumer, &settings, &partitions, &known, &start)
            })
        })
    }

    /// Reads these as well.
    fn assign(&mut self, found: Found) -> Result<(), ConnectorError> {
        for (partition, reached) in found {
            if self.splits.iter().any(|split| split.partition == partition) {
                continue;
            }
            let place: Arc<str> = partition.to_string().into();
            let consumer = match self.splits.iter().find(|split| split.partition.topic == partition.topic) {
                Some(other) => other.consumer,
                None if self.settings.until.is_some() && !self.splits.is_empty() => {
                    let group = self.consumers[0].context().group.clone();
                    self.consumers.push(self.consumer(&group)?);
                    self.consumers.len() - 1
                }
                None => 0,
            };
            let done = reached.until.is_some_and(|until| reached.next >= until);
            if !done {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(reached.next))
                    .and_then(|()| self.consumers[consumer].incremental_assign(&list))
                    .map_err(|error| failed(&place, "it cannot be read", &error))?;
                tracing::debug!("reading {place} from offset {}", reached.next);
            }
            self.splits.push(Split { partition, place, consumer, reached, done });
        }
        Ok(())
    }

    /// Reads those too that were found.
    fn found(&mut self, found: Result<Result<Found, ConnectorError>, JoinError>) -> Result<(), ConnectorError> {
        self.discovery = None;
        match found {
            Ok(Ok(found)) => self.assign(found)?,
            Ok(Err(error)) if error.retry => tracing::warn!("looking for new partitions: {error}"),
            Ok(Err(error)) => return Err(error),
            Err(panic) => tracing::error!("looking for new partitions: {panic}"),
        }
        Ok(())
    }

    /// Looks for new partitions if it is time, and reads those that were found.
    async fn discover(&mut self) -> Result<(), ConnectorError> {
        if let Some(discovery) = self.discovery.as_mut().filter(|discovery| discovery.is_finished()) {
            let found = discovery.await;
            self.found(found)?;
        }
        let now = self.clock.monotonic();
        if self.settings.until.is_none() && self.discovery.is_none() && self.discover_at <= now {
            self.discover_at = now + self.settings.discover;
            let known = self.splits.iter().map(|split| (split.partition.clone(), split.reached)).collect();
            // What has come since it was started has to be read from its beginning.
            self.discovery = Some(self.look(known, Start::Earliest));
        }
        Ok(())
    }

    fn split_of(&self, topic: &str, number: i32) -> Option<usize> {
        let is = |split: &Split| split.partition.number == number && split.partition.topic == topic;
        match self.splits.get(self.latest) {
            Some(latest) if is(latest) => Some(self.latest),
            _ => self.splits.iter().position(is),
        }
    }

    /// Takes a record into the batch; gives it back if it does not continue that.
    fn take<M: Message>(&mut self, split: usize, message: &M, into: &mut RawBatch) -> Result<Taken, ConnectorError> {
        let found = &mut self.splits[split];
        let offset = message.offset();
        if found.done || offset < found.reached.next {
            // Read ahead before it was told to stop.
            return Ok(Taken::Nothing);
        }
        if found.reached.until.is_some_and(|until| offset >= until) {
            self.finish(split)?;
            return Ok(Taken::Nothing);
        }
        if into.is_empty() && into.refused.is_empty() {
            into.split = split;
            into.position = Position { place: found.place.clone(), record: offset as u64 };
        } else if into.split != split {
            return Ok(Taken::Other);
        }
        self.records.add(message, self.clock.as_ref(), into);
        found.reached.next = offset + 1;
        Ok(Taken::Record)
    }

    /// Reads no more of a partition.
    fn finish(&mut self, split: usize) -> Result<(), ConnectorError> {
        let split = &mut self.splits[split];
        split.done = true;
        let mut list = TopicPartitionList::new();
        list.add_partition(&split.partition.topic, split.partition.number);
        self.consumers[split.consumer]
            .incremental_unassign(&list)
            .map_err(|error| failed(&split.place, "reading it cannot be ended", &error))
    }

    /// A partition of that number has been read to its end, by a consumer of one topic.
    fn at_end(&mut self, consumer: usize, number: i32) -> Result<(), ConnectorError> {
        let is = |split: &Split| split.consumer == consumer && split.partition.number == number && !split.done;
        match self.splits.iter().position(is) {
            Some(split) if self.knows_all(split) => self.finish(split),
            // A broker that has just come to lead the partition, or follows another, does not know yet how far it goes. There will be another end.
            _ => Ok(()),
        }
    }

    /// Whether the broker that a partition is read from has told of all that is to be read.
    fn knows_all(&self, split: usize) -> bool {
        let Split { partition, consumer, reached, .. } = &self.splits[split];
        let end = known_end(&self.consumers[*consumer], partition);
        reached.until.zip(end).is_none_or(|(until, end)| end >= until)
    }

    /// What is the matter with a partition, or all of them.
    fn trouble(&self, error: &KafkaError) -> Result<(), ConnectorError> {
        let failure = match error {
            KafkaError::MessageConsumptionFatal(_) => Failure::of(error),
            _ => match Failure::of(error) {
                // The client goes on by itself, and has said so.
                Failure::Unreachable | Failure::Delivery => return Ok(()),
                other => other,
            },
        };
        let what = match failure {
            Failure::OffsetOutOfRange => {
                format!(
                    "the brokers no longer have the records at the offset to go on from, or do not have them yet ({error}): records may \
                     have been deleted that were not read. Restore from a later savepoint, or start anew with `start: earliest`"
                )
            }
            _ => format!("it cannot be read: {error}"),
        };
        Err(failure.at(self.settings.topics.place(), what))
    }

    /// Takes what can be had without waiting.
    fn fill(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<(), ConnectorError> {
        if let Some((split, message)) = self.pending.take() {
            if matches!(self.take(split, &message, into)?, Taken::Other) {
                self.pending = Some((split, message));
                return Ok(());
            }
            self.latest = split;
        }
        for index in 0..self.consumers.len() {
            let consumer = self.consumers[index].clone();
            while into.len() + into.refused.len() < limits.records && into.data.len() < limits.bytes {
                // `None` is also said of an event of the client's own, and behind that there may be records, of which nobody is told again.
                let Some(polled) = (0..EVENTS_MAX).find_map(|_| consumer.poll(Duration::ZERO)) else { break };
                match polled {
                    Ok(message) => {
                        if !self.taken(&message, into)? {
                            return Ok(());
                        }
                    }
                    Err(KafkaError::PartitionEOF(number)) => self.at_end(index, number)?,
                    Err(error) => self.trouble(&error)?,
                }
            }
        }
        Ok(())
    }

    /// Whether the batch goes on.
    fn taken(&mut self, message: &BorrowedMessage<'_>, into: &mut RawBatch) -> Result<bool, ConnectorError> {
        let Some(split) = self.split_of(message.topic(), message.partition()) else { return Ok(true) };
        self.latest = split;
        let other = matches!(self.take(split, message, into)?, Taken::Other);
        if other {
            self.pending = Some((split, message.detach()));
        }
        Ok(!other)
    }
}

/// Where a partition ends, as the latest answer to a request for its records has it; `None` if there was none.
fn known_end(consumer: &KafkaConsumer, partition: &Partition) -> Option<i64> {
    let topic = CString::new(&*partition.topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client lives as long as `consumer` is borrowed, the name ends with a zero, and the two numbers are there to be written to.
    let error = unsafe {
        rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition.number,
            &raw mut low,
            &raw mut high,
        )
    };
    (error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// What became of a record.
enum Taken {
    /// It is in the batch.
    Record,
    /// It is not asked for.
    Nothing,
    /// It belongs to another batch.
    Other,
}

#[async_trait]
impl SourceReader for KafkaReader {
    async fn start(&mut self) -> Result<(), ConnectorError> {
        // What is new to a job that has run before has come since.
        let start = if self.restored { Start::Earliest } else { self.settings.start.clone() };
        let known = std::mem::take(&mut self.known);
        let found = self.look(known, start).await;
        let place = || self.settings.topics.place();
        let found = found.map_err(|panic| Failure::Delivery.at(place(), panic.to_string()))?;
        self.assign(found?)?;
        self.discover_at = self.clock.monotonic() + self.settings.discover;
        Ok(())
    }

    fn splits(&self) -> usize {
        self.splits.len()
    }

    fn hold(&mut self, split: usize, wait: bool) {
        let split = &self.splits[split];
        if split.done {
            return;
        }
        let mut list = TopicPartitionList::new();
        list.add_partition(&split.partition.topic, split.partition.number);
        let consumer = &self.consumers[split.consumer];
        let held = if wait { consumer.pause(&list) } else { consumer.resume(&list) };
        if let Err(error) = held {
            tracing::warn!("{} goes on as it did: {error}", split.place);
        }
    }

    fn completed(&mut self, positions: &[SplitPosition]) {
        if self.settings.group.is_none() || positions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (partition, reached) in positions.iter().filter_map(|position| partitions::read(position).ok()) {
            let _ = list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(reached.next));
        }
        if let Err(error) = self.consumers[0].commit(&list, CommitMode::Async) {
            tracing::warn!("the group could not be told how far the source has come: {error}");
        }
    }

    async fn read(&mut self, into: &mut RawBatch, limits: BatchLimits) -> Result<ReadStatus, ConnectorError> {
        let before = into.len() + into.refused.len();
        loop {
            self.discover().await?;
            self.fill(into, limits)?;
            if into.len() + into.refused.len() > before || self.pending.is_some() {
                return Ok(ReadStatus::More);
            }
            if self.settings.until.is_some() && self.splits.iter().all(|split| split.done) {
                return Ok(ReadStatus::End);
            }
            let ready = self.ready.clone();
            let looking = self.discovery.is_some();
            let looked = async {
                match &mut self.discovery {
                    Some(discovery) => discovery.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ready.notified() => {}
                found = looked => self.found(found)?,
                () = self.clock.sleep_until(self.discover_at), if self.settings.until.is_none() && !looking => {}
            }
        }
    }

    fn positions(&self) -> Vec<SplitPosition> {
        self.splits.iter().map(|split| partitions::write(&split.partition, split.reached)).collect()
    }
}
