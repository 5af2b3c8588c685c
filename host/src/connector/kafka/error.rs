//! What can be wrong with Kafka, as errors with stable codes. Each has a page in `docs/errors`. Must not know who asked for what.
use kafka_protocol::ResponseError;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

use crate::connector::ConnectorError;

/// What kind of failure it is: its code, and whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No broker answers.
    Unreachable,
    /// Credentials or certificates are refused, by either side.
    Credentials,
    /// A topic or partition is not there.
    Missing,
    /// Not allowed.
    Denied,
    /// A setting of the client that does not exist, or whose value is wrong.
    Setting,
    /// A record is larger than the client or the broker allows.
    TooLarge,
    /// Transactions are to last longer than the broker allows.
    TransactionTimeout,
    /// Another producer has taken over the transactional id.
    Fenced,
    /// The broker has aborted what a checkpoint counts on.
    Lost,
    /// The broker no longer has, or does not have yet, what is at an offset.
    OffsetOutOfRange,
    /// The broker does not take records, or does not do what it was asked for.
    Delivery,
}

impl Failure {
    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Failure::Unreachable => "C0402",
            Failure::Credentials => "C0403",
            Failure::Missing => "C0404",
            Failure::Denied => "C0405",
            Failure::Setting => "C0406",
            Failure::TooLarge => "C0407",
            Failure::TransactionTimeout => "C0408",
            Failure::Fenced => "C0409",
            Failure::Lost => "C0410",
            Failure::OffsetOutOfRange => "C0411",
            Failure::Delivery => "C0412",
        }
    }

    /// The error that this has failed at `place`, a topic or an address.
    pub fn at(self, place: impl Into<String>, what: impl Into<String>) -> ConnectorError {
        let retry = matches!(self, Failure::Unreachable | Failure::Delivery);
        ConnectorError { place: place.into(), what: what.into(), retry, code: self.code() }
    }

    /// Whether this has failed.
    pub fn is(self, error: &ConnectorError) -> bool {
        error.code == self.code()
    }

    /// What librdkafka's code means.
    pub fn of_code(code: Code) -> Failure {
        match code {
            Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve => Failure::Unreachable,
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => Failure::Credentials,
            Code::UnsupportedSASLMechanism | Code::IllegalSASLState => Failure::Credentials,
            Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::InvalidTopic => {
                Failure::Missing
            }
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Failure::Denied,
            Code::InvalidArgument | Code::UnsupportedFeature | Code::UnsupportedCompressionType => Failure::Setting,
            Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => Failure::TooLarge,
            Code::InvalidTransactionTimeout => Failure::TransactionTimeout,
            Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Failure::Fenced,
            Code::OffsetOutOfRange | Code::AutoOffsetReset => Failure::OffsetOutOfRange,
            _ => Failure::Delivery,
        }
    }

    /// What an error of librdkafka means.
    pub fn of(error: &KafkaError) -> Failure {
        match error {
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => Failure::Setting,
            KafkaError::Transaction(error) => Failure::of_code(error.code()),
            other => other.rdkafka_error_code().map_or(Failure::Delivery, Failure::of_code),
        }
    }

    /// What a broker's answer means.
    pub fn of_answer(error: ResponseError) -> Failure {
        use ResponseError as E;
        match error {
            E::UnknownTopicOrPartition | E::InvalidTopicException | E::UnknownTopicId => Failure::Missing,
            E::TopicAuthorizationFailed
            | E::GroupAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::TransactionalIdAuthorizationFailed => Failure::Denied,
            E::SaslAuthenticationFailed | E::UnsupportedSaslMechanism | E::IllegalSaslState => Failure::Credentials,
            E::InvalidTransactionTimeout => Failure::TransactionTimeout,
            E::ProducerFenced | E::InvalidProducerEpoch => Failure::Fenced,
            _ => Failure::Delivery,
        }
    }
}
