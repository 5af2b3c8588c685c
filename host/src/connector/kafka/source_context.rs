//! What a consumer of librdkafka has to say beside records. Must not know what is read.
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
};

use super::{client, error::Failure};

/// Events of a consumer looked through for why it cannot reach anybody.
const EVENTS_MAX: usize = 100;

/// Hears of everything but records.
pub struct SourceContext {
    /// The group that is told how far it has come, for messages.
    pub group: String,
}

impl ClientContext for SourceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client::trouble(&error, reason);
    }
}

impl ConsumerContext for SourceContext {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(group = self.group, "the group could not be told how far the source has come: {error}");
        }
    }
}

/// Why nobody answers, if it is not that nobody is there. Only a consumer that nothing is assigned to can be asked: what it has to say comes
/// in between records, and those would be lost.
pub fn refusal(consumer: &BaseConsumer<SourceContext>) -> Option<KafkaError> {
    if consumer.assignment().is_ok_and(|assigned| assigned.count() > 0) {
        return None;
    }
    (0..EVENTS_MAX)
        .filter_map(|_| consumer.poll(std::time::Duration::ZERO))
        .filter_map(Result::err)
        .find(|error| matches!(Failure::of(error), Failure::Credentials | Failure::Denied))
}
