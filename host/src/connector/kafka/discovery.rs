//! What has to be asked of brokers before partitions can be read: which there are, and which offsets times and words stand for.
//! Everything here blocks, each request for at most [`REQUEST_LIMIT`].
use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    metadata::Metadata,
    topic_partition_list::TopicPartitionListElem,
};

use super::{
    error::Failure,
    partitions::{Partition, Reached},
    source_context::{SourceContext, refusal},
    source_settings::{SourceSettings, Start, Topics, Until},
};
use crate::connector::ConnectorError;

/// How long a broker may take to answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How long to wait before looking whether it is refused.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// What has been asked for as an error.
pub fn failed(place: &str, what: &str, error: &KafkaError) -> ConnectorError {
    Failure::of(error).at(place, format!("{what}: {error}"))
}

/// Asks again and again within the limit, unless it is refused: brokers that come and go fail a request that the next one answers.
fn asked<T>(
    consumer: &BaseConsumer<SourceContext>,
    mut request: impl FnMut(Duration) -> KafkaResult<T>,
) -> KafkaResult<T> {
    let mut left = (REQUEST_LIMIT.as_millis() / ATTEMPT_LIMIT.as_millis()).max(1);
    loop {
        left -= 1;
        match request(ATTEMPT_LIMIT) {
            Err(error) if left > 0 => match refusal(consumer) {
                Some(refusal) => return Err(refusal),
                None => tracing::debug!("asking the brokers again: {error}"),
            },
            answer => return answer,
        }
    }
}

fn metadata(consumer: &BaseConsumer<SourceContext>, topic: Option<&str>) -> KafkaResult<Metadata> {
    asked(consumer, |limit| consumer.fetch_metadata(topic, limit))
}

/// The partitions there are of the topics read. Fails if a topic named is not there.
pub fn partitions(consumer: &BaseConsumer<SourceContext>, topics: &Topics) -> Result<Vec<Partition>, ConnectorError> {
    let place = topics.place();
    let mut found = Vec::new();
    let one = match topics {
        Topics::Named(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        Topics::Pattern(_) => vec![None],
    };
    for topic in one {
        let metadata = metadata(consumer, topic).map_err(|error| {
            failed(topic.unwrap_or(&place), "the brokers cannot be asked for its partitions", &error)
        })?;
        for topic in metadata.topics().iter().filter(|topic| topics.contain(topic.name())) {
            if let Some(error) = topic.error() {
                let error = KafkaError::MetadataFetch(error.into());
                return Err(failed(topic.name(), "it cannot be read", &error));
            }
            let numbers = topic.partitions().iter().map(|partition| partition.id());
            found.extend(numbers.map(|number| Partition { topic: topic.name().to_owned(), number }));
        }
    }
    found.sort();
    Ok(found)
}

/// Offsets of partitions.
type Offsets = BTreeMap<Partition, i64>;

/// The first offset of each partition, and the one behind the last record that can be seen.
fn bounds(
    consumer: &BaseConsumer<SourceContext>,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, (i64, i64)>, ConnectorError> {
    let one = |partition: &Partition| {
        let bounds = asked(consumer, |limit| consumer.fetch_watermarks(&partition.topic, partition.number, limit));
        let bounds =
            bounds.map_err(|error| failed(&partition.to_string(), "its offsets cannot be asked for", &error))?;
        Ok((partition.clone(), bounds))
    };
    partitions.iter().map(one).collect()
}

fn offsets(list: KafkaResult<TopicPartitionList>, place: &str) -> Result<Offsets, ConnectorError> {
    let list = list.map_err(|error| failed(place, "its offsets cannot be asked for", &error))?;
    let partition = |element: &TopicPartitionListElem<'_>| Partition {
        topic: element.topic().to_owned(),
        number: element.partition(),
    };
    let mut found = Offsets::new();
    for element in list.elements() {
        element
            .error()
            .map_err(|error| failed(&partition(&element).to_string(), "its offset cannot be asked for", &error))?;
        if let Offset::Offset(offset) = element.offset() {
            found.insert(partition(&element), offset);
        }
    }
    Ok(found)
}

/// Where each partition has its first record of that time or later.
fn since(
    consumer: &BaseConsumer<SourceContext>,
    partitions: &[Partition],
    timestamp: i64,
    place: &str,
) -> Result<Offsets, ConnectorError> {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        let added = list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(timestamp));
        added.map_err(|error| failed(place, "its offsets cannot be asked for", &error))?;
    }
    offsets(asked(consumer, |limit| consumer.offsets_for_times(list.clone(), limit)), place)
}

/// Where reading of these partitions starts and ends. `known` are those a checkpoint speaks of; of the others `start` decides where to
/// begin.
pub fn reached(
    consumer: &BaseConsumer<SourceContext>,
    settings: &SourceSettings,
    partitions: &[Partition],
    known: &BTreeMap<Partition, Reached>,
    start: &Start,
) -> Result<BTreeMap<Partition, Reached>, ConnectorError> {
    let place = settings.topics.place();
    let new: Vec<Partition> = partitions.iter().filter(|partition| !known.contains_key(partition)).cloned().collect();
    let ends: Vec<Partition> = partitions
        .iter()
        .filter(|partition| known.get(partition).is_none_or(|known| settings.until.is_some() && known.until.is_none()))
        .cloned()
        .collect();
    let bounds = bounds(consumer, &ends)?;
    let begin: Offsets = match start {
        _ if new.is_empty() => Offsets::new(),
        Start::Earliest | Start::Latest => Offsets::new(),
        Start::Timestamp(timestamp) => since(consumer, &new, *timestamp, &place)?,
        Start::Committed => {
            let mut list = TopicPartitionList::new();
            for partition in &new {
                list.add_partition(&partition.topic, partition.number);
            }
            offsets(asked(consumer, |limit| consumer.committed_offsets(list.clone(), limit)), &place)?
        }
        Start::Offsets(offsets) => new
            .iter()
            .filter_map(|partition| {
                Some((partition.clone(), i64::try_from(*offsets.get(&partition.to_string())?).ok()?))
            })
            .collect(),
    };
    let limit = match settings.until {
        Some(Until::Timestamp(timestamp)) => since(consumer, &ends, timestamp, &place)?,
        _ => Offsets::new(),
    };
    let mut all = BTreeMap::new();
    for partition in partitions {
        let (low, high) = bounds.get(partition).copied().unwrap_or((0, 0));
        let end = limit.get(partition).map_or(high, |limit| high.min(*limit));
        let mut reached = known.get(partition).copied().unwrap_or_else(|| {
            let next = match (begin.get(partition), start) {
                (Some(begin), _) => *begin,
                (None, Start::Latest | Start::Timestamp(_)) => high,
                (None, _) => low,
            };
            Reached { next, until: None }
        });
        match settings.until {
            Some(_) => drop(reached.until.get_or_insert(end)),
            // It was read to an end once, and is to be read on for ever now.
            None => reached.until = None,
        }
        all.insert(partition.clone(), reached);
    }
    Ok(all)
}
